import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import Attempt, Job, JobId, Reason, State
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Message
from tests.fakes import START, MemoryStore
from tests.front import OTHER, OWN, Front

PAYMENT: dict[str, Any] = {
    "amount": 4500,
    "currency": "EUR",
    "customerId": "cus_1",
    "eventId": "event-1",
    "paymentMethod": "pm_card_visa",
    "orderId": "order-1",
}
BODY: dict[str, Any] = {"type": "payment.process", "data": PAYMENT}
MAIL: dict[str, Any] = {
    "type": "email.send",
    "data": {
        "to": "ada@example.com",
        "template": "order_confirmation",
        "data": {"orderId": "order-1", "eventName": "Night", "total": "45.00 EUR"},
    },
}


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def fields(response: HTTPResponse) -> set[str]:
    """Return the fields that an answer's details name."""
    return {problem["field"] for problem in response.json_body.get("details", [])}


def the_job(front: Front) -> Job:
    """Return the one job that there is."""
    (job,) = front.store.jobs.values()
    return job


class TestAccepting:
    def test_a_job_is_answered_with_201_and_what_holds_for_it(self, front: Front) -> None:
        response = front.post(BODY)
        assert response.status_code == 201
        assert response.json_body == {
            "jobId": "job_000001",
            "queue": "money",
            "type": "payment.process",
            "status": "queued",
            "deduplicated": False,
            "options": {"priority": 8, "delay": 0, "attempts": 10},
        }

    def test_an_accepted_job_has_its_record_its_key_and_its_message(self, front: Front) -> None:
        front.post(BODY)
        job = the_job(front)
        assert (job.venue_id, job.submitted_by, job.user_id, job.payload) == (OWN, "service-1", None, PAYMENT)
        assert [key.job_id for key in front.store.keys.values()] == [job.id]
        assert len(front.queue.messages[Tier.MONEY, Lane.MAIN]) == 1

    def test_what_the_caller_chooses_holds(self, front: Front) -> None:
        options = {"priority": 9, "delay": 1500, "attempts": 2}
        response = front.post({**BODY, "queue": "money", "options": options})
        assert response.json_body["options"] == options
        assert response.json_body["status"] == "scheduled"
        job = the_job(front)
        assert (job.lane, job.max_attempts, job.due) == (Lane.EXPRESS, 2, START + timedelta(milliseconds=1500))

    @pytest.mark.parametrize("name", ["payment", "payment-process"])
    def test_an_older_name_changes_the_name_only(self, front: Front, name: str) -> None:
        assert front.post({**BODY, "type": name}).json_body["type"] == "payment.process"

    def test_a_mail_goes_to_the_communication_queue(self, front: Front) -> None:
        response = front.post(MAIL)
        assert response.status_code == 201
        assert (response.json_body["queue"], response.json_body["options"]["attempts"]) == ("communication", 3)

    def test_the_job_belongs_to_whom_it_is_submitted_for(self, front: Front) -> None:
        behalf = {"userId": "user-7", "venueId": OTHER}
        assert front.post({**BODY, "onBehalfOf": behalf}).status_code == 201
        assert (the_job(front).user_id, the_job(front).venue_id) == ("user-7", OTHER)

    def test_identity_is_never_taken_from_data(self, front: Front) -> None:
        response = front.post({**BODY, "data": {**PAYMENT, "venueId": OTHER, "userId": "user-7"}})
        assert response.status_code == 400
        assert fields(response) == {"data.venueId", "data.userId"}

    def test_a_callback_url_is_kept_with_the_job(self, front: Front) -> None:
        front.post({**BODY, "callbackUrl": "https://shop.example/done?x=1"})
        assert the_job(front).callback_url == "https://shop.example/done?x=1"

    def test_an_amount_without_a_fraction_is_the_same_amount(self, front: Front) -> None:
        raw = json.dumps(BODY).replace("4500", "4500.0").encode()
        assert front.post(raw).status_code == 201
        assert front.post(BODY).json_body["deduplicated"] is True


