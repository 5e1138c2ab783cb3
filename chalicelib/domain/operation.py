"""Operations: what an operator has begun on many jobs at once, carried out page by page in the background.

    running ─┬─ no job is left, or the limit is reached ─> completed
             └─ an operator, or failures that come back ─> stopped

A preview goes the same way and changes no job. The record says how far an operation is, so whoever goes on
with it after a crash repeats one page at the most, and each job's audit entry bears the operation's name, so
that no job is acted on twice. Every save is conditional on the revision that was read.

A redrive lets go one job, its canary; once that has ended well a few, then more, never above its rate. Before
each step the jobs that were let go last are looked at: if they fail as before, it stops.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, Protocol

from chalicelib.domain.job import Job, JobId, State, VenueId
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Entry
from chalicelib.domain.search import Place, is_dead_letter

OperationId = NewType("OperationId", str)

EVERY = timedelta(minutes=1)  # the scheduled function's rate: a redrive's step
RAMP = 10  # a redrive's step is at most so many times what went before it
MOST_WATCHED = 50  # of what a redrive let go last
FAILED_ATTEMPTS = 2  # after so many a job that was let go counts as failing, although it will be tried again
FAILING_LEAST, FAILING_SHARE = 3, 0.3  # so many of the watched, and this share of those that can be judged
WATCHED_FOR = timedelta(minutes=15)  # after the last was let go
PAGE_TRIES = 3  # of a page in which a job's record did not answer; then that job is passed over
KEPT = timedelta(days=90)


class Action(StrEnum):
    """What is done to each job."""

    RETRY = "retry"
    CANCEL = "cancel"
    REDRIVE = "redrive"
    ERASE = "erase"


class Mode(StrEnum):
    """Whether it is done, or only counted."""

    PREVIEW = "preview"
    START = "start"


class Status(StrEnum):
    """How far an operation is."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Starter:
    """Whose operation it is; the jobs that it finds are those that its starter may act on."""

    sub: str
    role: Role
    venue_id: VenueId | None


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been counted so far; money in minor units by currency."""

    matched: int = 0
    done: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)  # by a stable code: why nothing was done
    types: Mapping[str, int] = field(default_factory=dict)  # of the matched
    money: Mapping[str, int] = field(default_factory=dict)  # of what is, or would be, done
    old_keys: int = 0  # whose provider no longer knows their key

    def plus(self, other: "Tally") -> "Tally":
        """Return the sum."""
        return Tally(
            self.matched + other.matched,
            self.done + other.done,
            added(self.skipped, other.skipped),
            added(self.types, other.types),
            added(self.money, other.money),
            self.old_keys + other.old_keys,
        )


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of counts, by name."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


@dataclass(frozen=True, slots=True)
class Watched:
    """A job that a redrive let go, and how many attempts it had then."""

    id: JobId
    attempts: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the watched jobs fare; those that have said nothing yet are open."""

    well: int = 0
    failing: int = 0
    open: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """The record of one operation. `asked` is the filter as it was sent, by the names of GET /v1/jobs."""

    id: OperationId
    action: Action
    mode: Mode
    asked: Mapping[str, str]
    starter: Starter
    reason: str
    created_at: datetime
    wakes_at: datetime | None  # when it is to be gone on with; None once it has ended
    revision: int = 1
    status: Status = Status.RUNNING
    limit: int | None = None  # jobs to act on at the most
    rate: int | None = None  # of a redrive: jobs a second at the most
    place: Place | None = None  # behind this job the next page begins; None: at the start
    walked: bool = False  # there is no further page
    tries: int = 0  # of the page
    tally: Tally = Tally()
    step: int = 0  # jobs that a redrive's step lets go
    step_left: int = 0  # of them, so many not yet
    watched: tuple[Watched, ...] = ()
    in_hand: tuple[Watched, ...] = ()  # by a redrive, noted before any is let go; it is not known which went
    judged: Judgement = Judgement()
    released_at: datetime | None = None  # when a redrive last let jobs go
    updated_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    why: str | None = None  # it was stopped: a stable code, or what the operator said
    stopped_by: str | None = None

    @property
    def acts(self) -> bool:
        """Whether jobs are changed, not only counted."""
        return self.mode is Mode.START

    @property
    def paced(self) -> bool:
        """Whether it goes step by step, each after a look at what came of the one before."""
        return self.acts and self.action is Action.REDRIVE

    @property
    def left(self) -> int | None:
        """How many more jobs it may act on; None: as many as there are."""
        return None if self.limit is None else max(self.limit - self.tally.done, 0)


