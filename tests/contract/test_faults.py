"""What the adapters make of a broken wire: only what surely was not applied is called refused."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import timedelta

import pytest

from chalicelib.aws.job_queue import SqsInbox, SqsJobQueue
from chalicelib.aws.job_store import DynamoJobStore
from chalicelib.aws.leases import DynamoLeases
from chalicelib.aws.tables import Tables
from chalicelib.domain.controls import Controls
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import JobId, KeyId, same_write
from chalicelib.domain.message import decode
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Change, Message, Outdated, Saved, Unsure
from tests.contract.backends import DynamoRecords, Faults, SqsQueues, client
from tests.contract.lives import a_control_entry, added, an_entry, claimed, looked, read, save
from tests.contract.test_job_store_keys import cancelled
from tests.factories import VENUE, a_job, a_key
from tests.fakes import START

LATER = START + timedelta(minutes=6)
GONE = "http://127.0.0.1:1"  # nobody listens there


def test_claim_whose_reply_is_lost_is_unsure_and_recognised_when_tried_again(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    before = added(dynamo.store, a_job())
    after = claimed(before)
    wire.order("BatchExecuteStatement", wire.lose_reply)

    assert save(dynamo.store, before, after) == Unsure()
    again = save(dynamo.store, before, after)

    assert read(dynamo.store, before.id) == after
    assert isinstance(again, Outdated)
    assert again.current is not None
    assert same_write(after, again.current)


def test_claim_that_never_arrives_is_unsure_and_stands_when_tried_again(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    before = added(dynamo.store, a_job())
    wire.order("BatchExecuteStatement", wire.lose_request)

    assert save(dynamo.store, before, claimed(before)) == Unsure()
    assert read(dynamo.store, before.id) == before
    assert save(dynamo.store, before, claimed(before)) == Saved()


def test_lost_reply_leaves_only_its_own_call_unsure(dynamo: DynamoRecords, wire: Faults) -> None:
    jobs = [added(dynamo.store, a_job(f"job_{number}")) for number in range(30)]
    wire.order("BatchExecuteStatement", wire.lose_reply)

    results = dynamo.store.save_many([Change(job, claimed(job)) for job in jobs])

    assert results == [Unsure()] * 25 + [Saved()] * 5


def test_look_whose_reply_is_lost_is_unsure(dynamo: DynamoRecords, wire: Faults) -> None:
    job = added(dynamo.store, a_job())
    wire.order("BatchExecuteStatement", wire.lose_reply)

    assert dynamo.store.save_looks([Change(job, looked(job, now=LATER))]) == [Unsure()]


def test_throttled_batch_is_tried_again(dynamo: DynamoRecords, wire: Faults) -> None:
    job = added(dynamo.store, a_job())
    wire.order("BatchExecuteStatement", wire.throttle, wire.throttle)

    assert save(dynamo.store, job, claimed(job)) == Saved()


def test_throttled_statement_is_unsure_and_the_others_stand(dynamo: DynamoRecords, wire: Faults) -> None:
    job = added(dynamo.store, a_job())
    responses = [{"TableName": "t"}, {"Error": {"Code": "ThrottlingError", "Message": "too much"}}]
    wire.order("BatchExecuteStatement", wire.answer(200, {"Responses": responses}))

    assert dynamo.store.save_many([Change(job, claimed(job))] * 2) == [Saved(), Unsure()]


WRITES: Mapping[str, tuple[str, Callable[[DynamoJobStore], object]]] = {
    "take_key": ("PutItem", lambda store: store.take_key(a_key())),
    "add": ("PutItem", lambda store: store.add(a_job())),
    "add large": ("PutItem", lambda store: store.add(a_job(payload={"text": "x" * 5000}))),
    "save_controls": (
        "TransactWriteItems",
        lambda store: store.save_controls(Controls(version=1), a_control_entry()),
    ),
}
READS: Mapping[str, tuple[str, Callable[[DynamoJobStore], object]]] = {
    "load": ("GetItem", lambda store: store.load(JobId("job_1"), None)),
    "load_key": ("GetItem", lambda store: store.load_key(KeyId("key_1"))),
    "load_controls": ("GetItem", lambda store: store.load_controls()),
    "load_batch": ("BatchGetItem", lambda store: store.load_batch([JobId("job_1")])),
    "load_payloads": (
        "BatchGetItem",
        lambda store: store.load_payloads([replace(a_job(), payload_apart=True)]),
    ),
    "agenda": ("Query", lambda store: store.agenda(0, Tier.MONEY, until=LATER, limit=10)),
}


@pytest.mark.parametrize(("operation", "write"), WRITES.values(), ids=WRITES)
def test_write_whose_reply_is_lost_is_unsure(
    dynamo: DynamoRecords, wire: Faults, operation: str, write: Callable[[DynamoJobStore], object]
) -> None:
    wire.order(operation, wire.lose_reply)

    with pytest.raises(StoreUnsure):
        write(dynamo.store)


@pytest.mark.parametrize(("operation", "write"), WRITES.values(), ids=WRITES)
def test_write_that_fails_within_the_table_is_unsure(
    dynamo: DynamoRecords, wire: Faults, operation: str, write: Callable[[DynamoJobStore], object]
) -> None:
    wire.order(operation, wire.fail)

    with pytest.raises(StoreUnsure):
        write(dynamo.store)


@pytest.mark.parametrize(("operation", "write"), WRITES.values(), ids=WRITES)
def test_write_that_is_throttled_for_long_is_refused(
    dynamo: DynamoRecords, wire: Faults, operation: str, write: Callable[[DynamoJobStore], object]
) -> None:
    wire.order(operation, *[wire.throttle] * 3)

    with pytest.raises(StoreRefused):
        write(dynamo.store)


@pytest.mark.parametrize(("operation", "write"), WRITES.values(), ids=WRITES)
def test_throttling_before_a_lost_reply_leaves_it_unsure(
    dynamo: DynamoRecords, wire: Faults, operation: str, write: Callable[[DynamoJobStore], object]
) -> None:
    wire.order(operation, wire.throttle, wire.lose_reply)

    with pytest.raises(StoreUnsure):
        write(dynamo.store)


def test_key_whose_reply_was_lost_is_held_when_taken_again(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.store.take_key(a_key())

    assert dynamo.store.take_key(a_key()) is None


def test_job_whose_reply_was_lost_is_there(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.store.add(a_job())

    assert dynamo.store.load(JobId("job_1"), VENUE) == a_job()
    assert dynamo.store.add(a_job()) is False


def test_large_job_that_got_no_further_than_its_payload_is_added_again(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    job = a_job(payload={"text": "x" * 5000})
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.store.add(job)

    assert dynamo.store.load(job.id, None) is None
    assert dynamo.store.add(job) is True
    assert dynamo.store.load(job.id, None) == replace(job, payload_apart=True)


@pytest.mark.parametrize(("operation", "reads"), READS.values(), ids=READS)
def test_read_is_tried_again(
    dynamo: DynamoRecords, wire: Faults, operation: str, reads: Callable[[DynamoJobStore], object]
) -> None:
    wire.order(operation, wire.lose_reply, wire.fail)

    reads(dynamo.store)
    assert wire.calls.count(operation) == 3


@pytest.mark.parametrize(("operation", "reads"), READS.values(), ids=READS)
def test_read_that_is_never_answered_is_refused(
    dynamo: DynamoRecords, wire: Faults, operation: str, reads: Callable[[DynamoJobStore], object]
) -> None:
    wire.order(operation, wire.throttle, wire.lose_reply, wire.fail)

    with pytest.raises(StoreRefused):
        reads(dynamo.store)


def test_read_whose_answer_is_cut_is_completed(dynamo: DynamoRecords, wire: Faults) -> None:
    for number in range(2):
        dynamo.store.add(a_job(f"job_{number}"))
    jobs = dynamo.tables.jobs
    cut = {
        "Responses": {jobs: [dynamo.item("job_0")]},
        "UnprocessedKeys": {jobs: {"Keys": [{"id": {"S": "job_1"}}], "ConsistentRead": True}},
    }
    wire.order("BatchGetItem", wire.answer(200, cut))

    found, _ = dynamo.store.load_batch([JobId("job_0"), JobId("job_1")])

    assert found == {"job_0": a_job("job_0"), "job_1": a_job("job_1")}


def test_operator_change_whose_reply_is_lost_is_recognised_by_its_entry(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    job = added(dynamo.store, a_job())
    change = Change(job, cancelled(job))
    wire.order("TransactWriteItems", wire.lose_reply)

    assert dynamo.store.save_audited(change, an_entry(job)) == Unsure()
    again = dynamo.store.save_audited(change, an_entry(job))

    assert again == Saved()
    assert dynamo.audited() == ["entry_1"]


def test_lease_of_a_table_that_does_not_answer_is_not_given(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("UpdateItem", wire.lose_request)
    assert dynamo.leases.take("dispatch", "run_1", now=START, until=LATER) is False

    assert dynamo.leases.take("dispatch", "run_1", now=START, until=LATER) is True
    wire.order("DeleteItem", wire.lose_request)
    dynamo.leases.give_back("dispatch", "run_1")
    assert dynamo.leases.take("dispatch", "run_2", now=START, until=LATER) is False


@pytest.fixture
def nobody() -> Iterator[DynamoRecords]:
    """Return records at an endpoint where nobody listens."""
    made = client("dynamodb", GONE_ENVIRONMENT)
    yield DynamoRecords(made, Tables(*(each.name for each in fields(Tables))))
    made.close()


GONE_ENVIRONMENT = {
    "AWS_ENDPOINT_URL": GONE,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}


@pytest.mark.parametrize(
    "call",
    [*(call for _, call in WRITES.values()), *(call for _, call in READS.values())],
    ids=[*WRITES, *READS],
)
def test_refused_connection_is_refused_within_a_second(
    nobody: DynamoRecords, call: Callable[[DynamoJobStore], object]
) -> None:
    started = time.monotonic()

    with pytest.raises(StoreRefused):
        call(nobody.store)
    assert time.monotonic() - started < 1


def test_refused_connection_saves_nothing_and_gives_no_lease(nobody: DynamoRecords) -> None:
    job = a_job()

    assert save(nobody.store, job, claimed(job)) == Unsure()
    assert nobody.store.save_audited(Change(job, cancelled(job)), an_entry(job)) == Unsure()
    assert nobody.leases.take("dispatch", "run_1", now=START, until=LATER) is False
    nobody.leases.give_back("dispatch", "run_1")


def test_table_that_is_not_there_is_refused_at_once(dynamo: DynamoRecords, wire: Faults) -> None:
    missing = DynamoJobStore(dynamo.client, Tables(*(f"no-{each.name}" for each in fields(Tables))))

    with pytest.raises(StoreRefused):
        missing.add(a_job())
    with pytest.raises(StoreRefused):
        missing.load_batch([JobId("job_1")])
    assert wire.calls == ["PutItem", "BatchGetItem"]
    assert DynamoLeases(dynamo.client, "no-controls").take("x", "y", now=START, until=LATER) is False


def messages(count: int) -> list[Message]:
    return [Message(JobId(f"job_{number}"), VENUE, Tier.MONEY, Lane.MAIN) for number in range(count)]


@pytest.fixture
def sqs_wire(on_sqs: SqsQueues) -> Iterator[Faults]:
    with Faults(on_sqs.client, "sqs") as faults:
        yield faults


def test_message_that_was_refused_alone_is_told_from_those_that_went(
    on_sqs: SqsQueues, sqs_wire: Faults
) -> None:
    answer = {
        "Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "x"}, {"Id": "2", "MessageId": "m"}],
        "Failed": [{"Id": "1", "SenderFault": False, "Code": "InternalError", "Message": "broken"}],
    }
    sqs_wire.order("SendMessageBatch", sqs_wire.answer(200, answer))

    assert on_sqs.queue.send(messages(3)) == [True, False, True]


def test_send_whose_reply_is_lost_is_tried_again_and_surely_goes(on_sqs: SqsQueues, sqs_wire: Faults) -> None:
    sqs_wire.order("SendMessageBatch", sqs_wire.lose_reply)

    assert on_sqs.queue.send(messages(1)) == [True]
    assert {decode(each.body).job_id for each in on_sqs.receive(Tier.MONEY, Lane.MAIN)} == {"job_0"}


def test_send_that_is_never_answered_is_not_said_to_have_gone(on_sqs: SqsQueues, sqs_wire: Faults) -> None:
    sqs_wire.order("SendMessageBatch", *[sqs_wire.lose_request] * 3)

    assert on_sqs.queue.send(messages(12)) == [False] * 10 + [True] * 2


def test_dead_queue_takes_nothing_and_says_so() -> None:
    made = client("sqs", GONE_ENVIRONMENT)
    queue = SqsJobQueue(made, {(Tier.MONEY, Lane.MAIN): f"{GONE}/q"}, {Tier.MONEY: f"{GONE}/dlq"})

    assert queue.send(messages(1)) == [False]
    assert queue.bury(Tier.MONEY, "x", "y") is False
    SqsInbox(made, f"{GONE}/q").postpone({"handle": timedelta(seconds=1)})
    made.close()
