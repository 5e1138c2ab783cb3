import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused
from tests.fakes import MemoryStore
from tests.front import ENVIRONMENT, Front

Ping = Callable[[], object]


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


class BrokenStore(MemoryStore):
    """Records whose table answers a ping as a test wants it."""

    def __init__(self, ping: Ping) -> None:
        super().__init__()
        self.asked = 0
        self._answer = ping

    def ping(self) -> None:
        self.asked += 1
        self._answer()


def refuse() -> None:
    raise StoreRefused


def surprise() -> None:
    raise RuntimeError("table arn:aws:dynamodb:eu-central-1:123456789012 is gone")


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_service_whose_dependencies_answer_is_well(front: Front, path: str) -> None:
    response = front.client.http.get(path)
    assert response.status_code == 200
    assert response.json_body == {
        "status": "ok",
        "checks": {
            "tables": "up",
            "queues": "up",
            "stripe": "not_configured",
            "ses": "not_configured",
            "twilio": "not_configured",
            "solana": "not_configured",
            "order-service": "not_configured",
            "eventbridge": "not_configured",
        },
        "timestamp": "2026-03-01T12:00:00.000Z",
    }


@pytest.mark.parametrize("path", ["/health", "/ready"])
@pytest.mark.parametrize("ping", [refuse, surprise])
def test_a_dependency_that_is_down_is_503_and_told_by_name_alone(path: str, ping: Ping) -> None:
    front = Front(store=BrokenStore(ping))
    response = front.client.http.get(path)
    assert response.status_code == 503
    assert response.json_body["status"] == "unavailable"
    assert response.json_body["checks"]["tables"] == "down"
    assert response.json_body["checks"]["queues"] == "up"
    assert "arn" not in response.body.decode()
    assert response.headers["Retry-After"]


def test_a_dependency_that_hangs_is_down_within_a_second() -> None:
    release = threading.Event()
    front = Front(store=BrokenStore(lambda: release.wait(10)))
    started = time.monotonic()
    response = front.client.http.get("/health")
    took = time.monotonic() - started
    release.set()
    assert (response.status_code, response.json_body["checks"]["tables"]) == (503, "down")
    assert took < 1.0


def test_a_provider_without_credentials_does_not_degrade(front: Front) -> None:
    assert front.client.http.get("/health").json_body["checks"]["stripe"] == "not_configured"
    assert front.client.http.get("/health").status_code == 200


def test_health_asks_at_most_once_a_second_and_ready_every_ten() -> None:
    store = BrokenStore(lambda: None)
    front = Front(store=store)
    for _ in range(5):
        front.client.http.get("/health")
    assert store.asked == 1
    front.clock.advance(timedelta(seconds=1))
    front.client.http.get("/ready")
    assert store.asked == 1
    front.client.http.get("/health")
    assert store.asked == 2
    front.clock.advance(timedelta(seconds=10))
    front.client.http.get("/ready")
    assert store.asked == 3


def test_health_is_public_and_tells_nobody_anything(front: Front) -> None:
    front.post({"type": "payment.process", "data": {}})
    body = front.client.http.get("/health").body.decode()
    assert not any(value in body for value in ENVIRONMENT.values() if len(value) > 6)