# --- the moves ---------------------------------------------------------------------------------


def went_on(
    operation: Operation,
    tally: Tally,
    *,
    place: Place | None,
    watched: Sequence[Watched] = (),
    now: datetime,
) -> Operation:
    """Note a page: what was counted, and where the next begins; None: there is none."""
    counted = _counted(operation, tally, watched, now)
    walked = place is None or counted.left == 0
    done = replace(counted, place=place or operation.place, walked=walked, tries=0)
    return _ended(done, Status.COMPLETED, now) if done.walked and not done.paced else done


def tried_in_vain(
    operation: Operation,
    tally: Tally,
    *,
    watched: Sequence[Watched] = (),
    unanswered: Collection[JobId],
    now: datetime,
) -> Operation:
    """Note what of a page was done, and that the rest of it is tried again a minute later."""
    return replace(
        _counted(operation, tally, watched, now),
        in_hand=tuple(each for each in operation.in_hand if each.id in unanswered),
        tries=operation.tries + 1,
        wakes_at=now + EVERY,
    )


def taken_in_hand(operation: Operation, jobs: Sequence[Job], *, now: datetime) -> Operation:
    """Note which jobs a redrive lets go next: whoever goes on after a crash begins with these."""
    in_hand = tuple(Watched(job.id, job.attempts) for job in jobs)
    return replace(operation, revision=operation.revision + 1, in_hand=in_hand, updated_at=now)


def went(operation: Operation, job: Job) -> Watched | None:
    """Return what is noted of a job in hand, if it has been let go since; None if that is yet to be done."""
    noted = next((each for each in operation.in_hand if each.id == job.id), None)
    waits = noted is None or (is_dead_letter(job) and job.attempts == noted.attempts)
    return None if waits else noted


def recovered(
    operation: Operation, tally: Tally, *, watched: Sequence[Watched] = (), now: datetime
) -> Operation:
    """Note what became of the jobs in hand; the next page begins where theirs did."""
    counted = _counted(operation, tally, watched, now)
    return replace(counted, tries=0 if len(watched) == len(operation.in_hand) else operation.tries)


def _counted(operation: Operation, tally: Tally, watched: Sequence[Watched], now: datetime) -> Operation:
    return replace(
        operation,
        revision=operation.revision + 1,
        tally=operation.tally.plus(tally),
        step_left=max(operation.step_left - len(watched), 0),
        watched=(*operation.watched, *watched)[-MOST_WATCHED:],
        in_hand=(),
        released_at=now if watched else operation.released_at,
        updated_at=now,
    )


def put_off(operation: Operation, until: datetime, *, now: datetime) -> Operation:
    """Let go of an operation until a moment, behind all others that wait for their turn."""
    return replace(operation, revision=operation.revision + 1, wakes_at=until, updated_at=now)


def stop(operation: Operation, why: str, *, by: str | None, now: datetime) -> Operation:
    """End an operation early; what it has done stays done. `by` None: it stops itself."""
    ended = _ended(replace(operation, revision=operation.revision + 1), Status.STOPPED, now)
    return replace(ended, why=why, stopped_by=by)


def caught_up(stopped: Operation, ahead: Operation, *, now: datetime) -> Operation:
    """Add to an operation, stopped while a page of it was in hand, what was done in that page."""
    return replace(
        stopped,
        revision=stopped.revision + 1,
        tally=ahead.tally,
        place=ahead.place,
        watched=ahead.watched,
        judged=ahead.judged,
        updated_at=now,
    )


def _ended(operation: Operation, status: Status, now: datetime) -> Operation:
    return replace(
        operation, status=status, wakes_at=None, finished_at=now, updated_at=now, expires_at=now + KEPT
    )


# --- a redrive's pace --------------------------------------------------------------------------


