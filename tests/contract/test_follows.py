"""A change and the job that follows it, both or neither: on the fake and on every real backend."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.job import Job, JobId
from chalicelib.domain.notice import notice
from chalicelib.domain.outcome import Completed
from chalicelib.domain.policies import TIMING, Tier
from chalicelib.domain.ports import Change, JobStore, Outdated, Saved, SaveResult, Unsure
from chalicelib.service.writing import write
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.contract.lives import added, agenda, an_entry, claimed, moved, read, settled
from tests.contract.sizes import units
from tests.contract.test_items import CHARGED, a_typical_payment
from tests.contract.test_job_store import LARGE
from tests.contract.test_job_store_keys import cancelled
from tests.factories import a_job
from tests.fakes import START
from tests.unit.test_notice import VIA

BUSY = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
NEW = {"url": "https://shop.example/done", "event": "job.completed"}
PAYLOADS = pytest.mark.parametrize("payload", [NEW, LARGE], ids=["small", "large"])


def a_follow(job_id: str = "job_2", **changes: Any) -> Job:
    fields = {"type": "webhook.deliver", "tier": Tier.BACKGROUND, "payload": NEW, **changes}
    return a_job(job_id, **fields)


def ending(store: JobStore, job_id: str = "job_1", *, follow: Job | None = None, **fields: Any) -> Change:
    """Return a change that ends a running job, with a job that follows it."""
    job = added(store, a_job(job_id, **fields))
    running = moved(store, job, claimed(job))
    return Change(running, settled(running), follow or a_follow(f"{job_id}_told"))


def save(store: JobStore, change: Change) -> SaveResult:
    [result] = store.save_many([change])
    return result


def there(store: JobStore, *job_ids: str) -> set[JobId]:
    """Return which of these jobs exist."""
    return set(store.load_batch([JobId(each) for each in job_ids])[0])


@PAYLOADS
def test_follow_is_written_with_the_change(records: Records, payload: dict[str, Any]) -> None:
    follow = a_follow(payload=payload)
    change = ending(records.store, follow=follow)

    assert save(records.store, change) == Saved()
    assert read(records.store, change.after.id) == change.after
    written = records.store.load(follow.id, None)
    assert written == replace(follow, payload_apart=payload is LARGE)
    assert follow.id in agenda(records.store, Tier.BACKGROUND)


@PAYLOADS
def test_operators_change_is_written_with_its_entry_and_its_follow(
    records: Records, payload: dict[str, Any]
) -> None:
    job, follow = added(records.store, a_job()), a_follow(payload=payload)

    result = records.store.save_audited(Change(job, cancelled(job), follow), an_entry(job))

    assert result == Saved()
    assert read(records.store, job.id) == cancelled(job)
    assert records.store.load(follow.id, None) == replace(follow, payload_apart=payload is LARGE)
    assert records.audited() == ["entry_1"]


@PAYLOADS
def test_change_of_another_version_is_outdated_and_nothing_follows_it(
    records: Records, payload: dict[str, Any]
) -> None:
    change = ending(records.store, follow=a_follow(payload=payload))
    other = moved(records.store, change.before, replace(change.before, version=change.before.version + 1))

    assert save(records.store, change) == Outdated(replace(other, payload=None))
    assert there(records.store, "job_1", "job_2", "job_2#payload") == {"job_1"}
    assert read(records.store, JobId("job_1")) == other


def test_operators_change_of_another_version_is_outdated_and_nothing_follows_it(records: Records) -> None:
    job = added(records.store, a_job())
    other = moved(records.store, job, claimed(job))

    result = records.store.save_audited(Change(job, cancelled(job), a_follow()), an_entry(job))

    assert result == Outdated(replace(other, payload=None))
    assert there(records.store, "job_2") == set()
    assert records.audited() == []


def test_change_of_a_job_that_is_not_there_is_outdated_and_nothing_follows_it(records: Records) -> None:
    change = ending(records.store)
    nobody = Change(
        replace(change.before, id=JobId("job_9")), replace(change.after, id=JobId("job_9")), a_follow()
    )

    assert save(records.store, nobody) == Outdated(None)
    assert there(records.store, "job_2", "job_9") == set()


def test_change_whose_follow_is_there_already_is_unsure_and_changes_nothing(records: Records) -> None:
    change = ending(records.store, follow=a_follow())
    standing = added(records.store, a_follow(priority=3))

    assert save(records.store, change) == Unsure()
    assert read(records.store, change.before.id) == change.before
    assert read(records.store, standing.id) == standing


def test_operators_change_whose_follow_is_there_already_is_unsure_and_changes_nothing(records: Records) -> None:
    job, standing = added(records.store, a_job()), added(records.store, a_follow(priority=3))

    result = records.store.save_audited(Change(job, cancelled(job), a_follow()), an_entry(job))

    assert result == Unsure()
    assert read(records.store, job.id) == job
    assert read(records.store, standing.id) == standing
    assert records.audited() == []


def test_operators_change_asked_for_twice_is_followed_once(records: Records) -> None:
    job = added(records.store, a_job())
    change = Change(job, cancelled(job), a_follow())

    assert records.store.save_audited(change, an_entry(job)) == Saved()
    assert records.store.save_audited(change, an_entry(job)) == Saved()
    assert there(records.store, "job_2") == {"job_2"}


def test_each_change_of_a_batch_is_answered_in_its_place(records: Records) -> None:
    changes = [ending(records.store, f"job_{number}") for number in range(1, 6)]
    changes[1], changes[3] = replace(changes[1], follow=None), replace(changes[3], follow=None)
    stale = [replace(each, before=replace(each.before, version=9)) for each in changes[2:4]]

    results = records.store.save_many([*changes[:2], *stale, changes[4]])

    assert [type(result) for result in results] == [Saved, Saved, Outdated, Outdated, Saved]
    told = there(records.store, *(f"job_{number}_told" for number in range(1, 6)))
    assert told == {"job_1_told", "job_5_told"}


def test_change_with_a_follow_lets_a_large_payload_expire_with_its_record(dynamo: DynamoRecords) -> None:
    change = ending(dynamo.store, payload=LARGE)

    assert save(dynamo.store, change) == Saved()
    record, payload = dynamo.item("job_1"), dynamo.item("job_1#payload")
    assert record is not None
    assert payload is not None
    assert payload["expires_at"] == record["expires_at"]


@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
def test_end_that_nobody_answered_for_stands_once_when_it_is_tried_again(
    dynamo: DynamoRecords, wire: Faults, lost: str
) -> None:
    change = ending(dynamo.store, follow=a_follow())
    wire.order("TransactWriteItems", getattr(wire, lost))

    assert write(dynamo.store, [change]) == [Saved()]
    assert read(dynamo.store, change.after.id) == change.after
    assert there(dynamo.store, "job_2") == {"job_2"}
    assert wire.calls.count("TransactWriteItems") == 2


def test_cancellation_that_nobody_answered_for_is_recognised_by_its_entry(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    job = added(dynamo.store, a_job())
    change = Change(job, cancelled(job), a_follow())
    wire.order("TransactWriteItems", wire.lose_reply)

    assert dynamo.store.save_audited(change, an_entry(job)) == Unsure()
    assert dynamo.store.save_audited(change, an_entry(job)) == Saved()
    assert there(dynamo.store, "job_2") == {"job_2"}


def busy(wire: Faults, code: str, part: int = 0) -> Any:
    """Return the answer of a table that others have in hand, or that is asked too much."""
    reasons = [{"Code": code if place == part else "None"} for place in range(2)]
    name = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
    return wire.answer(400, {"__type": name, "message": "cancelled", "CancellationReasons": reasons})


@pytest.mark.parametrize("code", BUSY)
@pytest.mark.parametrize("part", [0, 1], ids=["of the job", "of the follow"])
def test_end_whose_items_are_in_other_hands_is_tried_again(
    dynamo: DynamoRecords, wire: Faults, code: str, part: int
) -> None:
    change = ending(dynamo.store, follow=a_follow())
    wire.order("TransactWriteItems", *[busy(wire, code, part)] * 2)

    assert save(dynamo.store, change) == Saved()
    assert there(dynamo.store, "job_2") == {"job_2"}


@pytest.mark.parametrize("code", BUSY)
def test_end_whose_items_stay_in_other_hands_is_unsure(dynamo: DynamoRecords, wire: Faults, code: str) -> None:
    change = ending(dynamo.store, follow=a_follow())
    wire.order("TransactWriteItems", *[busy(wire, code)] * 3)

    assert save(dynamo.store, change) == Unsure()
    assert there(dynamo.store, "job_2") == set()
    assert save(dynamo.store, change) == Saved()


def test_end_that_is_throttled_for_long_is_unsure(dynamo: DynamoRecords, wire: Faults) -> None:
    change = ending(dynamo.store, follow=a_follow())
    wire.order("TransactWriteItems", *[wire.throttle] * 3)

    assert save(dynamo.store, change) == Unsure()


def test_end_that_fails_within_the_table_is_unsure_and_takes_no_other_with_it(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    one, other = ending(dynamo.store, "job_1"), ending(dynamo.store, "job_2")
    wire.order("TransactWriteItems", wire.fail)

    assert dynamo.store.save_many([one, other]) == [Unsure(), Saved()]


def test_change_that_nothing_follows_takes_no_call_more(dynamo: DynamoRecords, wire: Faults) -> None:
    changes = [ending(dynamo.store, f"job_{number}") for number in range(10)]
    wire.calls.clear()

    dynamo.store.save_many([replace(each, follow=None) for each in changes[:5]])
    assert wire.calls == ["BatchExecuteStatement"]
    dynamo.store.save_many([replace(each, follow=None) for each in changes[5:8]] + changes[8:])
    assert wire.calls[1:] == ["BatchExecuteStatement", "TransactWriteItems", "TransactWriteItems"]


def test_end_of_a_typical_payment_and_its_notice_are_two_items_of_a_kilobyte(dynamo: DynamoRecords) -> None:
    url = "https://orders.example/hooks/payments?order=8f14e45f-ceea-467f-a2d8-1b2c3d4e5f60"
    job = added(dynamo.store, replace(a_typical_payment(), callback_url=url))
    running = moved(dynamo.store, job, claimed(job))
    after = settled(running, CHARGED)
    follow = notice(after, VIA, TIMING)

    assert save(dynamo.store, Change(running, after, follow)) == Saved()
    items = [dynamo.item(each) for each in (job.id, follow.id)]
    # A transaction pays each write twice: four units, where an end that nobody is told of pays one.
    assert [units(item) for item in items if item is not None] == [1, 1]


def test_completed_job_is_told_as_it_stands(records: Records) -> None:
    """A result may be as large as a record: what follows keeps its own apart."""
    job = added(records.store, a_job())
    running = moved(records.store, job, claimed(job))
    result = {"answer": "x" * 20_000}
    after = settled(running, Completed(result))
    follow = a_follow(payload={**NEW, "payload": {"result": result}})

    assert save(records.store, Change(running, after, follow)) == Saved()
    told = records.store.load(follow.id, None)
    assert told is not None
    assert told.payload == follow.payload
    assert told.created_at == START
    assert told.due - told.created_at == timedelta(0)
