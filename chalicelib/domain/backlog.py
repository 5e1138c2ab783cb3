"""What waits: how many messages are in a tier's queues, and since when its oldest job has been due."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chalicelib.domain.job import JobId
from chalicelib.domain.policies import Lane, Tier


@dataclass(frozen=True, slots=True)
class Depth:
    """The messages of one queue, by the queue's own count, which is approximate.

    `in_flight` are those that nobody is given now: with a consumer, or put off for a while.
    """

    waiting: int
    in_flight: int
    delayed: int


@dataclass(frozen=True, slots=True)
class TierDepth:
    """The messages of a tier: of each lane, and the poison in its dead-letter queue."""

    lanes: Mapping[Lane, Depth]
    poison: int


class Backlog(Protocol):
    """The port: each costs the same however much there is. All raise StoreRefused."""

    def depth(self, tier: Tier) -> TierDepth:
        """Count the messages of a tier: one call per queue."""
        ...

    def oldest_due(self, tier: Tier) -> datetime | None:
        """Return when the oldest open job that was missed once was to run; None if none was.

        The head of the sparse index `overdue`, which lags behind the records: one call.
        """
        ...

    def overdue(self, tier: Tier, *, limit: int) -> list[JobId]:
        """Return the open jobs that were missed once, the longest due first. One call to the same index."""
        ...


class EventSources(Protocol):
    """The port: whether the queues of a tier are given to their consumers at all."""

    def set_enabled(self, tier: Tier, enabled: bool) -> bool:
        """Open or close a tier's queues to their consumers, where they are not so already.

        Says whether anything had to be changed. Raises StoreRefused when that cannot be done or told.
        """
        ...
