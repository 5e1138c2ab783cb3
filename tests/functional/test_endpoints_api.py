"""Webhook endpoints over HTTP: what a venue may say, when a secret is shown, what jobs need of them."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib.domain.endpoint import DEFAULT, MOST_SECRETS, Disabled, Endpoint, EndpointId, signing
from chalicelib.domain.errors import InvalidRequest, StoreUnsure
from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Entry
from chalicelib.http.endpoints import SCHEMAS
from chalicelib.jobtypes import discover
from chalicelib.service.intake import Intake, Schema
from chalicelib.service.principal import Principal
from tests.fakes import START
from tests.front import OTHER, OWN, Front
from tests.functional.hostile import URLS

URL = "https://shop.example/hooks"
EVENT = {"event": "order.paid", "eventId": "evt-1", "payload": {"total": 4500}}


@pytest.fixture
def front() -> Front:
    return Front()


def shape(name: str) -> Schema:
    """Return one of the shapes that the API's description promises."""
    return Schema(SCHEMAS[name])


def call(
    front: Front, method: str, path: str, body: object = None, *, token: str | None = None
) -> HTTPResponse:
    headers = {"Authorization": f"Bearer {token or front.token('venue_admin', sub='staff-1')}"}
    headers |= {} if body is None else {"Content-Type": "application/json"}
    raw = b"" if body is None else json.dumps(body).encode()
    return front.client.http.request(method, f"/v1/endpoints{path}", headers=headers, body=raw)


def made(front: Front, **body: Any) -> dict[str, Any]:
    answer = call(front, "POST", "", {"url": URL, **body})
    assert answer.status_code == 201
    told: dict[str, Any] = answer.json_body
    return told


def stored(front: Front, endpoint_id: str, venue: str = OWN) -> Endpoint:
    return front.endpoints.endpoints[VenueId(venue), EndpointId(endpoint_id)]


def submit(front: Front, **data: Any) -> HTTPResponse:
    return front.post({"type": "webhook.deliver", "data": {**EVENT, **data}})


class TestSecrets:
    def test_a_secret_is_shown_when_it_is_made_and_never_again(self, front: Front) -> None:
        first = made(front)
        assert first["secret"].startswith("whsec_")
        assert shape("EndpointWithSecret").problems(first) == []
        for path in ("", f"/{first['id']}"):
            answer = call(front, "GET", path)
            assert answer.status_code == 200
            assert "whsec_" not in answer.body.decode()
        changed = call(front, "PUT", f"/{first['id']}", {"url": URL, "description": "new"})
        assert "whsec_" not in changed.body.decode()

    def test_a_secret_is_in_no_audit_entry_and_no_log(self, front: Front) -> None:
        first = made(front, reason="New shop")
        second = call(front, "POST", f"/{first['id']}/rotate-secret", {"reason": "It leaked"}).json_body
        call(front, "DELETE", f"/{first['id']}", {"reason": "Closed"})
        kept = repr((front.store.audit, front.journal.events))
        assert len(front.store.audit) == 3
        assert not {secret for secret in (first["secret"], second["secret"], "whsec_") if secret in kept}

    def test_a_secret_that_is_changed_signs_for_a_day_beside_the_new_one(self, front: Front) -> None:
        first = made(front)
        second = call(front, "POST", f"/{first['id']}/rotate-secret", {}).json_body
        assert second["oldSecretUntil"] == "2026-03-02T12:00:00.000Z"
        endpoint = stored(front, first["id"])
        assert signing(endpoint, START) == (second["secret"], first["secret"])
        assert signing(endpoint, START + timedelta(hours=24)) == (second["secret"],)

    def test_however_often_a_secret_is_changed_few_sign(self, front: Front) -> None:
        first = made(front)
        for _ in range(6):
            last = call(front, "POST", f"/{first['id']}/rotate-secret", {}).json_body["secret"]
        living = signing(stored(front, first["id"]), START)
        assert len(living) == MOST_SECRETS
        assert living[0] == last

    def test_a_venue_learns_the_secret_of_its_default_by_changing_it(self, front: Front) -> None:
        answer = call(front, "POST", "/default/rotate-secret", {})
        assert (answer.status_code, answer.json_body["url"]) == (200, None)
        assert signing(stored(front, DEFAULT), START) == (answer.json_body["secret"],)
        again = call(front, "POST", "/default/rotate-secret", {}).json_body["secret"]
        assert signing(stored(front, DEFAULT), START) == (again, answer.json_body["secret"])

    def test_a_default_that_a_delivery_makes_meanwhile_is_changed_and_not_lost(self, front: Front) -> None:
        add = front.endpoints.add
        quick = replace(_default(front), created_by="delivery")

        def overtaken(endpoint: Endpoint, entry: Entry | None = None) -> bool:
            add(quick)
            return add(endpoint, entry)

        front.endpoints.add = overtaken  # type: ignore[method-assign] # a delivery is faster
        secret = call(front, "POST", "/default/rotate-secret", {}).json_body["secret"]
        assert signing(stored(front, DEFAULT), START) == (secret, quick.secrets[0].value)

    @pytest.mark.parametrize("call_name", ["add", "swap"])
    def test_a_reply_of_the_table_that_is_lost_makes_nothing_twice(self, front: Front, call_name: str) -> None:
        first = made(front)
        real = getattr(front.endpoints, call_name)
        lost: list[bool] = []

        def lose(*given: Any) -> bool:
            done: bool = real(*given)
            if not lost:
                lost.append(done)
                raise StoreUnsure
            return done

        setattr(front.endpoints, call_name, lose)
        answer = (
            made(front)
            if call_name == "add"
            else call(front, "POST", f"/{first['id']}/rotate-secret", {}).json_body
        )
        assert lost == [True]
        assert signing(stored(front, answer["id"]), START)[0] == answer["secret"]
        assert len(front.store.audit) == 2