class TestDuplicates:
    def test_the_same_submission_again_is_answered_with_the_first_job(self, front: Front) -> None:
        first = front.post(BODY, key="key-1")
        again = front.post(BODY, key="key-1")
        assert again.status_code == 200
        assert again.json_body == {**first.json_body, "deduplicated": True}
        assert front.queue.waiting() == 1

    def test_a_duplicate_of_a_finished_job_is_answered_with_its_result(self, front: Front) -> None:
        front.post(BODY, key="key-1")
        job = the_job(front)
        done = replace(job, state=State.COMPLETED, result={"chargeId": "ch_1"}, finished_at=START)
        front.store.jobs[job.id] = done
        again = front.post(BODY, key="key-1").json_body
        assert (again["status"], again["result"]) == ("completed", {"chargeId": "ch_1"})

    def test_a_duplicate_of_a_failed_job_is_answered_with_its_reason_and_error(self, front: Front) -> None:
        front.post(BODY, key="key-1")
        job = the_job(front)
        error = Failure("card_declined", "The card was declined.", "req_1")
        front.store.jobs[job.id] = replace(job, state=State.FAILED, reason=Reason.REFUSED, error=error)
        again = front.post(BODY, key="key-1").json_body
        assert (again["status"], again["reason"]) == ("failed", "refused")
        assert again["error"] == {
            "code": "card_declined",
            "message": "The card was declined.",
            "reference": "req_1",
        }

    def test_a_key_with_another_payload_is_a_conflict_that_names_the_first_job(self, front: Front) -> None:
        front.post(BODY, key="key-1")
        response = front.post({**BODY, "data": {**PAYMENT, "amount": 1}}, key="key-1")
        assert response.status_code == 409
        assert response.json_body["error"] == "idempotency_conflict"
        assert response.json_body["details"] == [{"field": "jobId", "message": "job_000001"}]

    def test_keys_of_two_venues_do_not_meet(self, front: Front) -> None:
        front.post(BODY, key="key-1")
        other = front.post({**BODY, "onBehalfOf": {"venueId": OTHER}}, key="key-1")
        assert other.status_code == 201

    def test_the_key_may_stand_in_the_body_or_the_header(self, front: Front) -> None:
        front.post({**BODY, "idempotencyKey": "key-1"})
        assert front.post(BODY, key="key-1").json_body["deduplicated"] is True
        assert front.post({**BODY, "idempotencyKey": "key-1"}, key="key-1").status_code == 200

    def test_without_a_key_the_natural_one_holds(self, front: Front) -> None:
        front.post(BODY)
        assert front.post(BODY).status_code == 200
        assert front.post({**BODY, "data": {**PAYMENT, "orderId": "order-2"}}).status_code == 201


