"""Who is to be told of a job's end, as callers say it, and what the receiver is told."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.endpoint import Disabled, Endpoint
from chalicelib.domain.errors import Declined
from chalicelib.domain.job import TERMINAL, Job, JobId, Reason, State, VenueId
from chalicelib.domain.notice import DELIVERY, event, notice
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Fulfillment, Hook, HookAnswer, Providers
from chalicelib.jobtypes import discover
from chalicelib.service.intake import Schema
from tests.factories import a_job, an_endpoint
from tests.front import OTHER, OWN, Front
from tests.functional.test_jobs_api import BODY, PAYMENT, fields, the_job

URL = "https://shop.example/done?x=1"
ORDER = {"type": "order.fulfill", "data": {"orderId": "order-1", "note": "by the door"}, "callbackUrl": URL}


class Outside:
    """The order service and the receiver of events, in sight of the test."""

    def __init__(self) -> None:
        self.hooks = self.orders = self
        self.posted: list[Hook] = []
        self.refuses = False

    def fulfill(self, order: Fulfillment, *, key: str, deadline: datetime) -> Mapping[str, Any]:
        if self.refuses:
            raise Declined("out_of_stock", "The order service said no.")
        return {"shipmentId": "shp_1"}

    def post(self, hook: Hook, *, deadline: datetime) -> HookAnswer:
        self.posted.append(hook)
        return HookAnswer(204, timedelta(milliseconds=3), None, None)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(each.body) for each in self.posted]


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def front(outside: Outside) -> Iterator[Front]:
    made = Front(providers=cast(Providers, outside))
    outside.endpoints = made.endpoints  # type: ignore[attr-defined]  # the venue's, as the service has them
    yield made
    wiring.install(None)


def work(front: Front) -> None:
    """Let consumers do all that there is to do at this moment."""
    for _ in range(3):
        open_jobs = {job.id: 1 for job in front.store.jobs.values() if job.next_look is not None}
        wiring.service().execute.execute(open_jobs, ends=front.clock.now() + timedelta(minutes=1))


def an_endpoint_of(front: Front, venue: str = OWN, **changes: Any) -> Endpoint:
    made = an_endpoint(venue_id=VenueId(venue), **changes)
    front.endpoints.endpoints[made.venue_id, made.id] = made
    return made


def problem(response: HTTPResponse) -> str:
    """Return the one problem of an answer."""
    assert response.status_code == 400, response.json_body
    [only] = response.json_body["details"]
    assert only["field"] == "callbackEndpointId"
    return str(only["message"])


# --- what is told


def test_completed_job_is_told_to_its_url(front: Front, outside: Outside) -> None:
    job_id = front.post(ORDER).json_body["jobId"]
    work(front)
    [hook] = outside.posted
    delivery = front.get(f"/v1/jobs/{job_id}").json_body["callbackJobId"]
    assert (hook.url, hook.id) == (URL, delivery)
    assert outside.events == [
        {
            "type": "job.completed",
            "timestamp": "2026-03-01T12:00:00.000Z",
            "eventId": f"{job_id}-3",
            "data": {
                "jobId": job_id,
                "type": "order.fulfill",
                "queue": "money",
                "venueId": OWN,
                "state": "completed",
                "result": {"shipmentId": "shp_1"},
                "attempts": 1,
                "finishedAt": "2026-03-01T12:00:00.000Z",
            },
        }
    ]
    assert front.get(f"/v1/jobs/{delivery}").json_body["state"] == "completed"


def test_refused_job_is_told_to_its_endpoint_signed_with_its_secret(front: Front, outside: Outside) -> None:
    endpoint = an_endpoint_of(front)
    outside.refuses = True
    body = {name: value for name, value in ORDER.items() if name != "callbackUrl"}
    front.post({**body, "callbackEndpointId": endpoint.id})
    work(front)
    [hook], [told] = outside.posted, outside.events
    assert (hook.url, hook.secrets) == (endpoint.url, (endpoint.secrets[0].value,))
    assert (told["type"], told["data"]["state"], told["data"]["reason"]) == ("job.failed", "failed", "refused")
    assert told["data"]["error"]["code"] == "out_of_stock"


def test_cancelled_job_is_told(front: Front, outside: Outside) -> None:
    job_id = front.post(ORDER).json_body["jobId"]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token('admin')}"}
    gone = front.client.http.request("DELETE", f"/v1/jobs/{job_id}", headers=headers, body=b"")
    assert gone.status_code == 200
    work(front)
    assert [told["type"] for told in outside.events] == ["job.cancelled"]


def test_what_callers_deliver_themselves_may_have_its_end_told(front: Front, outside: Outside) -> None:
    data = {"url": "https://a.example/", "event": "order.paid", "eventId": "evt-1", "payload": {}}
    front.post({"type": DELIVERY, "data": data, "callbackUrl": URL})
    work(front)
    assert [each.url for each in outside.posted] == ["https://a.example/", URL]
    assert [told["type"] for told in outside.events] == ["order.paid", "job.completed"]


@pytest.mark.parametrize("name", sorted(discover()))
@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_what_is_told_is_valid_data_of_a_delivery(name: str, state: State) -> None:
    job_type = discover()[name]
    ended = replace(
        a_job(f"job_{'0' * 26}", type=name, tier=job_type.tier, callback_url=URL, payload=job_type.example),
        state=state,
        reason=Reason.EXPIRED if state is State.FAILED else None,
        result={"nested": {"list": [1, None]}},
        error=Failure("expired", "The job was not done within its tier's window."),
        finished_at=datetime.fromisoformat("2026-03-01T12:00:00+00:00"),
    )
    for job in (ended, replace(ended, callback_url=None, callback_endpoint_id="ep_1")):
        assert Schema(discover()[DELIVERY].schema).problems(event(job)) == []
        assert notice(job, discover()[DELIVERY], TIMING).payload == event(job)


# --- who is told, as callers say it


def test_endpoint_is_kept_with_the_job(front: Front) -> None:
    endpoint = an_endpoint_of(front)
    assert front.post({**BODY, "callbackEndpointId": endpoint.id}).status_code == 201
    assert (the_job(front).callback_endpoint_id, the_job(front).callback_url) == (endpoint.id, None)


def test_endpoint_and_url_are_not_both_told(front: Front) -> None:
    response = front.post({**BODY, "callbackUrl": URL, "callbackEndpointId": an_endpoint_of(front).id})
    assert problem(response) == "Name a callbackUrl or an endpoint, not both."
    assert front.store.jobs == {}


@pytest.mark.parametrize("endpoint_id", ["", "default", "endpoint-1", "ep_" + "x" * 65, 7, None])
def test_endpoint_id_that_is_none_is_refused(front: Front, endpoint_id: object) -> None:
    assert fields(front.post({**BODY, "callbackEndpointId": endpoint_id})) == {"callbackEndpointId"}


def test_endpoint_must_exist_in_the_jobs_venue_and_be_enabled(front: Front) -> None:
    endpoint = an_endpoint_of(front, OTHER)
    body = {**BODY, "callbackEndpointId": endpoint.id}
    assert problem(front.post(body)) == "This venue has no such endpoint."
    assert front.post({**body, "onBehalfOf": {"venueId": OTHER}}).status_code == 201
    an_endpoint_of(front, disabled=Disabled.BY_HAND)
    assert problem(front.post(body)) == "This endpoint is disabled: enable it first."
    assert len(front.store.jobs) == 1


def test_job_without_an_endpoint_asks_nobody_for_one(front: Front) -> None:
    front.post({**BODY, "callbackUrl": URL})
    assert front.registry.calls["look_up"] == 0


def test_jobs_of_a_batch_name_their_own(front: Front) -> None:
    endpoint = an_endpoint_of(front)
    jobs = [
        {**BODY, "data": {**PAYMENT, "orderId": "order-1"}, "callbackEndpointId": endpoint.id},
        {**BODY, "data": {**PAYMENT, "orderId": "order-2"}, "callbackEndpointId": "ep_none"},
        {**BODY, "data": {**PAYMENT, "orderId": "order-3"}, "callbackUrl": URL},
    ]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token()}"}
    sent = json.dumps({"jobs": jobs}).encode()
    response = front.client.http.post("/v1/jobs/batch", headers=headers, body=sent)
    assert response.status_code == 207
    kept = [(job.callback_endpoint_id, job.callback_url) for job in front.store.jobs.values()]
    assert kept == [(endpoint.id, None), (None, URL)]


def test_clone_is_told_to_whom_the_first_one_was(front: Front) -> None:
    endpoint = an_endpoint_of(front)
    old = front.post({**BODY, "callbackEndpointId": endpoint.id}).json_body["jobId"]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token('admin')}"}
    response = front.client.http.post(f"/v1/jobs/{old}/clone", headers=headers, body=b"{}")
    assert response.status_code == 200
    assert [job.callback_endpoint_id for job in front.store.jobs.values()] == [endpoint.id] * 2


@pytest.mark.parametrize("callbacks", [{"callbackUrl": URL}, {"callbackEndpointId": "ep_1"}, {}])
def test_schedule_hands_on_who_is_told(front: Front, callbacks: dict[str, str]) -> None:
    an_endpoint_of(front)
    job = {"type": "payment.process", "data": PAYMENT, "venueId": OWN, **callbacks}
    body = {"name": "n", "cronExpression": "30 2 * * *", "timeZone": "UTC", "job": job}
    token = front.token("admin", sub="admin-1", venue=None)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    made = front.client.http.post("/v1/schedules", headers=headers, body=json.dumps(body).encode())
    assert made.status_code == 201
    shown = {name: made.json_body["job"].get(name) for name in ("callbackUrl", "callbackEndpointId")}
    assert {name: value for name, value in shown.items() if value is not None} == callbacks
    front.clock.advance(timedelta(hours=14, minutes=31))
    wiring.service().run_schedules.run(ends=front.clock.now() + timedelta(minutes=1))
    run = the_job(front)
    kept = {"callbackUrl": run.callback_url, "callbackEndpointId": run.callback_endpoint_id}
    assert {name: value for name, value in kept.items() if value is not None} == callbacks


# --- who sees what


def test_job_that_has_not_ended_names_no_delivery(front: Front) -> None:
    job_id = front.post({**BODY, "callbackUrl": URL}).json_body["jobId"]
    assert "callbackJobId" not in front.get(f"/v1/jobs/{job_id}").json_body


def ended_for(front: Front, user: str) -> tuple[JobId, JobId]:
    """Return a job that was made on behalf of a user and has ended, and its delivery."""
    body = {**ORDER, "onBehalfOf": {"userId": user}}
    job_id = JobId(front.post(body).json_body["jobId"])
    work(front)
    [delivery] = [each.id for each in front.store.jobs.values() if each.type == DELIVERY]
    return job_id, delivery


def test_user_sees_the_job_and_not_where_its_end_is_told(front: Front) -> None:
    job_id, delivery = ended_for(front, "user-7")
    token = front.token("user", sub="user-7")
    assert front.get(f"/v1/jobs/{job_id}", token=token).status_code == 200
    assert front.get(f"/v1/jobs/{delivery}", token=token).status_code == 404
    listed = front.get("/v1/jobs", token=token).json_body["jobs"]
    assert [each["id"] for each in listed] == [job_id]


def test_venue_and_operator_see_the_delivery(front: Front) -> None:
    _, delivery = ended_for(front, "user-7")
    for role in ("venue_admin", "admin"):
        shown = front.get(f"/v1/jobs/{delivery}", token=front.token(role)).json_body
        assert (shown["type"], shown["data"]["url"]) == (DELIVERY, URL)


def test_persons_erasure_reaches_what_was_told_of_them(front: Front) -> None:
    job_id, delivery = ended_for(front, "user-7")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token('admin')}"}
    body = json.dumps({"mode": "start", "userId": "user-7", "reason": "asked for"}).encode()
    assert front.client.http.post("/v1/erasures", headers=headers, body=body).status_code == 202
    jobs: dict[JobId, Job] = front.store.jobs
    assert all(jobs[each].erased_at is not None for each in (job_id, delivery))
    assert "shp_1" not in str([jobs[each] for each in (job_id, delivery)])
    assert URL not in str([jobs[each] for each in (job_id, delivery)])
    assert "callbackJobId" not in front.get(f"/v1/jobs/{job_id}").json_body
