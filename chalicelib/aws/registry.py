"""What jobs need of the store: webhook endpoints, and two kinds of rows of the controls' table.

Those are suppressed addresses and venues' quiet hours.
"""

from collections.abc import Collection, Sequence
from datetime import time
from typing import Any

from chalicelib.aws.attributes import Item, read_text, text
from chalicelib.aws.endpoint_store import endpoint, key
from chalicelib.aws.reads import READS, read_items
from chalicelib.aws.tables import Tables
from chalicelib.domain.endpoint import EndpointId
from chalicelib.domain.job import VenueId
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.standing import (
    Address,
    AtEndpoint,
    Need,
    QuietAt,
    SignedFor,
    Standing,
    ToAddress,
    read_address,
)

PREFIX = "suppressed#"
QUIET = "quiet#"


class DynamoRegistry:
    """The facts behind `standing.Registry`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def look_up(self, needs: Collection[Need]) -> Standing:
        """Return what stands of these needs; a row that twenty jobs need is read once."""
        rows, endpoints = self._tables.queue_controls, self._tables.endpoints
        asked = [(rows, {"id": text(each)}) for each in dict.fromkeys(_rows(needs))]
        asked += [(endpoints, key(*each)) for each in dict.fromkeys(_endpoints(needs))]
        found: dict[str, list[Item]] = {rows: [], endpoints: []}
        for start in range(0, len(asked), READS):
            for table, items in read_items(self._client, _request(asked[start : start + READS])).items():
                found[table] += items
        by_id = {read_text(item["id"]): item for item in found[rows]}
        return Standing(
            suppressed=frozenset(
                read_address(row.removeprefix(PREFIX)) for row in by_id if row.startswith(PREFIX)
            ),
            endpoints={(each.venue_id, each.id): each for each in map(endpoint, found[endpoints])},
            quiet_hours={
                VenueId(row.removeprefix(QUIET)): quiet_hours(item)
                for row, item in by_id.items()
                if row.startswith(QUIET)
            },
        )


def _request(asked: Sequence[tuple[str, Item]]) -> dict[str, Any]:
    """Return a batch of reads of these keys, each with its table."""
    request: dict[str, Any] = {}
    for table, wanted in asked:
        request.setdefault(table, {"Keys": [], "ConsistentRead": True})["Keys"].append(wanted)
    return request


def _rows(needs: Collection[Need]) -> list[str]:
    """Return the ids of the rows that say something of these needs."""
    addresses = [row_id(need.address) for need in needs if isinstance(need, ToAddress)]
    return addresses + [quiet_id(need.venue_id) for need in needs if isinstance(need, QuietAt)]


def _endpoints(needs: Collection[Need]) -> list[tuple[VenueId, EndpointId]]:
    """Return the endpoints that these needs name."""
    return [(need.venue_id, need.endpoint_id) for need in needs if isinstance(need, AtEndpoint | SignedFor)]


def row_id(address: Address) -> str:
    """Return the id of the row that suppresses an address."""
    return f"{PREFIX}{address.id}"


def quiet_id(venue_id: VenueId) -> str:
    """Return the id of the row that has the quiet hours of a venue."""
    return f"{QUIET}{venue_id}"


def quiet_hours(item: Item) -> QuietHours:
    """Return the quiet hours of a row."""
    begins, ends = (time.fromisoformat(read_text(item[name])) for name in ("bg", "en"))
    return QuietHours(read_text(item["tz"]), begins, ends)
