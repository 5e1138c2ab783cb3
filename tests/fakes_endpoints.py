"""The webhook endpoints in a dictionary; the contract suite holds it to what the real store does."""

import threading

from chalicelib.domain.endpoint import Endpoint, EndpointId
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_plJ3nmyCDGBKInavdOK15jsl")


class MemoryEndpointStore:
    """One lock around each call; audit entries go to the list that is given."""

    def __init__(self, audit: list[Entry] | None = None) -> None:
        self.endpoints: dict[tuple[VenueId, EndpointId], Endpoint] = {}
        self.audit = [] if audit is None else audit
        self.writes = 0
        self._made = 0
        self._lock = threading.RLock()

    def new_secret(self) -> str:
        with self._lock:
            self._made += 1
            return f"{SECRETS[0][:-4]}{self._made:04d}"

    def add(self, endpoint: Endpoint, entry: Entry | None = None) -> bool:
        with self._lock:
            if (endpoint.venue_id, endpoint.id) in self.endpoints:
                return False
            self._write(endpoint, entry)
            return True

    def load(self, venue_id: VenueId, endpoint_id: EndpointId) -> Endpoint | None:
        with self._lock:
            return self.endpoints.get((venue_id, endpoint_id))

    def swap(self, before: Endpoint, after: Endpoint, entry: Entry | None = None) -> bool:
        with self._lock:
            if not self._stands(before):
                return False
            self._write(after, entry)
            return True

    def remove(self, endpoint: Endpoint, entry: Entry) -> bool:
        with self._lock:
            if not self._stands(endpoint):
                return False
            del self.endpoints[endpoint.venue_id, endpoint.id]
            self.audit.append(entry)
            return True

    def page(
        self, venue_id: VenueId, *, after: EndpointId | None, limit: int
    ) -> tuple[list[Endpoint], EndpointId | None]:
        with self._lock:
            ids = sorted(each for venue, each in self.endpoints if venue == venue_id)
            ids = [each for each in ids if after is None or each > after]
            found = [self.endpoints[venue_id, each] for each in ids[:limit]]
        return found, found[-1].id if len(ids) > limit else None

    def _write(self, endpoint: Endpoint, entry: Entry | None) -> None:
        self.endpoints[endpoint.venue_id, endpoint.id] = endpoint
        self.audit += [] if entry is None else [entry]
        self.writes += 1

    def _stands(self, before: Endpoint) -> bool:
        standing = self.endpoints.get((before.venue_id, before.id))
        return standing is not None and standing.revision == before.revision
