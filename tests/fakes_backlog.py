"""What waits, counted over the queues and records in memory; event sources in a dictionary."""

from datetime import datetime

from chalicelib.domain.backlog import Depth, TierDepth
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId
from chalicelib.domain.policies import Lane, Tier
from tests.fakes import MemoryQueue, MemoryStore


class MemoryBacklog:
    """Counts what the other fakes hold."""

    def __init__(self, queue: MemoryQueue, store: MemoryStore) -> None:
        self._queue = queue
        self._store = store
        self.calls = 0
        self.down = False

    def depth(self, tier: Tier) -> TierDepth:
        self.calls += 1
        if self.down:
            raise StoreRefused
        lanes = {lane: self._depth(tier, lane) for lane in Lane}
        return TierDepth(lanes, len(self._queue.dead.get(tier, [])))

    def oldest_due(self, tier: Tier) -> datetime | None:
        self.calls += 1
        missed = (job.due for job in self._store.jobs.values() if job.overdue and job.tier is tier)
        return min(missed, default=None)

    def overdue(self, tier: Tier, *, limit: int) -> list[JobId]:
        self.calls += 1
        missed = [job for job in self._store.jobs.values() if job.overdue and job.tier is tier]
        return [job.id for job in sorted(missed, key=lambda job: job.due)[:limit]]

    def _depth(self, tier: Tier, lane: Lane) -> Depth:
        held = list(self._queue.messages.get((tier, lane), {}).values())
        hidden = [each for each in held if each.visible_at > self._queue.clock.now()]
        delayed = sum(each.receives == 0 for each in hidden)
        return Depth(len(held) - len(hidden), len(hidden) - delayed, delayed)


class MemoryEventSources:
    """Whether each tier is given to its consumers."""

    def __init__(self) -> None:
        self.enabled = dict.fromkeys(Tier, True)
        self.down = False

    def set_enabled(self, tier: Tier, enabled: bool) -> bool:
        if self.down:
            raise StoreRefused
        changed = self.enabled[tier] != enabled
        self.enabled[tier] = enabled
        return changed
