"""Dealing with the jobs of a stage: those of a flipped one become jobs like any other, those of an aborted go.

The caller's own request does it right after the flip; `dispatch` does it for requests that died, and aborts
what was not flipped in time. Every step may be done twice.
"""

from collections.abc import Sequence
from datetime import datetime

from chalicelib.domain.batch import Stage, StageState, abort, finish
from chalicelib.domain.errors import StoreError
from chalicelib.domain.job import Job, StageId, leave_stage
from chalicelib.domain.policies import Timing
from chalicelib.domain.ports import (
    Change,
    Clock,
    JobQueue,
    JobStore,
    Journal,
    Outdated,
    Saved,
    SaveResult,
)
from chalicelib.service.sending import send_accepted
from chalicelib.service.writing import write

PAGE = 20  # stages found in one call


class Unstage:
    """What becomes of the jobs of all-or-nothing batches."""

    def __init__(
        self, *, store: JobStore, queue: JobQueue, clock: Clock, journal: Journal, timing: Timing
    ) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock
        self._journal = journal
        self._timing = timing

    def release(self, jobs: Sequence[Job]) -> bool:
        """Take jobs of a flipped stage off it and send their messages; say whether none is on it any more.

        A message goes only once its job is surely off: before, it would find nothing to do and be gone.
        """
        now = self._clock.now()
        changes = [Change(job, leave_stage(job, now=now, timing=self._timing)) for job in jobs]
        results = write(self._store, changes) if changes else []
        freed = [
            change.after for change, result in zip(changes, results, strict=True) if isinstance(result, Saved)
        ]
        send_accepted(self._queue, self._journal, freed, now=now)
        return all(_is_off(result) for result in results)

    def settle_due(self, stop: datetime) -> int:
        """Deal with every stage whose look has come, until the time is up; return how many are finished."""
        settled = 0
        while self._clock.now() < stop:
            page = self._store.due_stages(until=self._clock.now(), limit=PAGE)
            done = sum(self._settle(stage_id) for stage_id in page if self._clock.now() < stop)
            settled += done
            if done == 0 or len(page) < PAGE:
                break
        return settled

    def _settle(self, stage_id: StageId) -> bool:
        """Deal with one stage and say whether it is finished; what fails is tried again by the next run."""
        try:
            stage = self._store.load_stage(stage_id)
            if stage is None or stage.next_look is None or stage.next_look > self._clock.now():
                return False  # the index lags behind the record
            if stage.state is StageState.STAGED:
                stage = self._store.move_stage(stage, abort(stage, now=self._clock.now()))
            if stage is None or not self._is_empty(stage):
                return False
            self._store.move_stage(stage, finish(stage, now=self._clock.now()))
        except StoreError as error:
            self._journal.alarm("stage_unsettled", stage=stage_id, error=type(error).__name__)
            return False
        self._journal.note("stage_settled", stage=stage.id, state=stage.state, jobs=len(stage.job_ids))
        return True

    def _is_empty(self, stage: Stage) -> bool:
        """Have no job on the stage any more, by what was decided of it."""
        if stage.state is StageState.ABORTED:
            return self._store.clear_stage(stage)
        jobs, _ = self._store.load_batch(stage.job_ids)
        return self.release([job for job in jobs.values() if job.stage == stage.id])


def _is_off(result: SaveResult) -> bool:
    match result:
        case Saved():
            return True
        case Outdated(current):
            return current is None or current.stage is None
        case _:
            return False
