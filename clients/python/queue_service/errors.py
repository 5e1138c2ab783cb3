"""What can go wrong between a caller and the service.

ClientError
├── Refused        the service said no: 4xx; `code` is stable, `details` names what is wrong
├── Unavailable    no answer that holds, after all repetitions; whether it was done may be unknown
└── StillRunning   the job had not come to rest when the wait ended
"""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """The base of them all."""


class Refused(ClientError):
    """The service refused a request; `details` is a list of (field, message)."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(body.get("error", "unknown"))
        self.message = str(body.get("message", f"The service answered {status}."))
        self.details = [(str(each.get("field")), str(each.get("message"))) for each in body.get("details", [])]
        told = "".join(f"\n  {field}: {message}" for field, message in self.details)
        super().__init__(f"{self.message} ({status} {self.code}){told}")


class Unavailable(ClientError):
    """The service gave no answer that holds."""


class StillRunning(ClientError):
    """The job has not come to rest in time; it goes on, and can be waited for again."""
