"""Heartbeats: a scheduled function is known to live by when a run of it last ended well.

A beat is kept where the run gave its lease back, so that it costs no write. A run that failed leaves none, and
neither does one that found the lease taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Leases


class Every(StrEnum):
    """How often a scheduled function runs."""

    MINUTE = "minute"
    FIVE_MINUTES = "five minutes"
    DAY = "day"


class Function(StrEnum):
    """The scheduled functions, by the names under which they deploy; each names its own lease."""

    DISPATCH = "dispatch"
    RUN_SCHEDULES = "run_schedules"
    RUN_OPERATIONS = "run_operations"
    MONITOR = "monitor"
    RECOUNT = "recount"
    CLEANUP = "cleanup"


@dataclass(frozen=True, slots=True)
class Part:
    """What a scheduled function is to the others: how often it runs, and what its silence means.

    `tier` is the first that suffers. Of `monitor` nothing is said here: CloudWatch tells of its silence.
    """

    every: Every
    tier: Tier
    silence: str | None


PARTS: Mapping[Function, Part] = MappingProxyType(
    {
        Function.DISPATCH: Part(
            Every.MINUTE,
            Tier.MONEY,
            "accepted jobs whose message was lost, that were held back or are due later are not sent again",
        ),
        Function.RUN_SCHEDULES: Part(Every.MINUTE, Tier.MONEY, "schedules that are due make no jobs"),
        Function.RUN_OPERATIONS: Part(
            Every.MINUTE, Tier.MONEY, "bulk actions, redrives and erasures that were begun stand still"
        ),
        Function.MONITOR: Part(Every.MINUTE, Tier.MONEY, None),
        Function.RECOUNT: Part(
            Every.FIVE_MINUTES,
            Tier.BACKGROUND,
            "what is scheduled, retrying, parked or dead, and the money that waits, are not counted anew",
        ),
        Function.CLEANUP: Part(
            Every.DAY, Tier.BACKGROUND, "old jobs are not archived, and erasures do not reach the archive"
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Beat:
    """When a run last ended well; None: none ever has, and since `missed_since` the monitor knows that."""

    last_run_at: datetime | None = None
    missed_since: datetime | None = None

    @property
    def since(self) -> datetime | None:
        """Since when nothing has been heard of the function; None: nobody has listened yet."""
        return self.last_run_at or self.missed_since


Beats = Mapping[Function, Beat]  # of every function


@dataclass(frozen=True, slots=True)
class Silence:
    """A function of which nothing has been heard for longer than is well."""

    function: Function
    since: datetime


def silent(beats: Beats, bounds: Mapping[Every, timedelta], now: datetime) -> list[Silence]:
    """Return the functions that are silent, the longest so first; `bounds` is how long silence is well."""
    found = [
        Silence(function, beat.since)
        for function, beat in beats.items()
        if beat.since is not None and now - beat.since > bounds[PARTS[function].every]
    ]
    return sorted(found, key=lambda each: each.since)


class Heartbeats(Protocol):
    """The port of the heartbeats, which the runs themselves leave (`ports.Leases.end_run`)."""

    def beats(self) -> Beats:
        """Return the beat of every function, read consistently, in one call. Raises StoreRefused."""
        ...

    def miss(self, function: Function, now: datetime) -> None:
        """Note that a function has never run, unless it has or that is noted.

        A failure leaves it to the next time.
        """
        ...


class RunBook(Leases, Heartbeats, Protocol):
    """The leases and the heartbeats, which stand in one item for each function."""
