"""An administrator sees which addresses are suppressed, and lifts that; the audit log says who."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from chalice.test import HTTPResponse

from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Entry
from chalicelib.domain.standing import mail_address, phone_number
from chalicelib.domain.suppression import Cause, Suppression
from tests.fakes import START
from tests.front import Front

ADA, BOB = mail_address("ada@example.com"), mail_address("bob@example.com")
NUMBER = phone_number("+491512345678")
MAIL = {"type": "email.send", "data": {"to": "ada@example.com", "template": "refund_notice", "data": {}}}


@pytest.fixture
def front() -> Front:
    """Return a front that has suppressed two mail addresses and a number."""
    front = Front()
    for place, (address, cause) in enumerate(
        ((ADA, Cause.BOUNCE), (BOB, Cause.COMPLAINT), (NUMBER, Cause.OPTED_OUT))
    ):
        since = START + place * timedelta(minutes=1)
        front.suppressions.add(Suppression(address, cause, since, "General", JobId("job_1")))
    return front


def asked(front: Front, query: str = "") -> dict[str, Any]:
    answer = front.get(f"/v1/suppressions{query}", token=front.token("admin"))
    assert answer.status_code == 200, answer.json_body
    body: dict[str, Any] = answer.json_body
    return body


def lift(front: Front, suppression_id: str, body: object = None) -> HTTPResponse:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token('admin', sub='eve')}"}
    raw = json.dumps({"reason": "They called"} if body is None else body).encode()
    return front.client.http.delete(f"/v1/suppressions/{suppression_id}", headers=headers, body=raw)


def test_the_latest_come_first_and_show_no_address(front: Front) -> None:
    body = asked(front)
    assert [each["id"] for each in body["suppressions"]] == [BOB.id, ADA.id]
    assert body["suppressions"][1] == {
        "id": ADA.id,
        "channel": "email",
        "cause": "bounce",
        "since": "2026-03-01T12:00:00.000Z",
        "detail": "General",
        "jobId": "job_1",
    }
    assert "example.com" not in json.dumps(body)


def test_numbers_are_a_channel_of_their_own(front: Front) -> None:
    assert [each["id"] for each in asked(front, "?channel=sms")["suppressions"]] == [NUMBER.id]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?address=" + quote("ADA@example.com"), [ADA.id]),
        (f"?address={ADA.id}", [ADA.id]),
        ("?address=" + quote("+49 151 2345678"), [NUMBER.id]),
        ("?channel=email&address=" + quote("+491512345678"), []),
        ("?address=" + quote("ada+x@example.com"), []),
    ],
)
def test_an_address_is_found_in_whichever_way_it_is_named(front: Front, query: str, found: list[str]) -> None:
    assert [each["id"] for each in asked(front, query)["suppressions"]] == found


def test_pages_go_on_where_they_ended(front: Front) -> None:
    first = asked(front, "?limit=1")
    second = asked(front, f"?limit=1&cursor={first['cursor']}")
    assert [each["id"] for page in (first, second) for each in page["suppressions"]] == [BOB.id, ADA.id]
    assert second["cursor"] is None


@pytest.mark.parametrize("query", ["?channel=fax", "?address=nobody", "?cursor=e30", "?limit=0", "?who=ada"])
def test_what_makes_no_sense_is_refused(front: Front, query: str) -> None:
    assert front.get(f"/v1/suppressions{query}", token=front.token("admin")).status_code == 400


def test_what_is_lifted_is_accepted_again_and_audited_once(front: Front) -> None:
    assert front.post(MAIL).status_code == 400
    answer = lift(front, ADA.id)
    assert (answer.status_code, answer.json_body["lifted"], answer.json_body["cause"]) == (200, True, "bounce")
    assert front.post(MAIL).status_code == 201
    [entry] = front.store.audit
    assert (entry.actor, entry.action, entry.subject, entry.reason, entry.before) == (
        "eve",
        "lift_suppression",
        f"suppression/{ADA.id}",
        "They called",
        "bounce",
    )
    assert lift(front, ADA.id).status_code == 404


@pytest.mark.parametrize(
    ("suppression_id", "body", "status"),
    [
        (ADA.id, {}, 400),
        (ADA.id, {"reason": ""}, 400),
        (ADA.id, {"reason": "x", "more": 1}, 400),
        ("email-1", None, 404),
        ("nonsense", None, 404),
        (mail_address("nobody@example.com").id, None, 404),
    ],
)
def test_what_cannot_be_lifted_changes_nothing(
    front: Front, suppression_id: str, body: object, status: int
) -> None:
    assert lift(front, suppression_id, body).status_code == status
    assert front.suppressions.load(ADA) is not None
    assert front.store.audit == []


def test_a_lost_reply_of_a_lift_is_a_lift(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    real = front.suppressions.lift

    def lost(suppression: Suppression, entry: Entry) -> bool:
        real(suppression, entry)
        raise StoreUnsure

    monkeypatch.setattr(front.suppressions, "lift", lost)
    assert lift(front, ADA.id).status_code == 200
    assert len(front.store.audit) == 1


def test_what_was_suppressed_anew_meanwhile_is_read_anew(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    real, anew = front.suppressions.lift, replace(front.suppressions.rows[ADA], cause=Cause.COMPLAINT)

    def late(suppression: Suppression, entry: Entry) -> bool:
        if not front.store.audit and suppression.cause is Cause.BOUNCE:
            front.suppressions.rows[ADA] = anew
        return real(suppression, entry)

    monkeypatch.setattr(front.suppressions, "lift", late)
    assert lift(front, ADA.id).json_body["cause"] == "complaint"
    assert [entry.before for entry in front.store.audit] == ["complaint"]