class TestRefusing:
    def test_every_problem_of_a_body_is_named_at_once(self, front: Front) -> None:
        response = front.post(
            {
                "type": "payment.process",
                "queue": "slow",
                "data": {**PAYMENT, "amount": 0, "currency": "eur", "note": "x"},
                "options": {"priority": 11, "delay": -1, "attempts": 0, "backoff": 1},
                "idempotencyKey": "",
                "onBehalfOf": {"userId": "", "role": "admin"},
                "callbackUrl": "http://shop.example",
                "extra": 1,
            },
            key="\x7f",
        )
        assert response.status_code == 400
        assert response.json_body["error"] == "validation_failed"
        assert fields(response) == {
            "queue",
            "data.amount",
            "data.currency",
            "data.note",
            "options.priority",
            "options.delay",
            "options.attempts",
            "options.backoff",
            "idempotencyKey",
            "Idempotency-Key",
            "onBehalfOf.userId",
            "onBehalfOf.role",
            "callbackUrl",
            "extra",
        }
        assert all(problem["message"].endswith(".") for problem in response.json_body["details"])
        assert front.store.jobs == {}

    def test_an_answer_never_repeats_a_value(self, front: Front) -> None:
        secret = "4242424242424242"
        data = {key: {"card": secret} for key in PAYMENT}
        response = front.post({**BODY, "data": data, "queue": secret, "callbackUrl": secret}, key=secret + "\n")
        assert response.status_code == 400
        assert secret not in response.body.decode()

    def test_an_unknown_type_is_answered_with_the_types_there_are(self, front: Front) -> None:
        response = front.post({"type": "payment.nonsense", "data": {}})
        assert (response.status_code, response.json_body["error"]) == (400, "unknown_type")
        assert all(name in response.json_body["message"] for name in front.types)
        assert "nonsense" not in response.body.decode()

    @pytest.mark.parametrize("name", [None, 1, "", "Payment.Process", "payment.process ", ["payment.process"]])
    def test_a_type_is_known_by_its_exact_name(self, front: Front, name: object) -> None:
        response = front.post({"type": name, "data": PAYMENT})
        assert response.status_code == 400
        assert "type" in fields(response)

    def test_the_wrong_queue_is_a_mismatch(self, front: Front) -> None:
        response = front.post({**BODY, "queue": "background"})
        assert (response.status_code, response.json_body["error"]) == (400, "queue_mismatch")
        assert "money" in response.json_body["message"]

    def test_no_caller_takes_the_place_of_a_schedules_run(self, front: Front) -> None:
        response = front.post({**BODY, "idempotencyKey": "schedule:s1:2026-03-01T12:00:00Z"})
        assert (response.status_code, fields(response)) == (400, {"idempotencyKey"})

    def test_two_keys_that_differ_are_refused(self, front: Front) -> None:
        response = front.post({**BODY, "idempotencyKey": "key-1"}, key="key-2")
        assert (response.status_code, fields(response)) == (400, {"idempotencyKey"})

    @pytest.mark.parametrize("key", ["", " ", " key", "key ", "k\u00e4y", "k\ney", "x" * 256])
    def test_a_key_is_1_to_255_printable_characters(self, front: Front, key: str) -> None:
        assert fields(front.post(BODY, key=key)) == {"Idempotency-Key"}
        assert fields(front.post({**BODY, "idempotencyKey": key})) == {"idempotencyKey"}
        assert front.store.jobs == {}

    @pytest.mark.parametrize("key", ["x", "x" * 255, "order 1", '"quoted"', "a:b/c~"])
    def test_a_printable_key_is_taken(self, front: Front, key: str) -> None:
        assert front.post(BODY, key=key).status_code == 201

    @pytest.mark.parametrize(
        "options",
        [
            {"priority": 0},
            {"priority": 11},
            {"priority": 1.5},
            {"priority": "5"},
            {"priority": True},
            {"delay": -1},
            {"delay": 365 * 24 * 3600 * 1000 + 1},
            {"delay": 0.5},
            {"attempts": 0},
            {"attempts": 11},
            {"attempts": None},
        ],
        ids=str,
    )
    def test_an_option_out_of_its_range_is_refused(self, front: Front, options: dict[str, Any]) -> None:
        assert fields(front.post({**BODY, "options": options})) == {f"options.{name}" for name in options}

    @pytest.mark.parametrize(
        "options",
        [
            {"priority": 1},
            {"priority": 10},
            {"delay": 0},
            {"delay": 365 * 24 * 3600 * 1000},
            {"attempts": 1},
            {"attempts": 10},
        ],
        ids=str,
    )
    def test_an_option_at_the_end_of_its_range_is_taken(self, front: Front, options: dict[str, Any]) -> None:
        assert front.post({**BODY, "options": options}).status_code == 201

    @pytest.mark.parametrize("amount", [0, -1, 100_000_000, 1.5, "4500", None, True, 1e300])
    def test_money_is_a_whole_number_of_minor_units(self, front: Front, amount: object) -> None:
        assert fields(front.post({**BODY, "data": {**PAYMENT, "amount": amount}})) == {"data.amount"}

    @pytest.mark.parametrize(
        "url",
        [
            "http://shop.example",
            "https://",
            "https:///path",
            "//shop.example",
            "javascript:alert(1)",
            "https://user:pw@shop.example",
            "https://shop.example/#part",
            "https://shop.example/a b",
            "https://shop.example\\@evil.example",
            "https://shop.example:99999/",
            "https://[::1",
            "https://shop.example/" + "x" * 2048,
            "https://sh\u00f6p.example",
        ],
    )
    def test_a_callback_is_a_plain_https_url(self, front: Front, url: str) -> None:
        assert fields(front.post({**BODY, "callbackUrl": url})) == {"callbackUrl"}

    @pytest.mark.parametrize(
        "raw", [b"", b"  ", b"[]", b"null", b'"text"', b"{", b"\xff\xfe", b'{"type": NaN}']
    )
    def test_a_body_that_is_no_json_object_is_refused(self, front: Front, raw: bytes) -> None:
        response = front.post(raw)
        assert (response.status_code, response.json_body["error"]) == (400, "malformed_body")

    def test_a_key_that_is_there_twice_is_refused(self, front: Front) -> None:
        response = front.post(json.dumps(BODY)[:-1].encode() + b', "type": "email.send"}')
        assert (response.status_code, fields(response)) == (400, {"type"})

    def test_a_body_above_256_kb_is_too_large(self, front: Front) -> None:
        response = front.post({**BODY, "data": {**PAYMENT, "description": "x" * 262_144}})
        assert (response.status_code, response.json_body["error"]) == (413, "body_too_large")

    def test_an_answer_names_no_more_problems_than_anybody_reads(self, front: Front) -> None:
        response = front.post({**BODY, **{f"key{number}": 1 for number in range(5000)}})
        assert response.status_code == 400
        assert len(response.json_body["details"]) == 100

    @pytest.mark.parametrize("media", ["text/plain", "application/xml", "multipart/form-data", ""])
    def test_another_content_type_is_refused(self, front: Front, media: str) -> None:
        response = front.post(BODY, Content_Type=media)
        assert (response.status_code, response.json_body["error"]) == (415, "unsupported_media_type")

    def test_json_may_name_its_character_set(self, front: Front) -> None:
        assert front.post(BODY, Content_Type="application/json; charset=utf-8").status_code == 201

    def test_a_service_without_a_venue_has_to_name_one(self, front: Front) -> None:
        token = front.token(venue=None)
        assert fields(front.post(BODY, token=token)) == {"onBehalfOf.venueId"}
        assert front.post({**BODY, "onBehalfOf": {"venueId": OWN}}, token=token).status_code == 201


