"""The one place where the registry is asked what jobs need: of all that are in hand in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chalicelib.domain.endpoint import Endpoint
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
    objections,
)

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
