"""Planning: what one delivery makes of a job, decided before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from chalicelib.domain.claim import AtRest, Claimed, Ended, NotYet, claim, refusal
from chalicelib.domain.controls import Controls, hold_for
from chalicelib.domain.job import Job, hold, without_message
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.look import seen
from chalicelib.domain.outcome import HeldBack
from chalicelib.domain.policies import Policy, Timing
from chalicelib.domain.ports import Chance, Change, Clock, Journal
from chalicelib.domain.ratelimit import held_back
from chalicelib.service.fates import DONE, LEFT, Fate, Later, Look, Step

SOON = timedelta(seconds=1)  # when another worker has just changed the job: look again


@dataclass(frozen=True, slots=True)
class Planner:
    """What decides about a batch's jobs, each by itself."""

    types: Mapping[str, JobType]
    policies: Mapping[str, Policy]
    clock: Clock
    chance: Chance
    journal: Journal
    timing: Timing

    def plan(self, job: Job, controls: Controls, receives: int, ends: datetime) -> Step | Look | Fate:
        """Decide what this delivery makes of a job."""
        now = self.clock.now()
        verdict = (
            refusal(job, now=now, timing=self.timing)
            or self._held_back(job, controls, now)
            or claim(
                job,
                self.policies[job.type],
                claim_id=self.chance.claim_id(),
                lease_until=ends + self.timing.clock_skew,
                now=now,
                paused=controls.paused_for(job.tier, job.due, now),
            )
        )
        match verdict:
            case Claimed(after):
                if now + self.types[job.type].run_time > ends - self.timing.settle_margin:
                    # Too little of this invocation is left; another one has all of it.
                    return self._put_off(job, SOON, receives)
                return Step(Change(job, after), None)
            case Ended(after):
                return Step(Change(job, after), DONE)
            case AtRest():
                return DONE
            case NotYet(until):
                wait = max(until - now, timedelta(0))
                in_queue = self.by_visibility(wait, receives, self.timing.longest_delay)
                # Set first, and then the message may go: `dispatch` sends anew.
                return Later(wait) if in_queue else Look(Change(job, without_message(job)), DONE, LEFT)
            case HeldBack(_, delay):
                return self._put_off(job, delay, receives)
        assert_never(verdict)

    def _put_off(self, job: Job, delay: timedelta, receives: int) -> Step | Fate:
        """Hold a job back without charging an attempt: in its queue, or for long by record."""
        if self.by_visibility(delay, receives, self.timing.hold_by_visibility):
            return Later(delay)
        return Step(Change(job, hold(job, self.clock.now() + delay)), DONE)

    def turned_away(self, job: Job, wait: timedelta, receives: int) -> Step | Look | Fate:
        """Hold back what the limiter turned away; its message is there, so `dispatch` need not miss it."""
        delay = held_back(wait, receives=receives, spread=self.chance.fraction())
        plan = self._put_off(job, min(delay, self.timing.hold_by_visibility), receives)
        if not isinstance(plan, Later):
            return plan
        after = seen(job, self.timing, now=self.clock.now(), back_in=plan.delay)
        return plan if after is None else Look(Change(job, after), plan, plan)

    def _held_back(self, job: Job, controls: Controls, now: datetime) -> HeldBack | None:
        job_type = self.types.get(job.type)
        if job_type is None:
            self.journal.alarm("unknown_type", jobId=job.id, type=job.type)
            return HeldBack("unknown_type", self.timing.hold_by_visibility)
        control = controls.holding(job, job_type.provider, now)
        if control is None:
            return None
        return hold_for(control, self.timing, now=now, spread=self.chance.fraction())

    def by_visibility(self, wait: timedelta, receives: int, most: timedelta) -> bool:
        """Whether a message may wait in its queue, rather than be let go for `dispatch` to send anew."""
        return wait <= most and receives <= self.timing.most_receives
