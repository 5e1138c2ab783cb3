"""Calling back: what a vendor's word that something has changed makes of a job. It never settles one."""

from dataclasses import replace
from datetime import datetime

from chalicelib.domain.job import Job, State, promote
from chalicelib.domain.policies import Policy
from chalicelib.domain.steer import WAITING


def called_back(job: Job, policy: Policy, *, now: datetime) -> Job | None:
    """Let a job that polls its provider ask now; None where there is nothing to bring forward.

    A job that backs off is left alone: a callback must not use up its attempts. So is one that is asking at
    this moment, and one that is due anyway, so that the same word said twice brings one message.
    """
    if job.state not in WAITING or job.poll is None or job.stage is not None:
        return None
    if job.next_attempt_at <= now + policy.timing.clock_skew:
        return None
    return promote(job, policy, now=now)


def named(job: Job, handle: str) -> Job | None:
    """Let a parked job know the provider's object, so that who resolves it sees that the provider has it.

    None for every other job: one that runs learns it from its own call, and one that has ended stays as it is.
    """
    if job.state is not State.PARKED or job.handle is not None:
        return None
    return replace(job, version=job.version + 1, handle=handle)
