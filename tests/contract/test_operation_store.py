"""The contract of operation.OperationStore, on the fake and on every real backend."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain import operation as moves
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.operation import (
    Action,
    Judgement,
    Mode,
    Operation,
    OperationId,
    Starter,
    Tally,
    Watched,
)
from chalicelib.domain.policies import Role
from chalicelib.domain.search import Place
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.contract.test_schedule_store import a_schedule, an_entry
from tests.fakes import START

MINUTE = timedelta(minutes=1)


def an_operation(operation_id: str = "op_1", **changes: object) -> Operation:
    """Return an operation just begun."""
    made = Operation(
        id=OperationId(operation_id),
        action=Action.RETRY,
        mode=Mode.START,
        asked={"venueId": "venue-1", "state": "failed"},
        starter=Starter("ops", Role.VENUE_ADMIN, VenueId("venue-1")),
        reason="größer ☃",
        created_at=START,
        wakes_at=START,
    )
    return replace(made, **changes)  # type: ignore[arg-type] # the fields are the tests' to know


def on_its_way(operation_id: str = "op_1") -> Operation:
    """Return a redrive of which every field says something."""
    begun = an_operation(
        operation_id, action=Action.REDRIVE, starter=Starter("ops", Role.ADMIN, None), limit=500, rate=5
    )
    tally = Tally(9, 7, {"key_taken": 2}, {"payment.process": 9}, {"EUR": 4200}, 3)
    watched = [Watched(JobId("job_1"), 10), Watched(JobId("job_2"), 20)]
    step = moves.stepping(moves.judged_anew(begun, Judgement(4, 1, 2)), 10)
    went = moves.went_on(step, tally, place=Place(JobId("job_2"), START), watched=watched, now=START + MINUTE)
    return replace(went, tries=2, in_hand=(Watched(JobId("job_3"), 10),))


@pytest.mark.parametrize(
    "operation",
    [
        an_operation(),
        an_operation(mode=Mode.PREVIEW, asked={}, reason=""),
        on_its_way(),
        moves.stop(on_its_way(), "canary_failed", by=None, now=START + MINUTE),
        moves.stop(on_its_way(), "Enough", by="ops", now=START + MINUTE),
    ],
    ids=["new", "preview", "on its way", "stopped itself", "stopped"],
)
def test_an_operation_is_loaded_as_it_was_added(records: Records, operation: Operation) -> None:
    assert records.operations.add(operation, an_entry()) is True
    assert records.operations.load(operation.id) == operation


@pytest.mark.parametrize("unknown", ["op_2", "", "x" * 3000])
def test_an_unknown_operation_is_none(records: Records, unknown: str) -> None:
    assert records.operations.load(OperationId(unknown)) is None


def test_an_operation_and_its_entry_stand_together_and_once(records: Records) -> None:
    assert records.operations.add(an_operation(), an_entry("entry_1")) is True
    assert records.operations.add(an_operation(reason="another"), an_entry("entry_2")) is False
    assert records.operations.load(OperationId("op_1")) == an_operation()
    assert records.audited() == ["entry_1"]


def test_an_operation_is_replaced_only_as_it_was_read(records: Records) -> None:
    first = an_operation()
    records.operations.add(first, an_entry())
    second = moves.put_off(first, START + MINUTE, now=START)
    assert records.operations.swap(first, second) is True
    stopped = moves.stop(first, "late", by="ops", now=START)
    assert records.operations.swap(first, stopped, an_entry("entry_2")) is False
    assert records.operations.load(first.id) == second
    assert records.audited() == ["entry_1"]
    stopped = moves.stop(second, "Enough", by="ops", now=START)
    assert records.operations.swap(second, stopped, an_entry("entry_2")) is True
    assert records.operations.load(first.id) == stopped
    assert records.audited() == ["entry_1", "entry_2"]


def test_an_operation_that_is_not_there_is_not_replaced(records: Records) -> None:
    assert records.operations.swap(an_operation(), on_its_way()) is False
    assert records.operations.load(OperationId("op_1")) is None


def test_operations_are_listed_the_latest_first_and_schedules_are_none_of_them(records: Records) -> None:
    records.schedules.add(a_schedule("sch_1"), an_entry("entry_0"))
    for number in range(1, 6):
        records.operations.add(an_operation(f"op_{number}"), an_entry(f"entry_{number}"))
    first, below = records.operations.page(below=None, limit=3)
    assert [each.id for each in first] == ["op_5", "op_4", "op_3"]
    rest, below = records.operations.page(below=below, limit=3)
    assert [each.id for each in rest] == ["op_2", "op_1"]
    assert below is None
    schedules, _ = records.schedules.page(after=None, limit=10)
    assert [each.id for each in schedules] == ["sch_1"]


def test_what_is_due_is_found_earliest_first_and_what_has_ended_is_not(records: Records) -> None:
    records.schedules.add(a_schedule("sch_1"), an_entry("entry_0"))
    for number, minutes in enumerate((3, 1, 2, 9)):
        operation = an_operation(f"op_{number}", wakes_at=START + minutes * MINUTE)
        records.operations.add(operation, an_entry(f"entry_{number + 1}"))
    ended = an_operation("op_9")
    records.operations.add(ended, an_entry("entry_9"))
    records.operations.swap(ended, moves.stop(ended, "", by="ops", now=START))
    assert records.operations.due(until=START + 3 * MINUTE, limit=10) == ["op_1", "op_2", "op_0"]
    assert records.operations.due(until=START + 3 * MINUTE, limit=1) == ["op_1"]
    assert [each.id for each in records.schedules.due(until=START + 9 * MINUTE, after=None, limit=9)] == [
        "sch_1"
    ]


def test_a_write_whose_reply_is_lost_is_unsure_and_found_applied(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("TransactWriteItems", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.operations.add(an_operation(), an_entry())
    assert dynamo.operations.add(an_operation(), an_entry()) is False
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.operations.swap(an_operation(), on_its_way())
    assert dynamo.operations.load(OperationId("op_1")) == on_its_way()


def test_a_record_of_a_newer_version_is_refused(dynamo: DynamoRecords) -> None:
    dynamo.operations.add(an_operation(), an_entry())
    dynamo.client.update_item(
        TableName=dynamo.tables.schedules,
        Key={"kd": {"S": "operation"}, "id": {"S": "op_1"}},
        UpdateExpression="SET op = :op",
        ExpressionAttributeValues={":op": {"S": '{"action": "explode"}'}},
    )
    with pytest.raises(StoreRefused):
        dynamo.operations.load(OperationId("op_1"))
