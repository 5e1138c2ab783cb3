"""The registry in memory; the contract suite holds it to what the real one does."""

import threading
from collections import Counter
from collections.abc import Collection
from datetime import datetime

from chalicelib.domain.endpoint import Endpoint, EndpointId
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.standing import (
    Address,
    AtEndpoint,
    Channel,
    Need,
    QuietAt,
    SignedFor,
    Standing,
    ToAddress,
)
from chalicelib.domain.suppression import Place, Suppression


class MemoryRegistry:
    """What is kept, in sight of the test; how often it was asked, and whether it is down."""

    def __init__(self) -> None:
        self.suppressed: set[Address] = set()
        self.endpoints: dict[tuple[VenueId, EndpointId], Endpoint] = {}
        self.quiet_hours: dict[VenueId, QuietHours] = {}
        self.calls: Counter[str] = Counter()
        self.down = False
        self._lock = threading.RLock()

    def look_up(self, needs: Collection[Need]) -> Standing:
        with self._lock:
            self.calls["look_up"] += 1
            if self.down:
                raise StoreRefused
            asked = {need.address for need in needs if isinstance(need, ToAddress)}
            named = {
                (need.venue_id, need.endpoint_id) for need in needs if isinstance(need, AtEndpoint | SignedFor)
            }
            venues = {need.venue_id for need in needs if isinstance(need, QuietAt)}
            return Standing(
                suppressed=frozenset(asked & self.suppressed),
                endpoints={name: each for name, each in self.endpoints.items() if name in named},
                quiet_hours={venue: hours for venue, hours in self.quiet_hours.items() if venue in venues},
            )


class MemoryQuietBook:
    """The quiet hours that a registry knows."""

    def __init__(self, registry: MemoryRegistry, audit: list[Entry]) -> None:
        self._hours = registry.quiet_hours
        self._audit = audit
        self._lock = threading.RLock()

    def load(self, venue_id: VenueId) -> QuietHours | None:
        with self._lock:
            return self._hours.get(venue_id)

    def swap(
        self, venue_id: VenueId, before: QuietHours | None, after: QuietHours | None, entry: Entry
    ) -> bool:
        with self._lock:
            if self._hours.get(venue_id) != before:
                return False
            self._hours.pop(venue_id, None)
            if after is not None:
                self._hours[venue_id] = after
            self._audit.append(entry)
            return True


class MemorySuppressions:
    """The rows in a dictionary; what they suppress, a registry knows."""

    def __init__(self, registry: MemoryRegistry, audit: list[Entry]) -> None:
        self.rows: dict[Address, Suppression] = {}
        self._registry = registry
        self._audit = audit
        self._lock = threading.RLock()

    def add(self, suppression: Suppression) -> bool:
        with self._lock:
            if suppression.address in self.rows:
                return False
            self.rows[suppression.address] = suppression
            self._registry.suppressed.add(suppression.address)
            return True

    def load(self, address: Address) -> Suppression | None:
        with self._lock:
            return self.rows.get(address)

    def lift(self, suppression: Suppression, entry: Entry) -> bool:
        with self._lock:
            if self.rows.get(suppression.address) != suppression:
                return False
            del self.rows[suppression.address]
            self._registry.suppressed.discard(suppression.address)
            self._audit.append(entry)
            return True

    def page(self, channel: Channel, *, after: Place | None, limit: int) -> list[Suppression]:
        def order(each: Suppression | Place) -> tuple[datetime, str]:
            return (each.since, each.address.id)

        with self._lock:
            rows = [each for each in self.rows.values() if each.address.channel is channel]
        found = sorted(rows, key=order, reverse=True)
        return [each for each in found if after is None or order(each) < order(after)][:limit]
