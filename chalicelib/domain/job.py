"""The job, its states, and the named moves between them.

    queued ────┐                             ┌─> completed
    scheduled ─┼─ claim ─> running ─ settle ─┼─> failed (refused, exhausted, expired)
    retrying ──┘  ^           │              ├─> parked
        ^         └── lapsed ─┘              └─> retrying ─┐
        └──────────────────────────────────────────────────┘
    queued, scheduled, retrying ─ cancel ─> cancelled     scheduled ─ promote ─> queued
    failed, cancelled ─ retry ─> queued        parked ─ resolve ─> completed, failed, queued

Nobody else writes a state: `claim`, `settle`, `look` and `steer` decide which move it is. Every move takes
the moment as an argument and returns a new job; whoever calls it saves the result on the condition that
the version it read still stands. Moments are aware, in UTC, in whole milliseconds.
`docs/lifecycle.md` draws the same diagram and says which section of the contract each arrow is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType

from chalicelib.domain.outcome import QUIET, Failure
from chalicelib.domain.policies import Lane, Policy, Tier, Timing, lane_of

JobId = NewType("JobId", str)
VenueId = NewType("VenueId", str)
UserId = NewType("UserId", str)
ClaimId = NewType("ClaimId", str)
KeyId = NewType("KeyId", str)
StageId = NewType("StageId", str)

MOST_HISTORY = 12  # attempts kept on the record; older ones are in the log


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    PARKED = "parked"
    CANCELLED = "cancelled"


TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
AT_REST = TERMINAL | {State.PARKED}  # nothing moves these but an operator


class Reason(StrEnum):
    """Why a job failed."""

    REFUSED = "refused"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"


class Poll(StrEnum):
    """Why a claim only looks and is not charged an attempt."""

    PENDING = "pending"  # the provider has it and is not done
    LOOK_UP = "look_up"  # doubt, and no attempts left


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim that was settled, as the operator will read it."""

    number: int
    started_at: datetime
    ended_at: datetime
    outcome: str
    code: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One submission of a job type; the record is the truth, messages are hints."""

    # what was accepted; never changes
    id: JobId
    type: str
    tier: Tier
    venue_id: VenueId
    submitted_by: str
    user_id: UserId | None
    key_id: KeyId
    payload_hash: str
    payload: Mapping[str, Any] | None  # None: kept apart, see `payload_apart`
    payload_apart: bool
    callback_url: str | None
    priority: int
    created_at: datetime

    # where it stands
    due: datetime  # when it was to run: ages, windows and alerts use it; only an operator's retry moves it
    state: State
    next_attempt_at: datetime  # moves with backoff and hold-back; claims use it
    max_attempts: int
    next_look: datetime | None  # when `dispatch` wants to see it; None once at rest
    version: int = 1
    fence: int = 0
    generation: int = 0
    attempts: int = 0
    looks: int = 0  # messages sent since the last save that acknowledged one; 0: none is out
    overdue: bool = False
    reason: Reason | None = None
    stage: StageId | None = None  # waits for the rest of its batch and is not accepted yet: `domain/batch.py`

    # the claim that holds it, and what is known of its effect
    claim_id: ClaimId | None = None
    claimed_at: datetime | None = None
    lease_until: datetime | None = None
    begun: bool = False
    doubt: datetime | None = None  # since when an effect may have happened that nobody has looked up
    key_used_at: datetime | None = None
    poll: Poll | None = None
    poll_since: datetime | None = None
    handle: str | None = None  # the provider's object, once it has told us

    # what came of it
    result: Mapping[str, Any] | None = None
    error: Failure | None = None
    processed_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    history: tuple[Attempt, ...] = ()

    # the batch that it came in, as its caller calls it, and its place there; accepted with the job
    batch_id: str | None = None
    batch_index: int | None = None

    callback_endpoint_id: str | None = None  # whose endpoint is told of its end, where `callback_url` is not
    erased_at: datetime | None = None  # since then it has no payload and no result: they were a person's

    @property
    def lane(self) -> Lane:
        """The queue of its tier that its messages go to."""
        return lane_of(self.tier, self.priority)

    @property
    def wakes_at(self) -> datetime:
        """When the next claim makes sense: not before the lease has ended, where one is held."""
        if self.lease_until is None:
            return self.next_attempt_at
        return max(self.lease_until, self.next_attempt_at)


@dataclass(frozen=True, slots=True)
class Accepting:
    """What is known of a job before it is one: the arguments of `accept`."""

    id: JobId
    type: str
    tier: Tier
    venue_id: VenueId
    submitted_by: str
    user_id: UserId | None
    key_id: KeyId
    payload_hash: str
    payload: Mapping[str, Any]
    callback_url: str | None
    priority: int
    attempts: int
    delay: timedelta
    batch_id: str | None = None
    batch_index: int | None = None
    callback_endpoint_id: str | None = None


def accept(offer: Accepting, *, now: datetime, timing: Timing) -> Job:
    """Return the first record of a job; its look assumes that its message goes out right after."""
    due = now + offer.delay
    later = offer.delay > timedelta(0)
    next_look, looks = _first_look(due, now, timing)
    return Job(
        id=offer.id,
        type=offer.type,
        tier=offer.tier,
        venue_id=offer.venue_id,
        submitted_by=offer.submitted_by,
        user_id=offer.user_id,
        key_id=offer.key_id,
        payload_hash=offer.payload_hash,
        payload=offer.payload,
        payload_apart=False,
        callback_url=offer.callback_url,
        priority=offer.priority,
        created_at=now,
        due=due,
        state=State.SCHEDULED if later else State.QUEUED,
        next_attempt_at=due,
        max_attempts=offer.attempts,
        next_look=next_look,
        looks=looks,
        batch_id=offer.batch_id,
        batch_index=offer.batch_index,
        callback_endpoint_id=offer.callback_endpoint_id,
    )


def put_on_stage(job: Job, stage: StageId) -> Job:
    """Let a job that is not written yet wait for its batch: nobody looks at it, nobody claims it."""
    return replace(job, stage=stage, next_look=None, looks=0)


def leave_stage(job: Job, *, now: datetime, timing: Timing) -> Job:
    """Make a staged job one like any other; its look assumes that its message goes out right after."""
    next_look, looks = _first_look(job.due, now, timing)
    return replace(job, stage=None, version=job.version + 1, next_look=next_look, looks=looks)


def _first_look(due: datetime, now: datetime, timing: Timing) -> tuple[datetime, int]:
    """Return when `dispatch` is to look first, and how many messages are out by then."""
    if due - now > timing.longest_delay:
        return due, 0
    return max(due, now) + timing.look_after, 1


def run(job: Job, *, claim_id: ClaimId, lease_until: datetime, now: datetime) -> Job:
    """Let a claim hold the job: the fence rises, so that whoever held it before can write no more."""
    return replace(
        job,
        state=State.RUNNING,
        version=job.version + 1,
        fence=job.fence + 1,
        claim_id=claim_id,
        claimed_at=now,
        lease_until=lease_until,
        begun=job.begun and job.doubt is not None,
        key_used_at=job.key_used_at or now,
        processed_at=job.processed_at or now,
    )


def begin(job: Job, *, handle: str | None = None) -> Job:
    """Note on the record that the effect is about to start (classes B and C), and by which object."""
    return replace(job, version=job.version + 1, begun=True, handle=handle or job.handle)


def wait(job: Job, until: datetime) -> Job:
    """Let go of the job until its next attempt; its message comes back then."""
    return replace(job, state=State.RETRYING, version=job.version + 1, next_attempt_at=until, lease_until=None)


def rest(job: Job, state: State, policy: Policy, *, now: datetime, reason: Reason | None = None) -> Job:
    """Bring the job to rest: terminal, or parked, which always means doubt."""
    terminal = state in TERMINAL
    doubt = job.doubt if terminal else job.doubt or now
    return replace(
        job,
        state=state,
        reason=reason,
        version=job.version + 1,
        lease_until=None,
        doubt=doubt,
        begun=job.begun and doubt is not None,
        poll=None,
        poll_since=None,
        next_look=None,
        looks=0,
        overdue=False,
        finished_at=now if terminal else None,
        expires_at=now + policy.retention if terminal and policy.archive is None else None,
    )


def give_up(job: Job, policy: Policy, *, now: datetime) -> Job:
    """Bring a job to rest whose polls have led nowhere: parked, or exhausted in class D, which never doubts."""
    if policy.effect_class.doubts:
        return rest(job, State.PARKED, policy, now=now)
    return rest(job, State.FAILED, policy, now=now, reason=Reason.EXHAUSTED)


def restart(job: Job, policy: Policy, *, now: datetime) -> Job:
    """Let the job start anew, as an operator wants it: due now, its limit raised, nothing in doubt.

    The attempts and the fence go on from where they were. A new generation means a new provider key; the
    receiver of class D knows repetitions by the same id, so there the generation stays.
    """
    return replace(
        job,
        state=State.QUEUED,
        reason=None,
        version=job.version + 1,
        due=now,
        next_attempt_at=now,
        next_look=now + policy.timing.look_after,
        looks=1,
        max_attempts=job.max_attempts + policy.attempts,
        generation=job.generation + (1 if policy.effect_class.doubts else 0),
        key_used_at=None,
        doubt=None,
        begun=False,
        finished_at=None,
        expires_at=None,
    )


def promote(job: Job, policy: Policy, *, now: datetime) -> Job:
    """Let a waiting job run now, not later; its look assumes that its message goes out right after."""
    return replace(
        job,
        state=State.QUEUED if job.state is State.SCHEDULED else job.state,
        version=job.version + 1,
        due=min(job.due, now),
        next_attempt_at=min(job.next_attempt_at, now),
        next_look=now + policy.timing.look_after,
        looks=1,
    )


def erase(job: Job, *, now: datetime) -> Job:
    """Take what may be about a person from a job that has ended: payload, result, where its end is told."""
    return replace(
        job,
        version=job.version + 1,
        payload={},
        result=None,
        callback_url=None,
        callback_endpoint_id=None,
        erased_at=now,
    )


def hold(job: Job, until: datetime) -> Job:
    """Put the next attempt off without charging one; the message is let go and `dispatch` sends again.

    A job that quiet hours held back is held by something else now.
    """
    error = None if sleeps(job) else job.error
    return without_message(replace(job, version=job.version + 1, next_attempt_at=until, error=error))


def sleeps(job: Job) -> bool:
    """Whether its venue's quiet hours held the job back, and nothing has come of it since."""
    return job.error is not None and job.error.code == QUIET


def without_message(job: Job) -> Job:
    """Note that no message is out any more: `dispatch` looks when the job wakes."""
    return replace(job, next_look=job.wakes_at, looks=0)


def remember(job: Job, entry: Attempt) -> Job:
    """Add an attempt to the history; the oldest goes when there are too many."""
    return replace(job, history=(*job.history, entry)[-MOST_HISTORY:])


def same_write(written: Job, current: Job) -> bool:
    """Whether the stored record is what a write of ours left whose reply was lost.

    A claim id is made for one claim alone, so the version and the claim tell whose write it was.
    """
    return (written.version, written.claim_id, written.state) == (
        current.version,
        current.claim_id,
        current.state,
    )
