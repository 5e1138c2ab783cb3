"""Dispatching: the open jobs whose look has come, found through the agenda and sent again where need be.

It sends what was accepted and never sent, what is due far from its acceptance, what was held back for long,
and what lost its message. A message too many does no harm: it is a hint. It also finishes or aborts the
all-or-nothing batches that their own requests left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.domain.controls import Controls
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.job import Job, JobId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.look import Look, look
from chalicelib.domain.policies import TIMING, Tier, Timing
from chalicelib.domain.ports import (
    AGENDA_SHARDS,
    Chance,
    Change,
    Clock,
    JobQueue,
    JobStore,
    Journal,
    Leases,
    Message,
    Saved,
)
from chalicelib.service.shift import Shift
from chalicelib.service.unstage import Unstage

PAGE = 100  # jobs read in one call


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What a run did; `ran` is False when another run holds the lease."""

    ran: bool
    looked: int = 0
    sent: int = 0
    settled: int = 0  # all-or-nothing batches


class Dispatch:
    """The scheduled function behind promise one: no accepted job is forgotten."""

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        leases: Leases,
        types: Mapping[str, JobType],
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._store = store
        self._queue = queue
        self._shift = Shift(
            Function.DISPATCH, leases=leases, clock=clock, chance=chance, journal=journal, timing=timing
        )
        self._providers = {name: job_type.provider for name, job_type in types.items()}
        self._clock = clock
        self._journal = journal
        self._timing = timing
        self._unstage = Unstage(store=store, queue=queue, clock=clock, journal=journal, timing=timing)

    def run(self, *, ends: datetime) -> Dispatched:
        """Look at every job whose look has come, page by page, until none is left or the time is up."""
        with self._shift.until(ends) as run:
            if run is None:
                return Dispatched(ran=False)
            stop = ends - self._timing.settle_margin
            done = replace(self._look_at_all(stop), settled=self._unstage.settle_due(stop))
        self._journal.note("dispatched", looked=done.looked, sent=done.sent, settled=done.settled)
        return done

    def _look_at_all(self, stop: datetime) -> Dispatched:
        looked = sent = 0
        for tier in Tier:
            for shard in range(AGENDA_SHARDS):
                while self._clock.now() < stop:
                    until = self._clock.now() + self._timing.look_ahead
                    page = self._store.agenda(shard, tier, until=until, limit=PAGE)
                    moved, messages = self._look_at(page, until) if page else (0, 0)
                    looked, sent = looked + moved, sent + messages
                    if moved == 0 or len(page) < PAGE:
                        break
        return Dispatched(True, looked, sent)

    def _look_at(self, page: Sequence[JobId], until: datetime) -> tuple[int, int]:
        """Send what a page of the agenda calls for and move its looks; return how many of each.

        Messages go first: a look that says "sent" without a message would hide its job. A job whose message
        did not surely go keeps its look, and the next run finds it again.
        """
        jobs, controls = self._store.load_batch(page)
        now = self._clock.now()
        # The index lags behind the records: a job that has been looked at or ended meanwhile is left alone.
        due = [job for job in jobs.values() if job.next_look is not None and job.next_look <= until]
        looks = [(job, made) for job in due if (made := self._look(job, controls, now)) is not None]
        to_send = [(job, made.send_after) for job, made in looks if made.send_after is not None]
        sent = self._send(to_send)
        moves = [Change(job, made.job) for job, made in looks if sent.get(job.id, True)]
        results = self._store.save_looks(moves) if moves else []
        return sum(isinstance(result, Saved) for result in results), sum(sent.values())

    def _look(self, job: Job, controls: Controls, now: datetime) -> Look | None:
        held = controls.holding(job, self._providers.get(job.type, ""), now) is not None
        return look(job, self._timing, now=now, paused=controls.paused(job.tier, now), held=held)

    def _send(self, jobs: Sequence[tuple[Job, timedelta]]) -> dict[JobId, bool]:
        messages = [Message(job.id, job.venue_id, job.tier, job.lane, delay) for job, delay in jobs]
        return {
            message.job_id: went
            for message, went in zip(messages, self._queue.send(messages) if messages else [], strict=True)
        }
