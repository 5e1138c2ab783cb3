"""The limiter in memory; the contract suite holds it to what the real one does."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from chalicelib.domain.ports import Entry, Release
from chalicelib.domain.ratelimit import LIMITS, Admission, Ask, Bucket, Limit, admit, given_back
from tests.fakes import START


class MemoryLimiter:
    """The buckets in a dictionary, one lock around each call."""

    def __init__(self, limits: Mapping[str, Limit] = LIMITS) -> None:
        self._buckets = {group: Bucket(limit, START) for group, limit in limits.items()}
        self._lock = threading.Lock()
        self.audit: list[Entry] = []

    def reserve(
        self, group: str, asks: Sequence[Ask], *, owner: str, until: datetime, now: datetime
    ) -> Admission:
        with self._lock:
            admission = admit(self._buckets[group], asks, owner=owner, until=until, now=now)
            if admission.news:
                self._buckets[group] = admission.bucket
            return admission

    def give_back(self, release: Release) -> None:
        with self._lock:
            for group in release.groups:
                self._buckets[group] = given_back(self._buckets[group], release.owner)

    def given_back(self, release: Release) -> None:
        pass

    def buckets(self) -> Mapping[str, Bucket]:
        with self._lock:
            return dict(self._buckets)

    def save(self, group: str, bucket: Bucket, entry: Entry) -> bool:
        with self._lock:
            if self._buckets[group].version != bucket.version - 1:
                return False
            self._buckets[group] = replace(bucket, holdings=self._buckets[group].holdings)
            self.audit.append(entry)
            return True
