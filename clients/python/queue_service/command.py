"""What a command is made of, and the options that several commands share."""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from queue_service.client import Client

Arguments = argparse.Namespace
QUEUES = ("money", "communication", "background")
STATES = ("queued", "scheduled", "running", "retrying", "completed", "failed", "parked", "cancelled")
MOST = 100  # of a page
USUAL = 25
_SPAN = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Unusable(Exception):
    """What was typed makes no sense; the message says what to type."""


class EndedEarly(Exception):
    """What was begun was stopped before its end; the message says by what."""


@dataclass(frozen=True)
class Option:
    """One argument of a command, as argparse takes it."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A list of things, and its columns: a key, or `title=path.to.key`; `note` is for the operator alone."""

    rows: list[Mapping[str, Any]]
    columns: tuple[str, ...]
    note: str | None = None


@dataclass(frozen=True)
class Stream:
    """Things that come one after another, and their columns, each with its width."""

    rows: Iterator[Mapping[str, Any]]
    columns: Mapping[str, int]


Shown = Mapping[str, Any] | Table | Stream


@dataclass(frozen=True)
class Command:
    """`queue-service <group> <name>`, or `<group>` alone: what it does, and what it shows then."""

    group: str
    name: str
    about: str
    options: tuple[Option, ...]
    run: Callable[[Client, Arguments], Shown] = field(repr=False)
    examples: tuple[str, ...] = ()  # what follows `queue-service`


def option(name: str, about: str, **settings: Any) -> Option:
    """Return an argument; `settings` are argparse's."""
    return Option(name, {"help": about, **settings})


def present(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")


def ahead(text: str | None) -> str | None:
    """Return the moment that is meant by ISO 8601, or by a span from now such as 30m."""
    return _moment(text, timedelta.__pos__)


def ago(text: str | None) -> str | None:
    """Return the moment that is meant by ISO 8601, or by a span before now such as 2h."""
    return _moment(text, timedelta.__neg__)


def _moment(text: str | None, turned: Callable[[timedelta], timedelta]) -> str | None:
    span = _SPAN.fullmatch(text or "")
    if span is None:
        return text
    try:
        at = datetime.now(UTC) + turned(timedelta(**{_UNITS[span[2]]: int(span[1])}))
    except OverflowError:
        raise Unusable(f"{text} is too far away.") from None
    return at.isoformat(timespec="milliseconds")


def listed(
    client: Client, path: str, items: str, given: Arguments, columns: tuple[str, ...], **query: str | None
) -> Table:
    """Return one page of a list, or with `--all` all that is behind its cursors, up to a `--limit`."""
    rows: list[Mapping[str, Any]] = []
    cursor, most = given.cursor, given.limit or (None if given.all else USUAL)
    while True:
        left = MOST if most is None else min(most - len(rows), MOST)
        page = client.call("GET", path, query={**query, "limit": left, "cursor": cursor})
        rows += page[items]
        cursor = page["cursor"]
        if cursor is None or not given.all or (most is not None and len(rows) >= most):
            note = None if cursor is None else f"There may be more: --all, or --cursor {cursor}"
            return Table(rows, columns, note)


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError("give a number from 1 on")
    return int(text)


JOB = option("job", "the job's id")
QUEUE = option("queue", "the queue", choices=QUEUES)
REASON = option("--reason", "why, for the audit log")
WHY = option("--reason", "why, for the audit log", required=True)
UNTIL = option("--until", "ends by itself then: ISO 8601 with its offset, or 30m, 2h", metavar="MOMENT")
FROM = option("--from", "from then on: ISO 8601 with its offset, or 2h for two hours ago", metavar="MOMENT")
TO = option("--to", "before then", metavar="MOMENT")
LIST = (
    option("--limit", f"show at most so many ({USUAL})", type=_positive, metavar="N"),
    option("--all", "follow every cursor to the end, or to the limit", action="store_true"),
    option("--cursor", "go on where a page ended", metavar="CURSOR"),
)
