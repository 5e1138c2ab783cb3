"""What each answer of the order service makes of an order, over the real client and the stand-in."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import NotSent, StoreRefused
from chalicelib.domain.job import Reason, State
from chalicelib.domain.jobtype import Facts, Work
from chalicelib.domain.outcome import Completed, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Begun, Fulfillment, Providers
from chalicelib.domain.settle import settle
from chalicelib.jobtypes.order_fulfill import JOB_TYPE
from chalicelib.providers.http_calls import LONGEST_WAIT
from chalicelib.providers.order_service import OrderService
from local.standins import StandIns
from local.standins.listener import Listener
from local.standins.wire import Answer, Request
from tests.factories import VENUE, a_job
from tests.fakes import START, ManualClock

CALL_SECONDS = 0.4  # until the client gives up; the stand-in is silent for longer


class Tokens:
    """The token as Secrets Manager has it; `asked` is how it was asked for."""

    def __init__(self, *tokens: str, lost: bool = False) -> None:
        self.tokens = list(tokens) or ["order_1"]
        self.lost = lost
        self.asked: list[bool] = []

    def __call__(self, anew: bool) -> str:
        self.asked.append(anew)
        if anew and self.lost:
            raise StoreRefused
        if anew:
            self.tokens.pop(0)
        return self.tokens[0]


def run(service: OrderService, **changes: Any) -> Outcome:
    clock = ManualClock()
    work = Work(
        job=replace(a_job("job_1", type="order.fulfill"), **changes),
        data=dict(JOB_TYPE.example),
        leave=Leave.START,
        deadline=clock.now() + timedelta(minutes=1),
        clock=clock,
        timing=TIMING,
        begin=_never,
    )
    return JOB_TYPE.run(work, cast(Providers, SimpleNamespace(orders=service)))


def _never(_: str | None) -> Begun:
    raise AssertionError("Class D notes no beginning.")


@pytest.fixture
def stand_ins() -> Iterator[StandIns]:
    with StandIns() as running:
        yield running


@pytest.fixture
def service(stand_ins: StandIns) -> Iterator[OrderService]:
    made = OrderService(stand_ins.orders_url, Tokens(), ManualClock(), call_seconds=CALL_SECONDS)
    yield made
    made.close()


def test_an_order_is_fulfilled_once_however_often_it_is_sent(
    stand_ins: StandIns, service: OrderService
) -> None:
    first = run(service)
    assert isinstance(first, Completed)
    assert first.result["status"] == 201
    assert first.result["answer"]["orderId"] == JOB_TYPE.example["orderId"]
    assert run(service, attempts=2, fence=7) == first
    [effect] = stand_ins.effects()
    assert (effect["provider"], effect["jobId"]) == ("orders", "job_1")
    assert effect["idempotencyKey"] == "job_1:fulfill:0"


def test_an_order_whose_answer_was_lost_is_not_fulfilled_twice(
    stand_ins: StandIns, service: OrderService
) -> None:
    stand_ins.arm("orders", "timeout-after-apply")
    lost = run(service)
    assert isinstance(lost, Unknown)
    assert lost.failure.code == "provider_timeout"
    assert isinstance(run(service, attempts=2), Completed)
    assert len(stand_ins.effects()) == 1


@pytest.mark.parametrize(
    ("mode", "kind", "code", "after"),
    [
        ("status-429", Retry, "provider_rate_limited", timedelta(seconds=1)),
        ("status-503", Retry, "provider_unavailable", timedelta(seconds=1)),
        ("refuse-connection", Retry, "connection_failed", None),
        ("decline", Refused, "order_cancelled", None),
        ("status-500", Unknown, "provider_failed", None),
        ("timeout-before-apply", Unknown, "provider_timeout", None),
    ],
)
def test_a_fault_of_the_order_service(
    stand_ins: StandIns, service: OrderService, mode: str, kind: type, code: str, after: timedelta | None
) -> None:
    stand_ins.arm("orders", mode)
    outcome = run(service)
    assert isinstance(outcome, Retry | Refused | Unknown)
    assert (type(outcome), outcome.failure.code, getattr(outcome, "after", None)) == (kind, code, after)
    assert stand_ins.effects() == []


def test_a_token_that_is_refused_is_read_anew_for_the_next_attempt(stand_ins: StandIns) -> None:
    tokens = Tokens("old", "order_new")
    service = OrderService(stand_ins.orders_url, tokens, ManualClock(), call_seconds=CALL_SECONDS)
    outcome = run(service)
    assert isinstance(outcome, Retry)
    assert outcome.failure.code == "provider_not_authenticated"
    assert isinstance(run(service), Completed)
    assert tokens.asked == [False, True, False]
    service.close()


def test_a_token_that_cannot_be_read_anew_is_a_retry_all_the_same(stand_ins: StandIns) -> None:
    tokens = Tokens("old", lost=True)
    service = OrderService(stand_ins.orders_url, tokens, ManualClock(), call_seconds=CALL_SECONDS)
    assert isinstance(run(service), Retry)
    service.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(204, b""), Completed({"status": 204})),
        (Answer(200, b"[1]"), Completed({"status": 200})),
        (Answer(200, {"note": "x" * 5000}), Completed({"status": 200})),
        (Answer(400, {"code": "bad_order"}), (Refused, "bad_order")),
        (Answer(404, {"code": "No such order of Ada"}), (Refused, "order_refused")),
        (Answer(422, b"{"), (Refused, "order_refused")),
        (Answer(403, b""), (Retry, "provider_not_permitted")),
        (Answer(302, b"", {"Location": "http://127.0.0.1:9/"}), (Retry, "provider_moved")),
        (Answer(429, b"", {"Retry-After": "99999999999"}), (Retry, LONGEST_WAIT)),
        (Answer(503, b"", {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}), (Retry, timedelta(0))),
        (Answer(503, b"", {"Retry-After": "soon"}), (Retry, None)),
    ],
)
def test_an_answer_is_one_outcome(answer: Answer, expected: Any) -> None:
    asked: list[Request] = []

    def handle(request: Request) -> Answer:
        asked.append(request)
        return answer

    listener = Listener("127.0.0.1", 0, handle)
    listener.start()
    service = OrderService(f"http://127.0.0.1:{listener.port}/", Tokens(), ManualClock(), call_seconds=2)
    outcome = run(service)
    service.close()
    listener.stop()
    if isinstance(expected, Completed):
        assert outcome == expected
    else:
        assert isinstance(outcome, Retry | Refused)
        kind, told = expected
        of_outcome = outcome.failure.code if isinstance(told, str) else getattr(outcome, "after", None)
        assert (type(outcome), of_outcome) == (kind, told)
    [request] = asked
    assert request.headers["authorization"] == "Bearer order_1"
    assert json.loads(request.body) == {"jobId": "job_1", "venueId": VENUE, **JOB_TYPE.example}


def test_no_call_starts_that_cannot_end_in_time(stand_ins: StandIns, service: OrderService) -> None:
    order = Fulfillment(a_job("job_1").id, VENUE, {"orderId": "o"})
    with pytest.raises(NotSent, match="too soon"):
        service.fulfill(order, key="k", deadline=START + timedelta(seconds=9))
    assert stand_ins.effects() == []


def test_an_order_of_which_nobody_knows_is_never_parked(stand_ins: StandIns, service: OrderService) -> None:
    stand_ins.arm("orders", "status-500")
    job = replace(a_job("job_1", type="order.fulfill"), state=State.RUNNING, attempts=10, max_attempts=10)
    ended = settle(job, run(service), JOB_TYPE.policy(), now=START, jitter=0.5)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.EXHAUSTED)


def test_one_order_is_one_job() -> None:
    assert JOB_TYPE.natural_key(Facts(VENUE, None, {"orderId": "o", "note": "x"}, START)) == ("o",)


class Counting(Listener):
    """Counts the connections that were made to it."""

    opened = 0

    def _serve(self, connection: socket.socket) -> None:
        self.opened += 1
        super()._serve(connection)


def test_a_connection_that_lay_idle_is_not_used_again() -> None:
    clock = ManualClock()
    listener = Counting("127.0.0.1", 0, lambda _: Answer(204, b""))
    listener.start()
    service = OrderService(f"http://127.0.0.1:{listener.port}/", Tokens(), clock, call_seconds=2)
    counts = []
    for idle in (timedelta(0), timedelta(seconds=10), timedelta(seconds=21)):
        clock.advance(idle)
        order = Fulfillment(a_job("job_1").id, VENUE, {"orderId": "o"})
        service.fulfill(order, key="k", deadline=clock.now() + timedelta(minutes=1))
        counts.append(listener.opened)
    service.close()
    listener.stop()
    assert counts == [1, 1, 2]
