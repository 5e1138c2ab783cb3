"""POST /v1/jobs/bulk, POST /v1/queues/{tier}/redrive, /v1/operations: many jobs at once, in the background."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.domain import ids
from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.job import Job, JobId, KeyId, Reason, State, VenueId
from chalicelib.domain.operation import Operation
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Entry
from tests.factories import a_job, a_key
from tests.fakes import START
from tests.front import OWN, Front
from tests.functional.test_functions import Context
from tests.functional.test_schedules_api import TICK

TIMEOUT = Failure("timeout", "There was no answer.", "req_1")
MINUTE = timedelta(minutes=1)
WHY = "The bank is back"


@pytest.fixture
def front() -> Iterator[Front]:
    made = Front()
    made.clock.advance(timedelta(days=2))
    yield made
    wiring.install(None)


def put(front: Front, number: int, **fields: Any) -> JobId:
    """Store a job that was accepted in the second of this number."""
    at = START + timedelta(seconds=number)
    job = replace(a_job(ids.job_id(at)), **{"created_at": at, "venue_id": OWN, **fields})
    front.store.jobs[job.id] = job
    return job.id


def dead(front: Front, number: int, **fields: Any) -> JobId:
    """Store a dead letter."""
    told = {"state": State.FAILED, "reason": Reason.EXHAUSTED, "error": TIMEOUT, "attempts": 10}
    at = START + timedelta(seconds=number)
    told |= {"finished_at": at, "key_used_at": at, "next_look": None, "looks": 0}
    return put(front, number, **{**told, **fields})


def send(
    front: Front, method: str, path: str, body: Any = None, *, role: str = "admin", sub: str = "ops", **who: Any
) -> HTTPResponse:
    token = front.token(role, sub=sub, **who)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    raw = b"" if body is None else json.dumps(body).encode()
    return front.client.http.request(method, f"/v1{path}", headers=headers, body=raw)


def begin(front: Front, path: str, body: Any, **who: Any) -> dict[str, Any]:
    response = send(front, "POST", path, body, **who)
    assert response.status_code == 202, response.body
    told: dict[str, Any] = response.json_body
    return told


def bulk(front: Front, action: str, *, mode: str = "start", **wanted: str) -> dict[str, Any]:
    body = {"mode": mode, "action": action, "filter": {"venueId": OWN, **wanted}, "reason": WHY}
    return begin(front, "/jobs/bulk", body)


def redrive(front: Front, *, mode: str = "start", **more: Any) -> dict[str, Any]:
    return begin(front, "/queues/money/redrive", {"mode": mode, "reason": WHY, **more})


def tick(front: Front, after: timedelta = MINUTE) -> None:
    """Let the minute's function run, so much later."""
    front.clock.advance(after)
    app.handler_map["run_operations"]({"source": "aws.events", **dict.fromkeys(TICK, "")}, Context())


def look(front: Front, told: dict[str, Any], **who: Any) -> dict[str, Any]:
    response = send(front, "GET", f"/operations/{told['operationId']}", **who)
    assert response.status_code == 200, response.body
    found: dict[str, Any] = response.json_body
    return found


def states(front: Front) -> dict[State, int]:
    every = [job.state for job in front.store.jobs.values()]
    return {state: every.count(state) for state in set(every)}


def end(front: Front, state: State, **fields: Any) -> None:
    """Let every job that waits come to an end."""
    for job in list(front.store.jobs.values()):
        if job.state is State.QUEUED:
            ended = replace(job, state=state, attempts=job.attempts + 1, next_look=None, **fields)
            front.store.jobs[job.id] = ended


def again_dead(front: Front) -> None:
    end(front, State.FAILED, reason=Reason.EXHAUSTED, error=TIMEOUT)


# --- bulk --------------------------------------------------------------------------------------


def test_a_preview_counts_all_that_match_and_changes_nothing(front: Front) -> None:
    for number in range(250):
        put(front, number)
    put(front, 251, state=State.RETRYING, poll_since=START, begun=True)
    before = dict(front.store.jobs)
    told = bulk(front, "cancel", mode="preview")
    assert (told["status"], told["progress"]["matched"], told["progress"]["done"]) == ("completed", 251, 250)
    assert told["progress"]["skipped"] == {"effect_begun": 1}
    assert told["progress"]["types"] == {"payment.process": 251}
    assert front.store.jobs == before


