"""Schedules over HTTP: what an administrator may say of them, and what is answered."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.ports import Entry
from chalicelib.domain.schedule import Schedule
from chalicelib.http.schedule_shapes import EXAMPLE, SCHEMAS
from chalicelib.service.intake import Schema
from tests.fakes_schedules import MemoryScheduleStore
from tests.front import Front
from tests.functional.test_functions import Context
from tests.functional.test_jobs_api import PAYMENT

JOB: dict[str, Any] = {"type": "payment.process", "data": PAYMENT, "venueId": "venue-1"}
BODY: dict[str, Any] = {
    "name": "Every night",
    "cronExpression": "30 2 * * *",
    "timeZone": "Europe/Berlin",
    "job": JOB,
}
HOUR = timedelta(hours=1)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()  # it is 2026-03-01, noon in UTC
    wiring.install(None)


def ask(front: Front, method: str, path: str = "", body: Any = None, *, key: str | None = None) -> HTTPResponse:
    """Send a request about schedules, as an administrator."""
    token = front.token("admin", sub="admin-1", venue=None)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    headers |= {} if key is None else {"Idempotency-Key": key}
    sent = b"" if body is None else json.dumps(body).encode()
    return front.client.http.request(method, f"/v1/schedules{path}", headers=headers, body=sent)


def made(front: Front, **changes: Any) -> dict[str, Any]:
    response = ask(front, "POST", body={**BODY, **changes})
    assert response.status_code == 201
    answer: dict[str, Any] = response.json_body
    return answer


def problems(response: HTTPResponse) -> dict[str, str]:
    assert response.status_code == 400
    return {each["field"]: each["message"] for each in response.json_body["details"]}


def run_schedules() -> None:
    """Call the function as the clock does."""
    app.handler_map["run_schedules"]({"source": "aws.events", **dict.fromkeys(TICK, "")}, Context())


TICK = ("version", "account", "region", "detail", "detail-type", "time", "id", "resources")


def shape(name: str) -> Schema:
    """Return one of the shapes that the API's description promises."""
    everything = {each: dict(schema) for each, schema in SCHEMAS.items()}
    return Schema({"components": {"schemas": everything}, **everything[name]})


def test_a_schedule_is_made_and_answered_whole(front: Front) -> None:
    answer = made(front)
    assert answer == {
        "id": "sch_entry_000001",
        "name": "Every night",
        "cronExpression": "30 2 * * *",
        "timeZone": "Europe/Berlin",
        "job": {"type": "payment.process", "data": PAYMENT, "options": {}, "venueId": "venue-1"},
        "active": True,
        "missed": "skip",
        "version": 1,
        "createdAt": "2026-03-01T12:00:00.000Z",
        "createdBy": "admin-1",
        "updatedAt": "2026-03-01T12:00:00.000Z",
        "updatedBy": "admin-1",
        "nextRun": "2026-03-02T01:30:00.000Z",
        "lastRun": None,
        "nextRuns": [f"2026-03-0{day}T01:30:00.000Z" for day in (2, 3, 4, 5, 6)],
    }
    assert ask(front, "GET", f"/{answer['id']}").json_body == answer
    assert shape("Schedule").problems(answer) == []


def test_the_next_runs_go_over_a_shift_of_the_clocks(front: Front) -> None:
    front.clock.advance(timedelta(days=26))
    assert made(front)["nextRuns"] == [
        "2026-03-28T01:30:00.000Z",
        "2026-03-29T01:00:00.000Z",  # half past two does not come: three o'clock, summer time
        "2026-03-30T00:30:00.000Z",
        "2026-03-31T00:30:00.000Z",
        "2026-04-01T00:30:00.000Z",
    ]


def test_the_example_of_the_description_is_accepted(front: Front) -> None:
    assert ask(front, "POST", body=EXAMPLE).status_code == 201


