"""Claiming: whether a job may be taken for one attempt at this moment, and what that attempt may do."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.job import (
    AT_REST,
    Attempt,
    ClaimId,
    Job,
    Poll,
    Reason,
    State,
    give_up,
    remember,
    rest,
    run,
)
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import EffectClass, Policy, Timing


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
    """Terminal, parked, or on a stage (whoever lets it off sends anew): the message has nothing to say."""


Verdict = Claimed | Ended | NotYet | AtRest


def refusal(job: Job, *, now: datetime, timing: Timing) -> NotYet | AtRest | None:
    """Say why a job cannot be claimed at this moment, or None if it can.

    A lease must have run out on any clock: it ends `clock_skew` after its owner's deadline. A due
    time is met `clock_skew` early, so that a message that SQS shows on time is not sent back.
    """
    if job.state in AT_REST or job.stage is not None:
        return AtRest()
    if job.lease_until is not None and job.lease_until > now:
        return NotYet(job.wakes_at)
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
    """Decide what a claim at this moment makes of the job; `paused` is how long its tier stood since due.

    One write either takes the job for an attempt or ends it: a job without attempts left is never taken.
    """
    no = refusal(job, now=now, timing=policy.timing)
    if no is not None:
        return no
    if job.state is State.RUNNING:
        job = _lapse(job, policy, now)
    job = replace(job, claim_id=claim_id)
    if job.doubt is not None and policy.effect_class is EffectClass.BLIND:
        return Ended(rest(job, State.PARKED, policy, now=now))
    if job.doubt is None and policy.window is not None and now - job.due - paused > policy.window:
        job = replace(job, error=Failure("expired", "The job was not done within its tier's window."))
        return Ended(rest(job, State.FAILED, policy, now=now, reason=Reason.EXPIRED))
    if _polls(job):
        since = job.poll_since or now
        if now - since >= policy.timing.poll_for + policy.timing.poll_grace:
            return Ended(give_up(job, policy, now=now))
        job = replace(job, poll=job.poll or Poll.LOOK_UP, poll_since=since)
    elif job.attempts >= job.max_attempts:
        return Ended(rest(job, State.FAILED, policy, now=now, reason=Reason.EXHAUSTED))
    else:
        job = replace(job, attempts=job.attempts + 1)
    return Claimed(run(job, claim_id=claim_id, lease_until=lease_until, now=now))


def _polls(job: Job) -> bool:
    return job.poll is Poll.PENDING or (job.doubt is not None and job.attempts >= job.max_attempts)


def _lapse(job: Job, policy: Policy, now: datetime) -> Job:
    """Note what a lapsed lease leaves: its owner may have had an effect and died of it."""
    may_have_acted = policy.effect_class.doubts and (job.begun or not policy.effect_class.begins)
    job = remember(job, Attempt(job.attempts, job.claimed_at or now, now, "lapsed", "lease_lapsed"))
    return replace(
        job,
        doubt=now if may_have_acted else job.doubt,
        error=Failure("lease_lapsed", "The worker that ran this job never reported back."),
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
