"""Venues' quiet hours: a row of the controls' table for each venue that has any."""

from typing import Any

from chalicelib.aws.attributes import Value, text
from chalicelib.aws.audit_log import write_noted
from chalicelib.aws.failures import read
from chalicelib.aws.registry import quiet_hours, quiet_id
from chalicelib.aws.tables import ControlRecord, Tables, connect
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry
from chalicelib.domain.quiet import QuietHours


class DynamoQuietBook:
    """The rows behind `quiet.QuietBook`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._table = connect(ControlRecord, tables.queue_controls, client)

    def load(self, venue_id: VenueId) -> QuietHours | None:
        """Return the quiet hours of a venue."""
        found = read(self._table.get_item, quiet_id(venue_id), consistent_read=True).get("Item")
        return None if found is None else quiet_hours(found)

    def swap(
        self, venue_id: VenueId, before: QuietHours | None, after: QuietHours | None, entry: Entry
    ) -> bool:
        """Replace the quiet hours of a venue if they still are `before`, with the audit entry."""
        key = {"id": text(quiet_id(venue_id))}
        request: dict[str, Any] = {"TableName": self._tables.queue_controls}
        if before is None:
            request["ConditionExpression"] = "attribute_not_exists(id)"
        else:
            request["ConditionExpression"] = "tz = :tz AND bg = :bg AND en = :en"
            request["ExpressionAttributeValues"] = {f":{name}": value for name, value in _told(before).items()}
        if after is None:
            return write_noted(self._client, self._tables, {"Delete": {**request, "Key": key}}, entry)
        return write_noted(self._client, self._tables, {"Put": {**request, "Item": key | _told(after)}}, entry)


def _told(hours: QuietHours) -> dict[str, Value]:
    """Return what a row says of quiet hours; `registry.quiet_hours` reads it."""
    return {
        "tz": text(hours.time_zone),
        "bg": text(f"{hours.begins:%H:%M}"),
        "en": text(f"{hours.ends:%H:%M}"),
    }