def judge(operation: Operation, jobs: Mapping[JobId, Job]) -> Judgement:
    """Say how the jobs fare that a redrive let go last."""
    verdicts = [_fares(each, jobs.get(each.id)) for each in operation.watched]
    return Judgement(
        well=verdicts.count("well"), failing=verdicts.count("failing"), open=verdicts.count("open")
    )


def _fares(watched: Watched, job: Job | None) -> str:
    if job is None:
        return "well"  # it has ended, and its retention too
    if job.state is State.PARKED or is_dead_letter(job):
        return "failing"
    if job.state in (State.COMPLETED, State.FAILED, State.CANCELLED):
        return "well"  # an answer, even a refusal, means that the provider is there
    failed = job.attempts - (1 if job.state is State.RUNNING else 0) - watched.attempts
    return "failing" if failed >= FAILED_ATTEMPTS else "open"


@dataclass(frozen=True, slots=True)
class Release:
    """Let go as many more jobs as this."""

    count: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again later."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The failures have come back; a stable code says when."""

    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to let go, nor to watch."""


Step = Release | Wait | Stop | Finish


def next_step(operation: Operation, *, now: datetime) -> Step:
    """Decide how a redrive goes on, by what its judgement says."""
    judged, done = operation.judged, operation.tally.done
    if operation.step_left and not operation.walked:
        return Release(operation.step_left)  # the rest of a step that was broken off, or takes several pages
    if done == 1 and judged.failing:
        return Stop("canary_failed")
    enough = max(FAILING_LEAST, FAILING_SHARE * (judged.well + judged.failing))
    if judged.failing >= enough:
        return Stop("failures_came_back")
    if operation.walked:
        last = operation.released_at or operation.created_at
        over = judged.open == 0 or now - last >= WATCHED_FOR
        return Finish() if over else Wait()
    if done == 0:
        return Release(1)
    if done == 1 and judged.open:
        return Wait()
    most = (operation.rate or 1) * (EVERY // timedelta(seconds=1))
    count = min(done * RAMP, most, *([] if operation.left is None else [operation.left]))
    since = now - (operation.released_at or operation.created_at)
    return Release(count) if since >= EVERY * 0.9 else Wait()


def judged_anew(operation: Operation, judged: Judgement) -> Operation:
    """Note how the watched jobs fare."""
    return replace(operation, judged=judged)


def stepping(operation: Operation, count: int) -> Operation:
    """Begin a step, or go on with one that has so many left."""
    size = operation.step if operation.step_left else count
    return replace(operation, step=size, step_left=count)


def spread(operation: Operation, index: int) -> timedelta:
    """Return how long a page's job of this index waits, so that a step keeps its rate; a minute at most."""
    before = operation.step - operation.step_left + index
    return min(timedelta(seconds=before / (operation.rate or 1)), EVERY)


def finish(operation: Operation, *, now: datetime) -> Operation:
    """End a redrive that has let go all that it found."""
    return _ended(replace(operation, revision=operation.revision + 1), Status.COMPLETED, now)


class OperationStore(Protocol):
    """The durable operations. A write that comes with an audit entry is one transaction with it."""

    def add(self, operation: Operation, entry: Entry) -> bool:
        """Write an operation; False: one of this id exists. Raises StoreRefused or StoreUnsure."""
        ...

    def load(self, operation_id: OperationId) -> Operation | None:
        """Return an operation. Read consistently. Raises StoreRefused."""
        ...

    def swap(self, before: Operation, after: Operation, entry: Entry | None = None) -> bool:
        """Replace an operation if the stored revision is still `before`'s, and say whether it was.

        Raises StoreRefused or StoreUnsure.
        """
        ...

    def page(self, *, below: OperationId | None, limit: int) -> tuple[list[Operation], OperationId | None]:
        """Return operations, the latest first, and the id to go on below; None: these were the last.

        Raises StoreRefused.
        """
        ...

    def due(self, *, until: datetime, limit: int) -> list[OperationId]:
        """Return the operations that are to be gone on with by a moment, earliest first, from the sparse index.

        The index lags behind the records. Raises StoreRefused.
        """
        ...
