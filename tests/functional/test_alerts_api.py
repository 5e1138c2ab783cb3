"""The alerts over HTTP: listed, acknowledged once, and tests that really send."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.alerting import (
    Alert,
    AlertType,
    Channel,
    Condition,
    Firing,
    Severity,
    Word,
    acknowledged,
    began,
    claimed,
    replaced,
)
from chalicelib.domain.errors import NotSent, StoreRefused, StoreUnsure
from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Entry
from tests.fakes import START
from tests.front import OWN, Front

HOUR = timedelta(hours=1)
DEPTH = Condition(AlertType.QUEUE_DEPTH, Severity.CRITICAL, Tier.MONEY)
POISON = Condition(AlertType.POISON, Severity.WARNING, Tier.BACKGROUND)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def kept(front: Front, condition: Condition = DEPTH, *, age: timedelta = timedelta(0), **changes: Any) -> Alert:
    """Keep an alert that has begun so long ago."""
    message = "51 jobs wait, more than 50."
    alert = replace(began(Firing(condition, 51, 50), message, front.clock.now() - age), **changes)
    front.alerts.alerts[alert.id] = alert
    return alert


def post(front: Front, path: str, body: object = None, *, role: str = "admin") -> HTTPResponse:
    token = front.token(role, sub="eve", venue=OWN)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    raw = b"" if body is None else json.dumps(body).encode()
    return front.client.http.post(f"/v1/alerts/{path}", headers=headers, body=raw)


def listed(front: Front, query: str = "", *, role: str = "admin") -> list[dict[str, Any]]:
    answer = front.get(f"/v1/alerts{query}", token=front.token(role))
    assert answer.status_code == 200, answer.json_body
    alerts: list[dict[str, Any]] = answer.json_body["alerts"]
    return alerts


def ids(alerts: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in alerts]


def test_an_alert_is_shown_whole(front: Front) -> None:
    alert = kept(front)
    front.alerts.alerts[alert.id] = claimed(alert, Channel.SMS, Word.ALERT, START)
    assert listed(front) == [
        {
            "id": "20260301T120000000-queue_depth-critical-money",
            "alertType": "queue_depth",
            "severity": "critical",
            "queue": "money",
            "message": "51 jobs wait, more than 50.",
            "venueId": None,
            "metricValue": 51,
            "thresholdValue": 50,
            "createdAt": "2026-03-01T12:00:00.000Z",
            "acknowledged": False,
            "acknowledgedBy": None,
            "acknowledgedAt": None,
            "resolvedAt": None,
            "toldAt": {"log": None, "sns": None, "sms": "2026-03-01T12:00:00.000Z", "phone": None},
        }
    ]


def test_the_list_has_a_day_and_all_that_nobody_has_acknowledged_the_latest_first(front: Front) -> None:
    kept(front, age=25 * HOUR, acknowledged_at=START)
    old = kept(front, age=30 * HOUR)
    recent = kept(front, POISON, age=24 * HOUR, acknowledged_at=START)
    new = kept(front, POISON)
    assert ids(listed(front)) == [new.id, recent.id, old.id]
    assert ids(listed(front, "?severity=critical")) == [old.id]
    assert ids(listed(front, "?limit=1")) == [new.id]


def test_fifty_are_listed_unless_it_is_said_otherwise(front: Front) -> None:
    for n in range(60):
        kept(front, age=n * timedelta(minutes=1))
    assert len(listed(front)) == 50
    assert len(listed(front, "?limit=60")) == 60


@pytest.mark.parametrize("query", ["?severity=loud", "?limit=0", "?limit=101", "?queue=money"])
def test_what_cannot_be_asked_is_refused(front: Front, query: str) -> None:
    assert front.get(f"/v1/alerts{query}", token=front.token("admin")).status_code == 400


def test_a_venue_sees_its_own_alerts_alone(front: Front) -> None:
    kept(front)
    kept(front, age=HOUR, venue_id=VenueId("venue-2"))
    own = kept(front, age=2 * HOUR, venue_id=VenueId(OWN))
    assert ids(listed(front, role="venue_admin")) == [own.id]


def test_an_alert_is_acknowledged_once_and_the_audit_log_says_by_whom(front: Front) -> None:
    alert = kept(front)
    front.clock.advance(HOUR)
    answer = post(front, f"{alert.id}/acknowledge", {"reason": "I look after it"})
    assert answer.status_code == 200
    assert answer.json_body["acknowledgedBy"] == "eve"
    assert answer.json_body["acknowledgedAt"] == "2026-03-01T13:00:00.000Z"
    [entry] = front.store.audit
    assert (entry.actor, entry.action, entry.subject) == ("eve", "acknowledge_alert", f"alert/{alert.id}")
    assert entry.reason == "I look after it"
    again = post(front, f"{alert.id}/acknowledge")
    assert (again.status_code, again.json_body["error"]) == (409, "already_acknowledged")
    assert len(front.store.audit) == 1


@pytest.mark.parametrize("alert_id", ["20260301T120000000-queue_depth-critical-money", "%20", "a" * 101])
def test_an_unknown_alert_cannot_be_acknowledged(front: Front, alert_id: str) -> None:
    answer = post(front, f"{alert_id}/acknowledge")
    assert (answer.status_code, answer.json_body["error"]) == (404, "not_found")
    assert front.store.audit == []


def test_an_acknowledgement_whose_reply_was_lost_is_not_refused_as_a_second(front: Front) -> None:
    alert, swap = kept(front), front.alerts.swap

    def lose(before: Alert, after: Alert, entry: Entry | None = None) -> bool:
        swap(before, after, entry)
        raise StoreUnsure

    front.alerts.swap = lose  # type: ignore[method-assign]  # the reply is lost, once applied
    assert post(front, f"{alert.id}/acknowledge").status_code == 200
    assert len(front.store.audit) == 1


def test_a_monitor_that_wrote_meanwhile_does_not_undo_an_acknowledgement(front: Front) -> None:
    alert, swap = kept(front), front.alerts.swap

    def overtaken(before: Alert, after: Alert, entry: Entry | None = None) -> bool:
        front.alerts.swap = swap  # type: ignore[method-assign]
        assert swap(before, claimed(before, Channel.SMS, Word.ALERT, START))
        return swap(before, after, entry)

    front.alerts.swap = overtaken  # type: ignore[method-assign]  # a monitor claims a notice in between
    assert post(front, f"{alert.id}/acknowledge").status_code == 200
    standing = front.alerts.alerts[alert.id]
    assert standing.acknowledged_by == "eve"
    assert standing.last_told(Channel.SMS) == START


def test_a_test_really_sends_on_every_channel_of_its_severity(front: Front) -> None:
    answer = post(front, "test", {"severity": "critical", "reason": "Monday"})
    assert answer.status_code == 200
    assert answer.json_body["results"] == [
        {"channel": channel.value, "sent": True, "error": None} for channel in Channel
    ]
    for outlet in (front.outlets.sns, front.outlets.sms, front.outlets.phone):
        [notice] = outlet.sent
        assert notice.text == "CRITICAL money: This is a test of the alerts of queue-service. Nothing is wrong."
    assert front.journal.actions().count("alert") == 1
    [entry] = front.store.audit
    assert (entry.actor, entry.action, entry.reason) == ("eve", "test_alert", "Monday")
    [shown] = listed(front)
    assert (shown["id"], shown["alertType"]) == (answer.json_body["alertId"], "test")
    assert shown["resolvedAt"] == shown["createdAt"]


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        ({"severity": "warning"}, ["log", "sns", "sms"]),
        ({"severity": "info"}, ["log"]),
        ({"severity": "warning", "channel": "phone"}, ["phone"]),
    ],
)
def test_a_test_sends_where_it_is_asked_to_alone(front: Front, body: object, channels: list[str]) -> None:
    results = post(front, "test", body).json_body["results"]
    assert [each["channel"] for each in results] == channels
    sent = {name: getattr(front.outlets, name).sent for name in ("sns", "sms", "phone")}
    assert {name for name, notices in sent.items() if notices} == set(channels) - {"log"}


def test_a_test_says_of_each_channel_what_became_of_it(front: Front) -> None:
    front.outlets.sms.down = NotSent("connection_failed", "No connection to Twilio came about.")
    front.outlets.sns.down = StoreRefused("A secret cannot be read.")
    front.outlets.unconfigured = {Channel.PHONE}
    results = {
        each["channel"]: each for each in post(front, "test", {"severity": "critical"}).json_body["results"]
    }
    assert {channel for channel, each in results.items() if each["sent"]} == {"log"}
    assert results["sns"]["error"]["code"] == "unavailable"
    assert results["sms"]["error"]["code"] == "connection_failed"
    assert results["phone"]["error"]["code"] == "provider_not_configured"


@pytest.mark.parametrize(
    "body", [{}, {"severity": "loud"}, {"severity": "info", "channel": "pigeon"}, {"x": 1}]
)
def test_a_test_that_says_not_what_it_wants_is_refused(front: Front, body: object) -> None:
    assert post(front, "test", body).status_code == 400
    assert front.outlets.sns.sent == []
    assert front.store.audit == []


def test_a_test_that_cannot_be_audited_sends_nothing(front: Front) -> None:
    front.alerts.fails = StoreRefused()
    assert post(front, "test", {"severity": "critical"}).status_code == 503
    assert front.outlets.sns.sent == []


def test_a_test_stands_in_no_alerts_way(front: Front) -> None:
    assert post(front, "test", {"severity": "critical"}).status_code == 200
    assert front.alerts.standing() == {}


def test_ended_alerts_of_the_day_are_in_the_summary_and_tests_are_not(front: Front) -> None:
    kept(front)
    ended = kept(front, POISON, age=23 * HOUR)
    front.alerts.alerts[ended.id] = replaced(acknowledged(ended, "eve", START), START)
    kept(front, POISON, age=25 * HOUR)
    post(front, "test", {"severity": "critical"})
    summary = front.get("/v1/metrics/summary", token=front.token("admin")).json_body
    assert summary["alerts"] == {"critical": 1, "warning": 1, "info": 0}
