"""What a caller may ask for: so many requests in each window, drawn in blocks from one count that all share.

Windows lie end to end from 1970 on, the same for everybody. A container draws a block in one write and spends
it by itself. Only what was drawn is spent, so all containers together never let through more than the limit of
a window; what rests in one container's block when the window ends is what a caller may get too few of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from chalicelib.domain.policies import Role

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FACTORS: Mapping[Role, int] = MappingProxyType(
    {Role.USER: 1, Role.VENUE_ADMIN: 10, Role.SERVICE: 1000, Role.ADMIN: 1000}
)
PART_OF_MUCH = 1000  # a block of a large limit is this part of it, so that few requests rest in it unused
PART_OF_LITTLE = 100
ENOUGH = 10  # requests to a block, where the limit is not so small that they are much of it


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many requests in each window."""

    requests: int
    window: timedelta

    def of(self, role: Role) -> "Allowance":
        """Return what a role has, where this is a user's."""
        return replace(self, requests=self.requests * FACTORS[role])

    @property
    def block(self) -> int:
        """How many requests are drawn at once."""
        return max(self.requests // PART_OF_MUCH, min(self.requests // PART_OF_LITTLE, ENOUGH), 1)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that requests are counted in; its end is the next one's."""

    starts: datetime
    ends: datetime


def window_at(now: datetime, length: timedelta) -> Window:
    """Return the window of this length that a moment is in."""
    starts = now - (now - EPOCH) % length
    return Window(starts, starts + length)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one draw has taken, and what is left for others."""

    taken: int
    left: int


@dataclass(frozen=True, slots=True)
class Block:
    """What a container has in hand of a caller's window, and what the count had left when it last told."""

    window: Window
    rest: int
    left: int  # by others it only falls, so what it cannot give now it never will in this window

    def spent(self, cost: int) -> "Block | None":
        """Return the block after a request; None if it does not hold as many."""
        return replace(self, rest=self.rest - cost) if cost <= self.rest else None

    def with_more(self, drawn: Drawn) -> "Block":
        """Return the block with what was drawn."""
        return replace(self, rest=self.rest + drawn.taken, left=drawn.left)

    @property
    def most(self) -> int:
        """How many requests the caller may have left in this window."""
        return self.rest + self.left


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands: its limit, at most so many requests left, and when the next window begins."""

    limit: int
    remaining: int
    resets: datetime


def grant(used: int, limit: int, *, least: int, most: int) -> int:
    """Return how many requests a draw takes: what there is up to `most`, none if that is less than `least`."""
    taken = min(limit - used, most)
    return taken if taken >= least else 0