def test_an_old_name_of_a_type_is_kept_under_its_own(front: Front) -> None:
    assert made(front, job={**JOB, "type": "payment"})["job"]["type"] == "payment.process"


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"name": ""}, {"name"}),
        ({"name": "two\nlines"}, {"name"}),
        ({"name": "x" * 101}, {"name"}),
        ({"cronExpression": "0 30 2 * * *"}, {"cronExpression"}),
        ({"cronExpression": "0 0 30 2 *"}, {"cronExpression"}),
        ({"cronExpression": "* * * * *," + "1," * 100 + "1"}, {"cronExpression"}),
        ({"cronExpression": 5}, {"cronExpression"}),
        ({"timeZone": "Berlin"}, {"timeZone"}),
        ({"timeZone": None}, {"timeZone"}),
        ({"active": "yes"}, {"active"}),
        ({"missed": "all"}, {"missed"}),
        ({"reason": "x" * 501}, {"reason"}),
        ({"reason": "bell\u0007"}, {"reason"}),
        ({"version": 1}, {"version"}),
        ({"extra": 1}, {"extra"}),
        ({"job": None}, {"job"}),
        ({"job": {}}, {"job.type", "job.data", "job.venueId"}),
        ({"job": {"type": "payment.process", "data": PAYMENT}}, {"job.venueId"}),
        ({"job": {**JOB, "venueId": "v 1"}}, {"job.venueId"}),
        ({"job": {**JOB, "extra": 1}}, {"job.extra"}),
        ({"job": {**JOB, "type": "no.such"}}, {"job.type"}),
        ({"job": {**JOB, "data": {**PAYMENT, "amount": 0}}}, {"job.data.amount"}),
        ({"job": {**JOB, "data": {**PAYMENT, "card": "4242"}}}, {"job.data.card"}),
        ({"job": {**JOB, "options": {"priority": 11}}}, {"job.options.priority"}),
        (
            {"name": 1, "cronExpression": "x", "timeZone": "y", "job": {**JOB, "data": {}}},
            {"name", "cronExpression", "timeZone"}
            | {f"job.data.{each}" for each in ("amount", "currency", "customerId", "eventId", "paymentMethod")},
        ),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_is_wrong_is_said_all_at_once_and_nothing_is_changed(
    front: Front, method: str, change: dict[str, Any], fields: set[str]
) -> None:
    standing = made(front)
    if method == "PUT" and "version" in change:
        change, fields = {"version": 0}, {"version"}
    path = "" if method == "POST" else f"/{standing['id']}"
    assert problems(ask(front, method, path, {**BODY, **change})).keys() == fields
    assert ask(front, "GET", f"/{standing['id']}").json_body == standing
    assert len(front.schedules.schedules) == len(front.store.audit) == 1


def test_an_empty_body_names_all_that_is_required(front: Front) -> None:
    assert problems(ask(front, "POST", body={})).keys() == {"name", "cronExpression", "timeZone", "job"}


def test_seconds_are_refused_in_words_that_say_so(front: Front) -> None:
    told = problems(ask(front, "POST", body={**BODY, "cronExpression": "0 30 2 * * *"}))
    assert "seconds" in told["cronExpression"]


def test_a_key_makes_one_schedule_of_repeated_requests(front: Front) -> None:
    first = ask(front, "POST", body=BODY, key="night")
    front.clock.advance(HOUR)
    again = ask(front, "POST", body=BODY, key="night")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json_body == first.json_body
    other = ask(front, "POST", body={**BODY, "name": "Another"}, key="night")
    assert (other.status_code, other.json_body["error"]) == (409, "idempotency_conflict")
    assert ask(front, "POST", body=BODY, key=" ").status_code == 400
    assert len(front.schedules.schedules) == len(front.store.audit) == 1


def test_a_change_replaces_all_and_raises_the_version(front: Front) -> None:
    schedule = made(front, missed="once", reason="asked for\nby finance")
    front.clock.advance(HOUR)
    answer = ask(
        front, "PUT", f"/{schedule['id']}", {**BODY, "name": "Every day", "cronExpression": "0  9 * * *"}
    )
    assert answer.status_code == 200
    changed = answer.json_body
    assert (changed["name"], changed["cronExpression"], changed["missed"]) == ("Every day", "0 9 * * *", "skip")
    assert (changed["version"], changed["createdAt"]) == (2, schedule["createdAt"])
    assert (changed["updatedAt"], changed["nextRun"]) == (
        "2026-03-01T13:00:00.000Z",
        "2026-03-02T08:00:00.000Z",
    )
    assert ask(front, "GET", f"/{schedule['id']}").json_body == changed


def test_a_change_of_an_old_version_is_refused(front: Front) -> None:
    schedule = made(front)
    path = f"/{schedule['id']}"
    assert ask(front, "PUT", path, {**BODY, "version": 1}).json_body["version"] == 2
    refused = ask(front, "PUT", path, {**BODY, "name": "Lost", "version": 1})
    assert (refused.status_code, refused.json_body["error"]) == (409, "version_conflict")
    assert refused.json_body["details"] == [{"field": "state", "message": "version 2"}]
    assert ask(front, "GET", path).json_body["name"] == "Every night"


def test_runs_do_not_make_the_version_of_a_reader_old(front: Front) -> None:
    schedule = made(front, cronExpression="0 * * * *")
    front.clock.advance(HOUR)
    run_schedules()
    assert ask(front, "PUT", f"/{schedule['id']}", {**BODY, "version": 1}).status_code == 200


def test_what_is_switched_off_has_no_next_run(front: Front) -> None:
    schedule = made(front)
    off = ask(front, "PUT", f"/{schedule['id']}", {**BODY, "active": False}).json_body
    assert (off["nextRun"], off["nextRuns"]) == (None, [])


