"""What the store does for whole batches, in memory; `MemoryStore` is one of these."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chalicelib.domain.batch import Stage, StageState
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import Job, JobId, KeyId, StageId
from chalicelib.domain.keys import Key


class MemoryBatches:
    """Keys and jobs written many at a time, and stages in a dictionary."""

    jobs: dict[JobId, Job]
    payloads: dict[JobId, Mapping[str, Any]]
    keys: dict[KeyId, Key]

    def __init__(self) -> None:
        self.stages: dict[StageId, Stage] = {}
        self._lock = threading.RLock()

    def take_keys(self, keys: Sequence[Key]) -> list[bool]:
        assert len({key.id for key in keys}) == len(keys)
        return [self.take_free(key) for key in keys]

    def take_free(self, key: Key) -> bool:
        """Write one key if there is none."""
        with self._lock:
            return self.keys.setdefault(key.id, key) is key

    def add_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        return [self.add_free(job) for job in jobs]

    def add_free(self, job: Job) -> bool:
        """Write one job if there is none."""
        raise NotImplementedError

    def open_stage(self, stage: Stage) -> None:
        with self._lock:
            if self.stages.get(stage.id, stage).state is not StageState.STAGED:
                raise StoreRefused
            self.stages[stage.id] = stage

    def load_stage(self, stage_id: StageId) -> Stage | None:
        with self._lock:
            return self.stages.get(stage_id)

    def move_stage(self, before: Stage, after: Stage) -> Stage | None:
        with self._lock:
            current = self.stages.get(before.id)
            if current is not None and current.state is before.state:
                self.stages[before.id] = current = after
            return current

    def due_stages(self, *, until: datetime, limit: int) -> list[StageId]:
        with self._lock:
            found = [
                (stage.next_look, stage.id)
                for stage in self.stages.values()
                if stage.next_look is not None and stage.next_look <= until
            ]
        return [stage_id for _, stage_id in sorted(found)[:limit]]

    def clear_stage(self, stage: Stage) -> bool:
        with self._lock:
            assert stage.state is StageState.ABORTED
            for job_id in stage.job_ids:
                job = self.jobs.get(job_id)
                if job is not None and job.stage == stage.id:
                    del self.jobs[job_id]
                    self.payloads.pop(job_id, None)
            return True
