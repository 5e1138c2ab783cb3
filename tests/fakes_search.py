"""What is found by index, in memory: the index is made anew at every look, so here it never lags."""

from collections.abc import Callable
from datetime import UTC, date

from chalicelib.domain.job import JobId, Reason
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Entry
from chalicelib.domain.search import DeadLetter, Partition, Upcoming, ended, fingerprint, places
from tests.fakes import MemoryStore, shard_of


class MemoryJobIndex:
    """Finds jobs in a store's dictionary; `calls` counts what each call would cost on a real one: a query."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.calls: list[str] = []

    def newest(self, partition: Partition, *, below: str | None, floor: str | None, limit: int) -> list[JobId]:
        self.calls.append(f"{partition.index} {partition.value}")
        found = [
            job.id
            for job in list(self._store.jobs.values())
            if places(job).get(partition.index) == partition.value
            and (below is None or job.id < below)
            and (floor is None or job.id >= floor)
        ]
        return sorted(found, reverse=True)[:limit]

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        self.calls.append(f"agenda {tier}#{shard}")
        start = None if after is None else (after.next_look, after.id)
        found = [
            (job.next_look, job.id)
            for job in list(self._store.jobs.values())
            if job.next_look is not None
            and (job.tier, shard_of(job.id)) == (tier, shard)
            and (start is None or (job.next_look, job.id) > start)
        ]
        return [Upcoming(*each) for each in sorted(found)[:limit]]

    def dead_letters(self, tier: Tier, reason: Reason, *, below: str | None, limit: int) -> list[DeadLetter]:
        ids = self.newest(ended(tier, reason), below=below, floor=None, limit=limit)
        found = [self._store.jobs[job_id] for job_id in ids]
        return [DeadLetter(job.id, fingerprint(job) or "", job.finished_at or job.due) for job in found]


class MemoryAuditLog:
    """Reads a list of entries."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self.calls = 0

    def of_day(self, day: date, *, below: str | None, limit: int) -> list[Entry]:
        return self._newest(lambda entry: entry.at.astimezone(UTC).date() == day, below, limit)

    def of_subject(self, subject: str, *, below: str | None, limit: int) -> list[Entry]:
        return self._newest(lambda entry: entry.subject == subject, below, limit)

    def _newest(self, wanted: Callable[[Entry], bool], below: str | None, limit: int) -> list[Entry]:
        self.calls += 1
        found = [each for each in list(self._entries) if wanted(each) and (below is None or each.id < below)]
        return sorted(found, key=lambda each: each.id, reverse=True)[:limit]
