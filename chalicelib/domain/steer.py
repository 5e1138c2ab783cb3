"""Steering: what an operator may make of a job. Each returns the new record, or says why not."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from chalicelib.domain import job as moves
from chalicelib.domain.job import TERMINAL, Job, Reason, State, rest, restart
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Policy
from chalicelib.domain.search import is_dead_letter


class Resolution(StrEnum):
    """What an operator found out about a parked job; `failed` and `retry` assert that nothing happened."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRY = "retry"


WAITING = frozenset({State.QUEUED, State.SCHEDULED, State.RETRYING})


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """The job stands where this may not be done: a stable code and what to do instead."""

    code: str
    message: str


ERASED = NotAllowed("erased", "Its data was erased, so it cannot run again.")


def cancel(job: Job, policy: Policy, *, now: datetime) -> Job | NotAllowed:
    """Cancel a job that waits and of which surely nothing has happened."""
    if job.state not in WAITING:
        return NotAllowed("not_cancellable", f"A job that is {job.state} cannot be cancelled.")
    if job.doubt is not None or job.begun or job.poll is not None:
        return NotAllowed("effect_begun", "Its effect may have begun, so it can no longer be cancelled.")
    return rest(job, State.CANCELLED, policy, now=now)


def promote(job: Job, policy: Policy, *, now: datetime) -> Job | NotAllowed:
    """Let a waiting job run now; one in doubt or at its provider keeps the pace that its look-ups need."""
    if job.state not in WAITING:
        return NotAllowed("not_promotable", f"A job that is {job.state} cannot be promoted.")
    if job.doubt is not None or job.poll is not None:
        return NotAllowed("effect_begun", "Its effect may have begun, so it waits for what came of it.")
    return moves.promote(job, policy, now=now)


def clone_refusal(job: Job) -> NotAllowed | None:
    """Say why a job may not be made once more, or None: an effect that may have happened is not repeated."""
    if job.doubt is not None:
        return NotAllowed("outcome_unknown", "Its effect may have happened: resolve it before it is cloned.")
    return ERASED if job.erased_at is not None else None


def retry(job: Job, policy: Policy, *, now: datetime) -> Job | NotAllowed:
    """Let a failed or cancelled job start anew."""
    if job.state is State.PARKED:
        return NotAllowed("outcome_unknown", "Its effect may have happened: find out, then resolve it.")
    if job.state not in (State.FAILED, State.CANCELLED):
        return NotAllowed("not_retryable", f"A job that is {job.state} cannot be retried.")
    if job.erased_at is not None:
        return ERASED
    return restart(job, policy, now=now)


def erase(job: Job, policy: Policy, *, now: datetime) -> Job | NotAllowed:
    """Take what is a person's from a job that has ended; an open or parked one still needs it."""
    del policy  # of every type alike
    if job.state not in TERMINAL:
        return NotAllowed("still_open", f"A job that is {job.state} still needs its data.")
    return moves.erase(job, now=now)


def redrive(job: Job, policy: Policy, *, now: datetime) -> Job | NotAllowed:
    """Let a dead letter start anew; what a provider refused, or a person cancelled, is none."""
    if not is_dead_letter(job):
        return NotAllowed("not_a_dead_letter", f"A job that is {job.reason or job.state} is no dead letter.")
    return retry(job, policy, now=now)


def resolve(job: Job, policy: Policy, resolution: Resolution, *, now: datetime) -> Job | NotAllowed:
    """End the doubt about a parked job by what an operator found out at the provider."""
    if job.state is not State.PARKED:
        return NotAllowed("not_parked", f"A job that is {job.state} has nothing to resolve.")
    match resolution:
        case Resolution.COMPLETED:
            cleared = replace(job, doubt=None, error=None, result={**(job.result or {}), "resolved": True})
            return rest(cleared, State.COMPLETED, policy, now=now)
        case Resolution.FAILED:
            failure = Failure("resolved_failed", "An operator found that the effect did not happen.")
            cleared = replace(job, doubt=None, error=failure)
            return rest(cleared, State.FAILED, policy, now=now, reason=Reason.REFUSED)
        case Resolution.RETRY:
            return restart(job, policy, now=now)
    assert_never(resolution)