def test_all_that_match_are_cancelled_each_with_its_audit_entry(front: Front) -> None:
    matching = {put(front, number) for number in range(200)}
    other = put(front, 300, venue_id=VenueId("venue-2"))
    told = bulk(front, "cancel")
    assert told["message"] == "It was done to 200 of 200 jobs."
    assert {front.store.jobs[each].state for each in matching} == {State.CANCELLED}
    assert front.store.jobs[other].state is State.QUEUED
    entries = [entry for entry in front.store.audit if entry.action == "cancel"]
    assert {entry.subject for entry in entries} == matching
    assert {(entry.actor, entry.reason) for entry in entries} == {("ops", f"{WHY} ({told['operationId']})")}
    [start] = [entry for entry in front.store.audit if entry.action == "bulk_cancel"]
    assert (start.subject, start.reason) == (f"operation/{told['operationId']}", WHY)


def test_a_bulk_retry_starts_anew_what_failed_and_says_what_it_left_alone(front: Front) -> None:
    free, held = dead(front, 1), dead(front, 2)
    other = put(front, 3, state=State.RUNNING)
    front.store.jobs[held] = replace(front.store.jobs[held], key_id=a_key().id)
    front.store.keys[a_key().id] = replace(a_key(), job_id=other)
    told = bulk(front, "retry", state="failed")
    assert told["progress"]["skipped"] == {"key_taken": 1}
    assert (front.store.jobs[free].state, front.store.jobs[held].state) == (State.QUEUED, State.FAILED)
    assert front.store.jobs[other].state is State.RUNNING


@pytest.mark.parametrize("mode", ["preview", "start"])
@pytest.mark.parametrize(
    ("state", "skipped"),
    [(State.COMPLETED, {"already_succeeded": 1}), (State.RUNNING, {"key_taken": 1}), (None, {})],
)
def test_a_preview_and_a_start_agree_on_a_key_in_the_way(
    front: Front, mode: str, state: State | None, skipped: dict[str, int]
) -> None:
    held = dead(front, 1)
    holder = JobId("job_never") if state is None else put(front, 2, state=state)
    front.store.keys[a_key().id] = replace(a_key(), job_id=holder)
    front.store.jobs[held] = replace(front.store.jobs[held], key_id=a_key().id)
    told = bulk(front, "retry", mode=mode, state="failed")
    assert (told["progress"]["skipped"], told["progress"]["done"]) == (skipped, 0 if skipped else 1)


def test_jobs_accepted_after_it_was_asked_for_are_left_alone(front: Front) -> None:
    later = put(front, 3 * 86_400)
    assert bulk(front, "cancel")["progress"]["matched"] == 0
    assert front.store.jobs[later].state is State.QUEUED


