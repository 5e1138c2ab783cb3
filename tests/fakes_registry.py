"""The registry in memory; the contract suite holds it to what the real one does."""

import threading
from collections import Counter
from collections.abc import Collection

from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import VenueId
from chalicelib.domain.standing import Address, Need, Standing, ToAddress


class MemoryRegistry:
    """Addresses and endpoints in sight of the test, how often it was asked, and whether it is down."""

    def __init__(self) -> None:
        self.suppressed: set[Address] = set()
        self.endpoints: dict[tuple[VenueId, str], bool] = {}  # whether each is disabled
        self.calls: Counter[str] = Counter()
        self.down = False
        self._lock = threading.RLock()

    def look_up(self, needs: Collection[Need]) -> Standing:
        with self._lock:
            self.calls["look_up"] += 1
            if self.down:
                raise StoreRefused
            asked = {need.address for need in needs if isinstance(need, ToAddress)}
            named = {(need.venue_id, need.endpoint_id) for need in needs if not isinstance(need, ToAddress)}
            return Standing(
                suppressed=frozenset(asked & self.suppressed),
                endpoints={name: disabled for name, disabled in self.endpoints.items() if name in named},
            )
