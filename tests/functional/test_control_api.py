"""Stop and resume over HTTP: what is held back, what is answered, what is audited."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.domain.controls import MOST_IN_FORCE, Controls
from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Entry
from tests.fakes import MemoryStore
from tests.front import Front
from tests.functional.test_functions import Context
from tests.functional.test_jobs_api import PAYMENT

PAUSE, RESUME = "/v1/queues/money/pause", "/v1/queues/money/resume"
STOP, END = "/v1/rate-limits/emergency-stop", "/v1/rate-limits/resume"


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()  # it is 2026-03-01, noon in UTC
    wiring.install(None)


def ask(front: Front, path: str, body: Any = None, *, sub: str = "admin-1") -> HTTPResponse:
    """Send an administrator's request."""
    token = front.token("admin", sub=sub, venue=None)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    sent = b"" if body is None else json.dumps(body).encode()
    return front.client.http.post(path, headers=headers, body=sent)


def consume(front: Front) -> list[str]:
    """Give the money consumer what waits for it, and return the ids of the messages that it kept."""
    received = front.queue.receive(Tier.MONEY, Lane.MAIN)
    records = [
        {
            "messageId": each.message_id,
            "receiptHandle": each.handle,
            "body": each.body,
            "attributes": {"ApproximateReceiveCount": str(each.receives)},
        }
        for each in received
    ]
    answer = app.handler_map["consume_money"]({"Records": records}, Context())
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def problems(response: HTTPResponse) -> dict[str, str]:
    assert response.status_code == 400
    return {each["field"]: each["message"] for each in response.json_body["details"]}


def audited(front: Front) -> list[tuple[str, str, str, str | None, str | None]]:
    return [(each.action, each.subject, each.reason, each.before, each.after) for each in front.store.audit]


def test_a_queue_is_paused_and_resumed(front: Front) -> None:
    paused = ask(front, PAUSE, {"reason": "the bank is down", "until": "2026-03-01T14:00:00+01:00"})
    standing = {
        "scope": "tier",
        "value": "money",
        "reason": "the bank is down",
        "owner": "admin-1",
        "since": "2026-03-01T12:00:00.000Z",
        "until": "2026-03-01T13:00:00.000Z",
    }
    assert paused.status_code == 200
    assert paused.json_body == {"queue": "money", "state": "paused", "stops": [standing]}
    assert ask(front, RESUME).json_body == {"queue": "money", "state": "open", "stops": []}
    held = "stopped until 2026-03-01T13:00:00.000Z: the bank is down"
    assert audited(front) == [
        ("pause", "queue/money", "the bank is down", "open", held),
        ("resume", "queue/money", "", held, "open"),
    ]


def test_a_paused_queue_begins_nothing_and_charges_nothing_until_it_is_resumed(front: Front) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    ask(front, PAUSE, {"reason": "the bank is down"})
    kept = consume(front)
    [job] = front.store.jobs.values()
    assert (len(kept), job.state, job.attempts, job.processed_at) == (1, "queued", 0, None)
    ask(front, RESUME, {"reason": "it is up"})
    front.clock.advance(timedelta(minutes=2))
    consume(front)  # the front has no provider: that the job was begun is what is seen here
    [job] = front.store.jobs.values()
    assert job.processed_at is not None


@pytest.mark.parametrize(
    "named",
    [
        {"scope": "all"},
        {"provider": "stripe"},
        {"provider": "stripe-charges"},
        {"venueId": "venue-1"},
        {"type": "payment.process"},
        {"type": "payment"},
    ],
)
def test_whatever_a_job_is_stopped_by_holds_it(front: Front, named: dict[str, str]) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    assert ask(front, STOP, {**named, "reason": "chargebacks"}).status_code == 200
    assert len(consume(front)) == 1
    [job] = front.store.jobs.values()
    assert (job.attempts, job.processed_at) == (0, None)
    assert ask(front, END, {**named, "reason": "mended"}).json_body == {"stops": []}


@pytest.mark.parametrize("named", [{"provider": "ses"}, {"venueId": "venue-2"}, {"type": "email.send"}])
def test_what_is_stopped_elsewhere_holds_nothing_else(front: Front, named: dict[str, str]) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    ask(front, STOP, {**named, "reason": "chargebacks"})
    consume(front)
    [job] = front.store.jobs.values()
    assert job.processed_at is not None


def test_a_second_pause_replaces_reason_and_end_and_keeps_the_start(front: Front) -> None:
    ask(front, PAUSE, {"reason": "first", "until": "2026-03-01T13:00:00Z"})
    front.clock.advance(timedelta(minutes=5))
    [standing] = ask(front, PAUSE, {"reason": "second"}, sub="admin-2").json_body["stops"]
    assert (standing["reason"], standing["owner"], standing["until"]) == ("second", "admin-2", None)
    assert standing["since"] == "2026-03-01T12:00:00.000Z"


def test_what_changes_nothing_is_answered_and_not_audited(front: Front) -> None:
    assert ask(front, RESUME).status_code == 200
    assert ask(front, END, {"scope": "all", "reason": "mended"}).status_code == 200
    for _ in range(2):
        assert ask(front, PAUSE, {"reason": "same"}).status_code == 200
    assert len(front.store.audit) == 1