def test_an_operation_in_other_hands_is_left_to_them_until_their_lease_is_over(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(front, 1)
    leases = wiring.service().run_operations._leases
    with monkeypatch.context() as held:
        held.setattr(leases, "take", lambda *_, **__: False)
        told = bulk(front, "cancel")
        tick(front)
    assert (look(front, told)["status"], states(front)) == ("running", {State.QUEUED: 1})
    tick(front)
    assert (look(front, told)["status"], states(front)) == ("completed", {State.CANCELLED: 1})


@pytest.mark.parametrize("applied", [True, False])
def test_a_crash_after_a_page_acts_on_no_job_twice(
    front: Front, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(120):
        dead(front, number)
    swap, faults = front.operations.swap, [StoreUnsure()]

    def dying(before: Operation, after: Operation, entry: Entry | None = None) -> bool:
        if faults and after.tally.done:
            if applied:
                swap(before, after, entry)
            raise faults.pop()
        return swap(before, after, entry)

    monkeypatch.setattr(front.operations, "swap", dying)
    told = bulk(front, "retry", state="failed")
    assert told["status"] == "running"
    again_dead(front)  # what was retried has failed again before the operation goes on
    tick(front)
    assert look(front, told)["status"] == "completed"
    retried = [entry.subject for entry in front.store.audit if entry.action == "retry"]
    assert len(retried) == len(set(retried)) == 120


def test_a_job_whose_record_does_not_answer_is_tried_again_and_then_passed_over(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = put(front, 1), put(front, 2)
    load = front.store.load

    def refusing(job_id: JobId, venue_id: VenueId | None) -> Job | None:
        if job_id == bad:
            raise StoreUnsure
        return load(job_id, venue_id)

    monkeypatch.setattr(front.store, "load", refusing)
    told = bulk(front, "cancel")
    assert (told["status"], told["progress"]["done"]) == ("running", 1)
    tick(front)
    tick(front)
    found = look(front, told)
    assert (found["status"], found["progress"]["skipped"]) == ("completed", {"unavailable": 1})
    assert (front.store.jobs[good].state, front.store.jobs[bad].state) == (State.CANCELLED, State.QUEUED)


def test_an_operation_that_is_stopped_in_mid_page_keeps_count_of_the_page(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(150):
        put(front, number)
    swap, stops = front.operations.swap, [1]

    def overtaken(before: Operation, after: Operation, entry: Entry | None = None) -> bool:
        if stops and after.tally.done:
            stops.pop()
            stopped = send(front, "POST", f"/operations/{before.id}/stop", {"reason": "Enough"})
            assert stopped.status_code == 200
        return swap(before, after, entry)

    monkeypatch.setattr(front.operations, "swap", overtaken)
    told = bulk(front, "cancel")
    assert (told["status"], told["stopped"]) == ("stopped", {"by": "ops", "why": "Enough"})
    assert told["progress"]["done"] == 45 == states(front)[State.CANCELLED]
    tick(front)
    assert states(front)[State.CANCELLED] == 45
    assert [each.reason for each in front.store.audit if each.action == "stop_bulk_cancel"] == ["Enough"]


def test_what_has_ended_cannot_be_stopped(front: Front) -> None:
    told = bulk(front, "cancel")
    response = send(front, "POST", f"/operations/{told['operationId']}/stop")
    assert (response.status_code, response.json_body["error"]) == (409, "not_running")


def test_an_operation_is_there_for_its_starter_and_administrators_alone(front: Front) -> None:
    put(front, 1)
    body = {"mode": "preview", "action": "cancel", "filter": {"state": "queued"}}
    told = begin(front, "/jobs/bulk", body, role="venue_admin", sub="mine")
    assert told["progress"]["matched"] == 1
    unknown = send(front, "GET", "/operations/op_none", role="venue_admin", sub="mine")
    for who in ({"sub": "other"}, {"sub": "mine", "venue": "venue-2"}):
        foreign = send(front, "GET", f"/operations/{told['operationId']}", role="venue_admin", **who)
        assert (foreign.status_code, foreign.body) == (404, unknown.body)
    assert look(front, told, role="venue_admin", sub="mine")["operationId"] == told["operationId"]
    assert look(front, told)["startedBy"] == "mine"
    mine = send(front, "GET", "/operations", role="venue_admin", sub="mine").json_body["operations"]
    assert [each["operationId"] for each in mine] == [told["operationId"]]
    assert send(front, "GET", "/operations", role="venue_admin", sub="other").json_body["operations"] == []


def test_a_venue_acts_on_its_own_jobs_alone(front: Front) -> None:
    own, other = put(front, 1), put(front, 2, venue_id=VenueId("venue-2"))
    body = {"mode": "start", "action": "cancel", "filter": {"state": "queued"}, "reason": WHY}
    begin(front, "/jobs/bulk", body, role="venue_admin")
    assert (front.store.jobs[own].state, front.store.jobs[other].state) == (State.CANCELLED, State.QUEUED)
    foreign = {**body, "filter": {"venueId": "venue-2"}}
    assert send(front, "POST", "/jobs/bulk", foreign, role="venue_admin").status_code == 403


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mode": "now"}, "mode"),
        ({"action": "promote"}, "action"),
        ({"filter": {}}, "filter"),
        ({"filter": {"state": "completed"}}, "state"),
        ({"filter": {"venueId": OWN, "key": "k"}}, "filter.key"),
        ({"reason": None}, "reason"),
        ({"more": 1}, "more"),
    ],
)
def test_a_bad_request_is_refused_and_begins_nothing(front: Front, change: dict[str, Any], field: str) -> None:
    body = {"mode": "start", "action": "cancel", "filter": {"venueId": OWN}, "reason": WHY, **change}
    response = send(front, "POST", "/jobs/bulk", {k: v for k, v in body.items() if v is not None})
    assert response.status_code == 400
    assert [each["field"] for each in response.json_body["details"]] == [field]
    assert front.operations.operations == {}


# --- redrive -----------------------------------------------------------------------------------


def test_a_redrives_preview_says_what_it_would_do_and_how_much_money_that_is(front: Front) -> None:
    dead(front, 1, payload={"amount": 500, "currency": "eur"})
    dead(front, 2, payload={"amount": 700, "currency": "EUR"}, key_used_at=front.clock.now())
    dead(front, 3, payload={"amount": 9, "currency": "usd"})
    done, taken = dead(front, 4), dead(front, 5)
    for number, (held, state) in enumerate(((done, State.COMPLETED), (taken, State.RUNNING))):
        holder = put(front, 10 + number, state=state)
        key = replace(a_key(), id=KeyId(f"key-{number}"), job_id=holder)
        front.store.keys[key.id] = key
        front.store.jobs[held] = replace(front.store.jobs[held], key_id=key.id)
    dead(front, 6, reason=Reason.REFUSED)
    dead(front, 7, tier=Tier.BACKGROUND)
    before = dict(front.store.jobs)
    told = redrive(front, mode="preview")
    assert (told["status"], told["progress"]["matched"], told["progress"]["done"]) == ("completed", 5, 3)
    assert told["money"] == {"EUR": 1200, "USD": 9}
    assert (told["keysPastWindow"], told["alreadySucceeded"], told["conflicts"]) == (2, 1, 1)
    assert front.store.jobs == before


def test_a_redrive_sends_one_ahead_and_the_others_once_it_has_ended_well(front: Front) -> None:
    for number in range(150):
        dead(front, number)
    told = redrive(front, ratePerSecond=2)
    assert states(front)[State.QUEUED] == 1
    assert "canary" in told["message"]
    tick(front)
    assert states(front)[State.QUEUED] == 1  # it is still open
    end(front, State.COMPLETED)
    tick(front)
    assert states(front) == {State.COMPLETED: 1, State.QUEUED: 10, State.FAILED: 139}
    end(front, State.COMPLETED)
    tick(front)
    assert states(front)[State.QUEUED] == 110
    end(front, State.COMPLETED)
    tick(front)
    tick(front)
    end(front, State.COMPLETED)
    tick(front)
    found = look(front, told)
    assert (found["status"], found["progress"]["done"]) == ("completed", 150)
    assert states(front) == {State.COMPLETED: 150}
    assert {entry.action for entry in front.store.audit} == {"redrive"}


def test_a_step_of_a_redrive_is_spread_over_its_rate(front: Front) -> None:
    for number in range(40):
        dead(front, number)
    redrive(front, ratePerSecond=2)
    end(front, State.COMPLETED)
    tick(front)
    [lane] = [held.values() for held in front.queue.messages.values() if held]
    delays = sorted((each.visible_at - front.clock.now()).total_seconds() for each in lane)
    assert delays[1:] == [each / 2 for each in range(10)]  # the canary's message is older


@pytest.mark.parametrize("failing", ["dead again", "parked", "two attempts"])
def test_a_canary_that_fails_stops_the_redrive(front: Front, failing: str) -> None:
    for number in range(20):
        dead(front, number)
    told = redrive(front)
    if failing == "dead again":
        again_dead(front)
    elif failing == "parked":
        end(front, State.PARKED)
    else:
        [canary] = [job for job in front.store.jobs.values() if job.state is State.QUEUED]
        front.store.jobs[canary.id] = replace(canary, state=State.RETRYING, attempts=canary.attempts + 2)
    tick(front)
    found = look(front, told)
    assert (found["status"], found["stopped"]) == ("stopped", {"by": None, "why": "canary_failed"})
    tick(front, 10 * MINUTE)
    assert len([entry for entry in front.store.audit if entry.subject.startswith("job_")]) == 1


class Dies(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("became", ["nothing yet", "dead again"])
@pytest.mark.parametrize("at", range(1, 4))
def test_a_redrive_that_dies_around_its_canary_lets_no_second_one_go(
    front: Front, monkeypatch: pytest.MonkeyPatch, at: int, became: str
) -> None:
    for number in range(20):
        dead(front, number)
    writes: dict[str, Callable[..., Any]] = {
        "swap": front.operations.swap,
        "save_audited": front.store.save_audited,
    }
    made: list[str] = []

    def dying(name: str) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:
            if len(made) == at:
                raise Dies
            made.append(name)
            return writes[name](*arguments, **named)

        return write

    monkeypatch.setattr(front.operations, "swap", dying("swap"))
    monkeypatch.setattr(front.store, "save_audited", dying("save_audited"))
    with pytest.raises(Dies):
        redrive(front)
    assert made == ["swap", "save_audited", "swap"][:at]  # in hand, let go, noted
    monkeypatch.undo()
    if became == "dead again":
        again_dead(front)
    fell = states(front).get(State.QUEUED, 0) == 0 and at > 1
    tick(front)
    tick(front)
    let_go = [entry.subject for entry in front.store.audit if entry.subject.startswith("job_")]
    assert len(let_go) == 1
    [operation] = front.operations.operations.values()
    assert [each.id for each in operation.watched] == let_go
    assert (operation.tally.done, operation.in_hand) == (1, ())
    assert operation.why == ("canary_failed" if fell else None)


def test_a_redrive_whose_canary_gets_no_answer_lets_no_second_one_go(front: Front) -> None:
    for number in range(20):
        dead(front, number)
    save = front.store.save_audited

    def unsure(*arguments: Any, **named: Any) -> Any:
        save(*arguments, **named)
        raise StoreUnsure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front.store, "save_audited", unsure)
        told = redrive(front)
    end(front, State.RUNNING)
    for _ in range(3):
        tick(front)
    assert states(front) == {State.RUNNING: 1, State.FAILED: 19}
    assert look(front, told)["progress"]["done"] == 1


def test_a_redrive_stops_when_the_failures_come_back(front: Front) -> None:
    for number in range(100):
        dead(front, number)
    told = redrive(front)
    end(front, State.COMPLETED)
    tick(front)
    again_dead(front)
    tick(front)
    found = look(front, told)
    assert (found["status"], found["stopped"]["why"]) == ("stopped", "failures_came_back")
    assert found["progress"]["done"] == 11


def test_a_refusal_is_an_answer_and_does_not_stop_a_redrive(front: Front) -> None:
    for number in range(5):
        dead(front, number)
    told = redrive(front)
    end(front, State.FAILED, reason=Reason.REFUSED)
    tick(front)
    assert states(front)[State.QUEUED] == 4
    assert look(front, told)["watched"] == {"well": 1, "failing": 0, "open": 4}


def test_a_redrive_lets_go_no_more_than_its_limit_of_its_fingerprint(front: Front) -> None:
    for number in range(10):
        dead(front, number)
        dead(front, 100 + number, error=Failure("rate_limit", "Too many."))
    told = redrive(front, limit=3, fingerprint="payment.process:timeout")
    for _ in range(3):
        end(front, State.COMPLETED)
        tick(front)
    assert look(front, told)["status"] == "completed"
    assert states(front) == {State.COMPLETED: 3, State.FAILED: 17}


def test_the_last_of_a_redrive_are_watched_for_a_quarter_of_an_hour_at_most(front: Front) -> None:
    dead(front, 1)
    told = redrive(front)
    tick(front)
    assert look(front, told)["status"] == "running"
    tick(front, 15 * MINUTE)
    assert look(front, told)["status"] == "completed"


def test_a_redrive_needs_a_reason_and_a_queue_that_there_is(front: Front) -> None:
    assert send(front, "POST", "/queues/money/redrive", {"mode": "start"}).status_code == 400
    assert send(front, "POST", "/queues/gold/redrive", {"mode": "preview"}).status_code == 400
    preview = {"mode": "preview"}
    assert send(front, "POST", "/queues/money/redrive", preview, role="venue_admin").status_code == 403
