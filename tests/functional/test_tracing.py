"""What a collector is told of a job, from its acceptance to its end, and what becomes of jobs without one."""

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, cast

import pytest

from chalicelib import wiring
from chalicelib.domain.errors import Ambiguous, StoreRefused, TurnedAway
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.providers import Fulfillment, Intent, Money
from chalicelib.service.execute import Execute
from chalicelib.settings import SettingsError
from chalicelib.tracing import Tracing
from chalicelib.tracing.spans import LEFT_ALONE, PATIENCE
from tests.collector import Collector, collecting
from tests.front import OWN, Front
from tests.functional.test_functions import ORDER, Both, Till, consume, run_dispatch
from tests.functional.test_jobs_api import BODY


class Shaky:
    """An order service that fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    def fulfill(self, order: Fulfillment, *, key: str, deadline: datetime) -> Mapping[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        return {"status": 201}


class Known(Till):
    """Payments that know the intent that a caller names."""

    def known(self, intent_id: str, *, deadline: datetime) -> Intent:
        return self._intent(intent_id, "requires_payment_method")

    def confirm(self, intent_id: str, payment_method: str, *, key: str, deadline: datetime) -> Intent:
        return self._intent(intent_id, "succeeded")

    def _intent(self, intent_id: str, status: str) -> Intent:
        return Intent(intent_id, status, "ch_1", Money(4500, "EUR"), None, None, None, "req_1", "job_0", OWN)


@contextmanager
def traced(url: str, **providers: Any) -> Iterator[Front]:
    """Give a front whose traces go to a URL."""
    front = Front(
        providers=Both(**providers), environment={"TRACES": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
    )
    yield front
    cast(Tracing, wiring.service().traces).close()
    wiring.install(None)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def front(collector: Collector) -> Iterator[Front]:
    with traced(collector.url) as made:
        yield made


def submit(front: Front, body: Mapping[str, Any]) -> str:
    return str(front.post(body).json_body["jobId"])


def test_all_that_becomes_of_a_job_is_one_trace_which_its_id_names(collector: Collector) -> None:
    busy = TurnedAway("rate_limited", "Too many.", reference="req_7")
    with traced(collector.url, orders=Shaky(busy)) as front:
        job_id = submit(front, ORDER)
        consume(front, "money-queue")
        front.clock.advance(timedelta(hours=1))
        consume(front, "money-queue")
        assert front.get(f"/v1/jobs/{job_id}").json_body["state"] == "completed"

    digest = sha256(job_id.encode()).hexdigest()
    spans = collector.trace(digest[:32])
    assert [each.name for each in spans] == [
        *("accept", "send"),
        *("orders.fulfill", "consume", "orders.fulfill", "consume"),
    ]
    accept, send, refused, first, fulfilled, second = spans
    assert (accept.id, accept.parent) == (digest[32:48], "")
    assert {each.parent for each in (send, first, second)} == {accept.id}
    assert (refused.parent, fulfilled.parent) == (first.id, second.id)
    assert collector.spans() == spans  # and there is nothing else

    assert {each.facts["job.id"] for each in spans} == {job_id}
    assert {each.facts["job.queue"] for each in (accept, send, first, second)} == {"money"}
    assert {each.facts["job.type"] for each in (accept, first, second)} == {"order.fulfill"}
    assert (refused.facts["job.reason"], refused.facts["provider.request"]) == ("rate_limited", "req_7")
    assert (refused.facts["provider"], refused.failed, fulfilled.failed) == ("internal", True, False)
    told = ("job.attempt", "job.outcome", "job.reason", "job.state", "message.fate", "message.receives")
    assert [first.facts.get(name) for name in told] == [1, "retry", "rate_limited", "retrying", "later", 1]
    assert [second.facts.get(name) for name in told] == [2, "completed", None, "completed", "done", 2]
    assert first.events == ["claimed", "moved"]


def test_what_a_provider_has_made_is_told_by_its_id(front: Front, collector: Collector) -> None:
    job_id = submit(front, BODY)
    consume(front, "money-queue")
    [consumed] = collector.spans("consume", job_id)
    [call] = collector.spans("payments.create")
    assert (call.parent, call.trace) == (consumed.id, consumed.trace)
    assert (call.facts["provider.object"], call.facts["provider.request"]) == ("pi_1", "req_1")


def test_an_id_that_a_caller_has_named_is_not_told(collector: Collector) -> None:
    named = {"paymentIntentId": "pi_of_a_caller", "paymentMethod": "pm_card_visa"}
    with traced(collector.url, payments=Known()) as front:
        job_id = submit(front, {"type": "payment.retry", "data": named})
        consume(front, "money-queue")
        assert front.get(f"/v1/jobs/{job_id}").json_body["state"] == "completed"
    assert collector.spans("payments.confirm", job_id)
    assert not [each for each in collector.spans() if "pi_of_a_caller" in each.text]


def test_a_call_without_an_answer_is_told_as_such(collector: Collector) -> None:
    with traced(collector.url, orders=Shaky(Ambiguous("timed_out", "No answer."))) as front:
        submit(front, ORDER)
        consume(front, "money-queue")
    [consumed] = collector.spans("consume")
    assert (consumed.facts["job.outcome"], consumed.facts["job.reason"], consumed.failed) == (
        *("unknown", "timed_out"),
        True,
    )


def test_a_message_that_dispatch_sends_again_is_in_the_same_trace(front: Front, collector: Collector) -> None:
    job_id = submit(front, ORDER)
    front.queue.messages.clear()
    front.clock.advance(timedelta(minutes=6))
    run_dispatch()
    assert len(collector.spans("send", job_id)) == 2
    consume(front, "money-queue")
    [accept] = collector.spans("accept", job_id)
    assert len(collector.trace(accept.trace)) == 5


def test_jobs_of_a_batch_are_accepted_once_each_when_all_are(front: Front, collector: Collector) -> None:
    jobs = [{**ORDER, "data": {"orderId": f"o-{number}"}} for number in range(3)]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token()}"}
    for together in (True, False):
        body = {"jobs": jobs, "options": {"stopOnError": together}}
        front.client.http.post("/v1/jobs/batch", headers=headers, body=json.dumps(body).encode())
    accepted = collector.spans("accept")
    assert {each.facts["job.id"] for each in accepted} == set(front.store.jobs)
    assert len(accepted) == len({each.trace for each in accepted}) == 3


def test_the_notice_of_an_end_has_a_trace_of_its_own(front: Front, collector: Collector) -> None:
    job_id = submit(front, {**ORDER, "callbackUrl": "https://hooks.example/done"})
    consume(front, "money-queue")
    [notice] = [each for each in collector.spans("accept") if each.facts["job.type"] == "webhook.deliver"]
    assert notice.facts["job.id"] != job_id
    assert [each.name for each in collector.trace(notice.trace)] == ["accept", "send"]


def test_a_job_is_sampled_as_a_whole_or_not_at_all(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    with traced(collector.url) as front:
        for number in range(20):
            submit(front, {**ORDER, "data": {"orderId": f"o-{number}"}})
        consume(front, "money-queue")
        consume(front, "money-queue")
    names = Counter(each.trace for each in collector.spans())
    assert 0 < len(names) < 20
    assert set(names.values()) == {4}


def test_a_delivery_that_does_nothing_says_so(front: Front, collector: Collector) -> None:
    job_id = submit(front, {**ORDER, "options": {"delay": 60_000}})
    [message] = front.queue.messages[Tier.MONEY, Lane.MAIN].values()
    front.queue.put(Tier.MONEY, Lane.MAIN, message.body)  # too early
    consume(front, "money-queue")
    [consumed] = collector.spans("consume", job_id)
    told = ("job.type", "job.state", "job.outcome", "message.fate")
    assert [consumed.facts.get(name) for name in told] == ["order.fulfill", "scheduled", None, "later"]


def test_a_batch_that_cannot_be_read_is_told_of_and_left(front: Front, collector: Collector) -> None:
    job_id = submit(front, ORDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front.store, "load_batch", _refuse)
        assert len(consume(front, "money-queue")) == 1
    [consumed] = collector.spans("consume", job_id)
    assert consumed.facts["message.fate"] == "left"


def _refuse(*_: Any) -> Any:
    raise StoreRefused


def not_sent(front: Front) -> list[Any]:
    """Return how many spans were lost, each time that some were."""
    return [facts["spans"] for action, facts in front.journal.events if action == "spans_not_sent"]


def test_jobs_are_done_without_a_collector_and_it_is_asked_again_after_a_while(collector: Collector) -> None:
    collector.listener.refuse(1_000)
    with traced(collector.url) as front:
        job_id = submit(front, ORDER)
        consume(front, "money-queue")
        assert front.get(f"/v1/jobs/{job_id}").json_body["state"] == "completed"
        assert not_sent(front) == [2]  # what was consumed waits for better times
        collector.listener.recover()
        until = time.monotonic() + 5
        while collector.listener.down and time.monotonic() < until:
            time.sleep(0.01)
        consume(front, "money-queue")
        assert collector.asked == 0
        front.clock.advance(LEFT_ALONE)
        front.get(f"/v1/jobs/{job_id}")
    assert [each.name for each in collector.spans()] == ["orders.fulfill", "consume"]


@contextmanager
def dripping() -> Iterator[tuple[str, list[float]]]:
    """Give a collector that begins to answer and never ends, and when it was connected to."""
    stop, connected = threading.Event(), list[float]()

    def serve() -> None:
        with suppress(TimeoutError):
            while not stop.is_set():
                connection, _ = server.accept()
                connected.append(time.monotonic())
                with connection, suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while not stop.wait(0.05) and time.monotonic() - connected[-1] < 15:
                        connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", connected
        stop.set()
        thread.join()


def test_a_collector_that_never_ends_its_answer_holds_up_one_invocation_for_a_moment() -> None:
    with dripping() as (url, connected), traced(url) as front:
        began = time.monotonic()
        job_ids = [submit(front, {**ORDER, "data": {"orderId": f"o-{number}"}}) for number in range(5)]
        consume(front, "money-queue")
        took = time.monotonic() - began
        assert {front.get(f"/v1/jobs/{each}").json_body["state"] for each in job_ids} == {"completed"}
        assert not_sent(front) == [2]
        assert len(connected) == 1
    assert PATIENCE.total_seconds() <= took < 10


def test_without_traces_nothing_is_put_between() -> None:
    plain = Front(providers=Both())
    made = wiring.service()
    assert made.traces is None
    assert type(made.execute) is Execute
    assert made.queue is plain.queue
    assert made.read._store is plain.store
    wiring.install(None)


def test_traces_without_what_they_need_refuse_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("chalicelib.tracing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(SettingsError, match=r"requirements-traces\.txt"):
        Front(environment={"TRACES": "otlp"})
