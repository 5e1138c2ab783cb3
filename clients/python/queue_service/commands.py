"""All that an operator can do, one row per command; `cli.py` makes parser, help and completion of them."""

from queue_service.alert_commands import ALERTS
from queue_service.command import Command
from queue_service.endpoint_commands import ENDPOINT_COMMANDS
from queue_service.job_commands import JOBS
from queue_service.operation_commands import OPERATIONS
from queue_service.queue_commands import QUEUE_COMMANDS
from queue_service.suppression_commands import SUPPRESSIONS
from queue_service.watch_commands import WATCH

COMMANDS: tuple[Command, ...] = (
    *JOBS,
    *QUEUE_COMMANDS,
    *ENDPOINT_COMMANDS,
    *OPERATIONS,
    *SUPPRESSIONS,
    *ALERTS,
    *WATCH,
)
