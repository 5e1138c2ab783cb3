"""Where jobs are found: the partitions of the indexes that a job stands in, and what a dead letter is.

All of them have the jobs in the order of their ids, which is that of their acceptance. The sparse ones hold
only what failed or is parked, so an ordinary job pays for its venue's index and, if it has one, its user's.
Indexes lag behind the records: whoever finds a job reads its record and looks again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from chalicelib.domain.job import Job, JobId, Reason, State, VenueId
from chalicelib.domain.policies import Tier

DEAD = (Reason.EXHAUSTED, Reason.EXPIRED)  # the reasons that make a failed job a dead letter
PARKED = State.PARKED.value


class Index(StrEnum):
    """An index over the jobs."""

    VENUE = "venue"
    USER = "user"
    BATCH = "batch"  # sparse: jobs that came in a batch
    SEARCH = "search"  # sparse: failed and parked, by tier and how it ended
    VENUE_SEARCH = "venue_search"  # sparse: failed and parked, by venue
    FINGERPRINT = "fingerprint"  # sparse: dead letters and parked, by type and error


@dataclass(frozen=True, slots=True)
class Partition:
    """The jobs of one index that have one value."""

    index: Index
    value: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of jobs ended: behind this job; on the agenda, where its look stood then."""

    id: JobId
    next_look: datetime | None = None


@dataclass(frozen=True, slots=True)
class Upcoming:
    """An open job on the agenda, and when `dispatch` wants to see it."""

    next_look: datetime
    id: JobId


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What the index knows of a dead letter."""

    id: JobId
    fingerprint: str
    finished_at: datetime


def of_venue(venue_id: VenueId) -> Partition:
    """Return where all jobs of a venue are."""
    return Partition(Index.VENUE, venue_id)


def of_user(user_id: str) -> Partition:
    """Return where the jobs made on behalf of a user are, whatever their venue."""
    return Partition(Index.USER, user_id)


def of_batch(venue_id: VenueId, batch_id: str) -> Partition:
    """Return where a venue's jobs of a batch are; callers name batches, so the venue keeps them apart."""
    return Partition(Index.BATCH, f"{venue_id}#{batch_id}")


def ended(tier: Tier, how: str) -> Partition:
    """Return where the jobs of a tier are that failed of a reason, or are parked."""
    return Partition(Index.SEARCH, f"{tier}#{how}")


def ended_of_venue(venue_id: VenueId, state: State) -> Partition:
    """Return where a venue's failed or parked jobs are."""
    return Partition(Index.VENUE_SEARCH, f"{venue_id}#{state}")


def alike(fingerprint_: str, state: State) -> Partition:
    """Return where the dead letters (failed), or the parked jobs, of a fingerprint are."""
    return Partition(Index.FINGERPRINT, f"{state}#{fingerprint_}")


def is_dead_letter(job: Job) -> bool:
    """Whether a job ended without the effect it was for, and not because somebody said no."""
    return job.state is State.FAILED and job.reason in DEAD


def fingerprint(job: Job) -> str | None:
    """Return what a dead letter or parked job has in common with its kind: its type and error code."""
    if not is_dead_letter(job) and job.state is not State.PARKED:
        return None
    code = job.error.code if job.error is not None else job.reason or PARKED
    return f"{job.type}:{code}"


def places(job: Job) -> Mapping[Index, str]:
    """Return the partition of each index that a job stands in."""
    found = [of_venue(job.venue_id)]
    if job.user_id is not None:
        found.append(of_user(job.user_id))
    if job.batch_id is not None:
        found.append(of_batch(job.venue_id, job.batch_id))
    how = PARKED if job.state is State.PARKED else job.reason if job.state is State.FAILED else None
    if how is not None:
        found += [ended(job.tier, how), ended_of_venue(job.venue_id, job.state)]
    kind = fingerprint(job)
    if kind is not None:
        found.append(alike(kind, job.state))
    return {partition.index: partition.value for partition in found}


class JobIndex(Protocol):
    """Finding jobs, the latest accepted first. Each call is one query; all raise StoreRefused."""

    def newest(self, partition: Partition, *, below: str | None, floor: str | None, limit: int) -> list[JobId]:
        """Return the ids of a partition, highest first: less than `below`, and `floor` at the least."""
        ...

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        """Return the open jobs of a shard of the agenda, the next to be looked at first.

        `after` is where an earlier page ended, in this shard or another. Looks move: between two pages a job
        can be passed over, or met twice.
        """
        ...

    def dead_letters(self, tier: Tier, reason: Reason, *, below: str | None, limit: int) -> list[DeadLetter]:
        """Return the dead letters of a tier and reason, the latest accepted first, from the index alone."""
        ...
