"""Settling: the pure decision from (job, outcome, policy, now) to the next state."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from chalicelib.domain.job import Attempt, Job, Poll, Reason, State, give_up, remember, rest, wait
from chalicelib.domain.outcome import (
    QUIET,
    Completed,
    Failure,
    HeldBack,
    Outcome,
    Pending,
    Refused,
    Retry,
    Unknown,
)
from chalicelib.domain.policies import EffectClass, Policy
from chalicelib.domain.retry import backoff

NOW = timedelta(0)


def settle(job: Job, outcome: Outcome, policy: Policy, *, now: datetime, jitter: float) -> Job:
    """Decide the next state of a running job from what its attempt came to.

    `jitter` is uniform in [0, 1). A job that is to run again waits until `next_attempt_at`.
    """
    job = _note(job, outcome, now)
    match outcome:
        case Completed():
            job = replace(job, result=outcome.result, doubt=None, error=None)
            return rest(job, State.COMPLETED, policy, now=now)
        case Refused():
            if job.doubt is not None and not outcome.clears_doubt:
                return _again(job, policy, now, backoff(policy.retry, job.attempts, jitter))
            return rest(replace(job, doubt=None), State.FAILED, policy, now=now, reason=Reason.REFUSED)
        case Retry():
            doubt = None if outcome.clears_doubt else job.doubt
            job = replace(job, doubt=doubt, begun=job.begun and doubt is not None)
            delay = max(backoff(policy.retry, job.attempts, jitter), outcome.after or NOW)
            return _again(job, policy, now, delay)
        case Unknown():
            job = replace(job, doubt=now if policy.effect_class.doubts else None)
            if policy.effect_class is EffectClass.BLIND:
                return rest(job, State.PARKED, policy, now=now)
            return _again(job, policy, now, backoff(policy.retry, job.attempts, jitter))
        case Pending():
            since = job.poll_since if job.poll is Poll.PENDING and job.poll_since else now
            job = replace(job, result=outcome.result, doubt=None, poll=Poll.PENDING, poll_since=since)
            return _poll_again(job, policy, now, policy.timing.poll_for)
        case HeldBack():
            # No attempt was made, so the one that the claim charged is given back.
            charged = job.poll is None
            late = job.overdue and outcome.reason != QUIET
            held = replace(job, attempts=job.attempts - charged, error=outcome.why or job.error, overdue=late)
            return wait(held, now + outcome.delay)
    assert_never(outcome)


def _note(job: Job, outcome: Outcome, now: datetime) -> Job:
    """Put the attempt on the record: its history, the provider's object, what went wrong."""
    failure: Failure | None = None
    handle: str | None = None
    match outcome:
        case Retry() | Refused() | Unknown():
            failure, handle = outcome.failure, outcome.handle
        case Completed() | Pending():
            handle = outcome.handle
        case HeldBack():
            return job
    entry = Attempt(
        number=job.attempts,
        started_at=job.claimed_at or now,
        ended_at=now,
        outcome=type(outcome).__name__.lower(),
        code=failure.code if failure else None,
        reference=failure.reference if failure else None,
    )
    return remember(replace(job, handle=handle or job.handle, error=failure or job.error), entry)


def _again(job: Job, policy: Policy, now: datetime, delay: timedelta) -> Job:
    if job.poll is Poll.PENDING:
        return _poll_again(job, policy, now, policy.timing.poll_for + policy.timing.poll_grace)
    if job.attempts < job.max_attempts:
        return wait(replace(job, poll=None, poll_since=None), now + delay)
    if job.doubt is None:
        return rest(job, State.FAILED, policy, now=now, reason=Reason.EXHAUSTED)
    job = replace(job, poll=Poll.LOOK_UP, poll_since=job.poll_since or now)
    return _poll_again(job, policy, now, policy.timing.poll_for)


def _poll_again(job: Job, policy: Policy, now: datetime, patience: timedelta) -> Job:
    if job.poll_since is not None and now - job.poll_since >= patience:
        return give_up(job, policy, now=now)
    return wait(job, now + policy.timing.poll_every)
