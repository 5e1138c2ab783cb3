"""Quiet hours as a venue sets them, and the texts that wait for their end."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.job import VenueId
from chalicelib.domain.quiet import QuietHours
from tests.front import OWN, Front

PATH = f"/v1/venues/{OWN}/quiet-hours"
BERLIN: dict[str, Any] = {"timeZone": "Europe/Berlin"}
AS_SET = {"venueId": OWN, "quietHours": {"timeZone": "Europe/Berlin", "from": "21:00", "to": "08:00"}}


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def ask(
    front: Front, method: str, body: Any = None, *, role: str = "venue_admin", path: str = PATH
) -> HTTPResponse:
    token = front.token(role, sub="ada")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    raw = b"" if body is None else json.dumps(body).encode()
    return front.client.http.request(method, PATH, headers=headers, body=raw)


def test_a_venue_sets_sees_and_ends_its_quiet_hours(front: Front) -> None:
    assert ask(front, "GET").json_body == {"venueId": OWN, "quietHours": None}
    assert ask(front, "PUT", {**BERLIN, "reason": "Our guests sleep"}).json_body == AS_SET
    assert ask(front, "GET").json_body == AS_SET
    changed = ask(front, "PUT", {**BERLIN, "from": "22:30", "to": "07:00"})
    assert changed.json_body["quietHours"] == {**BERLIN, "from": "22:30", "to": "07:00"}
    assert ask(front, "DELETE").json_body == {"venueId": OWN, "quietHours": None}
    told = [
        (each.actor, each.action, each.subject, each.reason, each.before, each.after)
        for each in front.store.audit
    ]
    first, second = "21:00 to 08:00 Europe/Berlin", "22:30 to 07:00 Europe/Berlin"
    assert told == [
        ("ada", "set_quiet_hours", f"venue/{OWN}", "Our guests sleep", None, first),
        ("ada", "set_quiet_hours", f"venue/{OWN}", "", first, second),
        ("ada", "end_quiet_hours", f"venue/{OWN}", "", second, None),
    ]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_stands_so_is_left_alone(front: Front, method: str) -> None:
    for _ in range(2):
        assert ask(front, "PUT", BERLIN).status_code == 200
    if method == "DELETE":
        for _ in range(2):
            assert ask(front, "DELETE").status_code == 200
    assert len(front.store.audit) == (1 if method == "PUT" else 2)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"timeZone"}),
        ({"timeZone": "Berlin"}, {"timeZone"}),
        ({"timeZone": "../etc/passwd"}, {"timeZone"}),
        ({**BERLIN, "from": "24:00"}, {"from"}),
        ({**BERLIN, "from": "9:00", "to": "0800"}, {"from", "to"}),
        ({**BERLIN, "from": "08:00"}, {"to"}),
        ({**BERLIN, "until": "08:00"}, {"until"}),
        ({**BERLIN, "reason": ""}, {"reason"}),
    ],
)
def test_what_are_no_quiet_hours_is_refused(front: Front, body: dict[str, Any], fields: set[str]) -> None:
    answer = ask(front, "PUT", body)
    assert answer.status_code == 400
    assert {each["field"] for each in answer.json_body["details"]} == fields
    assert front.registry.quiet_hours == {}


def test_a_reply_that_is_lost_is_no_second_entry(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    book = wiring.service().quiet_hours._book
    before = book.swap

    def lose(*arguments: Any) -> bool:
        before(*arguments)
        monkeypatch.undo()
        raise StoreUnsure

    monkeypatch.setattr(book, "swap", lose)
    assert ask(front, "PUT", BERLIN).json_body == AS_SET
    assert len(front.store.audit) == 1


def test_a_text_that_is_submitted_at_night_waits_and_says_why(front: Front) -> None:
    ask(front, "PUT", BERLIN)
    assert front.registry.quiet_hours == {VenueId(OWN): QuietHours("Europe/Berlin", time(21), time(8))}
    front.clock.advance(datetime(2026, 11, 24, 22, tzinfo=UTC) - front.clock.now())
    text = {"type": "sms.send", "data": {"to": "+15005550010", "message": "Your table is ready."}}
    accepted = front.post(text, token=front.token("venue_admin"))
    assert (accepted.status_code, accepted.json_body["status"]) == (201, "queued")
