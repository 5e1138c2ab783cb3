"""Who asks: what a verified token says, and nothing that a body says."""

from dataclasses import dataclass

from chalicelib.domain.errors import Forbidden
from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a token that held; a role that is bound to a venue has no say without one."""

    sub: str
    role: Role
    venue_id: VenueId | None = None


def only_admin(principal: Principal, doing: str) -> None:
    """Let an administrator through; raises Forbidden, which says what only they may do."""
    if principal.role is not Role.ADMIN:
        raise Forbidden(f"Only an administrator's token may {doing}.")