def _default(front: Front) -> Endpoint:
    call(front, "POST", "/default/rotate-secret", {}, token=front.token("venue_admin", venue="venue-8"))
    return replace(stored(front, DEFAULT, "venue-8"), venue_id=VenueId(OWN))


class TestUrls:
    @pytest.mark.parametrize("url", URLS)
    def test_a_hostile_url_is_refused_with_a_word_on_the_field(self, front: Front, url: str) -> None:
        # The stage of the tests lets its own machine in; what is said of that is tested with the sender.
        if url.startswith(("https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://LOCALHOST/")):
            return
        answer = call(front, "POST", "", {"url": url})
        assert answer.status_code == 400
        assert {problem["field"] for problem in answer.json_body["details"]} == {"url"}
        assert front.endpoints.endpoints == {}

    @pytest.mark.parametrize("url", URLS)
    def test_a_hostile_url_of_a_job_is_refused_where_it_deploys(self, url: str) -> None:
        deployed = Intake(discover())
        body = {"type": "webhook.deliver", "data": {**EVENT, "url": url}, "callbackUrl": url}
        with pytest.raises(InvalidRequest) as caught:
            deployed.read(body, Principal("service-1", Role.SERVICE, VenueId(OWN)), None)
        assert {problem.field for problem in caught.value.problems} == {"data.url", "callbackUrl"}

    def test_its_own_machine_is_let_in_where_the_service_runs_on_one(self, front: Front) -> None:
        assert made(front, url="http://127.0.0.1:9000/hooks")["url"] == "http://127.0.0.1:9000/hooks"
        assert submit(front, url="http://localhost:9000/hooks").status_code == 201


