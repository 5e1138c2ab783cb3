"""The log: one structured line per event, as JSON for machines or plain for a person at a terminal.

A line never holds a payload, an address, card data or a token. What an exception says may hold any of them,
so of most only the type and the places it passed are written, and never a traceback as Python prints it.
"""

import logging
import sys
import traceback
from typing import Any

from aws_lambda_powertools import Logger

from chalicelib.domain.errors import QueueServiceError

SERVICE = "queue-service"
ADAPTERS = "chalicelib.aws"  # they warn of what a table or a queue did not answer, and name no value of ours
# Errors of the AWS SDK that name a host and nothing else; others quote parameters, or the body of an answer.
SPEAKABLE = frozenset({"ConnectTimeoutError", "EndpointConnectionError", "ReadTimeoutError"})
MOST_CAUSES = 5
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
    """Return an exception's type, what it may say, the places it passed, innermost first, and its causes."""
    passed = reversed(traceback.extract_tb(error.__traceback__))
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in passed)
    return f"{_told(error)} at {places}{''.join(f' from {_told(cause)}' for cause in _causes(error))}"


def _told(error: BaseException) -> str:
    said = _said(error)
    return type(error).__name__ + (f": {said}" if said else "")


def _said(error: BaseException) -> str | None:
    """Return what an exception may say: our own words, a code, a host; no text of anybody else's."""
    module = type(error).__module__
    match error:
        case QueueServiceError():
            return str(error)
        case OSError() if module == "builtins":
            return error.strerror
    if not module.startswith("botocore."):
        return None
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return f"{getattr(error, 'operation_name', '')} {answer.get('Error', {}).get('Code', '')}".strip()
    return str(error) if type(error).__name__ in SPEAKABLE else None


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and len(found) < MOST_CAUSES:
        found.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return found


def _extra(action: str, facts: dict[str, Any]) -> dict[str, Any]:
    named = {f"{name}_" if name in TAKEN else name: value for name, value in facts.items()}
    return {"action": action, **{name: value for name, value in named.items() if value is not None}}


def _adopt(logger: Logger | logging.Logger) -> None:
    """Have what the adapters log themselves come out in the same shape, its exceptions described."""
    handler = logger.registered_handler if isinstance(logger, Logger) else logger.handlers[0]
    handler.addFilter(_described)
    adapters = logging.getLogger(ADAPTERS)
    adapters.handlers, adapters.propagate = [handler], False


def _described(record: logging.LogRecord) -> bool:
    """Put in the place of a traceback, which repeats whatever its exceptions say, what `describe` does."""
    if record.exc_info and record.exc_info[1] is not None:
        record.cause = describe(record.exc_info[1])
    record.exc_info = record.exc_text = None
    return True


def _json_logger(level: str) -> Logger:
    # The location would always be this file.
    logger = Logger(service=SERVICE, level=level, location=None, use_rfc3339=True, utc=True)
    logger.setLevel(level)  # Powertools keeps one logger per name in a process, and that one's first level
    return logger


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
