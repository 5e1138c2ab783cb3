"""A client of queue-service: submit jobs, wait for what comes of them, steer them. Standard library only."""

from queue_service.client import Client
from queue_service.errors import ClientError, Refused, StillRunning, Unavailable
from queue_service.models import Failure, Job, Receipt
from queue_service.transport import Patience

__all__ = [
    "Client",
    "ClientError",
    "Failure",
    "Job",
    "Patience",
    "Receipt",
    "Refused",
    "StillRunning",
    "Unavailable",
]
