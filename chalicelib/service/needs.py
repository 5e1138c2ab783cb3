"""What jobs need of the store, asked of all that are in hand in one call; and what they teach it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chalicelib.domain.endpoint import Endpoint
from chalicelib.domain.errors import StoreError
from chalicelib.domain.job import Job
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.outcome import Outcome, Refused
from chalicelib.domain.ports import Clock, Journal
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.standing import (
    KEEP_OUT,
    AtEndpoint,
    Need,
    Objection,
    QuietAt,
    Registry,
    SignedFor,
    Standing,
    ToAddress,
    objections,
)
from chalicelib.domain.suppression import Suppression, Suppressions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What the registry says of a job's needs: what stands in its way, and what it is to know of its venue."""

    objections: Sequence[Objection] = ()
    quiet_hours: QuietHours | None = None
    endpoint: Endpoint | None = None


def look_up(registry: Registry, needs: Mapping[T, Sequence[Need]]) -> dict[T, Found]:
    """Return what is found for whom; nobody is asked where nothing is needed. Raises StoreRefused."""
    asked = [need for theirs in needs.values() for need in theirs]
    if not asked:
        return {}
    standing = registry.look_up(asked)
    return {whose: _found(theirs, standing) for whose, theirs in needs.items() if theirs}


def _found(needs: Sequence[Need], standing: Standing) -> Found:
    quiet = (standing.quiet_hours.get(need.venue_id) for need in needs if isinstance(need, QuietAt))
    named = (
        standing.endpoints.get((need.venue_id, need.endpoint_id))
        for need in needs
        if isinstance(need, AtEndpoint | SignedFor)
    )
    return Found(objections(needs, standing), next(quiet, None), next(named, None))


def unmet(registry: Registry, needs: Mapping[T, Sequence[Need]]) -> dict[T, Sequence[Objection]]:
    """Return what stands in the way of whom, asked as `look_up` does; what keeps nobody out is not asked."""
    asked = {whose: [each for each in theirs if isinstance(each, KEEP_OUT)] for whose, theirs in needs.items()}
    return {whose: found.objections for whose, found in look_up(registry, asked).items() if found.objections}


class Lessons:
    """What refusals teach of addresses: to some nothing is to be sent any more. None: nothing is kept."""

    def __init__(self, suppressions: Suppressions | None, clock: Clock, journal: Journal) -> None:
        self._suppressions = suppressions
        self._clock = clock
        self._journal = journal

    def learn(self, job: Job, job_type: JobType, data: Mapping[str, Any], outcome: Outcome) -> None:
        """Suppress the addresses of a refused job if its type says so; a lesson that is lost costs no job."""
        if self._suppressions is None or not isinstance(outcome, Refused):
            return
        code = outcome.failure.code
        if code not in job_type.suppresses:
            return
        cause, now = job_type.suppresses[code], self._clock.now()
        for need in job_type.needs(job.venue_id, data):
            if isinstance(need, ToAddress):
                self._suppress(Suppression(need.address, cause, now, code, job.id))

    def _suppress(self, suppression: Suppression) -> None:
        try:
            if self._suppressions is not None and self._suppressions.add(suppression):
                told = {"suppression": suppression.address.id, "jobId": suppression.job_id}
                self._journal.note("suppressed", cause=suppression.cause, **told)
        except StoreError:
            self._journal.alarm("not_suppressed", jobId=suppression.job_id)
