"""Cloning a job: a new job of an old one's payload, its key, its audit entry, and every lost reply."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.errors import AcceptanceUnknown, StoreRefused
from chalicelib.domain.job import Job, JobId, StageId, State
from tests.front import OWN, Front
from tests.functional.house import Fault, FaultyStore

LOST, MUTE, REFUSED = Fault.LOST, Fault.MUTE, Fault.REFUSED
PAYMENT = {
    "amount": 4500,
    "currency": "EUR",
    "customerId": "cus_1",
    "eventId": "event-1",
    "paymentMethod": "pm_card_visa",
    "orderId": "order-1",
}


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def front(store: FaultyStore) -> Iterator[Front]:
    yield Front(store=store)
    wiring.install(None)


def source(front: Front, **fields: Any) -> Job:
    """Return a job that stands so, with no message of it out."""
    body = {
        "type": "payment.process",
        "data": PAYMENT,
        "options": {"priority": 9, "attempts": 4, "delay": 60_000},
        "onBehalfOf": {"userId": "user-7", "venueId": OWN},
        "callbackUrl": "https://shop.example/done",
    }
    job_id = JobId(front.post(body).json_body["jobId"])
    front.store.jobs[job_id] = replace(front.store.jobs[job_id], **fields)
    front.queue.messages.clear()
    return front.store.jobs[job_id]


def clone(
    front: Front, job_id: str, body: Any = None, *, role: str = "venue_admin", key: str | None = None
) -> HTTPResponse:
    headers = {"Content-Type": "application/json"}
    headers["Authorization"] = f"Bearer {front.token(role, sub='ada')}"
    headers |= {} if key is None else {"Idempotency-Key": key}
    sent = b"" if body is None else json.dumps(body).encode()
    return front.client.http.post(f"/v1/jobs/{job_id}/clone", headers=headers, body=sent)


def made(front: Front, answer: HTTPResponse) -> Job:
    assert answer.status_code == 200, answer.body
    return front.store.jobs[JobId(answer.json_body["jobId"])]


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED, State.QUEUED, State.RUNNING])
def test_a_clone_is_a_new_job_of_the_same_work_due_now(front: Front, state: State) -> None:
    old = source(front, state=state, attempts=3, max_attempts=14)
    answer = clone(front, old.id, {"queue": "money", "reason": "The bank lost it."})
    new = made(front, answer)
    assert answer.json_body == {"jobId": new.id, "status": "queued", "message": f"It is a clone of {old.id}."}
    assert new.id != old.id
    for name in ("type", "tier", "venue_id", "user_id", "payload", "priority", "callback_url"):
        assert getattr(new, name) == getattr(old, name), name
    assert (new.state, new.due, new.attempts, new.max_attempts) == (State.QUEUED, front.clock.now(), 0, 10)
    assert (new.submitted_by, new.generation) == ("ada", 0)
    assert front.queue.waiting() == 1
    assert front.store.jobs[old.id] == old


def test_the_log_says_who_cloned_what_into_what_and_why(front: Front) -> None:
    old = source(front, state=State.FAILED)
    new = made(front, clone(front, old.id, {"reason": "The bank lost it."}))
    [entry] = front.store.audit
    assert (entry.actor, entry.action, entry.subject, entry.venue_id) == ("ada", "clone", old.id, OWN)
    assert (entry.reason, entry.before, entry.after) == ("The bank lost it.", "failed", new.id)


def test_data_replaces_whole_keys_of_the_payload_and_leaves_the_others(front: Front) -> None:
    old = source(front)
    new = made(front, clone(front, old.id, {"data": {"amount": 100, "description": "Half."}}))
    assert new.payload == {**PAYMENT, "amount": 100, "description": "Half."}


def test_what_data_makes_of_the_payload_is_validated_anew(front: Front) -> None:
    old = source(front)
    answer = clone(front, old.id, {"data": {"amount": -1, "colour": "red"}})
    assert answer.status_code == 400
    assert {each["field"] for each in answer.json_body["details"]} == {"data.amount", "data.colour"}
    assert (list(front.store.jobs), front.store.audit) == ([old.id], [])


def test_a_large_payload_is_cloned_whole(front: Front) -> None:
    data = {"to": "ada@example.com", "template": "order_confirmation", "data": {"orderId": "x" * 2000}}
    old = JobId(front.post({"type": "email.send", "data": data}).json_body["jobId"])
    new = made(front, clone(front, old, {"data": {"to": "bea@example.com"}}))
    assert new.payload_apart
    assert front.store.payloads[new.id] == {**data, "to": "bea@example.com"}


def test_without_a_key_each_request_makes_one_more(front: Front) -> None:
    old = source(front)
    first, second = (made(front, clone(front, old.id)) for _ in range(2))
    assert len({old.id, first.id, second.id}) == 3
    assert len({old.key_id, first.key_id, second.key_id}) == 3


@pytest.mark.parametrize("in_body", [True, False], ids=["body", "header"])
def test_with_a_key_a_repeated_request_is_the_same_clone_and_audited_once(front: Front, in_body: bool) -> None:
    old = source(front)
    body, key = ({"idempotencyKey": "again-1"}, None) if in_body else (None, "again-1")
    first, second = (clone(front, old.id, body, key=key) for _ in range(2))
    assert first.json_body["jobId"] == second.json_body["jobId"] != old.id
    assert second.json_body["message"] == "The key stands for this job already."
    assert (len(front.store.audit), front.queue.waiting()) == (1, 1)


def test_a_key_that_stands_for_another_payload_is_a_conflict(front: Front) -> None:
    old = source(front)
    first = made(front, clone(front, old.id, key="again-1"))
    answer = clone(front, old.id, {"data": {"amount": 1}}, key="again-1")
    assert (answer.status_code, answer.json_body["error"]) == (409, "idempotency_conflict")
    assert answer.json_body["details"] == [{"field": "jobId", "message": first.id}]
    assert len(front.store.audit) == 1


@pytest.mark.parametrize("state", [State.PARKED, State.RETRYING])
def test_a_job_in_doubt_is_not_cloned(front: Front, state: State) -> None:
    old = source(front, state=state, doubt=front.clock.now())
    answer = clone(front, old.id)
    assert (answer.status_code, answer.json_body["error"]) == (409, "outcome_unknown")
    assert answer.json_body["details"] == [{"field": "state", "message": state.value}]
    assert (list(front.store.jobs), front.store.audit) == ([old.id], [])


def test_the_wrong_queue_is_told_and_a_job_that_waits_for_its_batch_is_not_there_yet(front: Front) -> None:
    old = source(front)
    answer = clone(front, old.id, {"queue": "background"})
    assert (answer.status_code, answer.json_body["error"]) == (400, "queue_mismatch")
    front.store.jobs[old.id] = replace(old, stage=StageId("s"))
    answer = clone(front, old.id)
    assert (answer.status_code, answer.json_body["error"]) == (503, "batch_pending")


@pytest.mark.parametrize(
    ("body", "key", "field"),
    [
        ({"data": 1}, None, "data"),
        ({"amount": 1}, None, "amount"),
        ({"reason": "x" * 501}, None, "reason"),
        ({"queue": "express"}, None, "queue"),
        ({"idempotencyKey": " x"}, None, "idempotencyKey"),
        ({}, " ", "Idempotency-Key"),
        ({"idempotencyKey": "a"}, "b", "idempotencyKey"),
        ({"idempotencyKey": "schedule:1"}, None, "idempotencyKey"),
    ],
    ids=str,
)
def test_a_body_that_is_not_valid_is_refused_by_field(
    front: Front, body: Any, key: str | None, field: str
) -> None:
    answer = clone(front, source(front).id, body, key=key)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json_body["details"]] == [field]
    assert len(front.store.jobs) == 1


# --- lost replies: the record and the entry stand together or not at all


@pytest.mark.parametrize("faults", [(LOST,), (MUTE,), (MUTE, MUTE), (MUTE, LOST)], ids=str)
def test_a_clone_whose_reply_is_lost_is_one_job_with_one_entry(
    front: Front, store: FaultyStore, faults: tuple[Fault, ...]
) -> None:
    old = source(front)
    store.order("add_audited", *faults)
    new = made(front, clone(front, old.id))
    assert [entry.after for entry in front.store.audit] == [new.id]
    assert len(front.store.jobs) == 2
    assert front.queue.waiting() == 1


def test_a_clone_that_nobody_can_tell_of_says_so_and_is_finished_under_its_key(
    front: Front, store: FaultyStore
) -> None:
    old = source(front)
    store.order("add_audited", MUTE, MUTE, MUTE, MUTE)
    answer = clone(front, old.id, key="again-1")
    assert (answer.status_code, answer.json_body["error"]) == (503, AcceptanceUnknown.code)
    assert (list(front.store.jobs), front.store.audit) == ([old.id], [])
    new = made(front, clone(front, old.id, key="again-1"))
    assert [entry.after for entry in front.store.audit] == [new.id]


def test_a_clone_that_the_table_refuses_is_no_job_and_no_entry(front: Front, store: FaultyStore) -> None:
    old = source(front)
    store.order("add_audited", REFUSED)
    answer = clone(front, old.id)
    assert (answer.status_code, answer.json_body["error"]) == (503, StoreRefused.code)
    assert (list(front.store.jobs), front.store.audit) == ([old.id], [])


def test_a_clone_waits_for_no_delay_of_the_old_job(front: Front) -> None:
    old = source(front)
    assert old.due == front.clock.now() + timedelta(minutes=1)
    assert made(front, clone(front, old.id)).due == front.clock.now()
