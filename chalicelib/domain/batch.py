"""All-or-nothing batches: their jobs wait on a stage until one write, the flip, accepts every one of them.

    staged ─ flip ─> flipped     its jobs leave the stage and run
       └─── abort ─> aborted     its jobs are deleted, their keys are free

The stage's record is written first, so that whoever meets a key or a job that names one can read what became
of it. Each move is conditional on the state that was read, so flip and abort exclude each other for ever.
Once its jobs are dealt with the record is finished: it expires, and then the jobs alone say how it ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from chalicelib.domain.job import JobId, StageId
from chalicelib.domain.policies import Timing

KEPT_FINISHED = timedelta(days=7)  # for whoever wonders what became of a batch; nothing depends on it


class StageState(StrEnum):
    """What became of a batch."""

    STAGED = "staged"
    FLIPPED = "flipped"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Stage:
    """The record of one all-or-nothing batch; `job_ids` are all that may be on it, written or not."""

    id: StageId
    job_ids: tuple[JobId, ...]
    created_at: datetime
    state: StageState
    next_look: datetime | None  # when `dispatch` wants to see it; None once its jobs are dealt with
    expires_at: datetime | None = None


def open_stage(stage_id: StageId, job_ids: Sequence[JobId], *, now: datetime, timing: Timing) -> Stage:
    """Return the first record of a stage: `dispatch` aborts it unless it is flipped in time."""
    return Stage(stage_id, tuple(job_ids), now, StageState.STAGED, now + timing.accept_within)


def flip(stage: Stage) -> Stage:
    """Accept every job of the batch."""
    return replace(stage, state=StageState.FLIPPED)


def abort(stage: Stage, *, now: datetime) -> Stage:
    """Accept none; what was written of the batch may be deleted from now on."""
    return replace(stage, state=StageState.ABORTED, next_look=now)


def finish(stage: Stage, *, now: datetime) -> Stage:
    """Note that no job is on the stage any more."""
    return replace(stage, next_look=None, expires_at=now + KEPT_FINISHED)


class Stages(Protocol):
    """The stages, a part of `ports.JobStore`. The calls that write raise StoreRefused or StoreUnsure."""

    def open_stage(self, stage: Stage) -> None:
        """Write a stage; the same one once more does no harm while it is staged."""
        ...

    def load_stage(self, stage_id: StageId) -> Stage | None:
        """Return a stage. Read consistently. Raises StoreRefused."""
        ...

    def move_stage(self, before: Stage, after: Stage) -> Stage | None:
        """Replace a stage if it is still in the state of `before`.

        Returns the record that stands from now on: `after`, or the one that another has made of it; None if
        there is none.
        """
        ...

    def due_stages(self, *, until: datetime, limit: int) -> list[StageId]:
        """Return the stages whose look has come, earliest first, from the agenda index. Raises StoreRefused."""
        ...

    def clear_stage(self, stage: Stage) -> bool:
        """Delete the jobs that are on an aborted stage, payloads kept apart included; say whether all are gone.

        A job that is on none, or on another, is left alone. Never raises StoreError.
        """
        ...
