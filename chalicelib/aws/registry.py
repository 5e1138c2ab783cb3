"""What jobs need of the store: suppressed addresses, rows of the controls' table."""

from collections.abc import Collection
from typing import Any

from chalicelib.aws.attributes import read_text, text
from chalicelib.aws.reads import READS, read_items
from chalicelib.aws.tables import Tables
from chalicelib.domain.standing import Address, Need, Standing, ToAddress, read_address

PREFIX = "suppressed#"


class DynamoRegistry:
    """The facts behind `standing.Registry`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables

    def look_up(self, needs: Collection[Need]) -> Standing:
        """Return what stands of these needs; an address that twenty jobs name is read once."""
        table = self._tables.queue_controls
        asked = [
            {"id": text(row_id(address))}
            for address in dict.fromkeys(each.address for each in needs if isinstance(each, ToAddress))
        ]
        suppressed: set[Address] = set()
        for start in range(0, len(asked), READS):
            wanted = {table: {"Keys": asked[start : start + READS], "ConsistentRead": True}}
            items = read_items(self._client, wanted)[table]
            suppressed |= {read_address(read_text(each["id"]).removeprefix(PREFIX)) for each in items}
        return Standing(suppressed=frozenset(suppressed))


def row_id(address: Address) -> str:
    """Return the id of the row that suppresses an address."""
    return f"{PREFIX}{address.id}"
