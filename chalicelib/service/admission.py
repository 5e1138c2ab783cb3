"""Asking the limiter for a batch: who of it may call its provider now, and how long the others stay away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.errors import StoreError
from chalicelib.domain.job import Job, JobId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.ports import Journal, Limiter, Release
from chalicelib.domain.ratelimit import Ask, group_of

UNREACHABLE = timedelta(seconds=2)  # how long a batch stays away when the limiter does not answer


@dataclass(frozen=True, slots=True)
class Admitted:
    """What the limiter said of a batch; `slots` are what its owner holds now, None if nothing."""

    denied: Mapping[JobId, timedelta]
    slots: Release | None


@dataclass(frozen=True, slots=True)
class Gate:
    """The limiter as a batch meets it. No limiter: everything is let through."""

    limiter: Limiter | None
    types: Mapping[str, JobType]
    journal: Journal

    def ask(self, jobs: Sequence[Job], *, owner: str, until: datetime, now: datetime) -> Admitted:
        """Reserve what fits, one write for each provider group; a silent limiter lets nobody through."""
        if self.limiter is None:
            return Admitted({}, None)
        denied: dict[JobId, timedelta] = {}
        groups: list[str] = []
        for group, asks in self._by_group(jobs).items():
            try:
                admission = self.limiter.reserve(group, asks, owner=owner, until=until, now=now)
            except StoreError:
                self.journal.alarm("limiter_unreachable", provider=group)
                denied |= {ask.job_id: UNREACHABLE for ask in asks}
                continue
            denied |= admission.denied
            if admission.granted:
                groups.append(group)
        return Admitted(denied, Release(tuple(groups), owner) if groups else None)

    def give_back(self, slots: Release) -> None:
        """End what a batch holds, by a call of its own."""
        if self.limiter is not None:
            self.limiter.give_back(slots)

    def given_back(self, slots: Release) -> None:
        """Note what was given back with the last save of a batch."""
        if self.limiter is not None:
            self.limiter.given_back(slots)

    def _by_group(self, jobs: Sequence[Job]) -> dict[str, list[Ask]]:
        asks: dict[str, list[Ask]] = {}
        for job in jobs:
            job_type = self.types[job.type]
            asks.setdefault(group_of(job_type.provider), []).append(
                Ask(job.id, job.type, job_type.in_flight, job.venue_id, job.lane)
            )
        return asks
