"""Pages of jobs: what one index or several have in order, and the records of as many as a page may read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Protocol

from chalicelib.domain.errors import InvalidRequest, Problem
from chalicelib.domain.job import Job
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import JobStore
from chalicelib.domain.search import JobIndex, Partition, Place, Upcoming

MOST_READ = 180  # records that a page reads at the most, in two calls
AT_ONCE = 90  # records in one call; the controls come with them

NOT_HERE = "This cursor is of another list: send the cursor of an answer to this request, or none."


class Shelf(Protocol):
    """Where jobs are found, in one order."""

    def places(self, after: Place | None, count: int) -> list[Place]:
        """Return the next so many. Raises InvalidRequest for a place of another order, or StoreRefused."""
        ...


@dataclass(frozen=True, slots=True)
class Newest:
    """Partitions of an index as one, the latest accepted first: less than `roof`, `floor` at the least."""

    index: JobIndex
    partitions: Sequence[Partition]
    floor: str | None = None
    roof: str | None = None

    def places(self, after: Place | None, count: int) -> list[Place]:
        """Return the next so many, by one query for each partition."""
        if after is not None and after.next_look is not None:
            raise InvalidRequest([Problem("cursor", NOT_HERE)])
        below = self.roof if after is None else after.id
        found = [
            self.index.newest(partition, below=below, floor=self.floor, limit=count)
            for partition in self.partitions
        ]
        return [Place(job_id) for job_id in merge(*found, reverse=True)][:count]


@dataclass(frozen=True, slots=True)
class Agenda:
    """All open jobs of some tiers, the next to be looked at first."""

    index: JobIndex
    tiers: Sequence[Tier]
    shards: int

    def places(self, after: Place | None, count: int) -> list[Place]:
        """Return the next so many, by one query for each tier and shard."""
        start = None
        if after is not None:
            if after.next_look is None:
                raise InvalidRequest([Problem("cursor", NOT_HERE)])
            start = Upcoming(after.next_look, after.id)
        found = [
            self.index.upcoming(shard, tier, after=start, limit=count)
            for tier in self.tiers
            for shard in range(self.shards)
        ]
        ordered = merge(*found, key=lambda each: (each.next_look, each.id))
        return [Place(each.id, each.next_look) for each in ordered][:count]


def read_page(
    shelf: Shelf,
    store: JobStore,
    admits: Callable[[Job], bool],
    *,
    after: Place | None,
    limit: int,
    most: int,
) -> tuple[list[Job], Place | None]:
    """Return up to `limit` jobs that are wanted, of the next `most`, and the place to go on after.

    None: there are no more. The shelf is asked once, and the records of `most` are read at the most.
    """
    places = shelf.places(after, most + 1)
    jobs: list[Job] = []
    for start in range(0, len(places[:most]), AT_ONCE):
        part = places[start : min(start + AT_ONCE, most)]
        found, _ = store.load_batch([place.id for place in part])
        for place in part:
            job = found.get(place.id)
            if job is not None and admits(job):
                jobs.append(job)
            if len(jobs) == limit:
                return jobs, None if place is places[-1] else place
    return jobs, places[most - 1] if len(places) > most else None
