"""Counting: what a batch's saved changes add to the counters of a minute, and how minutes add up. Pure.

Counted is what consumers do, and what the API answers. What an operator ends by hand is not: it stands in the
audit log. A count may be short by a batch whose consumer died between its last save and its counting, or by
what a container of the API had not yet written when it was recycled, so all of them are approximate.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate, chain
from typing import Protocol

from chalicelib.domain.job import TERMINAL, Job, Reason, State
from chalicelib.domain.policies import Tier

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MINUTES_KEPT, HOURS_KEPT = 60, 24
BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds; the upper bounds of attempts' histogram
HTTP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 5.0)  # of requests'; each is a counter of its own for every route
BEYOND = "inf"
BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), BEYOND)


class Measure(StrEnum):
    """What is counted, of each job type unless said otherwise."""

    BEGUN = "begun"  # jobs claimed for the first time
    RETRIED = "retried"  # attempts that led to another
    RESUMED = "resumed"  # jobs that were retrying and are no longer: claimed again, or ended
    PARKED = "parked"
    SUCCESS = "success"  # jobs that ended, by how
    FAILURE = "failure"
    REFUSED = "refused"
    TOOK = "took"  # attempts, by the bucket of their duration
    MILLISECONDS = "ms"  # that attempts took in all
    ALERTED = "alerted"  # no job's: notices of an alert's type, by severity and channel
    ANSWERED = "http"  # no job's: requests of a method and route, by status
    ANSWERED_IN = "http_in"  # the same, by the bucket of their duration
    ANSWERING = "http_ms"  # milliseconds that they took in all
    CALLS = "calls"  # no job's: calls of AWS, by service
    WRITE_UNITS = "wcu"  # that DynamoDB said they took
    READ_UNITS = "rcu"


RESULTS = (Measure.SUCCESS, Measure.FAILURE, Measure.REFUSED)


@dataclass(frozen=True, slots=True)
class Name:
    """The name of one counter: `subject` is a job type, and `part` the upper bound of durations, in seconds.

    Of notices the subject is the alert's type, and the part its severity and channel: `critical#sms`. Of
    requests it is method and route, `POST /v1/jobs`, and the part a status or an upper bound.
    """

    measure: Measure
    subject: str
    part: str | None = None

    def __str__(self) -> str:
        return "|".join(filter(None, (self.measure, self.subject, self.part)))

    @classmethod
    def of(cls, text: str) -> "Name":
        """Read a name; raises ValueError."""
        measure, subject, *rest = text.split("|")
        return cls(Measure(measure), subject, *rest)


Counts = Mapping[Name, int]


def tally(changes: Iterable[tuple[Job, Job]]) -> Counts:
    """Count what saved changes, each the job before and after, came to."""
    return _added(chain.from_iterable(_counted(*change) for change in changes))


def _added(pairs: Iterable[tuple[Name, int]]) -> Counter[Name]:
    total: Counter[Name] = Counter()
    for name, count in pairs:
        total[name] += count
    return total


def _counted(before: Job, after: Job) -> Iterable[tuple[Name, int]]:
    kind = after.type
    if after.state is State.RUNNING and before.processed_at is None:
        yield Name(Measure.BEGUN, kind), 1
    if before.state is State.RETRYING and after.state is not State.RETRYING:
        yield Name(Measure.RESUMED, kind), 1
    if after.state is State.RUNNING or before.state is after.state:
        return
    if before.state is State.RUNNING and len(after.history) and after.history[-1:] != before.history[-1:]:
        attempt = after.history[-1]
        took = attempt.ended_at - attempt.started_at
        yield Name(Measure.TOOK, kind, bucket_of(took)), 1
        yield Name(Measure.MILLISECONDS, kind), took // timedelta(milliseconds=1)
    if after.state in TERMINAL:
        yield Name(_result(after), kind), 1
    elif after.state is State.PARKED:
        yield Name(Measure.PARKED, kind), 1
    elif after.state is State.RETRYING and before.state is State.RUNNING:
        yield Name(Measure.RETRIED, kind), 1


def _result(job: Job) -> Measure:
    if job.state is State.COMPLETED:
        return Measure.SUCCESS
    return Measure.REFUSED if job.reason is Reason.REFUSED else Measure.FAILURE


def answered(method: str, route: str, status: int, took: timedelta) -> Counts:
    """Count one request; `route` is a pattern, never the path that was asked for."""
    asked = f"{method} {route}"
    return {
        Name(Measure.ANSWERED, asked, str(status)): 1,
        Name(Measure.ANSWERED_IN, asked, bucket_of(took, HTTP_BUCKETS)): 1,
        Name(Measure.ANSWERING, asked): took // timedelta(milliseconds=1),
    }


def bucket_of(took: timedelta, bounds: Sequence[float] = BUCKETS) -> str:
    """Return the bucket of a duration: the least bound that is not below it."""
    seconds = took / timedelta(seconds=1)
    return next((f"{bound:g}" for bound in bounds if seconds <= bound), BEYOND)


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of the minute that a moment is in."""
    return moment.replace(second=0, microsecond=0)


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour that a moment is in."""
    return moment.replace(minute=0, second=0, microsecond=0)


# --- how minutes add up


@dataclass(frozen=True, slots=True)
class Depths:
    """How many jobs of a tier waited for a consumer, and how many messages one had or was to have later."""

    waiting: int
    active: int


@dataclass(frozen=True, slots=True)
class Flow:
    """What went through a tier in one minute, and how much stood in it at its end, where that was measured."""

    begun: int = 0
    success: int = 0
    failure: int = 0
    refused: int = 0
    retried: int = 0
    parked: int = 0
    depths: Depths | None = None
    took: tuple[int, ...] = ()  # attempts by the bucket of their duration, in the order of BOUNDS; (): none

    @property
    def ended(self) -> int:
        """The jobs that came to an end."""
        return self.success + self.failure + self.refused


@dataclass(frozen=True, slots=True)
class Results:
    """How the jobs of a type ended in one hour."""

    success: int = 0
    failure: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """The counters over time: all that happened before `until`, an hour of minutes, a day of hours."""

    until: datetime
    totals: Counts = field(default_factory=dict)
    minutes: Mapping[datetime, Mapping[Tier, Flow]] = field(default_factory=dict)
    hours: Mapping[datetime, Mapping[str, Results]] = field(default_factory=dict)
    version: int = 0


def folded(series: Series, counts: Counts, depths: Mapping[Tier, Depths], tiers: Mapping[str, Tier]) -> Series:
    """Add the minute that begins at `until`; `tiers` is the tier of each job type."""
    minute, hour = series.until, hour_of(series.until)
    of_minute = {
        tier: replace(_flow(tier, counts, tiers), depths=depths.get(tier))
        for tier in Tier
        if tier in depths or any(tiers.get(name.subject) is tier for name in counts)
    }
    minutes = {**series.minutes, minute: of_minute} if of_minute else series.minutes
    before = series.hours.get(hour, {})
    kinds = {name.subject for name in counts if name.measure in RESULTS}
    of_hour = {**before, **{kind: _results(before.get(kind, Results()), kind, counts) for kind in kinds}}
    hours = {**series.hours, hour: of_hour} if of_hour else series.hours
    return Series(
        until=minute + MINUTE,
        totals=_added(chain(series.totals.items(), counts.items())),
        minutes={at: each for at, each in minutes.items() if at > minute - MINUTES_KEPT * MINUTE},
        hours={at: each for at, each in hours.items() if at > hour - HOURS_KEPT * HOUR},
        version=series.version,
    )


def _flow(tier: Tier, counts: Counts, tiers: Mapping[str, Tier]) -> Flow:
    sums: Counter[Measure] = Counter()
    spread: Counter[str] = Counter()
    for name, count in counts.items():
        if tiers.get(name.subject) is tier:
            sums[name.measure] += count
            if name.measure is Measure.TOOK:
                spread[name.part or BEYOND] += count
    took = tuple(spread[bound] for bound in BOUNDS)
    return Flow(
        begun=sums[Measure.BEGUN],
        success=sums[Measure.SUCCESS],
        failure=sums[Measure.FAILURE],
        refused=sums[Measure.REFUSED],
        retried=sums[Measure.RETRIED],
        parked=sums[Measure.PARKED],
        took=took if any(took) else (),
    )


def _results(before: Results, kind: str, counts: Counts) -> Results:
    return Results(*(getattr(before, each) + counts.get(Name(each, kind), 0) for each in RESULTS))


class Metrics(Protocol):
    """The port of the counters, which all functions share."""

    def add(self, counts: Counts, *, at: datetime, spread: float) -> bool:
        """Add to the counters of the minute of `at`, in one write, and say whether it was surely done.

        `spread` in [0, 1) says which of the minute's records takes it. Never raises StoreError: what cannot be
        counted is not worth a job.
        """
        ...

    def minute(self, at: datetime) -> Counts:
        """Return what has been counted in the minute of `at`, in one query. Raises StoreRefused."""
        ...

    def series(self) -> Series | None:
        """Return the counters over time; None before the first minute was added up. Raises StoreRefused."""
        ...

    def save_series(self, series: Series) -> bool:
        """Replace the series that has this one's version by one of the next; say whether it was done.

        Version 0: there is none yet. Raises StoreRefused or StoreUnsure.
        """
        ...


RATES_OVER = 10  # minutes


def ended_per_minute(series: Series, tier: Tier) -> float:
    """Return how many jobs of a tier came to an end in a minute, lately."""
    since = series.until - RATES_OVER * MINUTE
    lately = (each[tier] for start, each in series.minutes.items() if start >= since and tier in each)
    return sum(flow.ended for flow in lately) / RATES_OVER


def percentile(flows: Iterable[Flow], part: float) -> str | None:
    """Return the bound of BOUNDS that this part of the attempts did not exceed; None: there was none."""
    spread = [sum(counts) for counts in zip(*(flow.took for flow in flows if flow.took), strict=True)]
    reached = accumulate(spread)
    wanted = part * sum(spread)
    return next((bound for bound, count in zip(BOUNDS, reached, strict=False) if count >= wanted), None)


def failure_rate(flows: Sequence[Flow], *, least: int) -> float | None:
    """Return the part of the ended jobs that failed, refusals left out; None for fewer than `least` of them."""
    failed = sum(flow.failure for flow in flows)
    counted = failed + sum(flow.success for flow in flows)
    return failed / counted if counted >= least else None