def test_a_pause_that_stands_beside_a_later_stop_is_not_audited_again(front: Front) -> None:
    for _ in range(2):
        assert ask(front, PAUSE, {"reason": "calm"}).status_code == 200
        assert ask(front, STOP, {"scope": "all", "reason": "calm"}).status_code == 200
    assert [each.action for each in front.store.audit] == ["pause", "emergency_stop"]


def test_a_stop_of_everything_holds_a_queue_that_is_resumed(front: Front) -> None:
    ask(front, STOP, {"scope": "all", "reason": "storm"})
    ask(front, PAUSE, {"reason": "bank"})
    answer = ask(front, RESUME).json_body
    assert (answer["state"], [each["scope"] for each in answer["stops"]]) == ("paused", ["all"])


def test_a_pause_ends_by_itself(front: Front) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    ask(front, PAUSE, {"reason": "bank", "until": "2026-03-01T12:10:00Z"})
    front.clock.advance(timedelta(minutes=10))
    consume(front)
    [job] = front.store.jobs.values()
    assert job.processed_at is not None


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (PAUSE, {}, {"reason"}),
        (PAUSE, {"reason": ""}, {"reason"}),
        (PAUSE, {"reason": "x" * 501}, {"reason"}),
        (PAUSE, {"reason": "x", "until": "2026-03-01T12:00:00Z"}, {"until"}),
        (PAUSE, {"reason": "x", "until": "2026-13-01T12:00:00Z"}, {"until"}),
        (PAUSE, {"reason": "x", "until": "2027-03-01T12:00:00"}, {"until"}),
        (PAUSE, {"reason": "x", "until": "9999-12-31T23:59:59-23:59"}, {"until"}),
        (PAUSE, {"reason": "x", "until": 5, "extra": 1}, {"until", "extra"}),
        (RESUME, {"until": "2027-03-01T12:00:00Z"}, {"until"}),
        ("/v1/queues/gold/pause", {"reason": "x"}, {"tier"}),
        ("/v1/queues/gold/resume", {}, {"tier"}),
        (STOP, {}, {"reason", "body"}),
        (STOP, {"reason": "x", "scope": "some"}, {"scope"}),
        (STOP, {"reason": "x", "scope": "all", "provider": "ses"}, {"body"}),
        (STOP, {"reason": "x", "provider": "paypal"}, {"provider"}),
        (STOP, {"reason": "x", "type": "no.such"}, {"type"}),
        (STOP, {"reason": "x", "type": 5}, {"type"}),
        (STOP, {"reason": "x", "venueId": "v 1"}, {"venueId"}),
        (STOP, {"provider": "paypal", "until": "2020-01-01T00:00:00Z"}, {"reason", "provider", "until"}),
        (END, {"scope": "all"}, {"reason"}),
        (END, {"scope": "all", "reason": "x", "until": "2027-03-01T12:00:00Z"}, {"until"}),
    ],
)
def test_what_is_wrong_is_said_all_at_once_and_nothing_is_stopped(
    front: Front, path: str, body: dict[str, Any], fields: set[str]
) -> None:
    assert problems(ask(front, path, body)).keys() == fields
    assert (front.store.controls.entries, front.store.audit) == ((), [])


def test_what_is_unknown_is_told_what_is_known(front: Front) -> None:
    assert "stripe-charges" in problems(ask(front, STOP, {"reason": "x", "provider": "p"}))["provider"]
    assert "email.send" in problems(ask(front, STOP, {"reason": "x", "type": "t"}))["type"]
    assert "background" in problems(ask(front, "/v1/queues/q/pause", {"reason": "x"}))["tier"]


def test_so_many_stops_and_no_more_are_in_force(front: Front) -> None:
    for number in range(MOST_IN_FORCE):
        assert ask(front, STOP, {"venueId": f"v{number}", "reason": "x"}).status_code == 200
    assert ask(front, STOP, {"venueId": "v1", "reason": "another"}).status_code == 200
    refused = ask(front, STOP, {"venueId": "one-more", "reason": "x"})
    assert (refused.status_code, refused.json_body["error"]) == (409, "too_many_stops")


class LosingReplies(MemoryStore):
    """Controls whose first write is done and never answered."""

    lost = False

    def save_controls(self, controls: Controls, entry: Entry) -> bool:
        done = super().save_controls(controls, entry)
        if not self.lost:
            self.lost = True
            raise StoreUnsure
        return done


def test_a_pause_whose_reply_was_lost_is_made_and_audited_once() -> None:
    front = Front(store=LosingReplies())
    assert ask(front, PAUSE, {"reason": "bank"}).json_body["state"] == "paused"
    assert len(front.store.audit) == len(front.store.controls.entries) == 1
    wiring.install(None)


class Racing(MemoryStore):
    """Controls that another operator changes between each read and write, up to twice."""

    turns = 2

    def save_controls(self, controls: Controls, entry: Entry) -> bool:
        if self.turns:
            self.turns -= 1
            self.controls = Controls(self.controls.entries, self.controls.version + 1)
        return super().save_controls(controls, entry)


def test_an_operator_who_was_overtaken_decides_again() -> None:
    front = Front(store=Racing())
    assert ask(front, PAUSE, {"reason": "bank"}).json_body["state"] == "paused"
    assert len(front.store.audit) == 1
    wiring.install(None)
