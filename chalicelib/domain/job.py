"""The job, its states, and every transition it can make.

    queued ─┐                        ┌─> completed
    scheduled ─┼─ claim ─> running ── settle ─┼─> failed (refused, exhausted, expired)
    retrying ─┘    ^          │      ├─> parked
        ^          └─ lapsed ─┘      └─> retrying ─┐
        └──────────────────────────────────────────┘

Nobody else writes a state. Every transition takes the moment and any randomness as arguments and
returns a new job; whoever calls it saves the result on the condition that the version it read still
stands. `docs/lifecycle.md` draws the same diagram and says which section of the contract each arrow is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType, assert_never

from chalicelib.domain.outcome import (
    Completed,
    Failure,
    HeldBack,
    Outcome,
    Pending,
    Refused,
    Retry,
    Unknown,
)
from chalicelib.domain.policies import EffectClass, Lane, Policy, Tier, Timing, lane_of
from chalicelib.domain.retry import backoff

JobId = NewType("JobId", str)
VenueId = NewType("VenueId", str)
UserId = NewType("UserId", str)
ClaimId = NewType("ClaimId", str)
KeyId = NewType("KeyId", str)

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
    due: datetime

    # where it stands
    state: State
    next_attempt_at: datetime
    max_attempts: int
    next_look: datetime | None  # when `dispatch` wants to see it; None once at rest
    version: int = 1
    fence: int = 0
    generation: int = 0
    attempts: int = 0
    looks: int = 0  # messages sent since the last save that acknowledged one; 0: none is out
    overdue: bool = False
    reason: Reason | None = None

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

    @property
    def lane(self) -> Lane:
        """The queue of its tier that its messages go to."""
        return lane_of(self.tier, self.priority)

    @property
    def wakes_at(self) -> datetime:
        """When the next claim makes sense: the lease's end while running, else the next attempt."""
        if self.state is State.RUNNING and self.lease_until is not None:
            return self.lease_until
        return self.next_attempt_at


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


def accept(offer: Accepting, *, now: datetime, timing: Timing) -> Job:
    """Return the first record of a job; its look assumes that its message goes out right after."""
    due = now + offer.delay
    later = offer.delay > timedelta(0)
    messaged = offer.delay <= timing.longest_delay
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
        next_look=due + timing.look_after if messaged else due,
        looks=1 if messaged else 0,
    )


# --- claim -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """Save this job and run it."""

    job: Job


@dataclass(frozen=True, slots=True)
class Ended:
    """Save this job; there is nothing left to run."""

    job: Job


