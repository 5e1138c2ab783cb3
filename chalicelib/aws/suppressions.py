"""The suppressed addresses: rows of the controls' table, without an end, and an index of them by channel."""

from collections.abc import Mapping
from typing import Any

from chalicelib.aws.attributes import Item, Value, moment, read_moment, read_text, text
from chalicelib.aws.audit_log import write_noted
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.registry import PREFIX, row_id
from chalicelib.aws.tables import ControlRecord, Tables, connect
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Entry
from chalicelib.domain.standing import Address, Channel, read_address
from chalicelib.domain.suppression import Cause, Place, Suppression


class DynamoSuppressions:
    """The rows behind `suppression.Suppressions`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._table = connect(ControlRecord, tables.queue_controls, client)

    def add(self, suppression: Suppression) -> bool:
        """Suppress an address, and say whether it was not yet."""
        put = {"Item": item(suppression), "ConditionExpression": "attribute_not_exists(id)"}
        try:
            write(self._client.put_item, TableName=self._tables.queue_controls, **put)
        except ConditionRefused:
            return False
        return True

    def load(self, address: Address) -> Suppression | None:
        """Return what stands of an address."""
        found = read(self._table.get_item, row_id(address), consistent_read=True).get("Item")
        return None if found is None else suppression(found)

    def lift(self, suppression: Suppression, entry: Entry) -> bool:
        """Lift a suppression if it still is this one, with the audit entry."""
        delete = {
            "TableName": self._tables.queue_controls,
            "Key": {"id": text(row_id(suppression.address))},
            "ConditionExpression": "sa = :sa AND ca = :ca",
            "ExpressionAttributeValues": {":sa": moment(suppression.since), ":ca": text(suppression.cause)},
        }
        return write_noted(self._client, self._tables, {"Delete": delete}, entry)

    def page(self, channel: Channel, *, after: Place | None, limit: int) -> list[Suppression]:
        """Return suppressions of a channel, the latest first."""
        answer = read(
            self._table.query,
            channel,
            index_name="suppressed",
            exclusive_start_key=None if after is None else _start(channel, after),
            limit=limit,
            scan_index_forward=False,
        )
        return [suppression(each) for each in answer["Items"]]


def _start(channel: Channel, after: Place) -> dict[str, Value]:
    return {"id": text(row_id(after.address)), "sc": text(channel), "sa": moment(after.since)}


def item(suppression: Suppression) -> Mapping[str, Value]:
    """Return the row of a suppression."""
    told = {
        "id": text(row_id(suppression.address)),
        "sc": text(suppression.address.channel),
        "sa": moment(suppression.since),
        "ca": text(suppression.cause),
    }
    told |= {"dt": text(suppression.detail)} if suppression.detail else {}
    return told | ({"jb": text(suppression.job_id)} if suppression.job_id else {})


def suppression(record: Item) -> Suppression:
    """Return the suppression of a row; raises StoreRefused if a newer version has written what is not known."""
    try:
        return Suppression(
            address=read_address(read_text(record["id"]).removeprefix(PREFIX)),
            cause=Cause(read_text(record["ca"])),
            since=read_moment(record["sa"]),
            detail=read_text(record["dt"]) if "dt" in record else None,
            job_id=JobId(read_text(record["jb"])) if "jb" in record else None,
        )
    except (ValueError, KeyError) as error:
        raise StoreRefused("A record cannot be read by this version.") from error
