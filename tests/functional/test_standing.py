"""What a job needs of the store: asked before a key is taken, and again before it runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.domain.endpoint import Disabled, EndpointId
from chalicelib.domain.job import JobId, State
from chalicelib.domain.policies import EffectClass, Tier
from chalicelib.domain.standing import AtEndpoint, Standing, mail_address, objections
from chalicelib.jobtypes import discover
from tests.factories import PAYMENT, VENUE, an_endpoint
from tests.front import Front
from tests.functional.house import House

TO = "Ada@Example.com"
EMAIL: Mapping[str, Any] = {"to": TO, "template": "refund_notice", "data": {}}
MAIL = {"type": "email.send", "data": EMAIL}
CHARGE = {"type": "payment.process", "data": PAYMENT}
OTHER = {"type": "email.send", "data": {**EMAIL, "to": "bob@example.com"}}
INVALID = {"type": "email.send", "data": {**EMAIL, "template": "nonsense"}}
MESSAGE = "Mail to this address is suppressed: it bounced for good, or its reader complained."


@pytest.fixture
def front() -> Front:
    """Return a front at which one address is suppressed."""
    front = Front()
    front.registry.suppressed.add(mail_address(TO))
    return front


def batch(front: Front, jobs: Sequence[Mapping[str, Any]], **options: bool) -> tuple[int, dict[str, Any]]:
    raw = json.dumps({"jobs": jobs, "options": options}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token()}"}
    answer = front.client.http.post("/v1/jobs/batch", headers=headers, body=raw)
    return answer.status_code, answer.json_body


def test_job_to_a_suppressed_address_is_refused_and_nothing_is_written(front: Front) -> None:
    answer = front.post(MAIL)
    assert answer.status_code == 400
    assert answer.json_body["details"] == [{"field": "data.to", "message": MESSAGE}]
    assert (front.store.jobs, front.store.keys, front.queue.waiting()) == ({}, {}, 0)


def test_plus_address_is_another_address(front: Front) -> None:
    assert front.post({**MAIL, "data": {**EMAIL, "to": "ada+tickets@example.com"}}).status_code == 201


def test_job_that_needs_nothing_asks_nothing(front: Front) -> None:
    assert front.post(CHARGE).status_code == 201
    assert batch(front, [{**CHARGE, "idempotencyKey": f"k{n}"} for n in range(3)], stopOnError=True)[0] == 201
    assert not front.registry.calls


@pytest.mark.parametrize("together", [False, True])
def test_a_hundred_jobs_that_need_something_ask_once(together: bool) -> None:
    front = Front()
    jobs = [{**MAIL, "data": {**EMAIL, "to": f"ada{n}@example.com"}} for n in range(100)]
    assert batch(front, jobs, stopOnError=together)[0] == 201
    assert front.registry.calls == {"look_up": 1}


def test_repeated_request_has_its_first_answer_though_the_address_is_suppressed_since() -> None:
    front = Front()
    first = front.post(MAIL, key="k").json_body["jobId"]
    front.registry.suppressed.add(mail_address(TO))
    again = front.post(MAIL, key="k")
    assert (again.status_code, again.json_body["jobId"]) == (200, first)
    assert front.post(OTHER, key="k").status_code == 409
    assert front.post(MAIL, key="another").status_code == 400


def test_registry_that_does_not_answer_is_a_503_for_those_that_ask(front: Front) -> None:
    front.registry.down = True
    assert front.post(MAIL).status_code == 503
    assert front.post(CHARGE).status_code == 201
    status, body = batch(front, [OTHER, {**CHARGE, "idempotencyKey": "k"}])
    assert status == 207
    assert [(each["index"], each["error"]) for each in body["errors"]] == [(0, "unavailable")]
    assert batch(front, [OTHER], stopOnError=True)[0] == 503


def test_batch_says_of_each_job_what_it_lacks(front: Front) -> None:
    status, body = batch(front, [OTHER, MAIL, CHARGE, {**MAIL, "idempotencyKey": "k"}])
    assert status == 207
    assert [each["index"] for each in body["jobs"]] == [0, 2]
    assert [(each["index"], each["details"][0]["message"]) for each in body["errors"]] == [
        (1, MESSAGE),
        (3, MESSAGE),
    ]


@pytest.mark.parametrize(
    ("options", "jobs", "errors"),
    [
        ({}, [OTHER, MAIL, {**MAIL, "idempotencyKey": "k"}], [1, 2]),
        ({}, [OTHER, MAIL, INVALID], [1, 2]),
        ({"validateAll": False}, [OTHER, MAIL, {**MAIL, "idempotencyKey": "k"}], [1]),
        ({"validateAll": False}, [INVALID, MAIL], [0]),
    ],
)
def test_all_or_nothing_reports_every_job_that_lacks_something(
    front: Front, options: dict[str, bool], jobs: list[Mapping[str, Any]], errors: list[int]
) -> None:
    status, body = batch(front, jobs, stopOnError=True, **options)
    assert status == 400
    assert ([each["index"] for each in body["errors"]], body["failedAt"]) == (errors, errors[0])
    assert (front.store.jobs, front.store.keys) == ({}, {})


def test_clone_is_held_to_what_stands_today() -> None:
    front = Front()
    job_id = front.post(MAIL).json_body["jobId"]
    front.registry.suppressed.add(mail_address(TO))
    admin = front.token("admin", sub="ada", venue=None)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {admin}"}
    answer = front.client.http.post(f"/v1/jobs/{job_id}/clone", headers=headers, body=b'{"reason": "again"}')
    assert answer.status_code == 400
    assert len(front.store.jobs) == 1


class Mails:
    """A house that accepts mails."""

    def __init__(self) -> None:
        self.type = discover()["email.send"]
        self.house = House(types={self.type.name: self.type})

    def accept(self, to: str) -> JobId:
        return self.house.accept(self.type, data={**EMAIL, "to": to})


def test_address_suppressed_between_acceptance_and_run_gets_no_mail() -> None:
    mails = Mails()
    job_id = mails.accept(TO)
    mails.house.registry.suppressed.add(mail_address(TO))
    mails.house.consume(Tier.COMMUNICATION)  # its providers are none: a mail would fail the attempt
    job = mails.house.job(job_id)
    assert (job.state, job.reason, job.begun) == (State.FAILED, "refused", False)
    assert job.error is not None
    assert job.error.code == "suppressed"


def test_jobs_of_a_batch_are_asked_for_in_one_call_before_any_is_claimed() -> None:
    mails = Mails()
    ids = [mails.accept(f"ada{n}@example.com") for n in range(5)]
    mails.house.registry.suppressed.update(mail_address(f"ada{n}@example.com") for n in range(5))
    mails.house.registry.calls.clear()
    mails.house.consume(Tier.COMMUNICATION)
    assert mails.house.registry.calls == {"look_up": 1}
    assert {mails.house.job(each).state for each in ids} == {State.FAILED}


def test_registry_that_does_not_answer_leaves_the_job_as_it_was_and_holds_up_no_other() -> None:
    mails = Mails()
    asks = mails.accept(TO)
    other = mails.house.accept(EffectClass.BLIND)
    mails.house.registry.down = True
    kept = mails.house.consume(Tier.COMMUNICATION)
    assert len(kept) == 1
    assert (mails.house.job(asks).state, mails.house.job(asks).attempts) == (State.QUEUED, 0)
    assert mails.house.job(other).state is State.COMPLETED


def test_an_endpoint_must_exist_in_the_venue_and_be_enabled() -> None:
    names = [EndpointId(name) for name in ("open", "shut", "nowhere")]
    needs = [AtEndpoint("data.endpointId", VENUE, name) for name in names]
    ours = [an_endpoint(id=names[0]), an_endpoint(id=names[1], disabled=Disabled.BY_HAND)]
    standing = Standing(endpoints={(VENUE, each.id): each for each in ours})
    assert [each.code for each in objections(needs, standing)] == ["disabled_endpoint", "unknown_endpoint"]


def test_data_that_cannot_be_read_any_more_holds_up_no_other_job() -> None:
    mails = Mails()
    odd, other = mails.accept(TO), mails.house.accept(EffectClass.BLIND)
    mails.house.change(odd, lambda job: replace(job, payload={}))
    assert len(mails.house.consume(Tier.COMMUNICATION)) == 1
    assert mails.house.job(other).state is State.COMPLETED
    assert mails.house.journal.actions().count("needs_unreadable") == 1
