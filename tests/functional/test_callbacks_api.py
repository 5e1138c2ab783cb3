"""Vendors' callbacks: let in by their signature alone, they make a job that polls due sooner, and no more."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.claim import Claimed, claim
from chalicelib.domain.job import ClaimId, Job, JobId, Poll, State
from chalicelib.domain.outcome import Completed, Failure, Outcome, Pending, Retry, Unknown
from chalicelib.domain.settle import settle
from tests.front import SIGNED, Front
from tests.functional.house import Fault, FaultyStore

SECRET, NEXT = SIGNED["STRIPE_WEBHOOK_SECRET"], "whsec_the_next"
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:queue-service/test/webhook-stripe-AbCdEf"
JOB = JobId("job_000001")
WHY = Failure("code", "A sentence.")
POLL = timedelta(minutes=5)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front(store=FaultyStore())
    wiring.install(None)


def faulty(front: Front) -> FaultyStore:
    """Return the records, to which things can be ordered to happen."""
    assert isinstance(front.store, FaultyStore)
    return front.store


def submitted(front: Front) -> Job:
    """Return a payment just accepted."""
    example = wiring.service().types["payment.process"].example
    assert front.post({"type": "payment.process", "data": dict(example)}).status_code == 201
    return front.store.jobs[JOB]


def left_by(front: Front, outcome: Outcome, **changes: Any) -> Job:
    """Return a payment as an attempt with this outcome leaves it; its message is out of sight."""
    job = replace(submitted(front), **changes)
    policy = wiring.service().types[job.type].policy()
    now = front.clock.now()
    verdict = claim(job, policy, claim_id=ClaimId("claim_1"), lease_until=now + POLL, now=now)
    assert isinstance(verdict, Claimed)
    front.store.jobs[JOB] = settle(verdict.job, outcome, policy, now=now, jitter=0.5)
    front.queue.messages.clear()
    front.clock.advance(timedelta(seconds=30))
    return front.store.jobs[JOB]


def event(job_id: object = JOB, kind: str = "payment_intent.succeeded") -> dict[str, Any]:
    """Return an event as Stripe sends it, of an object whose metadata names a job."""
    made = {"id": "pi_1", "object": "payment_intent", "status": "succeeded", "metadata": {"job_id": job_id}}
    return {"id": "evt_1", "object": "event", "type": kind, "data": {"object": made}}


def signature(front: Front, body: bytes, secret: str = SECRET, *, ago: float = 0) -> str:
    """Return what Stripe sends along with a body."""
    at = int(front.clock.now().timestamp() - ago)
    made = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={made}"


def call(front: Front, body: object, header: str | None = None, **signing: Any) -> HTTPResponse:
    """Send a callback, signed as it should be unless a header is given."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    headers["Stripe-Signature"] = header if header is not None else signature(front, raw, **signing)
    return front.client.http.post("/v1/callbacks/stripe", headers=headers, body=raw)


def sent(front: Front) -> int:
    """Return how many messages are out."""
    return sum(len(messages) for messages in front.queue.messages.values())


def test_an_event_brings_the_poll_of_its_job_forward(front: Front) -> None:
    before = left_by(front, Pending({"status": "processing"}))
    answer = call(front, event())
    assert (answer.status_code, answer.json_body) == (200, {"received": True})
    job = front.store.jobs[JOB]
    assert before.next_attempt_at > front.clock.now() == job.next_attempt_at
    assert (job.state, job.poll, job.attempts, job.fence) == (
        before.state,
        Poll.PENDING,
        before.attempts,
        before.fence,
    )
    assert (sent(front), job.looks) == (1, 1)
    assert job.next_look == front.clock.now() + timedelta(minutes=5)


def test_a_callback_costs_one_read_at_most_one_write_and_one_message(front: Front) -> None:
    left_by(front, Pending({"status": "processing"}))
    for calls in ({"load_batch": 1, "save_many": 1}, {"load_batch": 1}):
        faulty(front).calls.clear()
        call(front, event())
        assert faulty(front).calls == calls
        assert sent(front) == 1


def test_an_event_that_says_succeeded_settles_nothing(front: Front) -> None:
    before = left_by(front, Pending({"status": "processing"}))
    call(front, event())
    job = front.store.jobs[JOB]
    assert (job.state, job.result, job.finished_at) == (State.RETRYING, before.result, None)


def test_a_look_up_is_brought_forward_too(front: Front) -> None:
    before = left_by(front, Unknown(WHY), max_attempts=1)
    assert before.poll is Poll.LOOK_UP
    call(front, event())
    assert front.store.jobs[JOB].next_attempt_at == front.clock.now()
    assert front.store.jobs[JOB].doubt == before.doubt


def test_the_same_event_again_and_an_older_one_bring_no_second_message(front: Front) -> None:
    left_by(front, Pending({"status": "processing"}))
    for kind in ("payment_intent.succeeded", "payment_intent.succeeded", "payment_intent.processing"):
        assert call(front, event(kind=kind)).status_code == 200
    assert sent(front) == 1


@pytest.mark.parametrize(
    "outcome", [Completed({"id": 1}), Retry(WHY, after=timedelta(minutes=10))], ids=["completed", "backing off"]
)
def test_a_job_that_asks_nobody_stays_as_it_is(front: Front, outcome: Outcome) -> None:
    before = left_by(front, outcome)
    assert call(front, event()).status_code == 200
    assert (front.store.jobs[JOB], sent(front)) == (before, 0)


