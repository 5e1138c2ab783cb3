"""Schedules: jobs that come round by the clock, and what each visit of `run_schedules` makes of one.

A due time is a moment at which the schedule's expression comes true. One job is made for each: its key names
the due time, so that a visit which died half-way, or two at once, still come to one job.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType, Protocol

from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.keys import digest
from chalicelib.domain.ports import Entry

ScheduleId = NewType("ScheduleId", str)

PUNCTUAL = timedelta(minutes=5)  # a due time found later than this has been missed

# From a moment to the first due time after it, strictly; None: there is none.
Following = Callable[[datetime], datetime | None]


class Missed(StrEnum):
    """What is made of due times that were missed, because nobody looked for more than PUNCTUAL."""

    SKIP = "skip"  # nothing
    ONCE = "once"  # one job for all of them, unless a punctual one follows at once


@dataclass(frozen=True, slots=True)
class Template:
    """The job that is made each time: as a caller would submit it, valid when it was written."""

    type: str
    data: Mapping[str, Any]
    options: Mapping[str, int]
    venue_id: VenueId
    callbacks: Mapping[str, str] = field(default_factory=dict)  # who is told of its end


@dataclass(frozen=True, slots=True)
class Plan:
    """What a caller says of a schedule; `cron` has five fields and is read on the clocks of `time_zone`."""

    name: str
    cron: str
    time_zone: str
    job: Template
    active: bool
    missed: Missed


@dataclass(frozen=True, slots=True)
class Order:
    """A run that an operator asked for out of turn; `key` names it for as long as its job's key lives."""

    key: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LastRun:
    """What came of the latest run: its job, or the code of what its job was refused for."""

    at: datetime  # the due time, or the moment of the order
    job_id: JobId | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule; `version` counts what callers changed, `revision` every write."""

    id: ScheduleId
    plan: Plan
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    version: int = 1
    revision: int = 1
    next_run: datetime | None = None
    ordered: Order | None = None
    last_run: LastRun | None = None

    @property
    def wakes_at(self) -> datetime | None:
        """The moment from which a visit has something to do here; None: never, as it stands."""
        ordered = None if self.ordered is None else self.ordered.at
        return min((at for at in (self.next_run, ordered) if at is not None), default=None)


def create(schedule_id: ScheduleId, plan: Plan, *, following: Following, actor: str, now: datetime) -> Schedule:
    """Return a new schedule; its first due time lies after this moment."""
    return Schedule(
        id=schedule_id,
        plan=plan,
        created_at=now,
        created_by=actor,
        updated_at=now,
        updated_by=actor,
        next_run=following(now) if plan.active else None,
    )


def edit(schedule: Schedule, plan: Plan, *, following: Following, actor: str, now: datetime) -> Schedule:
    """Return the schedule under another plan.

    A due time that nobody has visited yet stays, unless the times themselves changed or its job's key would
    be another: then the first one lies after this moment, so that none can be run twice.
    """
    kept = schedule.plan.active and _times(plan) == _times(schedule.plan)
    next_run = schedule.next_run if kept else following(now)
    return replace(
        schedule,
        plan=plan,
        updated_at=now,
        updated_by=actor,
        version=schedule.version + 1,
        revision=schedule.revision + 1,
        next_run=next_run if plan.active else None,
    )


def _times(plan: Plan) -> tuple[object, ...]:
    return plan.cron, plan.time_zone, plan.job.type, plan.job.venue_id


def order(schedule: Schedule, key: str, *, now: datetime) -> Schedule:
    """Return the schedule with a run asked for at this moment; it is carried out whether active or not."""
    return replace(schedule, ordered=Order(key, now), revision=schedule.revision + 1)


@dataclass(frozen=True, slots=True)
class Run:
    """One job to be made: for which moment, and the key that it is submitted under."""

    at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visit has to do: the jobs to make, whether due times were missed, and the next one."""

    runs: tuple[Run, ...]
    missed: bool
    next_run: datetime | None


def visit(schedule: Schedule, following: Following, *, now: datetime) -> Visit:
    """Decide what a visit at this moment makes of a schedule.

    Due times of the last five minutes are punctual, and each gets its job. Of those that were missed at most
    one does, under the key of the first, which the record holds: whoever visits, it is the same.
    """
    runs = [] if schedule.ordered is None else [_ordered(schedule, schedule.ordered)]
    first = schedule.next_run
    if first is None or first > now:
        return Visit(tuple(runs), missed=False, next_run=first)
    missed = first < now - PUNCTUAL
    punctual: list[datetime] = []
    due = following(now - PUNCTUAL) if missed else first
    while due is not None and due <= now:
        punctual.append(due)
        due = following(due)
    caught_up = [first] if missed and not punctual and schedule.plan.missed is Missed.ONCE else []
    runs += [Run(each, due_key(schedule.id, each)) for each in (*caught_up, *punctual)]
    return Visit(tuple(runs), missed, due)


def visited(schedule: Schedule, made: Visit, last_run: LastRun | None) -> Schedule:
    """Return the schedule once all of a visit has been done."""
    return replace(
        schedule,
        revision=schedule.revision + 1,
        next_run=made.next_run,
        ordered=None,
        last_run=last_run or schedule.last_run,
    )


def due_key(schedule_id: ScheduleId, due: datetime) -> str:
    """Return the idempotency key of the job of a due time."""
    return f"schedule:{schedule_id}:{due.isoformat(timespec='seconds').replace('+00:00', 'Z')}"


def order_key(schedule_id: ScheduleId, ordered: Order) -> str:
    """Return the idempotency key of the job of an ordered run."""
    return f"schedule:{schedule_id}:run:{ordered.key}"


def _ordered(schedule: Schedule, ordered: Order) -> Run:
    return Run(ordered.at, order_key(schedule.id, ordered))


def describe(plan: Plan) -> str:
    """Return what the audit log says of a plan; it outlives erasures, so of the payload only a digest."""
    job = plan.job
    return (
        f"{plan.name}: {'active' if plan.active else 'inactive'}, {plan.cron} in {plan.time_zone}, "
        f"missed {plan.missed}, {job.type} for {job.venue_id}, payload {digest([job.data, job.options])}"
    )


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule that something waits in, and since when."""

    at: datetime
    id: ScheduleId


class ScheduleStore(Protocol):
    """The durable schedules. A write that comes with an audit entry is one transaction with it."""

    def add(self, schedule: Schedule, entry: Entry) -> bool:
        """Write a schedule; False: one of this id exists. Raises StoreRefused or StoreUnsure."""
        ...

    def load(self, schedule_id: ScheduleId) -> Schedule | None:
        """Return a schedule. Read consistently. Raises StoreRefused."""
        ...

    def swap(self, before: Schedule, after: Schedule, entry: Entry | None = None) -> bool:
        """Replace a schedule if the stored revision is still `before`'s, and say whether it was.

        Raises StoreRefused or StoreUnsure.
        """
        ...

    def remove(self, schedule: Schedule, entry: Entry) -> bool:
        """Delete a schedule if the stored revision is still this one's. Answers and raises as `swap` does."""
        ...

    def page(self, *, after: ScheduleId | None, limit: int) -> tuple[list[Schedule], ScheduleId | None]:
        """Return schedules in the order of their ids, and the id to go on after; None: these were the last.

        A page may be short, since it is also bounded by size. Read consistently. Raises StoreRefused.
        """
        ...

    def due(self, *, until: datetime, after: Due | None, limit: int) -> list[Due]:
        """Return the schedules with something to do by a moment, earliest first, from the sparse index.

        `after` is where an earlier page ended. The index lags behind the records. Raises StoreRefused.
        """
        ...