class TestTrouble:
    def test_a_refusing_table_is_503_and_nothing_is_accepted(self, front: Front) -> None:
        front.store.add = _raising(StoreRefused())  # type: ignore[method-assign] # a fault of the table
        response = front.post(BODY)
        assert (response.status_code, response.json_body["error"]) == (503, "unavailable")
        assert response.headers["Retry-After"] == "5"
        assert front.store.jobs == {}

    def test_an_acceptance_that_cannot_be_known_asks_for_the_same_key(self, front: Front) -> None:
        front.store.add = _raising(StoreUnsure())  # type: ignore[method-assign] # replies are lost
        front.store.load = _raising(StoreRefused())  # type: ignore[method-assign] # nor can it be read
        response = front.post(BODY)
        assert (response.status_code, response.json_body["error"]) == (503, "acceptance_unknown")
        assert "repeat with the same key" in response.json_body["message"]
        assert response.headers["Retry-After"] == "5"

    def test_a_message_that_did_not_go_is_201_all_the_same(self, front: Front) -> None:
        def lose(messages: list[Message]) -> list[bool]:
            return [False for _ in messages]

        front.queue.send = lose  # type: ignore[method-assign,assignment] # the queue is down
        assert front.post(BODY).status_code == 201

    def test_what_nobody_expected_is_500_logged_and_not_told(self, front: Front) -> None:
        front.store.take_key = _raising(RuntimeError("4242424242424242"))  # type: ignore[method-assign] # a bug
        response = front.post(BODY)
        assert response.status_code == 500
        assert response.json_body == {"error": "internal_error", "message": "Something went wrong on our side."}
        assert ("request_failed", {"error": "RuntimeError"}) in front.journal.events

    def test_an_unreadable_table_is_503_for_a_reader(self, front: Front) -> None:
        front.store.load = _raising(StoreRefused())  # type: ignore[method-assign] # a fault of the table
        assert front.get("/v1/jobs/job_000001").status_code == 503

    def test_a_service_that_cannot_start_still_answers_in_the_one_shape(
        self, front: Front, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wiring.install(None)
        monkeypatch.delenv("STAGE", raising=False)
        response = front.post(BODY)
        assert (response.status_code, response.json_body["error"]) == (500, "internal_error")


class TestReading:
    def test_a_jobs_key_stands_for_its_period_and_says_whose_it_is(self, front: Front) -> None:
        front.post(BODY, key="order-1")

        def key() -> dict[str, Any]:
            path = "/v1/jobs/job_000001/idempotency"
            told: dict[str, Any] = front.get(path, token=front.token("admin")).json_body
            assert told["jobId"] == "job_000001"
            return dict(told["key"])

        assert (key()["given"], key()["stands"], key()["ours"]) == (True, True, True)
        bearer = {"Authorization": f"Bearer {front.token('admin')}"}
        assert front.client.http.delete("/v1/jobs/job_000001", headers=bearer).status_code == 200
        front.clock.advance(timedelta(hours=24))
        assert key()["stands"] is False
        front.post(BODY, key="order-1")
        assert key()["ours"] is False

    def test_a_job_reads_as_it_was_accepted(self, front: Front) -> None:
        front.post({**BODY, "onBehalfOf": {"userId": "user-7"}})
        response = front.get("/v1/jobs/job_000001", token=front.token("admin"))
        assert response.status_code == 200
        assert response.json_body == {
            "id": "job_000001",
            "queue": "money",
            "type": "payment.process",
            "amount": 4500,
            "currency": "EUR",
            "venueId": OWN,
            "data": PAYMENT,
            "state": "queued",
            "progress": 0,
            "attempts": 0,
            "maxAttempts": 10,
            "priority": 8,
            "createdAt": "2026-03-01T12:00:00.000Z",
            "processedAt": None,
            "finishedAt": None,
            "history": [],
            "nextAttemptAt": "2026-03-01T12:00:00.000Z",
        }

    def test_a_scheduled_job_says_for_when(self, front: Front) -> None:
        front.post({**BODY, "options": {"delay": 60_000}})
        view = front.get("/v1/jobs/job_000001").json_body
        assert (view["state"], view["scheduledFor"]) == ("scheduled", "2026-03-01T12:01:00.000Z")
        assert view["nextAttemptAt"] == view["scheduledFor"]

    def test_a_failed_job_tells_its_whole_story(self, front: Front) -> None:
        front.post(BODY)
        job = the_job(front)
        later = START + timedelta(milliseconds=1234)
        front.store.jobs[job.id] = replace(
            job,
            state=State.FAILED,
            reason=Reason.EXHAUSTED,
            attempts=2,
            processed_at=START,
            finished_at=later,
            error=Failure("timed_out", "Stripe did not answer."),
            history=(Attempt(1, START, later, "retry", "timed_out", "req_1"),),
        )
        view = front.get("/v1/jobs/job_000001").json_body
        assert (view["state"], view["reason"], view["progress"]) == ("failed", "exhausted", 50)
        assert view["error"] == {"code": "timed_out", "message": "Stripe did not answer."}
        assert view["finishedAt"] == "2026-03-01T12:00:01.234Z"
        assert "nextAttemptAt" not in view
        assert view["history"] == [
            {
                "attempt": 1,
                "startedAt": "2026-03-01T12:00:00.000Z",
                "endedAt": "2026-03-01T12:00:01.234Z",
                "outcome": "retry",
                "code": "timed_out",
                "reference": "req_1",
            }
        ]

    def test_a_declined_payment_names_its_intent_until_it_is_erased(self, front: Front) -> None:
        front.post(BODY)
        job = the_job(front)
        declined = replace(job, state=State.FAILED, reason=Reason.REFUSED, handle="pi_1", finished_at=START)
        front.store.jobs[job.id] = declined
        assert front.get("/v1/jobs/job_000001").json_body["providerObject"] == "pi_1"
        front.store.jobs[job.id] = replace(declined, erased_at=START)
        assert "providerObject" not in front.get("/v1/jobs/job_000001").json_body

    @pytest.mark.parametrize(
        ("state", "started", "progress"),
        [
            (State.QUEUED, False, 0),
            (State.CANCELLED, False, 0),
            (State.RUNNING, True, 50),
            (State.RETRYING, True, 50),
            (State.PARKED, True, 50),
            (State.COMPLETED, True, 100),
        ],
    )
    def test_progress_is_that_of_its_one_effect(
        self, front: Front, state: State, started: bool, progress: int
    ) -> None:
        front.post(BODY)
        job = the_job(front)
        front.store.jobs[job.id] = replace(job, state=state, processed_at=START if started else None)
        assert front.get("/v1/jobs/job_000001").json_body["progress"] == progress

    def test_a_large_payload_reads_whole(self, front: Front) -> None:
        mail = {**MAIL, "data": {**MAIL["data"], "data": {f"value{n}": "x" * 500 for n in range(10)}}}
        mail["data"]["data"] |= MAIL["data"]["data"]
        assert front.post(mail).status_code == 201
        view = front.get("/v1/jobs/job_000001", token=front.token("admin")).json_body
        assert view["data"] == mail["data"]

    def test_a_queue_that_is_not_the_jobs_is_a_mismatch(self, front: Front) -> None:
        front.post(BODY)
        assert front.get("/v1/jobs/job_000001?queue=money").status_code == 200
        wrong = front.get("/v1/jobs/job_000001?queue=background")
        assert (wrong.status_code, wrong.json_body["error"]) == (400, "queue_mismatch")
        assert fields(front.get("/v1/jobs/job_000001?queue=slow")) == {"queue"}
        assert fields(front.get("/v1/jobs/job_000001?queue=money&queue=money")) == {"queue"}

    def test_a_wrong_queue_does_not_betray_a_foreign_job(self, front: Front) -> None:
        front.post(BODY)
        response = front.get("/v1/jobs/job_000001?queue=background", token=front.token("user", sub="user-9"))
        assert response.status_code == 404

    @pytest.mark.parametrize("job_id", ["job_000001%23payload", "%20", "x" * 65, "..", "job_%00", "j\u00f6b"])
    def test_what_is_no_id_is_unknown(self, front: Front, job_id: str) -> None:
        asked: list[str] = []
        front.store.load = _counting(asked, "load", MemoryStore.load, front.store)  # type: ignore[method-assign] # counts
        assert front.get(f"/v1/jobs/{job_id}").status_code == 404
        assert asked == []


class TestShape:
    @pytest.mark.parametrize(
        ("method", "path"), [("PUT", "/v1/jobs"), ("DELETE", "/v1/jobs"), ("POST", "/health")]
    )
    def test_an_unknown_method_is_405_with_those_that_are_known(
        self, front: Front, method: str, path: str
    ) -> None:
        response = front.client.http.request(method, path)
        assert (response.status_code, response.json_body["error"]) == (405, "method_not_allowed")
        assert response.headers["Allow"]

    def test_no_token_is_401_and_says_which_scheme(self, front: Front) -> None:
        response = front.client.http.get("/v1/jobs/job_000001")
        assert (response.status_code, response.json_body["error"]) == (401, "unauthenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"

    def test_a_token_is_asked_for_before_the_body_is_read(self, front: Front) -> None:
        assert front.post(b"{", token="nonsense").status_code == 401

    def test_every_answer_is_json_and_not_to_be_kept(self, front: Front) -> None:
        for response in (front.post(BODY), front.get("/v1/jobs/job_000001"), front.get("/v1/jobs/nobody")):
            assert response.headers["Content-Type"] == "application/json"
            assert response.headers["Cache-Control"] == "no-store"

    def test_a_header_that_was_sent_twice_is_refused(self, front: Front) -> None:
        event = _event({"Idempotency-Key": ["key-1", "key-2"], "Authorization": [f"Bearer {front.token()}"]})
        answer = _call(event)
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (400, "validation_failed")

    def test_a_body_that_the_gateway_encoded_is_decoded(self, front: Front) -> None:
        event = _event({"Authorization": [f"Bearer {front.token()}"]})
        encoded = {**event, "isBase64Encoded": True, "body": "e30="}
        assert json.loads(_call(encoded)["body"])["error"] == "validation_failed"
        broken = {**event, "isBase64Encoded": True, "body": "\u00e4"}
        assert (_call(broken)["statusCode"], json.loads(_call(broken)["body"])["error"]) == (
            400,
            "malformed_body",
        )

    def test_a_request_without_a_body_is_refused(self, front: Front) -> None:
        event = {**_event({"Authorization": [f"Bearer {front.token()}"]}), "body": None}
        assert json.loads(_call(event)["body"])["error"] == "malformed_body"


def test_the_store_is_asked_three_times_to_accept_a_job(front: Front) -> None:
    calls: list[str] = []
    for name in ("take_key", "add", "load", "load_batch"):
        setattr(front.store, name, _counting(calls, name, getattr(MemoryStore, name), front.store))
    send = front.queue.send
    front.queue.send = lambda messages: calls.append("send") or send(messages)  # type: ignore[method-assign,func-returns-value] # counts
    assert front.post(BODY).status_code == 201
    assert calls == ["take_key", "add", "send"]


def test_a_job_that_is_read_is_loaded_once(front: Front) -> None:
    front.post(BODY)
    calls: list[str] = []
    front.store.load = _counting(calls, "load", MemoryStore.load, front.store)  # type: ignore[method-assign] # counts
    front.get("/v1/jobs/job_000001")
    assert calls == ["load"]
    assert front.store.load(JobId("job_000001"), None) is not None


def _raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def _counting(calls: list[str], name: str, method: Any, store: MemoryStore) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return method(store, *args, **kwargs)

    return call


def _event(headers: dict[str, list[str]]) -> dict[str, Any]:
    """Return a submission as API Gateway hands it to Lambda."""
    return {
        "requestContext": {"httpMethod": "POST", "resourcePath": "/v1/jobs", "path": "/v1/jobs"},
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "multiValueQueryStringParameters": None,
        "pathParameters": {},
        "stageVariables": None,
        "isBase64Encoded": False,
        "body": json.dumps(BODY),
    }


def _call(event: dict[str, Any]) -> dict[str, Any]:
    from app import app

    return app(event, None)
