"""The limit on a caller's requests through the front: how many, what is told, what a silent count does."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import sleep
from typing import Any

import pytest
from chalice.test import HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.domain.errors import RateLimited, StoreError, StoreRefused, StoreUnsure
from chalicelib.domain.policies import Role
from chalicelib.domain.quota import Allowance, Block
from chalicelib.http.views import MAY_MOVE_MONEY
from chalicelib.jobtypes import discover
from chalicelib.service.limits import Limits
from chalicelib.service.principal import Principal
from tests.fakes import START, ListJournal, ManualClock
from tests.fakes_quotas import MemoryQuotas
from tests.front import Front

MINUTE = timedelta(minutes=1)
BODY = {"type": "payment.process", "data": dict(discover()["payment.process"].example)}
BASE = Allowance(5, MINUTE)
CALLER = Principal("service-1", Role.SERVICE)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front(environment={"RATE_LIMIT_MAX_REQUESTS": "5", "RATE_LIMIT_WINDOW_MS": "60000"})
    wiring.install(None)


def container(quotas: MemoryQuotas, clock: ManualClock, base: Allowance | None = BASE) -> Limits:
    """Return the limits as one more container holds them."""
    return Limits(quotas, clock=clock, journal=ListJournal(), base=base)


def read(front: Front, role: str = "user", sub: str = "user-1") -> HTTPResponse:
    return front.get("/v1/jobs/job_1", token=front.token(role, sub=sub))


def told(response: HTTPResponse) -> tuple[str, ...]:
    return tuple(response.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset"))


@pytest.mark.parametrize(
    ("role", "requests"), [("user", 5), ("venue_admin", 50), ("service", 5000), ("admin", 5000)]
)
def test_each_role_gets_its_share_and_not_one_more(front: Front, role: str, requests: int) -> None:
    statuses = [read(front, role).status_code for _ in range(requests)]
    assert set(statuses) == {404}
    assert read(front, role).status_code == 429


def test_every_answer_says_how_the_caller_stands(front: Front) -> None:
    reset = str(int((START + MINUTE).timestamp()))
    assert [told(read(front)) for _ in range(6)] == [("5", str(left), reset) for left in (4, 3, 2, 1, 0, 0)]
    refused = front.post(b"{", token=front.token("user", sub="user-2"))
    assert (refused.status_code, told(refused)) == (400, ("5", "4", reset))


def test_above_the_limit_the_answer_says_when_to_come_again(front: Front) -> None:
    front.clock.advance(timedelta(seconds=12.3))
    for _ in range(5):
        read(front)
    answer = read(front)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "48"
    assert answer.json_body == {
        "error": "rate_limited",
        "message": "The limit of 5 requests is reached. Repeat the request later.",
        "retryAfter": 48,
    }
    front.clock.advance(timedelta(seconds=48))
    assert read(front).status_code == 404


def test_callers_do_not_share_a_limit(front: Front) -> None:
    for _ in range(6):
        read(front, sub="user-1")
    assert read(front, sub="user-1").status_code == 429
    assert read(front, sub="user-2").status_code == 404
    assert read(front, role="venue_admin", sub="user-1").status_code == 404


def test_above_the_limit_nothing_is_done_and_nothing_is_asked(front: Front) -> None:
    token = front.token("venue_admin", sub="shop")
    for _ in range(50):
        front.get("/v1/jobs/job_1", token=token)
    draws = front.quotas.draws
    for _ in range(100):
        assert front.post(BODY, token=token).status_code == 429
    assert front.store.jobs == {}
    assert front.quotas.draws == draws


def test_strangers_count_for_nobody_and_are_told_of_nobody(front: Front) -> None:
    read(front)
    draws = front.quotas.draws
    for answer in (front.get("/v1/jobs/job_1", token="no.token.atall"), front.client.http.get("/health")):
        assert answer.status_code in (401, 200)
        assert not any(name.startswith("X-RateLimit") for name in answer.headers)
    assert front.quotas.draws == draws


def test_without_limits_nobody_is_counted() -> None:
    front = Front(environment={"RATE_LIMIT_MAX_REQUESTS": "1", "ENABLE_RATE_LIMITING": "false"})
    answers = [read(front) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {404}
    assert "X-RateLimit-Limit" not in answers[0].headers
    wiring.install(None)


@pytest.mark.parametrize("failure", [StoreRefused(), StoreUnsure()])
def test_a_count_that_does_not_answer_stops_money_and_lets_reads_through(
    front: Front, failure: StoreError
) -> None:
    made = front.post(BODY).json_body["jobId"]
    front.clock.advance(MINUTE)
    front.quotas.fails = failure
    for _ in range(3):
        refused = front.post(BODY)
        assert (refused.status_code, refused.json_body["error"]) == (503, "unavailable")
        assert refused.headers["Retry-After"] == "5"
    assert len(front.store.jobs) == 1
    through = front.get(f"/v1/jobs/{made}")
    assert through.status_code == 200
    assert "X-RateLimit-Limit" not in through.headers
    assert "quota_unknown" in front.journal.actions()
    front.quotas.fails = None
    assert front.post(BODY).status_code == 200


def test_a_silent_count_does_not_slow_every_read_down(front: Front) -> None:
    front.quotas.fails = StoreUnsure()
    for _ in range(50):
        assert read(front, sub="user-1").status_code == 404
    assert front.quotas.draws == 1
    front.clock.advance(timedelta(seconds=5))
    read(front)
    assert front.quotas.draws == 2


def test_what_may_move_money_is_named_by_its_routes() -> None:
    served = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert ("POST", "/v1/jobs") in MAY_MOVE_MONEY
    assert served >= MAY_MOVE_MONEY
    assert not any(method in ("GET", "DELETE") for method, _ in MAY_MOVE_MONEY)


def test_a_service_costs_a_tenth_of_a_write_at_most() -> None:
    quotas, clock = MemoryQuotas(), ManualClock()
    limits = container(quotas, clock, Allowance(100, MINUTE))
    for _ in range(10_000):
        limits.spend(CALLER)
    assert quotas.draws <= 10_000 * 0.1
    assert quotas.draws == 100


def test_a_batch_costs_what_it_holds() -> None:
    limits = container(MemoryQuotas(), ManualClock(), Allowance(100, MINUTE))
    user = Principal("user-1", Role.USER)
    standing = limits.spend(user, 99)
    assert standing is not None
    assert standing.remaining == 1
    with pytest.raises(RateLimited):
        limits.spend(user, 2)
    last = limits.spend(user, 1)
    assert last is not None
    assert last.remaining == 0


def test_a_batch_above_the_whole_limit_takes_nothing() -> None:
    quotas = MemoryQuotas()
    limits = container(quotas, ManualClock(), Allowance(50, MINUTE))
    user = Principal("user-1", Role.USER)
    with pytest.raises(RateLimited):
        limits.spend(user, 51)
    assert limits.spend(user, 50) is not None


def test_containers_share_a_limit_and_strand_less_than_a_block_each() -> None:
    quotas, clock = MemoryQuotas(), ManualClock()
    containers = [container(quotas, clock) for _ in range(8)]
    allowed = 0
    for turn in range(10_000):
        try:
            containers[turn % 8].spend(CALLER)
            allowed += 1
        except RateLimited:
            pass
    allowance = BASE.of(Role.SERVICE)
    assert allowance.requests - 8 * (allowance.block - 1) <= allowed <= allowance.requests


def giving_way(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that lets every other thread have its turn before it returns."""

    def patient(*args: Any, **options: Any) -> Any:
        result = method(*args, **options)
        sleep(0)
        return result

    return patient


def test_eight_threads_of_a_container_get_the_limit_and_not_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = container(MemoryQuotas(), ManualClock())
    allowed: list[int] = []

    def ask() -> None:
        mine = 0
        for _ in range(1_000):
            try:
                limits.spend(CALLER)
                mine += 1
            except RateLimited:
                pass
        allowed.append(mine)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    monkeypatch.setattr(MemoryQuotas, "draw", giving_way(MemoryQuotas.draw))
    monkeypatch.setattr(Block, "spent", giving_way(Block.spent))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == BASE.of(Role.SERVICE).requests


def test_a_container_remembers_a_bounded_number_of_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.service.limits.MOST_CALLERS", 10)
    quotas = MemoryQuotas()
    limits = container(quotas, ManualClock())
    for number in range(100):
        limits.spend(Principal(f"user-{number}", Role.USER))
    assert len(limits._purses) <= 10
    assert sum(quotas.used.values()) == 100
