"""The log: one structured line per event, as JSON for machines or plain for a person; and CloudWatch's figures.

A line never holds a payload, an address, card data or a token. What an exception says may hold any of them,
so of most only the type and the places it passed are written, and never a traceback as Python prints it.
"""

import json
import logging
import sys
import traceback
from collections import defaultdict
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from chalicelib.domain.emission import Figures
from chalicelib.domain.errors import QueueServiceError

SERVICE = "queue-service"
NAMESPACE = "QueueService"  # of our figures in CloudWatch
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


class EmbeddedMetrics:
    """Figures as CloudWatch takes them from a function's log (EMF): a line on stdout for each set of labels.

    Every figure has the stage as a label, too: an account may hold several.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def emit(self, figures: Figures) -> None:
        """Write figures, as of now."""
        by_labels: defaultdict[tuple[tuple[str, str], ...], dict[str, float]] = defaultdict(dict)
        for figure, value in figures.items():
            by_labels[figure.labels][figure.name] = value
        for labels, values in by_labels.items():
            line = EphemeralMetrics(namespace=NAMESPACE)
            for label, value_of in (("stage", self._stage), *labels):
                line.add_dimension(label, value_of)
            for name, value in values.items():
                line.add_metric(name, _unit(name), value)
            # In one piece: on one machine other threads write, too.
            sys.stdout.write(json.dumps(line.serialize_metric_set(), separators=(",", ":")) + "\n")


def _unit(name: str) -> MetricUnit:
    return MetricUnit.Seconds if name.endswith(("_seconds", "_seconds_sum")) else MetricUnit.Count


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
