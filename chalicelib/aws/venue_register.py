"""The register of venues: a row for each that has had a job, which stands before the first of its records."""

from collections.abc import Iterable
from typing import Any

from chalicelib.aws.attributes import text
from chalicelib.aws.failures import ConditionRefused, write
from chalicelib.aws.tables import Tables
from chalicelib.domain.errors import StoreError, StoreRefused
from chalicelib.domain.job import VenueId

VENUES = "venues"


class VenueRegister:
    """Writes a venue's row once per container; of one that it knows it makes no call."""

    def __init__(self, client: Any, tables: Tables, known: Iterable[VenueId] = ()) -> None:
        """`known` are in it already, surely."""
        self._client = client
        self._table = tables.queue_metrics
        self._known = set(known)

    def enter(self, venue_id: VenueId) -> None:
        """Have the venue in the register. Raises StoreRefused: then nothing may be written of it."""
        if venue_id in self._known:
            return
        try:
            write(
                self._client.put_item,
                TableName=self._table,
                Item={"pk": text(VENUES), "sk": text(venue_id)},
                ConditionExpression="attribute_not_exists(pk)",
            )
        except ConditionRefused:
            pass
        except (
            StoreError
        ) as error:  # unsure, too: what was not told does no harm, and the record is not written
            raise StoreRefused from error
        self._known.add(venue_id)

    def entered(self, venue_ids: Iterable[VenueId]) -> set[VenueId]:
        """Have venues in the register and return those that surely are."""
        surely: set[VenueId] = set()
        for venue_id in set(venue_ids):
            try:
                self.enter(venue_id)
            except StoreRefused:
                continue
            surely.add(venue_id)
        return surely
