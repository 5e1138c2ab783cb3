"""The providers' limits over HTTP: seen, set, reset, audited."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.policies import Lane
from chalicelib.domain.ratelimit import LIMITS, Ask
from tests.front import Front

SES = {"maxPerSecond": 14, "maxConcurrent": 20, "burstSize": 50, "cooldownMs": 1000}
CALM = {"maxPerSecond": 0.5, "maxConcurrent": 1, "burstSize": 2, "cooldownMs": 5000}


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def ask(front: Front, method: str, path: str, body: Any = None) -> HTTPResponse:
    token = front.token("admin", sub="admin-1", venue=None)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    sent = b"" if body is None else json.dumps(body).encode()
    return front.client.http.request(method, f"/v1/rate-limits{path}", headers=headers, body=sent)


def call_ses(front: Front, count: int) -> int:
    """Let calls start, and return how many may."""
    now = front.clock.now()
    asks = [Ask(JobId(f"j{n}"), "email.send", 99, VenueId("v"), Lane.EXPRESS) for n in range(count)]
    until = now + timedelta(minutes=1)
    return len(front.limiter.reserve("ses", asks, owner="o", until=until, now=now).granted)


def test_every_limit_is_listed_as_it_stands(front: Front) -> None:
    call_ses(front, 3)
    answer = ask(front, "GET", "").json_body["rateLimits"]
    assert [each["key"] for each in answer] == sorted(LIMITS)
    expected = {"key": "ses", "limit": SES, "tokens": 47, "inFlight": 3, "stopped": False}
    assert ask(front, "GET", "/ses").json_body == expected
    assert expected in answer


def test_a_limit_that_is_set_holds_for_the_next_call_and_is_audited_once(front: Front) -> None:
    for _ in range(2):
        answer = ask(front, "PUT", "/ses", {**CALM, "reason": "they asked"})
        assert (answer.status_code, answer.json_body["limit"]) == (200, CALM)
    assert call_ses(front, 5) == 1
    [entry] = front.limiter.audit
    assert (entry.actor, entry.action, entry.subject) == ("admin-1", "set_limit", "provider/ses")
    assert entry.reason == "they asked"


def test_a_reset_fills_the_tokens_and_forgets_nothing_in_flight(front: Front) -> None:
    call_ses(front, 3)
    answer = ask(front, "POST", "/ses/reset").json_body
    assert (answer["tokens"], answer["inFlight"]) == (50, 3)
    assert [entry.action for entry in front.limiter.audit] == ["reset_limit"]


@pytest.mark.parametrize("named", [{"provider": "ses"}, {"scope": "all"}])
def test_a_limit_shows_that_its_provider_is_stopped(front: Front, named: dict[str, str]) -> None:
    ask(front, "POST", "/emergency-stop", {**named, "reason": "storm"})
    assert ask(front, "GET", "/ses").json_body["stopped"] is True
    assert ask(front, "GET", "/stripe").json_body["stopped"] is ("scope" in named)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/paypal", None, "key"),
        ("PUT", "/paypal", CALM, "key"),
        ("POST", "/paypal/reset", None, "key"),
        ("PUT", "/ses", {**CALM, "maxPerSecond": 0}, "maxPerSecond"),
        ("PUT", "/ses", {**CALM, "maxConcurrent": 0}, "maxConcurrent"),
        ("PUT", "/ses", {**CALM, "burstSize": 1.5}, "burstSize"),
        ("PUT", "/ses", {**CALM, "cooldownMs": -1}, "cooldownMs"),
        ("PUT", "/ses", {**CALM, "extra": 1}, "extra"),
        ("POST", "/ses/reset", {"reason": "x" * 501}, "reason"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_changed(
    front: Front, method: str, path: str, body: Any, field: str
) -> None:
    answer = ask(front, method, path, body)
    assert (answer.status_code, [each["field"] for each in answer.json_body["details"]]) == (400, [field])
    assert front.limiter.audit == []


def test_the_list_says_all_that_is_stopped_and_by_whom(front: Front) -> None:
    ask(front, "POST", "/emergency-stop", {"venueId": "v9", "reason": "a storm"})
    [stop] = ask(front, "GET", "").json_body["stops"]
    assert {name: stop[name] for name in ("scope", "value", "reason", "owner")} == {
        "scope": "venue",
        "value": "v9",
        "reason": "a storm",
        "owner": "admin-1",
    }