class TestChanging:
    def test_what_is_said_is_replaced_whole(self, front: Front) -> None:
        first = made(front, description="The shop")
        answer = call(front, "PUT", f"/{first['id']}", {"url": "https://other.example/", "active": False})
        assert answer.status_code == 200
        assert shape("Endpoint").problems(answer.json_body) == []
        assert (answer.json_body["url"], answer.json_body["description"]) == ("https://other.example/", "")
        assert (answer.json_body["active"], answer.json_body["disabled"]) == (False, "by_hand")
        assert [entry.action for entry in front.store.audit] == ["create_endpoint", "change_endpoint"]
        assert front.store.audit[1].before == "shop.example, enabled"
        assert front.store.audit[1].after == "other.example, disabled (by_hand)"

    def test_a_change_that_changes_nothing_is_no_change(self, front: Front) -> None:
        first = made(front, description="The shop")
        call(front, "PUT", f"/{first['id']}", {"url": URL, "description": "The shop"})
        assert len(front.store.audit) == 1

    def test_enabling_forgets_how_it_fared(self, front: Front) -> None:
        first = made(front)
        broken = replace(stored(front, first["id"]), disabled=Disabled.FAILING, failing_since=START)
        front.endpoints.endpoints[broken.venue_id, broken.id] = broken
        shown = call(front, "GET", f"/{first['id']}").json_body
        assert (shown["active"], shown["disabled"], shown["failingSince"]) == (
            False,
            "failing",
            "2026-03-01T12:00:00.000Z",
        )
        shown = call(front, "PUT", f"/{first['id']}", {"url": URL}).json_body
        assert (shown["active"], shown["disabled"], shown["failingSince"]) == (True, None, None)

    def test_the_default_is_neither_changed_nor_deleted_nor_tested(self, front: Front) -> None:
        call(front, "POST", "/default/rotate-secret", {})
        for method, path, body in (
            ("PUT", "/default", {"url": URL}),
            ("DELETE", "/default", {}),
            ("POST", "/default/test", {}),
        ):
            answer = call(front, method, path, body)
            assert (answer.status_code, answer.json_body["error"]) == (409, "default_endpoint")

    def test_what_is_deleted_is_gone(self, front: Front) -> None:
        first = made(front)
        assert call(front, "DELETE", f"/{first['id']}").json_body == {"id": first["id"], "deleted": True}
        assert call(front, "GET", f"/{first['id']}").status_code == 404
        assert call(front, "DELETE", f"/{first['id']}").status_code == 404

    @pytest.mark.parametrize("endpoint_id", ["ep_9", "x", "ep_%00", "ep_" + "x" * 100, "default"])
    def test_one_that_is_not_there_is_not_found(self, front: Front, endpoint_id: str) -> None:
        assert call(front, "GET", f"/{endpoint_id}").status_code == 404

    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            ({}, ["url"]),
            ({"url": URL, "secret": "whsec_mine"}, ["secret"]),
            ({"url": URL, "active": "yes", "description": "x" * 201}, ["active", "description"]),
            ({"url": 7, "venueId": OTHER}, ["url", "venueId"]),
        ],
    )
    def test_every_problem_is_said_at_once(self, front: Front, body: dict[str, Any], fields: list[str]) -> None:
        answer = call(front, "POST", "", body)
        assert answer.status_code == 400
        assert sorted(problem["field"] for problem in answer.json_body["details"]) == fields

    def test_a_venue_sees_its_own_alone_page_by_page(self, front: Front) -> None:
        ids = sorted(made(front)["id"] for _ in range(5))
        admin = front.token("admin", venue=None)
        call(front, "POST", f"?venueId={OTHER}", {"url": URL}, token=admin)
        found: list[str] = []
        asked = "?limit=2"
        for _ in range(3):
            page = call(front, "GET", asked).json_body
            found += [each["id"] for each in page["endpoints"]]
            asked = f"?limit=2&cursor={page['cursor']}"
        assert page["cursor"] is None
        assert found == ids
        assert len(call(front, "GET", f"?venueId={OTHER}", token=admin).json_body["endpoints"]) == 1
        assert call(front, "GET", "?cursor=nonsense").status_code == 400


class TestJobs:
    def test_a_job_names_an_endpoint_that_is_there_and_open(self, front: Front) -> None:
        first = made(front)
        assert submit(front, endpointId=first["id"]).status_code == 201

    @pytest.mark.parametrize("case", ["unknown", "disabled", "another venue's", "the default"])
    def test_any_other_is_refused_before_anything_is_kept(self, front: Front, case: str) -> None:
        endpoint_id = made(front)["id"]
        if case == "unknown":
            endpoint_id = "ep_9"
        if case == "disabled":
            call(front, "PUT", f"/{endpoint_id}", {"url": URL, "active": False})
        if case == "the default":
            endpoint_id = "default"
        venue = {"onBehalfOf": {"venueId": OTHER}} if case == "another venue's" else {}
        data = {**EVENT, "endpointId": endpoint_id}
        answer = front.post({"type": "webhook.deliver", "data": data, **venue})
        assert answer.status_code == 400
        assert [problem["field"] for problem in answer.json_body["details"]] == ["data.endpointId"]
        assert (front.store.jobs, front.store.keys) == ({}, {})

    @pytest.mark.parametrize("data", [{}, {"url": URL, "endpointId": "ep_1"}])
    def test_a_job_names_a_url_or_an_endpoint_and_not_both(self, front: Front, data: dict[str, str]) -> None:
        assert submit(front, **data).status_code == 400

    def test_a_url_of_its_own_asks_nothing_of_the_store(self, front: Front) -> None:
        assert submit(front, url=URL).status_code == 201
        assert not front.registry.calls

    def test_a_test_event_is_a_job(self, front: Front) -> None:
        first = made(front)
        answers = [call(front, "POST", f"/{first['id']}/test", {}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        jobs = list(front.store.jobs.values())
        assert [job.type for job in jobs] == ["webhook.deliver"] * 2
        assert {(job.payload or {})["endpointId"] for job in jobs} == {first["id"]}
        call(front, "PUT", f"/{first['id']}", {"url": URL, "active": False})
        assert call(front, "POST", f"/{first['id']}/test", {}).status_code == 400
