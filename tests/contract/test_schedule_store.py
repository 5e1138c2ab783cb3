"""The contract of schedule.ScheduleStore, on the fake and on every real backend."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.ports import Entry
from chalicelib.domain.schedule import Due, LastRun, Missed, Order, Plan, Schedule, ScheduleId, Template
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.factories import PAYMENT
from tests.fakes import START

MINUTE = timedelta(minutes=1)
TOLD = Template("email.send", {}, {}, VenueId("venue-1"), {"callbackUrl": "https://shop.example/done"})
FAR = START + timedelta(days=400)


def a_schedule(schedule_id: str = "sch_1", **changes: object) -> Schedule:
    """Return a schedule just made, due in a minute."""
    job = Template("payment.process", PAYMENT, {"priority": 9}, VenueId("venue-1"))
    plan = Plan("Nightly", "0 2 * * *", "Europe/Berlin", job, active=True, missed=Missed.ONCE)
    made = Schedule(ScheduleId(schedule_id), plan, START, "admin-1", START, "admin-1", next_run=START + MINUTE)
    return replace(made, **changes)  # type: ignore[arg-type] # the fields are the tests' to know


def an_entry(entry_id: str = "entry_1") -> Entry:
    return Entry(
        id=entry_id,
        at=START,
        actor="admin-1",
        action="create_schedule",
        subject="schedule/sch_1",
        venue_id=VenueId("venue-1"),
        reason="",
        before=None,
        after="Nightly",
    )


def moved(schedule: Schedule, **changes: object) -> Schedule:
    """Return the next revision of a schedule."""
    return replace(schedule, revision=schedule.revision + 1, **changes)  # type: ignore[arg-type] # see above


@pytest.mark.parametrize(
    "schedule",
    [
        a_schedule(),
        a_schedule(next_run=None, version=3, revision=9),
        a_schedule(ordered=Order("key 1", START), last_run=LastRun(START, JobId("job_1"))),
        a_schedule(last_run=LastRun(START, None, "validation_failed")),
        a_schedule(plan=replace(a_schedule().plan, job=TOLD)),
        a_schedule(
            plan=Plan(
                name="größer ☃ 𝄞",
                cron="*/5 * * * *",
                time_zone="UTC",
                job=Template("email.send", {"list": [1, 2.5, None, {"a": True}], "": {}}, {}, VenueId("v 1")),
                active=False,
                missed=Missed.SKIP,
            )
        ),
    ],
    ids=["new", "at rest", "ordered", "refused", "told", "odd"],
)
def test_a_schedule_is_loaded_as_it_was_added(records: Records, schedule: Schedule) -> None:
    assert records.schedules.add(schedule, an_entry()) is True
    assert records.schedules.load(schedule.id) == schedule


def test_a_large_payload_is_loaded_as_it_was(records: Records) -> None:
    job = Template("email.send", {"text": "x" * 250_000}, {}, VenueId("venue-1"))
    schedule = a_schedule()
    schedule = replace(schedule, plan=replace(schedule.plan, job=job))
    records.schedules.add(schedule, an_entry())
    assert records.schedules.load(schedule.id) == schedule


def test_an_unknown_id_is_not_there(records: Records) -> None:
    assert records.schedules.load(ScheduleId("sch_9")) is None


def test_a_second_add_of_an_id_changes_nothing_and_leaves_no_entry(records: Records) -> None:
    records.schedules.add(a_schedule(), an_entry())
    assert records.schedules.add(a_schedule(next_run=None), an_entry("entry_2")) is False
    assert records.schedules.load(ScheduleId("sch_1")) == a_schedule()
    assert records.audited() == ["entry_1"]


@pytest.mark.parametrize("entry", [None, an_entry("entry_2")], ids=["alone", "audited"])
def test_a_swap_stands_if_nobody_was_faster(records: Records, entry: Entry | None) -> None:
    before = a_schedule()
    records.schedules.add(before, an_entry())
    after = moved(before, next_run=None, last_run=LastRun(START, JobId("job_1")))
    assert records.schedules.swap(before, after, entry) is True
    assert records.schedules.load(before.id) == after
    assert records.audited() == ["entry_1", *([] if entry is None else ["entry_2"])]


@pytest.mark.parametrize("entry", [None, an_entry("entry_2")], ids=["alone", "audited"])
def test_a_swap_of_an_old_revision_changes_nothing_and_leaves_no_entry(
    records: Records, entry: Entry | None
) -> None:
    before = a_schedule()
    records.schedules.add(before, an_entry())
    faster = moved(before, next_run=START + 2 * MINUTE)
    records.schedules.swap(before, faster)
    assert records.schedules.swap(before, moved(before, next_run=None), entry) is False
    assert records.schedules.load(before.id) == faster
    assert records.audited() == ["entry_1"]


@pytest.mark.parametrize("entry", [None, an_entry("entry_2")], ids=["alone", "audited"])
def test_a_swap_does_not_bring_back_what_was_deleted(records: Records, entry: Entry | None) -> None:
    before = a_schedule()
    assert records.schedules.swap(before, moved(before), entry) is False
    assert records.schedules.load(before.id) is None
    assert records.audited() == []


def test_what_is_removed_is_gone_with_an_entry(records: Records) -> None:
    records.schedules.add(a_schedule(), an_entry())
    assert records.schedules.remove(a_schedule(), an_entry("entry_2")) is True
    assert records.schedules.load(ScheduleId("sch_1")) is None
    assert records.schedules.due(until=FAR, after=None, limit=10) == []
    assert records.audited() == ["entry_1", "entry_2"]


def test_what_has_changed_or_is_gone_is_not_removed(records: Records) -> None:
    before = a_schedule()
    records.schedules.add(before, an_entry())
    records.schedules.swap(before, moved(before))
    assert records.schedules.remove(before, an_entry("entry_2")) is False
    assert records.schedules.load(before.id) == moved(before)
    assert records.schedules.remove(a_schedule("sch_9"), an_entry("entry_3")) is False
    assert records.audited() == ["entry_1"]


def test_pages_hold_every_schedule_once_in_the_order_of_their_ids(records: Records) -> None:
    ids = [f"sch_{number:02d}" for number in (3, 1, 4, 0, 2)]
    for number, each in enumerate(ids):
        records.schedules.add(a_schedule(each), an_entry(f"entry_{number}"))
    found, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page, after = records.schedules.page(after=after, limit=2)
        assert len(page) <= 2
        found += [each.id for each in page]
        pages += 1
    assert found == sorted(ids)
    assert records.schedules.page(after=ScheduleId("sch_99"), limit=2) == ([], None)


def test_a_page_of_large_schedules_is_short_and_the_rest_follows(records: Records) -> None:
    schedule = a_schedule()
    job = Template("email.send", {"text": "x" * 200_000}, {}, VenueId("venue-1"))
    plan = replace(schedule.plan, job=job)
    for number in range(8):
        made = a_schedule(f"sch_{number}", plan=plan)
        records.schedules.add(made, an_entry(f"entry_{number}"))
    found: list[Schedule] = []
    page, after = records.schedules.page(after=None, limit=100)
    found += page
    while after is not None:
        page, after = records.schedules.page(after=after, limit=100)
        found += page
    assert [each.id for each in found] == [f"sch_{number}" for number in range(8)]


def test_what_is_due_comes_earliest_first_page_by_page(records: Records) -> None:
    later, sooner = START + 2 * MINUTE, START + MINUTE
    due = {"sch_1": later, "sch_2": sooner, "sch_3": sooner, "sch_4": START + 3 * MINUTE, "sch_5": None}
    for number, (each, at) in enumerate(due.items()):
        records.schedules.add(a_schedule(each, next_run=at), an_entry(f"entry_{number}"))
    everything = [("sch_2", sooner), ("sch_3", sooner), ("sch_1", later)]
    found: list[Due] = []
    after: Due | None = None
    while page := records.schedules.due(until=later, after=after, limit=2):
        found += page
        after = page[-1]
    assert sorted(found, key=lambda each: (each.at, each.id)) == [
        Due(at, ScheduleId(each)) for each, at in everything
    ]
    assert [each.at for each in found] == sorted(each.at for each in found)


def test_an_order_makes_due_what_is_not_active_and_its_end_takes_it_away(records: Records) -> None:
    schedule = a_schedule(next_run=None)
    records.schedules.add(schedule, an_entry())
    ordered = moved(schedule, ordered=Order("key 1", START))
    records.schedules.swap(schedule, ordered)
    assert records.schedules.due(until=START, after=None, limit=10) == [Due(START, schedule.id)]
    records.schedules.swap(ordered, moved(ordered, ordered=None))
    assert records.schedules.due(until=FAR, after=None, limit=10) == []


def test_a_lost_reply_is_unsure_and_the_same_swap_is_then_refused(dynamo: DynamoRecords, wire: Faults) -> None:
    before = a_schedule()
    dynamo.schedules.add(before, an_entry())
    after = moved(before, next_run=None)
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.schedules.swap(before, after)
    assert dynamo.schedules.swap(before, after) is False
    assert dynamo.schedules.load(before.id) == after


def test_a_lost_reply_of_an_audited_write_is_unsure(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("TransactWriteItems", wire.lose_reply, wire.lose_request)
    with pytest.raises(StoreUnsure):
        dynamo.schedules.add(a_schedule(), an_entry())
    with pytest.raises(StoreUnsure):
        dynamo.schedules.remove(a_schedule(), an_entry("entry_2"))
    assert dynamo.schedules.load(ScheduleId("sch_1")) == a_schedule()
    assert dynamo.audited() == ["entry_1"]


def test_an_item_that_another_transaction_holds_is_refused_and_not_called_changed(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
    body = {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "message": "Transaction cancelled",
        "CancellationReasons": reasons,
    }
    wire.order("TransactWriteItems", wire.answer(400, body))
    with pytest.raises(StoreRefused):
        dynamo.schedules.add(a_schedule(), an_entry())


def test_a_record_of_a_newer_version_is_refused_and_not_misread(dynamo: DynamoRecords) -> None:
    dynamo.schedules.add(a_schedule(), an_entry())
    dynamo.client.update_item(
        TableName=dynamo.tables.schedules,
        Key={"kd": {"S": "schedule"}, "id": {"S": "sch_1"}},
        UpdateExpression="SET ms = :ms",
        ExpressionAttributeValues={":ms": {"S": "always"}},
    )
    with pytest.raises(StoreRefused):
        dynamo.schedules.load(ScheduleId("sch_1"))
