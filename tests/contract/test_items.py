"""The records as DynamoDB holds them: what is written, what it costs, what expires, what is in the indexes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from chalicelib.domain import keys
from chalicelib.domain.job import Job, UserId, VenueId
from chalicelib.domain.outcome import Completed, Failure, Retry, Unknown
from chalicelib.domain.policies import EffectClass, Tier
from chalicelib.domain.ports import Change, Outdated, Saved
from tests.contract.backends import DynamoRecords, Faults
from tests.contract.lives import added, an_entry, claimed, looked, moved, read, save, settled
from tests.contract.sizes import size, units
from tests.contract.test_job_store_keys import cancelled, ended, retried
from tests.factories import PAYMENT, a_job, a_key, a_policy
from tests.fakes import START
from tests.template import table

LARGE = {**PAYMENT, "description": "x" * 3000}
LATER = START + timedelta(minutes=6)
KEPT = timedelta(days=400)

# As long as ids get: ours are of 26 characters, Stripe's of 27 at most, venues' and users' UUIDs.
UUID = "8f14e45f-ceea-467f-a2d8-1b2c3d4e5f60"
TYPICAL = {
    "amount": 12500,
    "currency": "EUR",
    "customerId": "cus_QXg1o8vlGmQXg1",
    "eventId": UUID,
    "paymentMethod": "pm_1PgafyB7WZ01zgkWNPiMoX0S",
    "orderId": UUID,
    "description": "2 tickets, Philharmonie, row 7",
}
CHARGED = Completed(
    {
        "paymentIntentId": "pi_3PgafyB7WZ01zgkW1NPiMoX0",
        "chargeId": "ch_3PgafyB7WZ01zgkW1NPiMoX0",
        "status": "succeeded",
        "amount": 12500,
        "currency": "EUR",
    },
    handle="pi_3PgafyB7WZ01zgkW1NPiMoX0",
)


def a_typical_payment() -> Job:
    venue = VenueId(UUID)
    return a_job(
        "01JDF5W8E3K7Q2RZ9XN4T6VBMC",
        venue_id=venue,
        submitted_by=UUID,
        user_id=UserId(UUID),
        payload=TYPICAL,
        key_id=keys.key_id(venue, "payment.process", given="order-1", natural=()),
    )


def seconds(value: datetime) -> str:
    return str(int(value.timestamp()))


def test_typical_payment_takes_a_kilobyte_at_most_all_its_life(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_typical_payment())
    sizes = [size(stored(dynamo, job))]
    running = moved(dynamo.store, job, claimed(job, "01JDF5W8E3K7Q2RZ9XN4T6VBMD"))
    sizes.append(size(stored(dynamo, job)))
    moved(dynamo.store, running, settled(running, CHARGED, policy=a_policy(archive=None)))
    sizes.append(size(stored(dynamo, job)))

    assert max(sizes) <= 1024
    assert sizes == sorted(sizes), "the last is the largest"


def test_payment_that_failed_once_takes_a_kilobyte_at_most(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_typical_payment())
    running = moved(dynamo.store, job, claimed(job, "01JDF5W8E3K7Q2RZ9XN4T6VBMD"))
    failure = Failure("rate_limit", "Stripe asked for a pause.", "req_8QAn4JZQpGZp1x")
    waiting = moved(dynamo.store, running, settled(running, Retry(failure)))
    again = moved(dynamo.store, waiting, claimed(waiting, "01JDF5W8E3K7Q2RZ9XN4T6VBME", now=LATER))
    moved(dynamo.store, again, settled(again, CHARGED, now=LATER))

    assert size(stored(dynamo, job)) <= 1024


class Meter:
    """Counts the write calls of a client, and the units that the service says they took on tables."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.writes: list[tuple[str, float]] = []

    def __enter__(self) -> "Meter":
        # First, for the answer of the first that gives one counts, and the meter asks for totals.
        self._client.meta.events.register_first("provide-client-params.dynamodb", self._ask)
        self._client.meta.events.register("after-call.dynamodb", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.meta.events.unregister("provide-client-params.dynamodb", self._ask)
        self._client.meta.events.unregister("after-call.dynamodb", self._note)

    def _ask(self, params: Mapping[str, Any], **_: Any) -> Mapping[str, Any]:
        return {**params, "ReturnConsumedCapacity": "INDEXES"}

    def _note(self, model: Any, parsed: Mapping[str, Any], **_: Any) -> None:
        capacity = parsed.get("ConsumedCapacity", [])
        used = capacity if isinstance(capacity, list) else [capacity]
        if model.name in ("PutItem", "BatchExecuteStatement", "TransactWriteItems"):
            units = sum(each.get("Table", each)["CapacityUnits"] for each in used)
            self.writes.append((model.name, units))


@pytest.fixture
def meter(on_ministack: DynamoRecords) -> Iterator[Meter]:
    """Return the meter of a client of ministack; DynamoDB Local does not meter PartiQL."""
    with Meter(on_ministack.client) as running:
        yield running


def test_life_of_a_typical_payment_takes_four_write_units(on_ministack: DynamoRecords, meter: Meter) -> None:
    store = on_ministack.store
    job = a_typical_payment()
    store.take_key(a_key(job.key_id, job.id))
    store.add(job)
    running = moved(store, read(store, job.id), claimed(job))
    moved(store, running, settled(running, CHARGED))

    assert meter.writes == [
        ("PutItem", 1.0),
        ("PutItem", 1.0),
        ("BatchExecuteStatement", 1.0),
        ("BatchExecuteStatement", 1.0),
    ]


@pytest.mark.parametrize(("user_id", "most"), [(None, 3), (UserId(UUID), 4)], ids=["no user", "user"])
def test_life_of_a_payment_takes_three_units_on_indexes_and_one_more_if_it_has_a_user(
    dynamo: DynamoRecords, user_id: UserId | None, most: int
) -> None:
    store = dynamo.store
    job = added(store, replace(a_typical_payment(), user_id=user_id))
    items = [{}, stored(dynamo, job)]
    running = moved(store, job, claimed(job))
    items.append(stored(dynamo, job))
    moved(store, running, settled(running, CHARGED))
    items.append(stored(dynamo, job))

    paid = [on_indexes(before, after) for before, after in pairwise(items)]
    assert paid == [most - 1, 0, 1], "accepted, claimed, done"


def test_what_a_job_pays_more_on_indexes_when_it_fails_for_good(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job(attempts=1))
    running = moved(dynamo.store, job, claimed(job))
    before = stored(dynamo, job)
    moved(dynamo.store, running, settled(running, Retry(Failure("timeout", "There was no answer."))))

    assert on_indexes(before, stored(dynamo, job)) == 1 + 3  # off the agenda; found in three ways


def test_batch_of_ten_is_read_claimed_and_finished_in_three_calls(dynamo: DynamoRecords, wire: Faults) -> None:
    store = dynamo.store
    jobs = [added(store, a_job(f"job_{number}")) for number in range(10)]
    wire.calls.clear()

    found, _ = store.load_batch([job.id for job in jobs])
    store.save_many([Change(found[job.id], claimed(job)) for job in jobs])
    store.save_many([Change(claimed(job), settled(claimed(job))) for job in jobs])

    assert wire.calls == ["BatchGetItem", "BatchExecuteStatement", "BatchExecuteStatement"]


def test_large_payload_is_paid_once_on_acceptance(dynamo: DynamoRecords, wire: Faults) -> None:
    job = added(dynamo.store, a_job(payload=LARGE))
    apart = dynamo.item("job_1#payload")
    assert apart is not None

    assert (units(apart), units(stored(dynamo, job))) == (4, 1)
    assert wire.calls.count("PutItem") == 2
    running = moved(dynamo.store, job, claimed(job))
    moved(dynamo.store, running, settled(running, Retry(Failure("x", "y"))))
    assert units(stored(dynamo, job)) == 1


def test_claim_touches_no_index(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job())
    before = stored(dynamo, job)
    moved(dynamo.store, job, claimed(job))
    after = stored(dynamo, job)

    assert on_indexes(before, after) == 0


def test_only_what_differs_is_written(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job())
    # A newer version's fields, and ones that this version knows and this change does not touch.
    strange = {
        "zz": {"M": {"a": {"N": "1"}}},
        "pr": {"N": "9"},
        "ge": {"N": "7"},
        "nl": {"N": "5"},
        "lo": {"N": "4"},
    }
    dynamo.client.put_item(TableName=dynamo.tables.jobs, Item={**stored(dynamo, job), **strange})

    assert save(dynamo.store, job, claimed(job)) == Saved()
    assert {name: stored(dynamo, job)[name] for name in strange} == strange


def test_newer_versions_fields_are_passed_over_and_kept(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job())
    dynamo.client.put_item(
        TableName=dynamo.tables.jobs, Item={**stored(dynamo, job), "zz": {"S": "of a newer version"}}
    )
    running = moved(dynamo.store, job, claimed(job))
    moved(dynamo.store, running, settled(running))

    assert stored(dynamo, job)["zz"] == {"S": "of a newer version"}


def test_open_record_never_expires_and_an_ended_one_does(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job())
    running = moved(dynamo.store, job, claimed(job))
    waiting = moved(dynamo.store, running, settled(running, Retry(Failure("x", "y"))))
    again = moved(dynamo.store, waiting, claimed(waiting, now=LATER))
    assert "expires_at" not in stored(dynamo, job)

    done = moved(dynamo.store, again, settled(again, now=LATER))
    assert done.expires_at == LATER + timedelta(days=90)
    assert stored(dynamo, job)["expires_at"] == {"N": seconds(LATER + timedelta(days=90))}


def test_parked_record_never_expires(dynamo: DynamoRecords) -> None:
    policy = a_policy(EffectClass.BLIND)
    job = added(dynamo.store, a_job())
    running = moved(dynamo.store, job, claimed(job, policy=policy))
    parked = moved(dynamo.store, running, settled(running, Unknown(Failure("x", "y")), policy=policy))

    assert parked.state == "parked"
    assert "expires_at" not in stored(dynamo, job)


def test_record_of_an_archived_type_never_expires(dynamo: DynamoRecords) -> None:
    policy = a_policy(archive="payment_archive")
    job = added(dynamo.store, a_job(payload=LARGE))
    running = moved(dynamo.store, job, claimed(job, policy=policy))
    moved(dynamo.store, running, settled(running, policy=policy))

    assert "expires_at" not in stored(dynamo, job)
    assert payload_end(dynamo) == seconds(job.due + KEPT)


def test_large_payload_is_kept_past_any_delay_and_expires_with_its_record(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job(payload=LARGE, delay=timedelta(days=365)))
    assert payload_end(dynamo) == seconds(START + timedelta(days=365) + KEPT)

    now = job.due
    running = moved(dynamo.store, job, claimed(job, now=now))
    assert payload_end(dynamo) == seconds(START + timedelta(days=365) + KEPT)
    moved(dynamo.store, running, settled(running, now=now))
    assert payload_end(dynamo) == stored(dynamo, job)["expires_at"]["N"] == seconds(now + timedelta(days=90))


def test_large_payload_of_a_job_that_starts_anew_is_kept(dynamo: DynamoRecords) -> None:
    job = ended(dynamo.store, payload=LARGE)
    assert payload_end(dynamo) == seconds(START + timedelta(days=90))

    after = retried(job)
    assert dynamo.store.save_audited(Change(job, after), an_entry(job)) == Saved()
    assert "expires_at" not in stored(dynamo, job)
    assert payload_end(dynamo) == seconds(after.due + KEPT)


def test_large_payload_of_a_cancelled_job_expires_with_its_record(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job(payload=LARGE))

    assert dynamo.store.save_audited(Change(job, cancelled(job)), an_entry(job)) == Saved()
    assert payload_end(dynamo) == seconds(START + timedelta(days=90))


def test_job_whose_payload_has_expired_does_not_start_anew(dynamo: DynamoRecords) -> None:
    job = ended(dynamo.store, payload=LARGE)
    dynamo.client.delete_item(TableName=dynamo.tables.jobs, Key={"id": {"S": "job_1#payload"}})

    assert dynamo.store.save_audited(Change(job, retried(job)), an_entry(job)) == Outdated(None)
    assert read(dynamo.store, job.id) == job
    assert dynamo.store.load(job.id, None) is None
    assert dynamo.store.load_payloads([job]) == {}
    assert dynamo.audited() == []


def test_large_payload_expires_though_the_reply_to_its_jobs_end_was_lost(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    job = added(dynamo.store, a_job(payload=LARGE))
    running = moved(dynamo.store, job, claimed(job))
    wire.order("BatchExecuteStatement", wire.lose_reply)

    save(dynamo.store, running, settled(running))
    save(dynamo.store, running, settled(running))
    assert payload_end(dynamo) == stored(dynamo, job)["expires_at"]["N"]


def test_zombies_end_does_not_let_the_payload_of_a_running_job_expire(dynamo: DynamoRecords) -> None:
    job = added(dynamo.store, a_job(payload=LARGE))
    zombie = moved(dynamo.store, job, claimed(job))
    moved(dynamo.store, zombie, claimed(zombie, "claim_2", now=LATER))

    assert isinstance(save(dynamo.store, zombie, settled(zombie)), Outdated)
    assert payload_end(dynamo) == seconds(job.due + KEPT)


def test_overdue_index_holds_the_missed_by_their_due_time_until_they_end(dynamo: DynamoRecords) -> None:
    jobs = [
        added(dynamo.store, a_job(f"job_{number}", delay=timedelta(minutes=5 - number))) for number in range(3)
    ]
    added(dynamo.store, a_job("mail", tier=Tier.COMMUNICATION))
    assert dynamo.indexed("overdue", "od", "money") == []

    late = START + timedelta(minutes=30)
    assert dynamo.store.save_looks([Change(job, looked(job, now=late)) for job in jobs]) == [Saved()] * 3
    assert dynamo.indexed("overdue", "od", "money") == ["job_2", "job_1", "job_0"]

    running = moved(dynamo.store, jobs[1], claimed(jobs[1], now=late))
    moved(dynamo.store, replace(running, overdue=False), settled(running))
    assert dynamo.indexed("overdue", "od", "money") == ["job_2", "job_0"]


def test_key_outlives_the_longest_delayed_job(dynamo: DynamoRecords) -> None:
    key = a_key(period=timedelta(hours=24))
    dynamo.store.take_key(key)

    answer = dynamo.client.get_item(TableName=dynamo.tables.idempotency_keys, Key={"id": {"S": key.id}})
    assert answer["Item"]["expires_at"] == {"N": seconds(START + timedelta(days=1 + 365 + 400))}


INDEXES = {
    index["IndexName"]: (
        [key["AttributeName"] for key in index["KeySchema"]],
        index["Projection"].get("NonKeyAttributes", []),
    )
    for index in table("JobsTable")["GlobalSecondaryIndexes"]
}


def on_indexes(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Return the units that a write takes on the indexes, by DynamoDB's published rules.

    One for an item that enters an index or leaves it, two for one that moves in it, one for one whose
    projected attributes change there; each is below a kilobyte.
    """
    units = 0
    for keys_, others in INDEXES.values():
        was, now = ([item.get(key) for key in keys_] for item in (before, after))
        if was == now:
            units += None not in now and any(before.get(each) != after.get(each) for each in others)
        else:
            units += (None not in was) + (None not in now)
    return units


def stored(dynamo: DynamoRecords, job: Job) -> dict[str, Any]:
    item = dynamo.item(job.id)
    assert item is not None
    return item


def payload_end(dynamo: DynamoRecords) -> str:
    """Return when the payload of job_1 expires."""
    item = dynamo.item("job_1#payload")
    assert item is not None
    end: str = item["expires_at"]["N"]
    return end
