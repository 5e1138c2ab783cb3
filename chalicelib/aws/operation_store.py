"""The durable operations in DynamoDB: a partition of their own in the table of schedules.

Like a schedule an operation is a record that a clock wakes, so the table's keys and its sparse index `due`
serve both. There are few of them and they are small, so an item is written whole, on the condition that its
revision is the one that was read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
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
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.records import TTL
from chalicelib.aws.tables import ScheduleRecord, Tables, connect
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.operation import (
    Action,
    Judgement,
    Mode,
    Operation,
    OperationId,
    Starter,
    Status,
    Tally,
    Watched,
)
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Entry
from chalicelib.domain.search import Place

KIND = "operation"  # the hash key of their partition
WAITING = "operations"  # the hash key of the index; absent once an operation has ended


class DynamoOperationStore:
    """The operations behind `operation.OperationStore`; the client must not retry by itself."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._table = connect(ScheduleRecord, tables.schedules, client)

    def add(self, operation: Operation, entry: Entry) -> bool:
        """Write an operation, with its audit entry; False: one of this id exists."""
        return self._write({"Item": item(operation), "ConditionExpression": "attribute_not_exists(id)"}, entry)

    def load(self, operation_id: OperationId) -> Operation | None:
        """Return an operation."""
        if not 0 < len(operation_id) <= 64:  # DynamoDB refuses to look for an empty or a very long one
            return None
        found = read(self._table.get_item, KIND, operation_id, consistent_read=True).get("Item")
        return None if found is None else operation(found)

    def swap(self, before: Operation, after: Operation, entry: Entry | None = None) -> bool:
        """Replace an operation if the stored revision is still `before`'s, and say whether it was."""
        put = {
            "Item": item(after),
            "ConditionExpression": "rv = :rv",
            "ExpressionAttributeValues": {":rv": number(before.revision)},
        }
        return self._write(put, entry)

    def page(self, *, below: OperationId | None, limit: int) -> tuple[list[Operation], OperationId | None]:
        """Return operations, the latest first, and the id to go on below."""
        answer = read(
            self._table.query,
            KIND,
            exclusive_start_key=None if below is None else {"kd": text(KIND), "id": text(below)},
            limit=limit,
            scan_index_forward=False,
        )
        last = answer.get("LastEvaluatedKey")
        return [operation(each) for each in answer["Items"]], last and OperationId(read_text(last["id"]))

    def due(self, *, until: datetime, limit: int) -> list[OperationId]:
        """Return the operations that are to be gone on with by a moment, earliest first."""
        answer = read(
            self._table.query,
            WAITING,
            range_key_condition=Path("wk") <= moment(until),
            index_name="due",
            limit=limit,
        )
        return [OperationId(read_text(each["id"])) for each in answer["Items"]]

    def _write(self, put: Mapping[str, Any], entry: Entry | None) -> bool:
        """Put an item, with its audit entry if there is one; say whether its condition held."""
        named = {"TableName": self._tables.schedules, **put}
        if entry is not None:
            return write_noted(self._client, self._tables, {"Put": named}, entry)
        try:
            write(self._client.put_item, **named)
        except ConditionRefused:
            return False
        return True


def item(operation: Operation) -> dict[str, Value]:
    """Return the record of an operation."""
    place = operation.place
    told: dict[str, Any] = {
        "action": operation.action,
        "mode": operation.mode,
        "asked": dict(operation.asked),
        "starter": [operation.starter.sub, operation.starter.role, operation.starter.venue_id],
        "reason": operation.reason,
        "status": operation.status,
        "limit": operation.limit,
        "rate": operation.rate,
        "place": None if place is None else [place.id, _millis(place.next_look)],
        "walked": operation.walked,
        "tries": operation.tries,
        "tally": asdict(operation.tally),
        "step": [operation.step, operation.step_left],
        "watched": _written(operation.watched),
        "in_hand": _written(operation.in_hand),
        "judged": asdict(operation.judged),
        "moments": [
            _millis(each)
            for each in (
                operation.released_at,
                operation.updated_at,
                operation.finished_at,
                operation.expires_at,
            )
        ],
        "why": operation.why,
        "stopped_by": operation.stopped_by,
    }
    written: dict[str, Value] = {
        "kd": text(KIND),
        "id": text(operation.id),
        "cr": moment(operation.created_at),
        "rv": number(operation.revision),
        "op": document(told),
    }
    if operation.wakes_at is not None:
        written |= {"dq": text(WAITING), "wk": moment(operation.wakes_at)}
    if operation.expires_at is not None:
        written[TTL] = seconds(operation.expires_at)
    return written


def operation(record: Item) -> Operation:
    """Return the operation of a record; raises StoreRefused if a newer version has written it."""
    try:
        told = read_document(record["op"])
        sub, role, venue_id = told["starter"][:3]
        released_at, updated_at, finished_at, expires_at = map(_moment, told["moments"][:4])
        return Operation(
            id=OperationId(read_text(record["id"])),
            action=Action(told["action"]),
            mode=Mode(told["mode"]),
            asked=told["asked"],
            starter=Starter(sub, Role(role), None if venue_id is None else VenueId(venue_id)),
            reason=told["reason"],
            created_at=read_moment(record["cr"]),
            wakes_at=read_moment(record["wk"]) if "wk" in record else None,
            revision=read_number(record["rv"]),
            status=Status(told["status"]),
            limit=told["limit"],
            rate=told["rate"],
            place=None if told["place"] is None else Place(JobId(told["place"][0]), _moment(told["place"][1])),
            walked=told["walked"],
            tries=told["tries"],
            tally=Tally(**told["tally"]),
            step=told["step"][0],
            step_left=told["step"][1],
            watched=_watched(told["watched"]),
            in_hand=_watched(told.get("in_hand", ())),
            judged=Judgement(**told["judged"]),
            released_at=released_at,
            updated_at=updated_at,
            finished_at=finished_at,
            expires_at=expires_at,
            why=told["why"],
            stopped_by=told["stopped_by"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreRefused("A record cannot be read by this version.") from error


def _written(watched: Sequence[Watched]) -> list[list[Any]]:
    return [[each.id, each.attempts] for each in watched]


def _watched(written: Sequence[Sequence[Any]]) -> tuple[Watched, ...]:
    return tuple(Watched(JobId(each[0]), each[1]) for each in written)


def _millis(value: datetime | None) -> int | None:
    return None if value is None else millis(value)


def _moment(value: int | None) -> datetime | None:
    return None if value is None else at(value)
