"""The durable webhook endpoints in DynamoDB: a partition per venue, so that a venue's list is one query.

An item is written whole, on the condition that its revision is the one that was read. It holds the secrets: the
table is encrypted, and nothing of an item is ever logged.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.aws.attributes import (
    Item,
    Value,
    at,
    document,
    millis,
    moment,
    number,
    read_document,
    read_moment,
    read_number,
    read_text,
    text,
)
from chalicelib.aws.audit_log import write_noted
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.tables import EndpointRecord, Tables, connect
from chalicelib.domain.endpoint import Disabled, Endpoint, EndpointId, Secret
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry


class DynamoEndpointStore:
    """Implements `endpoint.EndpointStore`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables, new_secret: Callable[[], str]) -> None:
        self._client = client
        self._tables = tables
        self._table = connect(EndpointRecord, tables.endpoints, client)
        self.new_secret = new_secret

    def add(self, endpoint: Endpoint, entry: Entry | None = None) -> bool:
        """Write an endpoint; False: the venue has one of this id."""
        return self._write(
            "Put", {"Item": item(endpoint), "ConditionExpression": "attribute_not_exists(id)"}, entry
        )

    def load(self, venue_id: VenueId, endpoint_id: EndpointId) -> Endpoint | None:
        """Return an endpoint of a venue."""
        found = read(self._table.get_item, venue_id, endpoint_id, consistent_read=True).get("Item")
        return None if found is None else endpoint(found)

    def swap(self, before: Endpoint, after: Endpoint, entry: Entry | None = None) -> bool:
        """Replace an endpoint if the stored revision is still `before`'s, and say whether it was."""
        return self._write("Put", {"Item": item(after), **_unchanged(before)}, entry)

    def remove(self, endpoint: Endpoint, entry: Entry) -> bool:
        """Delete an endpoint if the stored revision is still this one's, with the audit entry."""
        return self._write(
            "Delete", {"Key": key(endpoint.venue_id, endpoint.id), **_unchanged(endpoint)}, entry
        )

    def page(
        self, venue_id: VenueId, *, after: EndpointId | None, limit: int
    ) -> tuple[list[Endpoint], EndpointId | None]:
        """Return a venue's endpoints in the order of their ids, and the id to go on after."""
        answer = read(
            self._table.query,
            venue_id,
            consistent_read=True,
            exclusive_start_key=None if after is None else key(venue_id, after),
            limit=limit,
        )
        last = answer.get("LastEvaluatedKey")
        return [endpoint(each) for each in answer["Items"]], last and EndpointId(read_text(last["id"]))

    def _write(self, kind: str, request: Mapping[str, Any], entry: Entry | None) -> bool:
        named = {"TableName": self._tables.endpoints, **request}
        if entry is not None:
            return write_noted(self._client, self._tables, {kind: named}, entry)
        try:
            write(self._client.put_item, **named)
        except ConditionRefused:
            return False
        return True


def key(venue_id: VenueId, endpoint_id: EndpointId) -> dict[str, Value]:
    """Return the key of an endpoint's item."""
    return {"ve": text(venue_id), "id": text(endpoint_id)}


def _unchanged(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "ConditionExpression": "rv = :rv",
        "ExpressionAttributeValues": {":rv": number(endpoint.revision)},
    }


def item(endpoint: Endpoint) -> dict[str, Value]:
    """Return the record of an endpoint."""
    told = {
        **key(endpoint.venue_id, endpoint.id),
        "ds": text(endpoint.description),
        "sk": document([[each.value, each.until and millis(each.until)] for each in endpoint.secrets]),
        "cr": moment(endpoint.created_at),
        "cb": text(endpoint.created_by),
        "up": moment(endpoint.updated_at),
        "ub": text(endpoint.updated_by),
        "rv": number(endpoint.revision),
    }
    if endpoint.url is not None:
        told["ur"] = text(endpoint.url)
    if endpoint.disabled is not None:
        told["di"] = text(endpoint.disabled)
    if endpoint.failing_since is not None:
        told["fs"] = moment(endpoint.failing_since)
    return told


def endpoint(record: Item) -> Endpoint:
    """Return the endpoint of a record; raises StoreRefused if a newer version has written what is not known."""
    try:
        return Endpoint(
            id=EndpointId(read_text(record["id"])),
            venue_id=VenueId(read_text(record["ve"])),
            url=read_text(record["ur"]) if "ur" in record else None,
            description=read_text(record["ds"]),
            secrets=tuple(Secret(value, until and at(until)) for value, until in read_document(record["sk"])),
            created_at=read_moment(record["cr"]),
            created_by=read_text(record["cb"]),
            updated_at=read_moment(record["up"]),
            updated_by=read_text(record["ub"]),
            disabled=Disabled(read_text(record["di"])) if "di" in record else None,
            failing_since=read_moment(record["fs"]) if "fs" in record else None,
            revision=read_number(record["rv"]),
        )
    except (ValueError, KeyError, TypeError):
        raise StoreRefused("A record cannot be read by this version.") from None  # it may quote a secret
