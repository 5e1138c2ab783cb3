import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.dependency import Probe
from chalicelib.service.health import NEEDED
from tests.front import ENVIRONMENT, Front

PROVIDERS = ("stripe", "ses", "twilio", "solana", "order-service", "eventbridge")
UNCONFIGURED = {f"provider/{name}": "not_configured" for name in PROVIDERS}


@pytest.fixture(autouse=True)
def service_of_a_test() -> Iterator[None]:
    yield
    wiring.install(None)


class Dependencies:
    """Dependencies that answer as a test wants them to, by one probe."""

    def __init__(self, *names: str, stands: timedelta = timedelta(0)) -> None:
        self.troubles: dict[str, str | None] = dict.fromkeys(names)
        self.hangs_at: str | None = None
        self.breaks_at: str | None = None
        self.release = threading.Event()
        self.asked = 0
        self.probe = Probe(names, self._ask, stands)

    def _ask(self) -> Iterator[tuple[str, str | None]]:
        self.asked += 1
        for name, trouble in self.troubles.items():
            if name == self.hangs_at:
                self.release.wait(10)
            if name == self.breaks_at:
                raise RuntimeError("arn:aws:dynamodb:eu-central-1:123456789012 is gone")
            yield name, trouble


def health(front: Front, path: str = "/health") -> HTTPResponse:
    return front.client.http.get(path)


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_service_whose_dependencies_answer_is_well(path: str) -> None:
    front = Front(probes=(Dependencies("table/jobs").probe, Dependencies("queue/money-queue").probe))
    response = health(front, path)
    assert response.status_code == 200
    assert response.json_body == {
        "status": "ok",
        "checks": {"table/jobs": "up", "queue/money-queue": "up", **UNCONFIGURED},
        "timestamp": "2026-03-01T12:00:00.000Z",
    }


@pytest.mark.parametrize("path", ["/health", "/ready"])
@pytest.mark.parametrize(
    ("name", "code", "status"),
    [
        ("table/jobs", 503, "unavailable"),
        ("queue/background-queue-express", 503, "unavailable"),
        ("secret/token-keys", 503, "unavailable"),
        ("table/alert_history", 200, "degraded"),
        ("queue/money-queue-dlq", 200, "degraded"),
        ("secret/stripe", 200, "degraded"),
    ],
)
def test_what_is_down_is_told_by_name_and_is_503_where_every_job_needs_it(
    path: str, name: str, code: int, status: str
) -> None:
    dependencies = Dependencies("table/schedules", name, "table/audit_log")
    dependencies.troubles[name] = "ResourceNotFoundException"
    response = health(Front(probes=(dependencies.probe,)), path)
    assert (response.status_code, response.json_body["status"]) == (code, status)
    assert response.json_body["checks"] == {
        "table/schedules": "up",
        name: "down",
        "table/audit_log": "up",
        **UNCONFIGURED,
    }
    assert ("Retry-After" in response.headers) == (code == 503)


def test_whatever_a_probe_raises_is_no_detail_for_the_public() -> None:
    dependencies = Dependencies("queue/money-queue", "queue/money-queue-express")
    dependencies.breaks_at = "queue/money-queue-express"
    front = Front(probes=(dependencies.probe,))
    response = health(front)
    assert response.status_code == 503
    assert response.json_body["checks"]["queue/money-queue"] == "up"
    assert response.json_body["checks"]["queue/money-queue-express"] == "down"
    assert "arn" not in response.body.decode()
    told = {"dependency": "queue/money-queue-express", "error": "RuntimeError"}
    assert ("dependency_down", told) in front.journal.events


def test_dependencies_that_all_hang_are_down_within_a_second_and_are_not_asked_twice_at_once() -> None:
    hanging = [Dependencies(name) for name in ("table/jobs", "queue/money-queue", "secret/token-keys")]
    for each in hanging:
        [each.hangs_at] = each.troubles
    front = Front(probes=tuple(each.probe for each in hanging))
    threads = threading.active_count()
    started = time.monotonic()
    response = health(front)
    took = time.monotonic() - started
    front.clock.advance(timedelta(seconds=1))
    again = health(front)
    at_once = threading.active_count() - threads
    for each in hanging:
        each.release.set()
    assert (response.status_code, again.status_code) == (503, 503)
    assert list(response.json_body["checks"].values())[:3] == ["down"] * 3
    assert took < 1.0
    assert [each.asked for each in hanging] == [1, 1, 1]
    assert at_once == 3


def test_a_dependency_is_told_of_in_the_log_when_it_goes_and_when_it_comes_back() -> None:
    dependencies = Dependencies("table/jobs")
    front = Front(probes=(dependencies.probe,))
    for trouble in ("ResourceNotFoundException", "ResourceNotFoundException", None, None):
        dependencies.troubles["table/jobs"] = trouble
        health(front)
        front.clock.advance(timedelta(seconds=1))
    told = [event for event in front.journal.events if event[0].startswith("dependency")]
    assert told == [
        ("dependency_down", {"dependency": "table/jobs", "error": "ResourceNotFoundException"}),
        ("dependency_up", {"dependency": "table/jobs"}),
    ]


def test_health_asks_at_most_once_a_second_and_ready_every_ten() -> None:
    dependencies = Dependencies("table/jobs")
    front = Front(probes=(dependencies.probe,))
    for _ in range(5):
        health(front)
    assert dependencies.asked == 1
    front.clock.advance(timedelta(seconds=1))
    health(front, "/ready")
    assert dependencies.asked == 1
    health(front)
    assert dependencies.asked == 2
    front.clock.advance(timedelta(seconds=10))
    health(front, "/ready")
    assert dependencies.asked == 3


def test_a_secret_that_was_read_is_not_read_again_for_a_while_and_one_that_was_not_is() -> None:
    secrets = Dependencies("secret/token-keys", stands=timedelta(minutes=5))
    secrets.troubles["secret/token-keys"] = "StoreRefused"
    front = Front(probes=(secrets.probe,))
    asked = []
    for pause in (1, 1, 298, 1):
        health(front)
        asked.append(secrets.asked)
        secrets.troubles["secret/token-keys"] = None
        front.clock.advance(timedelta(seconds=pause))
    health(front)
    assert [*asked, secrets.asked] == [1, 2, 2, 2, 3]


def test_a_provider_is_said_to_be_configured_or_not_and_does_not_degrade() -> None:
    front = Front(environment={"STRIPE_SECRET_KEY": "sk_test_of_the_tests"})
    body = health(front).json_body
    assert (body["status"], body["checks"]) == ("ok", {**UNCONFIGURED, "provider/stripe": "configured"})


def test_health_is_public_and_tells_nobody_anything() -> None:
    front = Front(probes=(Dependencies(*sorted(NEEDED)).probe,))
    front.post({"type": "payment.process", "data": {}})
    body = health(front).body.decode()
    assert not any(value in body for value in ENVIRONMENT.values() if len(value) > 15)
