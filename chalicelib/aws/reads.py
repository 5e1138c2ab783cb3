"""Reading many items in one call, of one table or of several."""

from collections.abc import Mapping
from typing import Any

from chalicelib.aws.attributes import Item
from chalicelib.aws.failures import read
from chalicelib.domain.errors import StoreRefused

READS = 100  # items that DynamoDB takes in one batch of reads
ROUNDS = 6  # of a read whose answer is cut: 16 MB each, or a throttled table


def read_items(client: Any, wanted: Mapping[str, Any]) -> dict[str, list[Item]]:
    """Return the items that exist of those wanted, by table; at most READS of them. Raises StoreRefused."""
    found: dict[str, list[Item]] = {table: [] for table in wanted}
    for _ in range(ROUNDS):
        answer = read(client.batch_get_item, RequestItems=wanted)
        for table, items in answer["Responses"].items():
            found[table].extend(items)
        wanted = answer.get("UnprocessedKeys") or {}
        if not wanted:
            return found
    raise StoreRefused
