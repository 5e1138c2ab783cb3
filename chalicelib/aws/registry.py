"""What jobs need of the store: suppressed addresses and venues' quiet hours, rows of the controls' table."""

from collections.abc import Collection
from datetime import time
from typing import Any

from chalicelib.aws.attributes import Item, read_text, text
from chalicelib.aws.reads import READS, read_items
from chalicelib.aws.tables import Tables
from chalicelib.domain.job import VenueId
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.standing import Address, Need, QuietAt, Standing, ToAddress, read_address

PREFIX = "suppressed#"
QUIET = "quiet#"


class DynamoRegistry:
    """The facts behind `standing.Registry`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def look_up(self, needs: Collection[Need]) -> Standing:
        """Return what stands of these needs; a row that twenty jobs need is read once."""
        asked = [{"id": text(each)} for each in dict.fromkeys(_rows(needs))]
        found: dict[str, Item] = {}
        for start in range(0, len(asked), READS):
            wanted = {
                self._tables.queue_controls: {"Keys": asked[start : start + READS], "ConsistentRead": True}
            }
            items = read_items(self._client, wanted)[self._tables.queue_controls]
            found |= {read_text(item["id"]): item for item in items}
        return Standing(
            suppressed=frozenset(
                read_address(row.removeprefix(PREFIX)) for row in found if row.startswith(PREFIX)
            ),
            quiet_hours={
                VenueId(row.removeprefix(QUIET)): quiet_hours(item)
                for row, item in found.items()
                if row.startswith(QUIET)
            },
        )


def _rows(needs: Collection[Need]) -> list[str]:
    """Return the ids of the rows that say something of these needs."""
    addresses = [row_id(need.address) for need in needs if isinstance(need, ToAddress)]
    return addresses + [quiet_id(need.venue_id) for need in needs if isinstance(need, QuietAt)]


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