def test_the_clock_makes_the_jobs_of_what_is_due(front: Front) -> None:
    schedule = made(front, cronExpression="0 * * * *")
    front.clock.advance(HOUR)
    run_schedules()
    run_schedules()
    [job] = front.store.jobs.values()
    assert front.queue.waiting() == 1
    answer = ask(front, "GET", f"/{schedule['id']}").json_body
    assert answer["lastRun"] == {"at": "2026-03-01T13:00:00.000Z", "jobId": job.id}
    assert answer["nextRun"] == "2026-03-01T14:00:00.000Z"
    assert shape("Schedule").problems(answer) == []


def test_what_is_deleted_is_gone_and_its_jobs_stay(front: Front) -> None:
    schedule = made(front, cronExpression="0 * * * *")
    front.clock.advance(HOUR)
    run_schedules()
    path = f"/{schedule['id']}"
    answer = ask(front, "DELETE", path, {"reason": "the season is over"})
    assert (answer.status_code, answer.json_body) == (200, {"id": schedule["id"], "deleted": True})
    assert ask(front, "GET", path).status_code == 404
    assert ask(front, "DELETE", path).status_code == 404
    assert len(front.store.jobs) == 1
    front.clock.advance(HOUR)
    run_schedules()
    assert len(front.store.jobs) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PUT", "", BODY),
        ("DELETE", "", None),
        ("POST", "/run", None),
    ],
)
@pytest.mark.parametrize("schedule_id", ["sch_9", "x" * 65, "%00", "a%20b", "%F0%9F%8E%AB"])
def test_what_is_not_there_is_not_found(
    front: Front, method: str, path: str, body: Any, schedule_id: str
) -> None:
    response = ask(front, method, f"/{schedule_id}{path}", body)
    assert (response.status_code, response.json_body) == (
        404,
        {"error": "not_found", "message": "There is no such schedule."},
    )


class TestRunningNow:
    def test_a_run_is_one_job_and_leaves_the_due_times_as_they_are(self, front: Front) -> None:
        schedule = made(front)
        response = ask(front, "POST", f"/{schedule['id']}/run", {"reason": "the bank was down"})
        assert response.status_code == 201
        [job] = front.store.jobs.values()
        assert response.json_body == {
            "jobId": job.id,
            "queue": "money",
            "type": "payment.process",
            "status": "queued",
            "deduplicated": False,
            "options": {"priority": 8, "delay": 0, "attempts": 10},
        }
        answer = ask(front, "GET", f"/{schedule['id']}").json_body
        assert answer["nextRuns"] == schedule["nextRuns"]
        assert answer["lastRun"] == {"at": "2026-03-01T12:00:00.000Z", "jobId": job.id}
        run_schedules()
        assert len(front.store.jobs) == 1

    def test_each_is_a_job_of_its_own_unless_a_key_says_otherwise(self, front: Front) -> None:
        path = f"/{made(front)['id']}/run"
        for _ in range(2):
            assert ask(front, "POST", path).status_code == 201
        first, again = ask(front, "POST", path, key="once"), ask(front, "POST", path, key="once")
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json_body["jobId"] == first.json_body["jobId"]
        assert len(front.store.jobs) == 3

    def test_what_is_not_active_runs_too(self, front: Front) -> None:
        schedule = made(front, active=False)
        assert ask(front, "POST", f"/{schedule['id']}/run").status_code == 201
        assert ask(front, "GET", f"/{schedule['id']}").json_body["nextRun"] is None

    def test_a_key_whose_job_has_another_payload_is_a_conflict(self, front: Front) -> None:
        schedule = made(front)
        ask(front, "POST", f"/{schedule['id']}/run", key="once")
        ask(front, "PUT", f"/{schedule['id']}", {**BODY, "job": {**JOB, "data": {**PAYMENT, "amount": 1}}})
        refused = ask(front, "POST", f"/{schedule['id']}/run", key="once")
        assert (refused.status_code, refused.json_body["error"]) == (409, "idempotency_conflict")
        assert ask(front, "POST", f"/{schedule['id']}/run").status_code == 201

    @pytest.mark.parametrize("body", [{"reason": ""}, {"because": "x"}, []])
    def test_what_is_wrong_with_a_body_is_said(self, front: Front, body: Any) -> None:
        path = f"/{made(front)['id']}/run"
        assert ask(front, "POST", path, body).status_code == 400
        assert front.store.jobs == {}


