"""The alerts in DynamoDB: each an item, and one that says which of a condition's is not closed.

Alerts are in one partition, in the order in which they began: there are few, since one that flaps is one. What
names the alert of a condition is written and deleted with it, so of any number of monitors one begins it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pynamodb.expressions.operand import Path

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
    seconds,
    text,
)
from chalicelib.aws.audit_log import write_noted
from chalicelib.aws.failures import ConditionRefused, read, transact, write
from chalicelib.aws.tables import AlertRecord, Tables, connect
from chalicelib.domain.alerting import MOST_LISTED, Alert, Channel, Condition, Word, moment_id
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.ports import Entry

ALERT, CONDITION = "alert", "condition"  # the kinds of items
UNACKNOWLEDGED = "unacknowledged"
KEPT_FOR = timedelta(days=90)  # from an alert's end


class DynamoAlertBook:
    """Implements `alerting.AlertBook`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._name = tables.alert_history
        self._table = connect(AlertRecord, tables.alert_history, client)

    def standing(self) -> Mapping[Condition, Alert]:
        """Return the alerts that are not closed: a query, and one read of all there are."""
        named = read(self._table.query, CONDITION, consistent_read=True)["Items"]
        if not named:
            return {}
        keys = [_key(ALERT, read_text(each["al"])) for each in named]
        asked = {self._name: {"Keys": keys, "ConsistentRead": True}}
        answer = read(self._client.batch_get_item, RequestItems=asked)
        if answer.get("UnprocessedKeys"):
            raise StoreRefused
        alerts = [alert(each) for each in answer["Responses"][self._name]]
        return {each.condition: each for each in alerts}

    def begin(self, alert: Alert) -> bool:
        """Write an alert, unless its condition has one that is not closed."""
        names = {**_key(CONDITION, str(alert.condition)), "al": text(alert.id)}
        return self._together({"Put": self._new(item(alert))}, {"Put": self._new(names)})

    def add(self, alert: Alert, entry: Entry) -> bool:
        """Write an alert that has ended already, with its audit entry."""
        return write_noted(self._client, self._tables, {"Put": self._new(item(alert))}, entry)

    def swap(self, before: Alert, after: Alert, entry: Entry | None = None) -> bool:
        """Replace an alert if the stored version is still `before`'s."""
        put = self._named({"Item": item(replace(after, version=before.version + 1)), **_unchanged(before)})
        if entry is not None:
            return write_noted(self._client, self._tables, {"Put": put}, entry)
        try:
            write(self._client.put_item, **put)
        except ConditionRefused:
            return False
        return True

    def close(self, alert: Alert) -> bool:
        """Let a condition begin anew, now that its alert has ended."""
        put = self._named({"Item": item(replace(alert, version=alert.version + 1)), **_unchanged(alert)})
        gone = {
            "Key": _key(CONDITION, str(alert.condition)),
            "ConditionExpression": "al = :al",
            "ExpressionAttributeValues": {":al": text(alert.id)},
        }
        return self._together({"Put": put}, {"Delete": self._named(gone)})

    def load(self, alert_id: str) -> Alert | None:
        """Return an alert."""
        found = read(self._table.get_item, ALERT, alert_id, consistent_read=True).get("Item")
        return None if found is None else alert(found)

    def since(self, moment: datetime) -> list[Alert]:
        """Return the alerts that began at this moment or later, the latest first."""
        return self._latest(ALERT, None, Path("id") >= text(moment_id(moment)))

    def unacknowledged(self) -> list[Alert]:
        """Return the latest alerts that nobody has acknowledged."""
        return self._latest(UNACKNOWLEDGED, UNACKNOWLEDGED, None)

    def _latest(self, hash_key: str, index: str | None, condition: Any) -> list[Alert]:
        answer = read(
            self._table.query,
            hash_key,
            range_key_condition=condition,
            index_name=index,
            consistent_read=index is None,
            limit=MOST_LISTED,
            scan_index_forward=False,
        )
        return [alert(each) for each in answer["Items"]]

    def _together(self, *parts: Mapping[str, Any]) -> bool:
        try:
            transact(self._client, parts)
        except ConditionRefused as refused:
            codes = {reason["Code"] for reason in refused.answer["CancellationReasons"]}
            if "ConditionalCheckFailed" in codes:
                return False
            raise StoreRefused from refused  # others have it in hand, and do not let go of it
        return True

    def _new(self, made: Mapping[str, Value]) -> dict[str, Any]:
        return self._named({"Item": made, "ConditionExpression": "attribute_not_exists(id)"})

    def _named(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"TableName": self._name, **request}


def _key(kind: str, item_id: str) -> dict[str, Value]:
    return {"kd": text(kind), "id": text(item_id)}


def _unchanged(alert: Alert) -> dict[str, Any]:
    return {
        "ConditionExpression": "vn = :vn",
        "ExpressionAttributeValues": {":vn": number(alert.version)},
    }


def item(alert: Alert) -> dict[str, Value]:
    """Return the record of an alert; it leaves the index of the unacknowledged by having no `un`."""
    told = {
        **_key(ALERT, alert.id),
        "cn": text(str(alert.condition)),
        "ms": text(alert.message),
        "va": document([alert.value, alert.threshold]),
        "cr": moment(alert.created_at),
        "jb": document(list(alert.jobs)),
        "to": document([[channel, word, millis(when)] for (channel, word), when in alert.told.items()]),
        "vn": number(alert.version),
    }
    moments = {"aa": alert.acknowledged_at, "ws": alert.well_since, "en": alert.ended_at}
    told |= {name: moment(when) for name, when in moments.items() if when is not None}
    words = {"ab": alert.acknowledged_by, "ve": alert.venue_id}
    told |= {name: text(word) for name, word in words.items() if word is not None}
    if alert.acknowledged_at is None:
        told["un"] = text(UNACKNOWLEDGED)
    if alert.ended_at is not None:
        told["expires_at"] = seconds(alert.ended_at + KEPT_FOR)
    return told


def alert(record: Item) -> Alert:
    """Return the alert of a record; raises StoreRefused if a newer version has written what is not known."""
    try:
        value, threshold = read_document(record["va"])
        return Alert(
            id=read_text(record["id"]),
            condition=Condition.of(read_text(record["cn"])),
            message=read_text(record["ms"]),
            value=value,
            threshold=threshold,
            created_at=read_moment(record["cr"]),
            jobs=tuple(JobId(each) for each in read_document(record["jb"])),
            venue_id=VenueId(read_text(record["ve"])) if "ve" in record else None,
            told={(Channel(each), Word(word)): at(when) for each, word, when in read_document(record["to"])},
            acknowledged_by=read_text(record["ab"]) if "ab" in record else None,
            acknowledged_at=read_moment(record["aa"]) if "aa" in record else None,
            well_since=read_moment(record["ws"]) if "ws" in record else None,
            ended_at=read_moment(record["en"]) if "en" in record else None,
            version=read_number(record["vn"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreRefused("A record cannot be read by this version.") from error