def test_a_job_that_is_running_or_waits_for_its_first_run_stays_as_it_is(front: Front) -> None:
    first = submitted(front)
    call(front, event())
    assert front.store.jobs[JOB] == first
    running = replace(first, state=State.RUNNING, poll=Poll.PENDING, next_attempt_at=front.clock.now() + POLL)
    front.store.jobs[JOB] = running
    call(front, event())
    assert front.store.jobs[JOB] == running


@pytest.mark.parametrize("job_id", ["job_9", "", "job_1#payload", "x" * 5000, "\ud800", 7, None, {"a": 1}])
def test_an_event_about_nothing_of_ours_is_received_and_changes_nothing(front: Front, job_id: object) -> None:
    before = left_by(front, Pending({"status": "processing"}))
    # What is no JSON at all, or no character, cannot be Stripe's; it is told so although it is signed.
    assert call(front, event(job_id)).status_code == (400 if job_id == "\ud800" else 200)
    odd: list[Any] = [{}, {"data": None}, {"data": {"object": []}}, {"data": {"object": {"metadata": JOB}}}]
    for each in odd:
        assert call(front, each).status_code == 200
    assert (front.store.jobs[JOB], sent(front)) == (before, 0)


def test_a_record_that_did_not_take_the_change_has_the_vendor_call_again(front: Front) -> None:
    before = left_by(front, Pending({"status": "processing"}))
    faulty(front).order("save_many", *[Fault.MUTE] * 3)
    assert call(front, event()).status_code == 503
    faulty(front).order("load_batch", Fault.REFUSED)
    assert call(front, event()).status_code == 503
    assert (front.store.jobs[JOB], sent(front)) == (before, 0)


def test_a_write_whose_reply_was_lost_is_recognised_and_costs_one_message(front: Front) -> None:
    left_by(front, Pending({"status": "processing"}))
    faulty(front).order("save_many", Fault.LOST)
    assert call(front, event()).status_code == 200
    assert (front.store.jobs[JOB].next_attempt_at, sent(front)) == (front.clock.now(), 1)
    assert faulty(front).calls["load_batch"] == 1


def hostile(front: Front, raw: bytes) -> dict[str, str]:
    """Return signatures that do not hold for a body."""
    good = signature(front, raw)
    moment, made = good.split(",")
    return {
        "nothing": "",
        "no signature": moment,
        "no moment": made,
        "another secret": signature(front, raw, "whsec_guessed"),
        "another body": signature(front, raw + b" "),
        "too old": signature(front, raw, ago=301),
        "another scheme": good.replace("v1=", "v0="),
        "a moment moved": good.replace(moment, f"t={int(front.clock.now().timestamp()) + 1}"),
        "no number": good.replace(moment, "t=x"),
        "no ASCII number": good.replace(moment, "t=\u0661\u0662"),
        "a huge moment": good.replace(moment, f"t={'9' * 5000}"),
        "cut short": good[:-1],
        "not ASCII": f"{moment},v1=\u00e9\ud800",
    }


@pytest.mark.parametrize("kind", ["nothing", *list(hostile(Front(), b"{}"))[1:]])
def test_what_stripe_has_not_signed_is_refused_before_it_is_read(front: Front, kind: str) -> None:
    before = left_by(front, Pending({"status": "processing"}))
    raw = json.dumps(event()).encode()
    answer = call(front, raw, hostile(front, raw)[kind])
    assert (answer.status_code, answer.json_body["error"]) == (400, "signature_invalid")
    assert (front.store.jobs[JOB], sent(front)) == (before, 0)
    assert call(front, b"no JSON", "t=1,v1=2").json_body["error"] == "signature_invalid"


def test_one_of_two_signatures_is_enough_and_five_minutes_are_not_too_old(front: Front) -> None:
    left_by(front, Pending({"status": "processing"}))
    raw = json.dumps(event()).encode()
    both = f"{signature(front, raw, NEXT, ago=299)},{signature(front, raw, ago=299).split(',')[1]}"
    assert call(front, raw, both).status_code == 200
    assert front.store.jobs[JOB].next_attempt_at == front.clock.now()


def test_without_a_secret_the_route_says_that_it_is_not_configured() -> None:
    front = Front(environment={"STRIPE_WEBHOOK_SECRET": ""})
    answer = call(front, event())
    assert (answer.status_code, answer.json_body["error"]) == (503, "provider_not_configured")
    wiring.install(None)


def test_a_replaced_secret_is_read_anew_once_and_strangers_cannot_have_it_read_at_will() -> None:
    front = Front(
        environment={"STRIPE_WEBHOOK_SECRET": "", "STRIPE_WEBHOOK_SECRET_ARN": ARN}, secrets={ARN: SECRET}
    )
    assert call(front, event()).status_code == 200
    front.secrets[ARN] = NEXT
    assert call(front, event(), secret=NEXT).status_code == 200
    assert front.secrets_read == 2
    for _ in range(20):
        assert call(front, event(), secret="whsec_guessed").status_code == 400
    assert front.secrets_read == 2
    front.clock.advance(timedelta(seconds=31))
    assert call(front, event(), secret="whsec_guessed").status_code == 400
    assert front.secrets_read == 3
    wiring.install(None)
