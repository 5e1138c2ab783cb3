"""POST /v1/jobs/batch: what is accepted, what is refused, and how each is told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.policies import Lane, Tier
from chalicelib.http.views import MAY_MOVE_MONEY
from tests.front import OTHER, OWN, Front
from tests.functional.test_jobs_api import MAIL, PAYMENT


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def payment(order: int = 1, **changes: Any) -> dict[str, Any]:
    return {"type": "payment.process", "data": {**PAYMENT, "orderId": f"order-{order}"}, **changes}


INVALID = {"type": "payment.process", "data": {**PAYMENT, "amount": -1, "colour": "red"}}
UNKNOWN = {"type": "fax.send", "data": {}}


def send(
    front: Front, jobs: object, *, token: str | None = None, headers: dict[str, str] | None = None, **body: Any
) -> HTTPResponse:
    return post(front, {"jobs": jobs, **body}, token=token, headers=headers)


def post(
    front: Front, body: object, *, token: str | None = None, headers: dict[str, str] | None = None
) -> HTTPResponse:
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {token or front.token()}"}
    return front.client.http.post(
        "/v1/jobs/batch", headers={**sent, **(headers or {})}, body=json.dumps(body).encode()
    )


def together(front: Front, jobs: object, **options: Any) -> HTTPResponse:
    return send(front, jobs, options={"stopOnError": True, **options})


def places(answer: HTTPResponse, name: str) -> list[int]:
    return [each["index"] for each in answer.json_body[name]]


def orders(front: Front) -> list[Any]:
    return [job.payload["orderId"] for job in front.store.jobs.values() if job.payload]


class TestEachByItself:
    def test_every_job_is_accepted_and_answered_in_the_order_asked(self, front: Front) -> None:
        answer = send(front, [payment(2), MAIL, payment(1)], headers={"X-Batch-Id": "night-1"})
        assert answer.status_code == 201
        assert answer.json_body == {
            "batchId": "night-1",
            "queue": None,
            "total": 3,
            "successful": 3,
            "failed": 0,
            "jobs": [
                {"index": 0, "jobId": "job_000001", "type": "payment.process", **NEW},
                {"index": 1, "jobId": "job_000002", "type": "email.send", **NEW},
                {"index": 2, "jobId": "job_000003", "type": "payment.process", **NEW},
            ],
            "errors": [],
        }
        assert len(front.queue.messages[Tier.MONEY, Lane.MAIN]) == 2
        assert len(front.queue.messages[Tier.COMMUNICATION, Lane.MAIN]) == 1

    def test_jobs_say_which_batch_they_came_in_and_where(self, front: Front) -> None:
        made = send(front, [payment(1), payment(2)]).json_body
        assert made["batchId"].startswith("batch_")
        shown = front.get(f"/v1/jobs/{made['jobs'][1]['jobId']}").json_body
        assert (shown["batchId"], shown["batchIndex"]) == (made["batchId"], 1)

    def test_a_job_that_came_alone_says_nothing_of_a_batch(self, front: Front) -> None:
        made = front.post(payment(1)).json_body
        assert not {"batchId", "batchIndex"} & front.get(f"/v1/jobs/{made['jobId']}").json_body.keys()

    def test_options_and_callers_of_each_job_hold(self, front: Front) -> None:
        jobs = [
            payment(1, options={"priority": 10, "delay": 60_000, "attempts": 2}),
            payment(2, onBehalfOf={"venueId": OTHER, "userId": "user-7"}, callbackUrl="https://shop.example/x"),
            payment(3, idempotencyKey="k"),
        ]
        answer = send(front, jobs)
        first, second, third = front.store.jobs.values()
        assert [each["status"] for each in answer.json_body["jobs"]] == ["scheduled", "queued", "queued"]
        assert (first.priority, first.max_attempts, first.venue_id) == (10, 2, OWN)
        assert (second.venue_id, second.user_id, second.callback_url) == (
            OTHER,
            "user-7",
            "https://shop.example/x",
        )
        assert front.store.keys[third.key_id].natural is False

    @pytest.mark.parametrize("validate_all", [True, False])
    def test_invalid_jobs_are_told_whole_and_the_others_accepted(
        self, front: Front, validate_all: bool
    ) -> None:
        answer = send(front, [payment(1), INVALID, UNKNOWN, payment(2)], options={"validateAll": validate_all})
        assert answer.status_code == 207
        assert (answer.json_body["successful"], answer.json_body["failed"]) == (2, 2)
        assert (places(answer, "jobs"), places(answer, "errors")) == ([0, 3], [1, 2])
        assert orders(front) == ["order-1", "order-2"]
        bad, unknown = answer.json_body["errors"]
        assert {each["field"] for each in bad["details"]} == {"data.amount", "data.colour"}
        assert (bad["type"], bad["error"]) == ("payment.process", "validation_failed")
        assert (unknown["type"], unknown["error"]) == ("fax.send", "unknown_type")

    def test_a_batch_without_a_valid_job_is_400_and_changes_nothing(self, front: Front) -> None:
        answer = send(front, [INVALID, UNKNOWN, {"type": 7, "data": {}}])
        assert answer.status_code == 400
        assert (answer.json_body["error"], answer.json_body["failed"]) == ("batch_failed", 3)
        assert [each["type"] for each in answer.json_body["errors"]] == ["payment.process", "fax.send", None]
        assert (front.store.jobs, front.store.keys, front.queue.waiting()) == ({}, {}, 0)

    def test_a_duplicate_is_the_first_job(self, front: Front) -> None:
        first = front.post(payment(1)).json_body["jobId"]
        answer = send(front, [payment(2), payment(1)])
        assert answer.status_code == 201
        assert [each["deduplicated"] for each in answer.json_body["jobs"]] == [False, True]
        assert answer.json_body["jobs"][1]["jobId"] == first
        assert len(front.store.jobs) == 2

    def test_the_same_key_twice_is_one_job(self, front: Front) -> None:
        answer = send(front, [payment(1), payment(1), payment(1)])
        assert {each["jobId"] for each in answer.json_body["jobs"]} == set(front.store.jobs)
        assert [each["deduplicated"] for each in answer.json_body["jobs"]] == [False, True, True]
        assert (len(front.store.jobs), front.queue.waiting()) == (1, 1)

    def test_the_same_key_with_another_payload_conflicts(self, front: Front) -> None:
        answer = send(front, [payment(1, idempotencyKey="k"), payment(2, idempotencyKey="k")])
        assert (answer.status_code, places(answer, "errors")) == (207, [1])
        [error] = answer.json_body["errors"]
        [first] = front.store.jobs
        assert error["error"] == "idempotency_conflict"
        assert error["details"] == [{"field": "jobId", "message": first}]

    def test_a_repeated_batch_is_the_same_jobs(self, front: Front) -> None:
        jobs = [payment(number) for number in range(100)]
        first, again = send(front, jobs).json_body["jobs"], send(front, jobs).json_body["jobs"]
        assert [each["jobId"] for each in first] == [each["jobId"] for each in again]
        assert (len(front.store.jobs), front.queue.waiting()) == (100, 100)


NEW = {"status": "queued", "deduplicated": False}


class TestTogether:
    def test_every_job_is_accepted(self, front: Front) -> None:
        answer = together(front, [payment(1), MAIL, payment(1), payment(2)])
        assert (answer.status_code, places(answer, "jobs")) == (201, [0, 1, 2, 3])
        ids = [each["jobId"] for each in answer.json_body["jobs"]]
        assert ids[0] == ids[2]
        assert (len(front.store.jobs), front.queue.waiting()) == (3, 3)
        assert front.get(f"/v1/jobs/{ids[3]}").json_body["batchIndex"] == 3

    def test_one_invalid_job_stops_it_and_every_invalid_one_is_told(self, front: Front) -> None:
        answer = together(front, [payment(1), UNKNOWN, payment(2), INVALID])
        assert (answer.status_code, answer.json_body["failedAt"]) == (400, 1)
        assert (answer.json_body["successful"], answer.json_body["failed"]) == (0, 4)
        assert (answer.json_body["jobs"], places(answer, "errors")) == ([], [1, 3])
        assert (front.store.jobs, front.store.keys, front.store.stages) == ({}, {}, {})

    def test_without_validate_all_the_first_invalid_one_is_told_alone(self, front: Front) -> None:
        answer = together(front, [payment(1), UNKNOWN, INVALID], validateAll=False)
        assert (answer.json_body["failedAt"], places(answer, "errors")) == (1, [1])
        assert front.store.jobs == {}

    def test_a_conflict_with_an_earlier_job_stops_it(self, front: Front) -> None:
        front.post(payment(1, idempotencyKey="k"))
        answer = together(front, [payment(2), payment(3, idempotencyKey="k"), payment(4)])
        assert (answer.status_code, answer.json_body["failedAt"]) == (400, 1)
        assert answer.json_body["errors"][0]["error"] == "idempotency_conflict"
        assert orders(front) == ["order-1"]
        assert front.post(payment(2)).status_code == 201

    def test_a_conflict_within_it_stops_it(self, front: Front) -> None:
        answer = together(front, [payment(1, idempotencyKey="k"), payment(2), payment(3, idempotencyKey="k")])
        assert (answer.status_code, answer.json_body["failedAt"]) == (400, 2)
        assert front.store.jobs == {}

    def test_a_duplicate_does_not_stop_it(self, front: Front) -> None:
        first = front.post(payment(1)).json_body["jobId"]
        answer = together(front, [payment(2), payment(1)])
        assert answer.status_code == 201
        assert answer.json_body["jobs"][1]["jobId"] == first

    def test_repeated_it_is_the_same_jobs(self, front: Front) -> None:
        jobs = [payment(number) for number in range(100)]
        first, again = together(front, jobs), together(front, jobs)
        assert (first.status_code, again.status_code) == (201, 201)
        assert [each["jobId"] for each in first.json_body["jobs"]] == [
            each["jobId"] for each in again.json_body["jobs"]
        ]
        assert all(each["deduplicated"] for each in again.json_body["jobs"])
        assert (len(front.store.jobs), front.queue.waiting()) == (100, 100)


class TestTheRequest:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "jobs"),
            ({"jobs": []}, "jobs"),
            ({"jobs": [payment(n) for n in range(101)]}, "jobs"),
            ({"jobs": {}}, "jobs"),
            ({"jobs": [payment(), 7]}, "jobs.1"),
            ({"jobs": [payment()], "queue": "gold"}, "queue"),
            ({"jobs": [payment()], "options": {"stopOnError": "yes"}}, "options.stopOnError"),
            ({"jobs": [payment()], "options": {"retry": True}}, "options.retry"),
            ({"jobs": [payment()], "idempotencyKey": "k"}, "idempotencyKey"),
        ],
        ids=str,
    )
    def test_a_malformed_batch_is_400_and_accepts_nothing(
        self, front: Front, body: dict[str, Any], field: str
    ) -> None:
        answer = post(front, body)
        assert answer.status_code == 400
        assert answer.json_body["error"] == "validation_failed"
        assert field in {each["field"] for each in answer.json_body["details"]}
        assert front.store.jobs == {}

    @pytest.mark.parametrize("name", ["", "a b", "x" * 129, "ü"])
    def test_a_batch_id_is_printable_and_short(self, front: Front, name: str) -> None:
        answer = send(front, [payment()], headers={"X-Batch-Id": name})
        assert answer.status_code == 400
        assert [each["field"] for each in answer.json_body["details"]] == ["X-Batch-Id"]

    def test_one_key_for_a_whole_batch_is_refused(self, front: Front) -> None:
        answer = send(front, [payment()], headers={"Idempotency-Key": "k"})
        assert answer.status_code == 400
        assert [each["field"] for each in answer.json_body["details"]] == ["Idempotency-Key"]

    def test_the_batchs_queue_holds_for_jobs_that_name_none(self, front: Front) -> None:
        jobs = [payment(1), MAIL, {**MAIL, "queue": "communication"}]
        answer = send(front, jobs, queue="money")
        assert (answer.status_code, answer.json_body["queue"]) == (207, "money")
        assert [(each["index"], each["error"]) for each in answer.json_body["errors"]] == [
            (1, "queue_mismatch")
        ]

    def test_a_queue_that_all_jobs_share_is_told(self, front: Front) -> None:
        assert send(front, [payment(1), payment(2)]).json_body["queue"] == "money"

    @pytest.mark.parametrize("stop", [True, False])
    def test_a_store_that_does_not_answer_is_503(
        self, front: Front, stop: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise StoreRefused

        monkeypatch.setattr(front.store, "take_keys", lambda keys: [False for _ in keys])
        monkeypatch.setattr(front.store, "take_key", refuse)
        answer = send(front, [payment(1), payment(2)], options={"stopOnError": stop})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert (answer.json_body["error"], front.store.jobs) == ("unavailable", {})

    def test_a_batch_of_n_counts_n_requests(self) -> None:
        front = Front(environment={"RATE_LIMIT_MAX_REQUESTS": "1", "RATE_LIMIT_WINDOW_MS": "60000"})
        token = front.token("venue_admin")  # ten
        answer = send(front, [payment(n) for n in range(8)], token=token)
        assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (201, "2")
        too_many = send(front, [payment(n) for n in range(8, 11)], token=token)
        assert (too_many.status_code, len(front.store.jobs)) == (429, 8)
        wiring.install(None)

    def test_it_may_move_money_so_it_waits_for_the_count(self) -> None:
        assert ("POST", "/v1/jobs/batch") in MAY_MOVE_MONEY

    def test_jobs_of_the_platform_are_refused_to_a_venue_one_by_one(self, front: Front) -> None:
        token = front.token("venue_admin")
        foreign = payment(2, onBehalfOf={"venueId": OTHER})
        mixed = send(front, [payment(1), foreign], token=token)
        assert (mixed.status_code, mixed.json_body["errors"][0]["error"]) == (207, "forbidden")
        alone = send(front, [foreign], token=token)
        assert (alone.status_code, alone.json_body["error"]) == (403, "forbidden")
