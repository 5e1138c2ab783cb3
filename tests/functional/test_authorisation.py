"""Who may do what: one row per route and role; a route or a job type without a row fails.

`own`, `other` and `none` say how the token's venue stands to the job's: the same, another, or none at all.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import time
from itertools import product
from typing import Any

import pytest
from chalice.test import HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.domain.job import JobId, State, UserId, VenueId
from chalicelib.domain.notice import DELIVERY
from chalicelib.domain.operation import Status
from chalicelib.domain.policies import Role
from chalicelib.domain.quiet import QuietHours
from chalicelib.jobtypes import discover
from tests.factories import an_endpoint
from tests.front import OTHER, OWN, TWILIO, Front

VENUES = {"own": OWN, "other": OTHER, "none": None}

# POST /v1/jobs by role and the token's venue, when the body names OWN as the venue: for types that venues may
# submit, and for those that only the platform may. Closed unless it says 201.
MAY_SUBMIT: dict[tuple[Role, str], tuple[int, int]] = {
    (Role.USER, "own"): (403, 403),
    (Role.USER, "other"): (403, 403),
    (Role.USER, "none"): (403, 403),
    (Role.VENUE_ADMIN, "own"): (201, 403),
    (Role.VENUE_ADMIN, "other"): (403, 403),
    (Role.VENUE_ADMIN, "none"): (403, 403),
    (Role.SERVICE, "own"): (201, 201),
    (Role.SERVICE, "other"): (201, 201),
    (Role.SERVICE, "none"): (201, 201),
    (Role.ADMIN, "own"): (201, 201),
    (Role.ADMIN, "other"): (201, 201),
    (Role.ADMIN, "none"): (201, 201),
}
# GET /v1/jobs/{id} of a job of OWN, made on behalf of nobody: the status, and whether its data is shown.
MAY_READ: dict[tuple[Role, str], tuple[int, bool]] = {
    (Role.USER, "own"): (404, False),
    (Role.USER, "other"): (404, False),
    (Role.USER, "none"): (404, False),
    (Role.VENUE_ADMIN, "own"): (200, True),
    (Role.VENUE_ADMIN, "other"): (404, False),
    (Role.VENUE_ADMIN, "none"): (404, False),
    (Role.SERVICE, "own"): (200, False),
    (Role.SERVICE, "other"): (200, False),
    (Role.SERVICE, "none"): (200, False),
    (Role.ADMIN, "own"): (200, True),
    (Role.ADMIN, "other"): (200, True),
    (Role.ADMIN, "none"): (200, True),
}
# GET /v1/jobs?venueId=OWN, with a job of OWN, made on behalf of nobody: the status, and whether it is shown.
MAY_LIST: dict[tuple[Role, str], tuple[int, bool]] = {
    (Role.USER, "own"): (200, False),
    (Role.USER, "other"): (200, False),
    (Role.USER, "none"): (200, False),
    (Role.VENUE_ADMIN, "own"): (200, True),
    (Role.VENUE_ADMIN, "other"): (403, False),
    (Role.VENUE_ADMIN, "none"): (403, False),
    (Role.SERVICE, "own"): (200, True),
    (Role.SERVICE, "other"): (200, True),
    (Role.SERVICE, "none"): (200, True),
    (Role.ADMIN, "own"): (200, True),
    (Role.ADMIN, "other"): (200, True),
    (Role.ADMIN, "none"): (200, True),
}
# What operators do to one job of OWN: the status unless the job's own state is in the way.
MAY_STEER: dict[tuple[Role, str], int] = {
    (Role.USER, "own"): 403,
    (Role.USER, "other"): 403,
    (Role.USER, "none"): 403,
    (Role.VENUE_ADMIN, "own"): 200,
    (Role.VENUE_ADMIN, "other"): 404,
    (Role.VENUE_ADMIN, "none"): 403,
    (Role.SERVICE, "own"): 403,
    (Role.SERVICE, "other"): 403,
    (Role.SERVICE, "none"): 403,
    (Role.ADMIN, "own"): 200,
    (Role.ADMIN, "other"): 200,
    (Role.ADMIN, "none"): 200,
}
MAY_CLONE = MAY_STEER.copy()  # of types that venues may submit; others are cloned by administrators alone
# Acting on all jobs of OWN that match a filter.
MAY_BEGIN = {
    cell: {200: 202, 404: 403}.get(status, status) for cell, status in MAY_STEER.items()
}  # where one job would be hidden, a venue's whole list is refused
# Seeing and changing the endpoints of OWN, which the request names.
MAY_KEEP_ENDPOINTS = {cell: status < 400 for cell, status in MAY_BEGIN.items()}
# An operation that another administrator of OWN began: the platform's see it, nobody else knows of it.
MAY_WATCH = {cell: 200 if cell[0] is Role.ADMIN else 404 for cell in MAY_STEER}
# GET /v1/queues, which are the platform's and not a venue's, and GET /v1/alerts, of which a venue sees its own.
MAY_SEE_QUEUES: dict[tuple[Role, str], int] = {
    (Role.USER, "own"): 403,
    (Role.USER, "other"): 403,
    (Role.USER, "none"): 403,
    (Role.VENUE_ADMIN, "own"): 200,
    (Role.VENUE_ADMIN, "other"): 200,
    (Role.VENUE_ADMIN, "none"): 403,
    (Role.SERVICE, "own"): 403,
    (Role.SERVICE, "other"): 403,
    (Role.SERVICE, "none"): 403,
    (Role.ADMIN, "own"): 200,
    (Role.ADMIN, "other"): 200,
    (Role.ADMIN, "none"): 200,
}
# The quiet hours of OWN.
MAY_HUSH = {cell: 403 if status == 404 else status for cell, status in MAY_STEER.items()}
ROUTES: dict[tuple[str, str], object] = {
    ("POST", "/v1/jobs"): MAY_SUBMIT,
    ("POST", "/v1/jobs/batch"): MAY_SUBMIT,
    ("GET", "/v1/jobs"): MAY_LIST,
    ("GET", "/v1/jobs/{job_id}"): MAY_READ,
    ("GET", "/v1/jobs/{job_id}/idempotency"): MAY_READ,
    ("DELETE", "/v1/jobs/{job_id}"): MAY_STEER,
    ("POST", "/v1/jobs/{job_id}/retry"): MAY_STEER,
    ("POST", "/v1/jobs/{job_id}/promote"): MAY_STEER,
    ("POST", "/v1/jobs/{job_id}/resolve"): MAY_STEER,
    ("POST", "/v1/jobs/{job_id}/clone"): MAY_CLONE,
    ("GET", "/v1/schedules"): "admin",
    ("POST", "/v1/schedules"): "admin",
    ("GET", "/v1/schedules/{schedule_id}"): "admin",
    ("PUT", "/v1/schedules/{schedule_id}"): "admin",
    ("DELETE", "/v1/schedules/{schedule_id}"): "admin",
    ("POST", "/v1/schedules/{schedule_id}/run"): "admin",
    ("POST", "/v1/endpoints"): MAY_KEEP_ENDPOINTS,
    ("GET", "/v1/endpoints"): MAY_KEEP_ENDPOINTS,
    ("GET", "/v1/endpoints/{endpoint_id}"): MAY_KEEP_ENDPOINTS,
    ("PUT", "/v1/endpoints/{endpoint_id}"): MAY_KEEP_ENDPOINTS,
    ("DELETE", "/v1/endpoints/{endpoint_id}"): MAY_KEEP_ENDPOINTS,
    ("POST", "/v1/endpoints/{endpoint_id}/rotate-secret"): MAY_KEEP_ENDPOINTS,
    ("POST", "/v1/endpoints/{endpoint_id}/test"): MAY_KEEP_ENDPOINTS,
    ("GET", "/v1/queues"): MAY_SEE_QUEUES,
    ("GET", "/v1/queues/{tier}"): MAY_SEE_QUEUES,
    ("POST", "/v1/queues/{tier}/pause"): "admin",
    ("POST", "/v1/queues/{tier}/resume"): "admin",
    ("POST", "/v1/rate-limits/emergency-stop"): "admin",
    ("POST", "/v1/rate-limits/resume"): "admin",
    ("GET", "/v1/queues/{tier}/dead-letters"): "admin",
    ("POST", "/v1/queues/{tier}/redrive"): "admin",
    ("POST", "/v1/jobs/bulk"): MAY_BEGIN,
    ("POST", "/v1/erasures"): "admin",
    ("GET", "/v1/operations"): "its own",
    ("GET", "/v1/operations/{operation_id}"): MAY_WATCH,
    ("POST", "/v1/operations/{operation_id}/stop"): MAY_WATCH,
    ("GET", "/v1/audit"): "admin",
    ("GET", "/v1/alerts"): MAY_SEE_QUEUES,
    ("POST", "/v1/alerts/{alert_id}/acknowledge"): "admin",
    ("POST", "/v1/alerts/test"): "admin",
    ("GET", "/metrics"): "admin",
    ("GET", "/v1/metrics/summary"): "admin",
    ("GET", "/v1/metrics/throughput"): "admin",
    ("GET", "/v1/metrics/failures"): "admin",
    ("GET", "/v1/rate-limits"): "admin",
    ("GET", "/v1/rate-limits/{key}"): "admin",
    ("PUT", "/v1/rate-limits/{key}"): "admin",
    ("POST", "/v1/rate-limits/{key}/reset"): "admin",
    ("GET", "/v1/venues/{venue_id}/quiet-hours"): MAY_HUSH,
    ("PUT", "/v1/venues/{venue_id}/quiet-hours"): MAY_HUSH,
    ("DELETE", "/v1/venues/{venue_id}/quiet-hours"): MAY_HUSH,
    ("GET", "/v1/suppressions"): "admin",
    ("DELETE", "/v1/suppressions/{suppression_id}"): "admin",
    ("POST", "/v1/callbacks/stripe"): "signed",
    ("POST", "/v1/callbacks/ses"): "signed",
    ("POST", "/v1/callbacks/twilio"): "signed",
    ("GET", "/health"): "public",
    ("GET", "/ready"): "public",
    ("GET", "/openapi.json"): "public",
    ("GET", "/docs"): "public",
    ("GET", "/dashboard"): "public",
    ("GET", "/dashboard/{name}"): "public",
}
FORMS = {"/v1/callbacks/twilio": "application/x-www-form-urlencoded"}
# Who may submit which job type (section 6 of the contract).
SUBMITTED_BY: dict[str, str] = {
    "payment.process": "venues",
    "payment.refund": "venues",
    "email.send": "venues",
    "analytics.track": "venues",
    "sms.send": "venues",
    "order.fulfill": "platform",
    "payment.retry": "venues",
    "webhook.deliver": "venues",
    "ticket.mint": "venues",
    "payment.payout": "platform",
}


TYPES = discover()
CELLS = list(product(Role, VENUES))


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front(types=TYPES, environment=TWILIO)
    wiring.install(None)


def body(job_type: str, **changes: Any) -> dict[str, Any]:
    return {"type": job_type, "data": dict(TYPES[job_type].example), **changes}


def test_every_route_and_method_has_its_row() -> None:
    served = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert {row for row in served if row[0] != "OPTIONS"} == set(ROUTES)
    assert {path for method, path in served if method == "OPTIONS"} == {path for _, path in ROUTES}


def test_every_role_and_venue_has_its_cell() -> None:
    assert set(MAY_SUBMIT) == set(MAY_READ) == set(MAY_LIST) == set(MAY_STEER) == set(CELLS)
    assert set(MAY_SEE_QUEUES) == set(CELLS)


def test_every_job_type_has_its_row() -> None:
    assert set(TYPES) == set(SUBMITTED_BY)


@pytest.mark.parametrize("job_type", TYPES)
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_submit_what(front: Front, role: Role, venue: str, job_type: str) -> None:
    token = front.token(role, sub="caller", venue=VENUES[venue])
    response = front.post(body(job_type, onBehalfOf={"venueId": OWN}), token=token)
    venues, platform = MAY_SUBMIT[role, venue]
    assert response.status_code == (venues if SUBMITTED_BY[job_type] == "venues" else platform)
    jobs = list(front.store.jobs.values())
    assert [job.venue_id for job in jobs] == ([OWN] if response.status_code == 201 else [])


@pytest.mark.parametrize("stop", [True, False], ids=["together", "each"])
@pytest.mark.parametrize("job_type", TYPES)
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_submit_what_in_a_batch(
    front: Front, role: Role, venue: str, job_type: str, stop: bool
) -> None:
    token = front.token(role, sub="caller", venue=VENUES[venue])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    batch = {"jobs": [body(job_type, onBehalfOf={"venueId": OWN})], "options": {"stopOnError": stop}}
    response = front.client.http.post("/v1/jobs/batch", headers=headers, body=json.dumps(batch).encode())
    venues, platform = MAY_SUBMIT[role, venue]
    assert response.status_code == (venues if SUBMITTED_BY[job_type] == "venues" else platform)
    jobs = list(front.store.jobs.values())
    assert [job.venue_id for job in jobs] == ([OWN] if response.status_code == 201 else [])


@pytest.mark.parametrize("job_type", TYPES)
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_read_what(front: Front, role: Role, venue: str, job_type: str) -> None:
    sample = submitted(front, job_type)
    token = front.token(role, sub="caller", venue=VENUES[venue])
    response = front.get(f"/v1/jobs/{sample}", token=token)
    status, whole = MAY_READ[role, venue]
    assert response.status_code == status
    assert front.get(f"/v1/jobs/{sample}/idempotency", token=token).status_code == status
    if status == 200:
        data = response.json_body["data"]
        example = dict(TYPES[job_type].example)
        assert data == (example if whole else dict.fromkeys(example, "[redacted]"))


@pytest.mark.parametrize(("method", "path"), [row for row, rule in ROUTES.items() if rule is MAY_STEER])
@pytest.mark.parametrize("job_type", TYPES)
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_steer_what(
    front: Front, role: Role, venue: str, job_type: str, method: str, path: str
) -> None:
    sample = JobId(submitted(front, job_type, userId="caller"))
    job = front.store.jobs[sample]
    state = {"retry": State.FAILED, "resolve": State.PARKED}.get(path.split("/")[-1], job.state)
    front.store.jobs[sample] = job = replace(job, state=state)
    token = front.token(role, sub="caller", venue=VENUES[venue])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    body = b'{"resolution": "failed", "reason": "Looked."}' if path.endswith("resolve") else b"{}"
    answers = [
        front.client.http.request(method, path.replace("{job_id}", each), headers=headers, body=body)
        for each in (sample, "job_9")
    ]
    allowed = MAY_STEER[role, venue] == 200
    assert answers[0].status_code == MAY_STEER[role, venue]
    assert answers[1].status_code == (404 if allowed else MAY_STEER[role, venue])
    assert (front.store.jobs[sample] != job) == bool(front.store.audit) == allowed
    if not allowed:
        assert everything(answers[0]) == everything(answers[1])


@pytest.mark.parametrize("job_type", TYPES)
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_clone_what(front: Front, role: Role, venue: str, job_type: str) -> None:
    sample = submitted(front, job_type, userId="caller")
    token = front.token(role, sub="caller", venue=VENUES[venue])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    answers = [
        front.client.http.post(f"/v1/jobs/{each}/clone", headers=headers, body=b"{}")
        for each in (sample, "job_9")
    ]
    status = MAY_CLONE[role, venue]
    allowed = status == 200 and (role is Role.ADMIN or SUBMITTED_BY[job_type] == "venues")
    assert answers[0].status_code == (status if allowed or status != 200 else 403)
    assert answers[1].status_code == (404 if status == 200 else status)
    assert len(front.store.jobs) - 1 == len(front.store.audit) == allowed
    if status != 200:
        assert everything(answers[0]) == everything(answers[1])


@pytest.mark.parametrize("job_type", TYPES)
@pytest.mark.parametrize("venue", VENUES)
def test_a_user_reads_the_jobs_made_on_its_behalf_and_no_others(
    front: Front, venue: str, job_type: str
) -> None:
    sample = submitted(front, job_type, userId="user-7")
    mine = front.get(f"/v1/jobs/{sample}", token=front.token("user", sub="user-7", venue=VENUES[venue]))
    if job_type == DELIVERY:  # it says where the venue's systems listen
        assert mine.status_code == 404
    else:
        assert (mine.status_code, mine.json_body["data"]) == (200, dict(TYPES[job_type].example))
    theirs = front.get(f"/v1/jobs/{sample}", token=front.token("user", sub="user-8", venue=VENUES[venue]))
    assert theirs.status_code == 404


@pytest.mark.parametrize("job_type", TYPES)
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_list_what(front: Front, role: Role, venue: str, job_type: str) -> None:
    sample = submitted(front, job_type)
    token = front.token(role, sub="caller", venue=VENUES[venue])
    response = front.get(f"/v1/jobs?venueId={OWN}", token=token)
    status, shows = MAY_LIST[role, venue]
    assert response.status_code == status
    if status == 200:
        assert [job["id"] for job in response.json_body["jobs"]] == ([sample] if shows else [])
        assert all(not job.keys() & {"data", "history"} for job in response.json_body["jobs"])


def test_a_user_does_not_read_what_its_name_submitted_as_something_else(front: Front) -> None:
    front.post(body("payment.process"), token=front.token("service", sub="user-7"))
    assert front.get("/v1/jobs/job_000001", token=front.token("user", sub="user-7")).status_code == 404


@pytest.mark.parametrize(("role", "venue"), [cell for cell in CELLS if MAY_READ[cell][0] == 404])
def test_a_foreign_job_and_an_unknown_one_are_told_apart_by_nobody(
    front: Front, role: Role, venue: str
) -> None:
    sample = submitted(front, "payment.process", userId="user-7")
    token = front.token(role, sub="user-8", venue=VENUES[venue])
    foreign, unknown = front.get(f"/v1/jobs/{sample}", token=token), front.get("/v1/jobs/job_9", token=token)
    assert everything(foreign) == everything(unknown)


def test_a_venue_may_submit_without_naming_itself_and_by_naming_itself(front: Front) -> None:
    token = front.token("venue_admin")
    assert front.post(body("payment.process"), token=token).status_code == 201
    named = body("email.send", onBehalfOf={"venueId": OWN, "userId": "user-7"})
    assert front.post(named, token=token).status_code == 201
    assert [job.user_id for job in front.store.jobs.values()] == [None, UserId("user-7")]


@pytest.mark.parametrize("behalf", [{}, {"onBehalfOf": {}}, {"onBehalfOf": {"userId": "user-7"}}])
def test_a_venues_token_without_a_venue_submits_nothing(front: Front, behalf: dict[str, Any]) -> None:
    response = front.post(body("payment.process", **behalf), token=front.token("venue_admin", venue=None))
    assert response.status_code == 403
    assert front.store.jobs == {}


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ADMIN])
def test_the_platform_submits_for_its_tokens_venue_unless_it_names_another(front: Front, role: Role) -> None:
    token = front.token(role)
    front.post(body("payment.process"), token=token)
    front.post(body("payment.process", onBehalfOf={"venueId": OTHER}), token=token)
    assert [job.venue_id for job in front.store.jobs.values()] == [OWN, OTHER]


@pytest.mark.parametrize(
    ("method", "path"), [row for row, rule in ROUTES.items() if rule not in ("public", "signed")]
)
def test_every_other_route_asks_for_a_token(front: Front, method: str, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = front.client.http.request(method, filled(path), headers=headers)
    assert response.status_code == 401


@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_act_on_all_jobs_of_a_venue(front: Front, role: Role, venue: str) -> None:
    token = front.token(role, sub="caller", venue=VENUES[venue])
    assert begun(front, token).status_code == MAY_BEGIN[role, venue]
    assert bool(front.operations.operations) == (MAY_BEGIN[role, venue] == 202)


@pytest.mark.parametrize(("method", "path"), [row for row, rule in ROUTES.items() if rule is MAY_HUSH])
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_see_and_set_the_quiet_hours_of_a_venue(
    front: Front, role: Role, venue: str, method: str, path: str
) -> None:
    before = front.registry.quiet_hours[VenueId(OWN)] = QuietHours("UTC", time(22), time(7))
    token = front.token(role, sub="caller", venue=VENUES[venue])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    raw = b'{"timeZone": "Europe/Berlin"}' if method == "PUT" else b""
    named = path.replace("{venue_id}", OWN)
    answer = front.client.http.request(method, named, headers=headers, body=raw)
    assert answer.status_code == MAY_HUSH[role, venue]
    changed = front.registry.quiet_hours.get(VenueId(OWN)) != before
    assert changed == bool(front.store.audit) == (answer.status_code == 200 and method != "GET")


@pytest.mark.parametrize(("method", "path"), [row for row, rule in ROUTES.items() if rule is MAY_WATCH])
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_watch_and_stop_another_ones_operation(
    front: Front, role: Role, venue: str, method: str, path: str
) -> None:
    starter = front.token(Role.VENUE_ADMIN, sub="starter")
    operation = front.operations.operations[begun(front, starter).json_body["operationId"]]
    front.operations.operations[operation.id] = replace(operation, status=Status.RUNNING)
    token = front.token(role, sub="caller", venue=VENUES[venue])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    named = path.replace("{operation_id}", operation.id)
    assert front.client.http.request(method, named, headers=headers).status_code == MAY_WATCH[role, venue]
    seen = front.get("/v1/operations", token=token).json_body["operations"]
    assert bool(seen) == (MAY_WATCH[role, venue] == 200)


def begun(front: Front, token: str) -> HTTPResponse:
    wanted = {"mode": "start", "action": "cancel", "filter": {"venueId": OWN}, "reason": "A test"}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return front.client.http.post("/v1/jobs/bulk", headers=headers, body=json.dumps(wanted).encode())


@pytest.mark.parametrize(
    ("method", "path"), [row for row, rule in ROUTES.items() if rule is MAY_KEEP_ENDPOINTS]
)
@pytest.mark.parametrize("asked", [f"?venueId={OWN}", ""], ids=["named", "unnamed"])
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_keep_the_endpoints_of_a_venue(
    front: Front, role: Role, venue: str, asked: str, method: str, path: str
) -> None:
    ours = an_endpoint(venue_id=VenueId(OWN))
    front.endpoints.add(ours)
    token = front.token(role, sub="caller", venue=VENUES[venue])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    body = json.dumps(
        {"url": "https://shop.example/new"} if method == "PUT" or "{" not in path else {}
    ).encode()
    named = path.replace("{endpoint_id}", ours.id) + asked
    response = front.client.http.request(method, named, headers=headers, body=body)
    if MAY_KEEP_ENDPOINTS[role, venue] and (asked or venue == "own"):
        assert response.status_code in (200, 201)
    else:
        # Without a name it is the token's own venue, where there is no such endpoint, or none at all.
        unseen = {Role.VENUE_ADMIN: {403, 404}, Role.ADMIN: {400, 404}}.get(role, {403})
        listed = path == "/v1/endpoints" and not asked and venue == "other" and len(unseen) == 2
        assert response.status_code in ({200, 201} if listed else unseen)
        assert front.endpoints.endpoints[ours.venue_id, ours.id] == ours


@pytest.mark.parametrize("path", [path for (_, path), rule in ROUTES.items() if rule is MAY_SEE_QUEUES])
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_who_may_see_the_queues(front: Front, role: Role, venue: str, path: str) -> None:
    token = front.token(role, sub="caller", venue=VENUES[venue])
    answer = front.get(path.replace("{tier}", "money"), token=token)
    assert answer.status_code == MAY_SEE_QUEUES[role, venue]


@pytest.mark.parametrize(("method", "path"), [row for row, rule in ROUTES.items() if rule == "admin"])
@pytest.mark.parametrize(("role", "venue"), CELLS)
def test_what_is_an_administrators_is_nobody_elses(
    front: Front, role: Role, venue: str, method: str, path: str
) -> None:
    token = front.token(role, sub="caller", venue=VENUES[venue])
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    response = front.client.http.request(method, filled(path), headers=headers, body=b"{}")
    # An administrator is let in, and then told what is wrong with this request, if anything is.
    assert (response.status_code == 403) == (role is not Role.ADMIN)
    assert response.status_code in ({200, 400, 404} if role is Role.ADMIN else {403})


@pytest.mark.parametrize(("method", "path"), [row for row, rule in ROUTES.items() if rule == "public"])
def test_a_public_route_asks_nobody(front: Front, method: str, path: str) -> None:
    assert front.client.http.request(method, path.replace("{name}", "app.js")).status_code == 200


@pytest.mark.parametrize(("method", "path"), [row for row, rule in ROUTES.items() if rule == "signed"])
@pytest.mark.parametrize("role", Role)
def test_a_vendors_callback_is_let_in_by_its_signature_alone(
    front: Front, role: Role, method: str, path: str
) -> None:
    for token in ({}, {"Authorization": f"Bearer {front.token(role)}"}):
        headers = {"Content-Type": FORMS.get(path, "application/json"), **token}
        response = front.client.http.request(method, path, headers=headers, body=b"{}")
        assert (response.status_code, response.json_body["error"]) == (400, "signature_invalid")


def filled(path: str) -> str:
    """Return a path with an id in each of its places."""
    return re.sub(r"\{(\w+)_id\}", r"\1_1", path)


def submitted(front: Front, job_type: str, **behalf: str) -> str:
    """Return the id of a job of OWN."""
    made = front.post(
        body(job_type, onBehalfOf={"venueId": OWN, **behalf}), token=front.token("admin", sub="platform")
    )
    assert made.status_code == 201
    return str(made.json_body["jobId"])


def everything(response: HTTPResponse) -> tuple[int, bytes, dict[str, str]]:
    """Return all that a caller could compare, but for the count of its own requests."""
    headers = dict(response.headers)
    del headers["X-RateLimit-Remaining"]
    return response.status_code, response.body, headers
