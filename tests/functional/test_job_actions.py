"""Steering one job over HTTP: what it makes of the job, what it refuses, and what is written down."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.job import Job, JobId, Poll, Reason, State
from tests.front import Front
from tests.functional.test_jobs_api import PAYMENT

HOUR = timedelta(hours=1)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def steer(front: Front, job_id: str, action: str, body: Any = None) -> HTTPResponse:
    """Ask for something to be made of a job, as its venue's administrator."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token('venue_admin')}"}
    sent = b"" if body is None else json.dumps(body).encode()
    method, path = ("DELETE", "") if action == "cancel" else ("POST", f"/{action}")
    return front.client.http.request(method, f"/v1/jobs/{job_id}{path}", headers=headers, body=sent)


def standing(front: Front, *, delay: int = 0, **fields: Any) -> Job:
    """Return a job that stands so, with no message of it out."""
    body = {"type": "payment.process", "data": PAYMENT, "options": {"delay": delay}}
    job_id = JobId(front.post(body).json_body["jobId"])
    front.store.jobs[job_id] = replace(front.store.jobs[job_id], **fields)
    front.queue.messages.clear()
    return front.store.jobs[job_id]


def test_a_cancelled_job_keeps_its_record_and_the_log_says_who_and_why(front: Front) -> None:
    job = standing(front)
    answer = steer(front, job.id, "cancel", {"queue": "money", "reason": "The night is off."})
    assert (answer.status_code, answer.json_body) == (
        200,
        {"jobId": job.id, "status": "cancelled", "message": "The job is cancelled."},
    )
    assert front.store.jobs[job.id].state is State.CANCELLED
    [entry] = front.store.audit
    assert (entry.actor, entry.action, entry.subject, entry.reason) == (
        "service-1",
        "cancel",
        job.id,
        "The night is off.",
    )
    assert (entry.before, entry.after) == ("queued", "cancelled")


def test_a_retried_job_is_queued_and_its_message_sent(front: Front) -> None:
    job = standing(front, state=State.FAILED, reason=Reason.EXHAUSTED, attempts=10, next_look=None)
    answer = steer(front, job.id, "retry")
    assert (answer.status_code, answer.json_body["status"]) == (200, "queued")
    assert front.queue.waiting() == 1
    assert front.store.jobs[job.id].max_attempts == 20


def test_a_promoted_job_is_due_now_and_keeps_its_key(front: Front) -> None:
    job = standing(front, delay=48 * 3_600_000)
    answer = steer(front, job.id, "promote")
    assert (answer.status_code, answer.json_body["status"]) == (200, "queued")
    now, after = front.clock.now(), front.store.jobs[job.id]
    assert (after.due, after.next_attempt_at, after.generation) == (now, now, job.generation)
    assert front.queue.waiting() == 1
    assert front.store.keys[job.key_id].job_id == job.id


def test_promoting_ends_a_backoff_and_moves_no_due_time_that_has_come(front: Front) -> None:
    job = standing(front, state=State.RETRYING, attempts=2)
    front.clock.advance(HOUR)
    later = front.clock.now() + HOUR
    front.store.jobs[job.id] = replace(
        front.store.jobs[job.id], next_attempt_at=later, next_look=later, looks=0
    )
    assert steer(front, job.id, "promote").json_body["status"] == "retrying"
    after = front.store.jobs[job.id]
    assert (after.due, after.next_attempt_at, after.attempts) == (job.due, front.clock.now(), 2)
    assert (front.queue.waiting(), after.looks) == (1, 1)


@pytest.mark.parametrize("state", [State.RUNNING, State.COMPLETED, State.FAILED, State.PARKED, State.CANCELLED])
def test_only_a_waiting_job_is_promoted(front: Front, state: State) -> None:
    job = standing(front, state=state)
    answer = steer(front, job.id, "promote")
    assert (answer.status_code, answer.json_body["error"]) == (409, "not_promotable")
    assert answer.json_body["details"] == [{"field": "state", "message": state.value}]
    assert (front.store.jobs[job.id], front.store.audit) == (job, [])


@pytest.mark.parametrize("known", ["doubt", "poll"])
def test_a_job_in_doubt_or_at_its_provider_is_not_promoted(front: Front, known: str) -> None:
    known_at: dict[str, Any] = {"doubt": front.clock.now(), "poll": Poll.PENDING}
    fields = {known: known_at[known]}
    job = standing(front, state=State.RETRYING, **fields)
    answer = steer(front, job.id, "promote")
    assert (answer.status_code, answer.json_body["error"]) == (409, "effect_begun")
    assert front.store.jobs[job.id] == job


@pytest.mark.parametrize(
    ("resolution", "state"), [("completed", "completed"), ("failed", "failed"), ("retry", "queued")]
)
def test_a_parked_job_is_resolved_as_an_operator_has_found(front: Front, resolution: str, state: str) -> None:
    job = standing(front, state=State.PARKED, doubt=front.clock.now(), next_look=None)
    assert steer(front, job.id, "retry").json_body["error"] == "outcome_unknown"
    answer = steer(front, job.id, "resolve", {"resolution": resolution, "reason": "Looked it up."})
    assert (answer.status_code, answer.json_body["status"]) == (200, state)
    assert front.store.jobs[job.id].doubt is None
    assert [entry.action for entry in front.store.audit] == [f"resolve_{resolution}"]


def test_a_key_that_another_job_holds_by_now_names_it(front: Front) -> None:
    job = standing(front, state=State.CANCELLED, next_look=None)
    front.store.jobs[JobId("job_7")] = replace(job, id=JobId("job_7"))
    front.store.keys[job.key_id] = replace(front.store.keys[job.key_id], job_id=JobId("job_7"))
    answer = steer(front, job.id, "retry")
    assert (answer.status_code, answer.json_body["error"]) == (409, "key_taken")
    assert {"field": "jobId", "message": "job_7"} in answer.json_body["details"]
    assert (front.store.jobs[job.id], front.store.audit) == (job, [])


@pytest.mark.parametrize("action", ["cancel", "retry", "promote", "resolve"])
def test_another_queue_than_the_jobs_is_refused(front: Front, action: str) -> None:
    job = standing(front)
    body = {"queue": "background", "reason": "Why."}
    body |= {"resolution": "retry"} if action == "resolve" else {}
    answer = steer(front, job.id, action, body)
    assert (answer.status_code, answer.json_body["error"]) == (400, "queue_mismatch")
    assert front.store.jobs[job.id] == job


@pytest.mark.parametrize(
    ("action", "body", "fields"),
    [
        ("cancel", {"reason": ""}, {"reason"}),
        ("retry", {"reason": "x" * 501}, {"reason"}),
        ("promote", {"reason": "a\u0007", "queue": "slow"}, {"queue", "reason"}),
        ("retry", {"why": "so"}, {"why"}),
        ("resolve", {}, {"resolution", "reason"}),
        ("resolve", {"resolution": "maybe", "reason": "Why."}, {"resolution"}),
    ],
)
def test_a_body_is_told_everything_that_is_wrong_with_it(
    front: Front, action: str, body: dict[str, str], fields: set[str]
) -> None:
    job = standing(front)
    answer = steer(front, job.id, action, body)
    assert answer.status_code == 400
    assert {each["field"] for each in answer.json_body["details"]} == fields
    assert (front.store.jobs[job.id], front.store.audit) == (job, [])
