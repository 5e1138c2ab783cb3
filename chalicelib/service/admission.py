"""Asking the limiter for a batch: who of it may call its provider now, and how long the others stay away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.errors import StoreError
from chalicelib.domain.job import Job, JobId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.ports import Journal, Limiter
from chalicelib.domain.ratelimit import Ask, group_of

UNREACHABLE = timedelta(seconds=2)  # how long a batch stays away when the limiter does not answer


@dataclass(frozen=True, slots=True)
class Admitted:
    """What the limiter said of a batch; `groups` are those in which `owner` holds slots now."""

    denied: Mapping[JobId, timedelta]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """The limiter as a batch meets it. No limiter: everything is let through."""

    limiter: Limiter | None
    types: Mapping[str, JobType]
    journal: Journal

    def ask(self, jobs: Sequence[Job], *, owner: str, until: datetime, now: datetime) -> Admitted:
        """Reserve what fits, one write for each provider group; a silent limiter lets nobody through."""
        if self.limiter is None:
            return Admitted({}, ())
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
        return Admitted(denied, tuple(groups))

    def give_back(self, admitted: Admitted, owner: str) -> None:
        """End what a batch held."""
        if self.limiter and admitted.groups:
            self.limiter.give_back(admitted.groups, owner)

    def _by_group(self, jobs: Sequence[Job]) -> dict[str, list[Ask]]:
        asks: dict[str, list[Ask]] = {}
        for job in jobs:
            job_type = self.types[job.type]
            asks.setdefault(group_of(job_type.provider), []).append(
                Ask(job.id, job.type, job_type.in_flight, job.venue_id, job.lane)
            )
        return asks