@dataclass(frozen=True, slots=True)
class NotYet:
    """Not due, or leased elsewhere: the message comes back then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class AtRest:
    """Terminal or parked: the message has nothing to say."""


Verdict = Claimed | Ended | NotYet | AtRest


def due_for_claim(job: Job, *, now: datetime, timing: Timing) -> NotYet | AtRest | None:
    """Say why a job cannot be claimed at this moment, or None if it can.

    A lease must have run out on any clock: it ends `clock_skew` after its owner's deadline. A due
    time is met `clock_skew` early, so that a message that SQS shows on time is not sent back.
    """
    if job.state in AT_REST:
        return AtRest()
    if job.state is State.RUNNING:
        return NotYet(job.wakes_at) if job.wakes_at > now else None
    return NotYet(job.next_attempt_at) if job.next_attempt_at > now + timing.clock_skew else None


def claim(
    job: Job,
    policy: Policy,
    *,
    claim_id: ClaimId,
    lease_until: datetime,
    now: datetime,
    paused: timedelta = timedelta(0),
) -> Verdict:
    """Decide what a claim at this moment makes of the job; `paused` is how long its tier stood since due."""
    refusal = due_for_claim(job, now=now, timing=policy.timing)
    if refusal is not None:
        return refusal
    if job.state is State.RUNNING:
        job = _lapse(job, policy, now)
    if job.doubt is not None and policy.effect_class is EffectClass.BLIND:
        return Ended(_rest(job, State.PARKED, None, policy, now, claim_id))
    if job.doubt is None and policy.window is not None and now - job.due - paused > policy.window:
        job = replace(job, error=Failure("expired", "The job was not done within its tier's window."))
        return Ended(_rest(job, State.FAILED, Reason.EXPIRED, policy, now, claim_id))
    if _polls(job):
        since = job.poll_since or now
        if now - since >= policy.timing.poll_for + policy.timing.poll_grace:
            return Ended(_rest(job, State.PARKED, None, policy, now, claim_id))
        job = replace(job, poll=job.poll or Poll.LOOK_UP, poll_since=since)
    elif job.attempts >= job.max_attempts:
        return Ended(_rest(job, State.FAILED, Reason.EXHAUSTED, policy, now, claim_id))
    else:
        job = replace(job, attempts=job.attempts + 1)
    return Claimed(
        replace(
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
    )


def _polls(job: Job) -> bool:
    return job.poll is Poll.PENDING or (job.doubt is not None and job.attempts >= job.max_attempts)


def _lapse(job: Job, policy: Policy, now: datetime) -> Job:
    """What claiming over a lapsed lease leaves: its owner may have had an effect and died of it."""
    may_have_acted = policy.effect_class.doubts and (job.begun or not policy.effect_class.begins)
    started = job.claimed_at or now
    lapsed = Attempt(job.attempts, started, now, "lapsed", "lease_lapsed")
    return replace(
        job,
        doubt=now if may_have_acted else job.doubt,
        error=Failure("lease_lapsed", "The worker that ran this job never reported back."),
        history=_remember(job, lapsed),
    )


class Leave(StrEnum):
    """What a run may do about the effect."""

    START = "start"  # no doubt: do it
    REPEAT = "repeat"  # doubt, but the same key makes the repetition safe
    LOOK_UP = "look_up"  # doubt: read first; only a look-up that clears it allows a start
    LOOK_ONLY = "look_only"  # no attempt is left or charged: read, and start nothing


def leave(job: Job, policy: Policy, now: datetime) -> Leave:
    """Return what the run of a claimed job may do about its effect at this moment."""
    if job.poll is not None:
        return Leave.LOOK_ONLY
    if job.doubt is None or policy.effect_class is EffectClass.RECEIVER_DEDUPS:
        return Leave.START
    if policy.effect_class is EffectClass.KEYED and key_is_young(job, policy.timing, now):
        return Leave.REPEAT
    return Leave.LOOK_UP


def key_is_young(job: Job, timing: Timing, now: datetime) -> bool:
    """Whether the provider still knows the key of this generation."""
    return job.key_used_at is not None and now - job.key_used_at < timing.key_young


def begin(job: Job, *, handle: str | None = None) -> Job:
    """Note on the record that the effect is about to start (classes B and C), and by which object."""
    return replace(job, version=job.version + 1, begun=True, handle=handle or job.handle)


# --- settle ------------------------------------------------------------------------------------


def settle(job: Job, outcome: Outcome, policy: Policy, *, now: datetime, jitter: float) -> Job:
    """Decide the next state of a running job from what its attempt came to.

    `jitter` is uniform in [0, 1). A job that is to run again waits until `next_attempt_at`.
    """
    failure = _failure(outcome)
    entry = Attempt(
        number=job.attempts,
        started_at=job.claimed_at or now,
        ended_at=now,
        outcome=type(outcome).__name__.lower(),
        code=failure.code if failure else None,
        reference=failure.reference if failure else None,
    )
    job = replace(job, history=_remember(job, entry))
    match outcome:
        case Completed():
            job = replace(
                job, result=outcome.result, handle=outcome.handle or job.handle, doubt=None, error=None
            )
            return _rest(job, State.COMPLETED, None, policy, now, job.claim_id)
        case Refused():
            job = _note(job, outcome.failure, outcome.handle)
            if job.doubt is not None and not outcome.clears_doubt:
                return _again(job, policy, now, jitter)
            return _rest(replace(job, doubt=None), State.FAILED, Reason.REFUSED, policy, now, job.claim_id)
        case Retry():
            job = _note(job, outcome.failure, outcome.handle)
            doubt = None if outcome.clears_doubt else job.doubt
            begun = job.begun and doubt is not None
            return _again(replace(job, doubt=doubt, begun=begun), policy, now, jitter, outcome.after)
        case Unknown():
            job = _note(job, outcome.failure, outcome.handle)
            job = replace(job, doubt=now if policy.effect_class.doubts else None)
            if policy.effect_class is EffectClass.BLIND:
                return _rest(job, State.PARKED, None, policy, now, job.claim_id)
            return _again(job, policy, now, jitter)
        case Pending():
            job = replace(job, result=outcome.result, handle=outcome.handle or job.handle, doubt=None)
            since = job.poll_since if job.poll is Poll.PENDING and job.poll_since else now
            job = replace(job, poll=Poll.PENDING, poll_since=since)
            return _poll_again(job, policy, now, policy.timing.poll_for)
        case HeldBack():
            return _wait(job, now + outcome.delay)
    assert_never(outcome)


def _again(
    job: Job, policy: Policy, now: datetime, jitter: float, after: timedelta | None = None
) -> Job:
    if job.poll is Poll.PENDING:
        return _poll_again(job, policy, now, policy.timing.poll_for + policy.timing.poll_grace)
    if job.attempts < job.max_attempts:
        delay = backoff(policy.retry, job.attempts, jitter)
        return _wait(replace(job, poll=None, poll_since=None), now + max(delay, after or timedelta(0)))
    if job.doubt is None:
        return _rest(job, State.FAILED, Reason.EXHAUSTED, policy, now, job.claim_id)
    job = replace(job, poll=Poll.LOOK_UP, poll_since=job.poll_since or now)
    return _poll_again(job, policy, now, policy.timing.poll_for)


def _poll_again(job: Job, policy: Policy, now: datetime, patience: timedelta) -> Job:
    if job.poll_since is not None and now - job.poll_since >= patience:
        return _rest(job, State.PARKED, None, policy, now, job.claim_id)
    return _wait(job, now + policy.timing.poll_every)


def _wait(job: Job, until: datetime) -> Job:
    return replace(
        job,
        state=State.RETRYING,
        version=job.version + 1,
        next_attempt_at=until,
        lease_until=None,
    )


def _rest(
    job: Job,
    state: State,
    reason: Reason | None,
    policy: Policy,
    now: datetime,
    claim_id: ClaimId | None,
) -> Job:
    terminal = state in TERMINAL
    return replace(
        job,
        state=state,
        reason=reason,
        version=job.version + 1,
        claim_id=claim_id,
        lease_until=None,
        begun=job.begun and job.doubt is not None,
        poll=None,
        poll_since=None,
        next_look=None,
        looks=0,
        overdue=False,
        finished_at=now if terminal else None,
        expires_at=now + policy.retention if terminal and policy.archive is None else None,
    )


def _note(job: Job, failure: Failure, handle: str | None) -> Job:
    return replace(job, error=failure, handle=handle or job.handle)


def _failure(outcome: Outcome) -> Failure | None:
    match outcome:
        case Retry() | Refused() | Unknown():
            return outcome.failure
        case Completed() | Pending() | HeldBack():
            return None
    assert_never(outcome)


def _remember(job: Job, entry: Attempt) -> tuple[Attempt, ...]:
    return (*job.history, entry)[-MOST_HISTORY:]


# --- waiting -----------------------------------------------------------------------------------


def hold(job: Job, until: datetime) -> Job:
    """Put the next attempt off without charging one; the message is let go and `dispatch` sends again."""
    return without_message(replace(job, version=job.version + 1, next_attempt_at=until))


def without_message(job: Job) -> Job:
    """Note that no message is out any more: `dispatch` looks when the job wakes."""
    return replace(job, next_look=job.wakes_at, looks=0)


@dataclass(frozen=True, slots=True)
class Look:
    """What `dispatch` makes of one open job: the record's new look, and a message if one is to go."""

    job: Job
    send_after: timedelta | None


def look(job: Job, timing: Timing, *, now: datetime, paused: bool) -> Look | None:
    """Decide what `dispatch` does about an open job; None if it is at rest.

    A look moves neither state nor version: it only says when to look again, and once past due it
    enters the job in the index of the overdue.
    """
    if job.state in AT_REST or job.next_look is None:
        return None
    job = replace(job, overdue=job.overdue or now > job.due)
    wake = max(job.wakes_at, now)
    if paused:
        return Look(replace(job, next_look=now + timing.look_after), None)
    if job.looks == 0:
        return Look(replace(job, looks=1, next_look=wake + timing.look_after), wake - now)
    if job.wakes_at + timing.look_after > now:
        return Look(replace(job, next_look=job.wakes_at + timing.look_after), None)
    again = min(timing.look_after * 2**job.looks, timing.look_cap)
    return Look(replace(job, looks=job.looks + 1, next_look=now + again), timedelta(0))
