"""The durable schedules in DynamoDB: one partition, since there are hundreds of them and not millions.

So the list is a query of the table in the order of ids, and the sparse index `due` has those that have
something to do, by when. An item is written whole, on the condition that its revision is the one that was read.
"""

from collections.abc import Mapping
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
    text,
)
from chalicelib.aws.audit_log import write_noted
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.tables import ScheduleRecord, Tables, connect
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.ports import Entry
from chalicelib.domain.schedule import Due, LastRun, Missed, Order, Plan, Schedule, ScheduleId, Template

KIND = "schedule"  # the one hash key of the table
WAITING = "waiting"  # the one hash key of the index; absent where nothing waits
UNCHANGED = "rv = :rv"


class DynamoScheduleStore:
    """The schedules behind `ScheduleStore`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._table = connect(ScheduleRecord, tables.schedules, client)

    def add(self, schedule: Schedule, entry: Entry) -> bool:
        """Write a schedule, with its audit entry; False: one of this id exists."""
        put = {"Item": item(schedule), "ConditionExpression": "attribute_not_exists(id)"}
        return self._write({"Put": self._named(put)}, entry)

    def load(self, schedule_id: ScheduleId) -> Schedule | None:
        """Return a schedule."""
        found = read(self._table.get_item, KIND, schedule_id, consistent_read=True).get("Item")
        return None if found is None else schedule(found)

    def swap(self, before: Schedule, after: Schedule, entry: Entry | None = None) -> bool:
        """Replace a schedule if the stored revision is still `before`'s, and say whether it was."""
        put = self._named({"Item": item(after), **_unchanged(before)})
        if entry is not None:
            return self._write({"Put": put}, entry)
        try:
            write(self._client.put_item, **put)
        except ConditionRefused:
            return False
        return True

    def remove(self, schedule: Schedule, entry: Entry) -> bool:
        """Delete a schedule if the stored revision is still this one's, with the audit entry."""
        return self._write({"Delete": self._named({"Key": _key(schedule.id), **_unchanged(schedule)})}, entry)

    def page(self, *, after: ScheduleId | None, limit: int) -> tuple[list[Schedule], ScheduleId | None]:
        """Return schedules in the order of their ids, and the id to go on after."""
        answer = read(
            self._table.query,
            KIND,
            consistent_read=True,
            exclusive_start_key=None if after is None else _key(after),
            limit=limit,
        )
        last = answer.get("LastEvaluatedKey")
        return [schedule(each) for each in answer["Items"]], last and ScheduleId(read_text(last["id"]))

    def due(self, *, until: datetime, after: Due | None, limit: int) -> list[Due]:
        """Return the schedules with something to do by a moment, earliest first."""
        start = None if after is None else _key(after.id) | {"dq": text(WAITING), "wk": moment(after.at)}
        answer = read(
            self._table.query,
            WAITING,
            range_key_condition=Path("wk") <= moment(until),
            index_name="due",
            exclusive_start_key=start,
            limit=limit,
        )
        return [Due(read_moment(each["wk"]), ScheduleId(read_text(each["id"]))) for each in answer["Items"]]

    def _named(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"TableName": self._tables.schedules, **request}

    def _write(self, change: Mapping[str, Any], entry: Entry) -> bool:
        return write_noted(self._client, self._tables, change, entry)


def _key(schedule_id: ScheduleId) -> dict[str, Value]:
    return {"kd": text(KIND), "id": text(schedule_id)}


def _unchanged(schedule: Schedule) -> dict[str, Any]:
    return {
        "ConditionExpression": UNCHANGED,
        "ExpressionAttributeValues": {":rv": number(schedule.revision)},
    }


def item(schedule: Schedule) -> dict[str, Value]:
    """Return the record of a schedule."""
    plan, job = schedule.plan, schedule.plan.job
    told = {
        **_key(schedule.id),
        "na": text(plan.name),
        "cx": text(plan.cron),
        "tz": text(plan.time_zone),
        "jb": document([job.type, job.data, job.options, job.venue_id]),
        "av": {"BOOL": plan.active},
        "ms": text(plan.missed),
        "cr": moment(schedule.created_at),
        "cb": text(schedule.created_by),
        "up": moment(schedule.updated_at),
        "ub": text(schedule.updated_by),
        "vn": number(schedule.version),
        "rv": number(schedule.revision),
    }
    if job.callbacks:
        told["cl"] = document(job.callbacks)
    if schedule.next_run is not None:
        told["nx"] = moment(schedule.next_run)
    if schedule.ordered is not None:
        told["or"] = document([schedule.ordered.key, millis(schedule.ordered.at)])
    if schedule.last_run is not None:
        last = schedule.last_run
        told["lr"] = document([millis(last.at), last.job_id, last.error])
    if schedule.wakes_at is not None:
        told |= {"dq": text(WAITING), "wk": moment(schedule.wakes_at)}
    return told


def schedule(record: Item) -> Schedule:
    """Return the schedule of a record; raises StoreRefused if a newer version has written what is not known."""
    try:
        type_, data, options, venue_id = read_document(record["jb"])[:4]
        callbacks = read_document(record["cl"]) if "cl" in record else {}
        return Schedule(
            id=ScheduleId(read_text(record["id"])),
            plan=Plan(
                name=read_text(record["na"]),
                cron=read_text(record["cx"]),
                time_zone=read_text(record["tz"]),
                job=Template(type_, data, options, VenueId(venue_id), callbacks),
                active=record["av"]["BOOL"],
                missed=Missed(read_text(record["ms"])),
            ),
            created_at=read_moment(record["cr"]),
            created_by=read_text(record["cb"]),
            updated_at=read_moment(record["up"]),
            updated_by=read_text(record["ub"]),
            version=read_number(record["vn"]),
            revision=read_number(record["rv"]),
            next_run=read_moment(record["nx"]) if "nx" in record else None,
            ordered=_order(*read_document(record["or"])[:2]) if "or" in record else None,
            last_run=_last_run(*read_document(record["lr"])[:3]) if "lr" in record else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreRefused("A record cannot be read by this version.") from error


def _order(key: str, when: int) -> Order:
    return Order(key, at(when))


def _last_run(when: int, job_id: str | None, error: str | None) -> LastRun:
    return LastRun(at(when), None if job_id is None else JobId(job_id), error)
