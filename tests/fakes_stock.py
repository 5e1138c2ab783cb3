"""The stock's account in memory, over the jobs of a store."""

import threading
from collections.abc import Sequence
from dataclasses import replace

from chalicelib.domain.errors import StoreError
from chalicelib.domain.job import JobId
from chalicelib.domain.money import stated
from chalicelib.domain.search import Partition, places
from chalicelib.domain.stock import Account, Sighted
from tests.fakes import MemoryStore


class MemoryStockBook:
    """What is kept; `fails` is raised instead of an answer from the call with this number on."""

    def __init__(self, store: MemoryStore) -> None:
        self.account = Account()
        self.fails: StoreError | None = None
        self.good_for = 0  # calls before it fails
        self.calls = 0
        self._store = store
        self._lock = threading.Lock()

    def load(self) -> Account:
        self._answer()
        return self.account

    def save(self, account: Account) -> bool:
        with self._lock:
            self._answer()
            if account.version != self.account.version:
                return False
            self.account = replace(account, version=account.version + 1)
            return True

    def sight(self, job_ids: Sequence[JobId], *, money: bool) -> list[Sighted]:
        self._answer()
        found = [self._store.jobs[job_id] for job_id in job_ids if job_id in self._store.jobs]
        return [Sighted(job.state, stated(job.payload) if money else None) for job in found]

    def count(self, partition: Partition, *, above: JobId | None, limit: int) -> tuple[int, JobId | None]:
        self._answer()
        found = sorted(
            job.id
            for job in list(self._store.jobs.values())
            if places(job).get(partition.index) == partition.value and (above is None or job.id > above)
        )
        return len(found[:limit]), found[limit - 1] if len(found) >= limit else None

    def _answer(self) -> None:
        self.calls += 1
        if self.fails is not None and self.calls > self.good_for:
            raise self.fails
