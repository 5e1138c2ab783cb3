"""Who asks: what a verified token says, and nothing that a body says."""

from dataclasses import dataclass

from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a token that held; a role that is bound to a venue has no say without one."""

    sub: str
    role: Role
    venue_id: VenueId | None = None
