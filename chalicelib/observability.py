"""The log: one structured line per event, as JSON for machines or plain for a person at a terminal.

A line never holds a payload, an address, card data or a token. What an exception says may hold any of them,
so of one that is neither ours nor the SDK's only the type and the places it passed are written.
"""

import logging
import sys
import traceback
from typing import Any

from aws_lambda_powertools import Logger

from chalicelib.domain.errors import QueueServiceError

SERVICE = "queue-service"
ADAPTERS = "chalicelib.aws"  # they warn of what a table or a queue did not answer, and name no value of ours
SPEAKABLE = ("botocore.", "urllib3.")  # modules whose errors name operations and hosts, and no values of ours
TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}  # names that `extra` may not use

Fact = str | int | float | None


class PowertoolsJournal:
    """The journal over Powertools' logger; `style` is json or pretty."""

    def __init__(self, *, level: str, style: str) -> None:
        self._logger = _pretty_logger(level) if style == "pretty" else _json_logger(level)
        _adopt(self._logger)

    def note(self, action: str, **facts: Fact) -> None:
        """Write an event."""
        self._logger.info(action, extra=_extra(action, facts))

    def alarm(self, action: str, **facts: Fact) -> None:
        """Write an event that a person should look into; the exception in hand goes with it."""
        error = sys.exc_info()[1]
        told = {} if error is None else {"cause": describe(error)}
        self._logger.error(action, extra=_extra(action, {**facts, **told}))


def describe(error: BaseException) -> str:
    """Return an exception's type, what it may say, and the places it passed, the innermost first."""
    kind = type(error)
    speaks = isinstance(error, QueueServiceError | OSError) or kind.__module__.startswith(SPEAKABLE)
    passed = reversed(traceback.extract_tb(error.__traceback__))
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in passed)
    return f"{kind.__name__}{f': {error}' if speaks else ''} at {places}"


def _extra(action: str, facts: dict[str, Any]) -> dict[str, Any]:
    named = {f"{name}_" if name in TAKEN else name: value for name, value in facts.items()}
    return {"action": action, **{name: value for name, value in named.items() if value is not None}}


def _adopt(logger: Logger | logging.Logger) -> None:
    """Have what the adapters log themselves come out in the same shape."""
    handler = logger.registered_handler if isinstance(logger, Logger) else logger.handlers[0]
    adapters = logging.getLogger(ADAPTERS)
    adapters.handlers, adapters.propagate = [handler], False


def _json_logger(level: str) -> Logger:
    # The location would always be this file.
    return Logger(service=SERVICE, level=level, location=None, use_rfc3339=True, utc=True)


def _pretty_logger(level: str) -> logging.Logger:
    logger = logging.getLogger(f"{SERVICE}.pretty")
    logger.setLevel(level)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Pretty())
        logger.addHandler(handler)
    return logger


class _Pretty(logging.Formatter):
    """Renders `12:00:00.123 accepted jobId=job_1 type=payment.process`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        time = f"{self.formatTime(record, '%H:%M:%S')}.{int(record.msecs):03d}"
        facts = [
            f"{name}={value}" for name, value in vars(record).items() if name not in TAKEN and name != "action"
        ]
        mark = "! " if record.levelno >= logging.ERROR else ""
        return " ".join([time, mark + record.getMessage(), *facts])