def test_every_change_has_its_entry_and_no_entry_holds_a_payload(front: Front) -> None:
    schedule = made(front, reason="asked for by finance")
    path = f"/{schedule['id']}"
    ask(front, "PUT", path, {**BODY, "active": False, "reason": "paused"})
    ask(front, "POST", f"{path}/run", {"reason": "by hand"})
    ask(front, "DELETE", path, {"reason": "over"})
    told = [(entry.action, entry.reason, entry.subject, entry.actor) for entry in front.store.audit]
    assert told == [
        (action, reason, f"schedule/{schedule['id']}", "admin-1")
        for action, reason in (
            ("create_schedule", "asked for by finance"),
            ("change_schedule", "paused"),
            ("run_schedule", "by hand"),
            ("delete_schedule", "over"),
        )
    ]
    created, changed, _, deleted = front.store.audit
    assert (created.before, deleted.after) == (None, None)
    assert created.after == changed.before
    assert changed.after == deleted.before
    assert "inactive, 30 2 * * * in Europe/Berlin" in str(changed.after)
    assert not any(value in str(front.store.audit) for value in ("cus_1", "pm_card_visa", "order-1"))


class TestListing:
    def test_pages_follow_each_other_and_rows_carry_no_payload(self, front: Front) -> None:
        ids = [made(front, name=f"Number {number}")["id"] for number in range(5)]
        first = ask(front, "GET", "?limit=2").json_body
        second = ask(front, "GET", f"?limit=2&cursor={first['cursor']}").json_body
        third = ask(front, "GET", f"?limit=2&cursor={second['cursor']}").json_body
        pages = [first, second, third]
        assert [row["id"] for page in pages for row in page["schedules"]] == ids
        assert third["cursor"] is None
        whole = ask(front, "GET", f"/{ids[0]}").json_body
        del whole["nextRuns"], whole["job"]["data"]
        assert first["schedules"][0] == whole
        assert shape("Schedules").problems(first) == []

    def test_nothing_is_an_empty_page(self, front: Front) -> None:
        assert ask(front, "GET").json_body == {"schedules": [], "cursor": None}

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=2", "limit"),
            ("cursor=", "cursor"),
            ("cursor=%00", "cursor"),
            ("cursor=abc", "cursor"),
            ("cursor=%C3%A9", "cursor"),
            ("cursor=YSBi", "cursor"),
            ("active=true", "active"),
        ],
    )
    def test_what_is_no_parameter_of_it_is_refused(self, front: Front, query: str, field: str) -> None:
        assert problems(ask(front, "GET", f"?{query}")).keys() == {field}

    def test_an_unknown_parameter_is_told_which_are_known(self, front: Front) -> None:
        assert "cursor, limit" in problems(ask(front, "GET", "?state=active"))["state"]


class Unreliable(MemoryScheduleStore):
    """A store that loses the reply of its next audited write."""

    def __init__(self, audit: list[Entry]) -> None:
        super().__init__(audit)
        self.losses = 1

    def add(self, schedule: Schedule, entry: Entry) -> bool:
        return self._lost(super().add(schedule, entry))

    def swap(self, before: Schedule, after: Schedule, entry: Entry | None = None) -> bool:
        done = super().swap(before, after, entry)
        return done if entry is None else self._lost(done)

    def remove(self, schedule: Schedule, entry: Entry) -> bool:
        return self._lost(super().remove(schedule, entry))

    def _lost(self, done: bool) -> bool:
        if self.losses:
            self.losses -= 1
            raise StoreUnsure
        return done


def test_a_lost_reply_is_no_second_change_and_no_second_entry() -> None:
    front = Front(schedules=Unreliable([]))
    schedules = front.schedules
    assert isinstance(schedules, Unreliable)
    schedule = made(front)
    path = f"/{schedule['id']}"
    for method, to, body in (("PUT", path, BODY), ("POST", f"{path}/run", None), ("DELETE", path, None)):
        schedules.losses = 1
        assert ask(front, method, to, body).status_code in (200, 201)
    actions = [entry.action for entry in schedules.audit]
    assert actions == ["create_schedule", "change_schedule", "run_schedule", "delete_schedule"]
    assert len(front.store.jobs) == 1
    wiring.install(None)


class Down(MemoryScheduleStore):
    """A store that does not answer."""

    def load(self, schedule_id: object) -> Schedule | None:
        raise StoreRefused


def test_a_table_that_does_not_answer_is_a_503() -> None:
    front = Front(schedules=Down())
    assert ask(front, "GET", "/sch_1").status_code == 503
    wiring.install(None)


def test_a_schedule_whose_zone_is_gone_can_still_be_read_and_mended(front: Front) -> None:
    schedule = made(front)
    standing = front.schedules.schedules[schedule["id"]]
    plan = replace(standing.plan, time_zone="Mars/Olympus")
    front.schedules.schedules[standing.id] = replace(standing, plan=plan)
    assert ask(front, "GET", f"/{standing.id}").json_body["nextRuns"] == []
    assert ask(front, "PUT", f"/{standing.id}", BODY).json_body["nextRuns"] == schedule["nextRuns"]
