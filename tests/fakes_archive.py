"""The archive and the cleanup's rows in memory; the contract suite holds them to what the real ones do."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from chalicelib.domain.archive import Leftover, Venue
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import Job, JobId, VenueId
from chalicelib.domain.ports import Entry
from tests.fakes import MemoryStore


class MemoryArchive:
    """Objects in a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes, *, sha256: str) -> None:
        if hashlib.sha256(body).hexdigest() != sha256:
            raise StoreRefused
        self.objects[key] = body

    def read(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def names(self, prefix: str, *, after: str | None, limit: int) -> list[str]:
        found = [key for key in self.objects if key.startswith(prefix) and (after is None or key > after)]
        return sorted(found)[:limit]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


class MemoryCleaning:
    """The rows in dictionaries, over the jobs and the audit log of a store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.marks: dict[VenueId, dict[int, JobId]] = {}
        self.notes: set[Leftover] = set()
        self.places: dict[str, str] = {}
        self.calls: Counter[str] = Counter()

    def venues(self, *, after: VenueId | None, limit: int) -> list[Venue]:
        found = sorted(each for each in self._store.venues if after is None or each > after)[:limit]
        return [Venue(each, dict(self.marks.get(each, {}))) for each in found]

    def oldest(self, venue_id: VenueId, *, above: JobId | None, below: JobId, limit: int) -> list[JobId]:
        found = [
            job.id
            for job in self._store.jobs.values()
            if job.venue_id == venue_id and (above is None or job.id > above) and job.id < below
        ]
        return sorted(found)[:limit]

    def mark(self, venue_id: VenueId, days: int, done: JobId) -> None:
        self.marks.setdefault(venue_id, {})[days] = done

    def leftovers(self, *, after: Leftover | None, until: datetime, limit: int) -> list[Leftover]:
        def place(each: Leftover) -> tuple[datetime, JobId]:
            return each.at, each.job_id

        found = [
            each for each in self.notes if each.at <= until and (after is None or place(each) > place(after))
        ]
        return sorted(found, key=place)[:limit]

    def note(self, leftovers: Sequence[Leftover]) -> None:
        self.notes |= set(leftovers)

    def forget(self, leftovers: Sequence[Leftover]) -> None:
        self.notes -= set(leftovers)

    def place(self, name: str) -> str | None:
        return self.places.get(name)

    def set_place(self, name: str, place: str | None) -> None:
        if place is None:
            self.places.pop(name, None)
        else:
            self.places[name] = place

    def delete(self, jobs: Sequence[Job]) -> list[bool]:
        return [self._delete(job) for job in jobs]

    def _delete(self, job: Job) -> bool:
        standing = self._store.jobs.get(job.id)
        if standing is None or standing.version != job.version:
            return False
        del self._store.jobs[job.id]
        self._store.payloads.pop(job.id, None)
        return True

    def delete_entries(self, entries: Iterable[Entry]) -> None:
        gone = {(each.id, each.at) for each in entries}
        self._store.audit[:] = [each for each in self._store.audit if (each.id, each.at) not in gone]

    def tell(self, entry: Entry) -> None:
        self._store.audit.append(entry)

    def restore(self, job: Job, note: Leftover, entry: Entry) -> bool:
        if job.id in self._store.jobs:
            return False
        if job.payload_apart:
            self._store.payloads[job.id] = job.payload or {}
        self._store.jobs[job.id] = replace(job, payload=None) if job.payload_apart else job
        self.notes.add(note)
        self._store.audit.append(entry)
        return True
