"""Reading the audit log: who did what, to what, why and when; the latest first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from chalicelib.domain import ids
from chalicelib.domain.audit import AuditLog
from chalicelib.domain.errors import InvalidRequest, Problem
from chalicelib.domain.policies import Timing
from chalicelib.domain.ports import Clock, Entry
from chalicelib.service.intake import IDENTITY, Schema
from chalicelib.service.moments import MOMENT, read_moment
from chalicelib.service.paging import NOT_HERE
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.read import moment

FILTERS: Mapping[str, Mapping[str, Any]] = {
    "from": MOMENT,
    "to": MOMENT,
    "actor": IDENTITY,
    "subject": {
        "type": "string",
        "pattern": "^[!-~]{1,300}$",
        "description": "a job's id, or what else was acted on, such as queue/money",
    },
    "venueId": IDENTITY,
}
USUAL = timedelta(days=30)  # how far back a list goes that says nothing of it
DAY = timedelta(days=1)
LATEST = datetime.max.replace(tzinfo=UTC)
AT_ONCE = 50
MOST_QUERIES = 31  # of a page; a day without entries takes one, too


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended: behind this entry, or before all of a day; without a day in a subject's entries."""

    day: date | None
    id: str | None


class Audit:
    """The use case behind GET /v1/audit, an administrator's alone. Nothing here writes."""

    def __init__(self, log: AuditLog, *, clock: Clock, timing: Timing) -> None:
        self._log = log
        self._clock = clock
        self._slack = timing.clock_skew
        self._schema = Schema({"type": "object", "properties": FILTERS})

    def page(
        self, asked: Mapping[str, str], principal: Principal, *, after: Mark | None, limit: int
    ) -> tuple[list[Entry], Mark | None]:
        """Return a page of entries and the place to go on after, None at the end.

        Raises Forbidden, InvalidRequest with every problem, or StoreRefused.
        """
        only_admin(principal, "read the audit log")
        problems = self._schema.problems({name: asked[name] for name in FILTERS if name in asked})
        since, until = (read_moment(asked, name, problems) for name in ("from", "to"))
        if after is not None and (after.day is None) != ("subject" in asked):
            problems.append(Problem("cursor", NOT_HERE))
        if problems:
            raise InvalidRequest(problems)
        if "subject" in asked:
            parts = self._of_subject(asked["subject"], until, after)
        else:
            latest = min(until or LATEST, self._clock.now() + self._slack)
            parts = self._of_days(_usual(latest) if since is None else since, latest, until, after)
        found: list[Entry] = []
        mark: Mark | None = None
        for part, mark in islice(parts, MOST_QUERIES):
            for entry in part:
                if _fits(entry, asked, since, until):
                    found.append(entry)
                if len(found) == limit:
                    last = mark is None and entry is part[-1]
                    day = None if "subject" in asked else entry.at.date()
                    return found, None if last else Mark(day, entry.id)
        return found, mark

    def _of_days(
        self, since: datetime, latest: datetime, until: datetime | None, after: Mark | None
    ) -> Iterator[tuple[list[Entry], Mark | None]]:
        """Give the entries query by query, each with where it ended; None: nothing is left before it."""
        day, below = latest.date(), self._roof(until)
        if after is not None and after.day is not None:
            day, below = min(after.day, day), after.id
        while True:
            part = self._log.of_day(day, below=below, limit=AT_ONCE)
            if len(part) == AT_ONCE:
                below = part[-1].id
            elif day <= since.date():
                yield part, None
                return
            else:
                day, below = day - DAY, None
            yield part, Mark(day, below)

    def _of_subject(
        self, subject: str, until: datetime | None, after: Mark | None
    ) -> Iterator[tuple[list[Entry], Mark | None]]:
        """Give the entries about a subject as `_of_days` does."""
        below = self._roof(until) if after is None else after.id
        while True:
            part = self._log.of_subject(subject, below=below, limit=AT_ONCE)
            if len(part) < AT_ONCE:
                yield part, None
                return
            below = part[-1].id
            yield part, Mark(None, below)

    def _roof(self, until: datetime | None) -> str | None:
        return None if until is None else ids.ulid(until, later=self._slack)


def _usual(latest: datetime) -> datetime:
    return latest - USUAL if latest - datetime.min.replace(tzinfo=UTC) > USUAL else latest


def _fits(entry: Entry, asked: Mapping[str, str], since: datetime | None, until: datetime | None) -> bool:
    return (
        asked.get("actor") in (None, entry.actor)
        and asked.get("venueId") in (None, entry.venue_id)
        and (since is None or entry.at >= since)
        and (until is None or entry.at < until)
    )


def row(entry: Entry) -> dict[str, Any]:
    """Return an entry as callers see it."""
    return {
        "id": entry.id,
        "at": moment(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "venueId": entry.venue_id,
        "reason": entry.reason,
        "before": entry.before,
        "after": entry.after,
    }
