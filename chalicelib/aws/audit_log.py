"""The audit log in DynamoDB: a partition per day, an index by what was acted on, and how entries get there."""

from collections.abc import Mapping
from datetime import UTC, date
from typing import Any

from pynamodb.expressions.operand import Path

from chalicelib.aws.attributes import Item, Value, moment, read_moment, read_text, text
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.tables import AuditRecord, Tables, connect
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry


class DynamoAuditLog:
    """The entries behind `domain.audit.AuditLog`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._table = connect(AuditRecord, tables.audit_log, client)

    def of_day(self, day: date, *, below: str | None, limit: int) -> list[Entry]:
        """Return the entries of a day in UTC, the latest first."""
        return self._query(day.isoformat(), below, limit, None)

    def of_subject(self, subject: str, *, below: str | None, limit: int) -> list[Entry]:
        """Return the entries about a subject, the latest first."""
        return self._query(subject, below, limit, "subject")

    def _query(self, hash_key: str, below: str | None, limit: int, index: str | None) -> list[Entry]:
        answer = read(
            self._table.query,
            hash_key,
            range_key_condition=None if below is None else Path("id") < text(below),
            index_name=index,
            consistent_read=index is None,
            limit=limit,
            scan_index_forward=False,
        )
        return [entry(item) for item in answer["Items"]]


def noted(tables: Tables, entry: Entry) -> dict[str, Any]:
    """Return the part of a transaction that writes an audit entry, once."""
    put = {
        "TableName": tables.audit_log,
        "Item": entry_item(entry),
        "ConditionExpression": "attribute_not_exists(id)",
    }
    return {"Put": put}


def write_noted(client: Any, tables: Tables, change: Mapping[str, Any], entry: Entry) -> bool:
    """Make a change and write its audit entry, both or neither; say whether the change's condition held.

    Raises StoreRefused or StoreUnsure.
    """
    try:
        write(client.transact_write_items, TransactItems=[change, noted(tables, entry)])
    except ConditionRefused as refused:
        if refused.answer["CancellationReasons"][0]["Code"] == "ConditionalCheckFailed":
            return False
        raise StoreRefused from refused  # another transaction has one of them in hand at this moment
    return True


def entry_item(entry: Entry) -> dict[str, Value]:
    """Return the record of an audit entry; its day, in UTC, is the partition."""
    item = {
        "day": text(entry.at.astimezone(UTC).date().isoformat()),
        "id": text(entry.id),
        "at": moment(entry.at),
        "ac": text(entry.actor),
        "do": text(entry.action),
        "sj": text(entry.subject),
        "re": text(entry.reason),
    }
    told = {"ve": entry.venue_id, "bf": entry.before, "af": entry.after}
    return item | {name: text(value) for name, value in told.items() if value is not None}


def entry(item: Item) -> Entry:
    """Return the audit entry of a record."""
    return Entry(
        id=read_text(item["id"]),
        at=read_moment(item["at"]),
        actor=read_text(item["ac"]),
        action=read_text(item["do"]),
        subject=read_text(item["sj"]),
        venue_id=VenueId(read_text(item["ve"])) if "ve" in item else None,
        reason=read_text(item["re"]),
        before=read_text(item["bf"]) if "bf" in item else None,
        after=read_text(item["af"]) if "af" in item else None,
    )
