"""The Python client against the front behind a socket, over a wire that loses what it is told to lose."""

import http.client
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from queue_service import Client, Job, Patience, Refused, StillRunning, Unavailable

from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import ClaimId, State, rest, run
from chalicelib.jobtypes import discover
from tests.front import Front
from tests.functional.openapi_tools import served

PAYMENT = dict(discover()["payment.process"].example)
POLICY = discover()["payment.process"].policy()


class Wire:
    """A socket before the service's; `orders` are what happens to the next requests, `seen` what came."""

    def __init__(self, url: str) -> None:
        wire = self
        self.orders: list[str] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        target = url.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                headers = dict(self.headers)
                wire.seen.append((self.command, self.path, headers))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                order = wire.orders.pop(0) if wire.orders else ""
                if order == "lose the request":
                    return
                if order.isdigit():
                    self.send_response(int(order))
                    self.send_header("Retry-After", "7")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                status, answered, text = self.forward(body, headers)
                if order == "lose the reply":
                    return
                self.send_response(status)
                for name in ("Content-Type", "Retry-After"):
                    if name in answered:
                        self.send_header(name, answered[name])
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def forward(self, body: bytes, headers: dict[str, str]) -> tuple[int, Any, bytes]:
                there = http.client.HTTPConnection(target, timeout=10)
                there.request(self.command, self.path, body=body, headers=headers)
                response = there.getresponse()
                try:
                    return response.status, response.headers, response.read()
                finally:
                    there.close()

            do_GET = do_POST = answer  # noqa: N815 - as http.server names them

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture
def wire(front: Front) -> Iterator[Wire]:
    with served(front) as url:
        made = Wire(url)
        yield made
        made.close()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(front: Front, wire: Wire, slept: list[float]) -> Client:
    return Client(wire.url, front.token("service"), patience=Patience(tries=4, sleep=slept.append))


def test_a_job_is_submitted_and_read(client: Client, front: Front) -> None:
    receipt = client.submit(
        "payment.process",
        PAYMENT,
        key="order-1",
        priority=9,
        attempts=4,
        delay=timedelta(seconds=1.5),
        venue_id="venue-2",
        user_id="user-7",
        callback_url="https://shop.example/done",
    )
    [job] = front.store.jobs.values()
    assert (receipt.job_id, receipt.state, receipt.deduplicated) == (job.id, "scheduled", False)
    assert (job.priority, job.max_attempts, job.due - job.created_at) == (9, 4, timedelta(seconds=1.5))
    assert (job.venue_id, job.user_id, job.callback_url) == ("venue-2", "user-7", "https://shop.example/done")
    read = client.get(receipt.job_id)
    assert (read.id, read.state, read.created_at, read.finished_at) == (
        job.id,
        "scheduled",
        job.created_at,
        None,
    )
    assert not read.at_rest


@pytest.mark.parametrize("fault", ["lose the request", "lose the reply", "502", "503", "504", "429"])
@pytest.mark.parametrize("key", ["order-1", None])
def test_a_submission_is_repeated_with_its_key_until_it_is_answered_and_is_one_job(
    client: Client, front: Front, wire: Wire, fault: str, key: str | None
) -> None:
    wire.orders = [fault, fault]
    receipt = client.submit("payment.process", PAYMENT, key=key)
    assert [job.id for job in front.store.jobs.values()] == [receipt.job_id]
    assert len(wire.seen) == 3
    assert {headers.get("Idempotency-Key") for _, _, headers in wire.seen} == {key}


def test_the_service_says_how_long_to_wait(client: Client, wire: Wire, slept: list[float]) -> None:
    wire.orders = ["503", "lose the reply"]
    client.submit("payment.process", PAYMENT)
    assert slept[0] == 7.0
    assert 0.25 <= slept[1] <= 0.5


def test_a_service_that_never_answers_is_given_up(client: Client, front: Front, wire: Wire) -> None:
    wire.orders = ["503"] * 4
    with pytest.raises(Unavailable):
        client.submit("payment.process", PAYMENT)
    assert len(wire.seen) == 4
    assert front.store.jobs == {}


def test_a_wait_beyond_patience_is_not_waited(slept: list[float]) -> None:
    patience = Patience(most=60.0)
    assert patience.before(1, "61") is None
    assert patience.before(1, "60") == 60.0
    assert patience.before(6, None) is None


def test_nobody_there_is_unavailable(slept: list[float]) -> None:
    client = Client("http://127.0.0.1:9", "token", patience=Patience(tries=3, sleep=slept.append))
    with pytest.raises(Unavailable, match="ConnectionRefused"):
        client.get("job_1")
    assert len(slept) == 2


@pytest.mark.parametrize("fault", ["lose the reply", "503"])
def test_what_may_have_been_done_is_not_repeated_unless_that_is_safe(
    client: Client, wire: Wire, fault: str
) -> None:
    wire.orders = [fault]
    with pytest.raises(Unavailable):
        client.call("POST", "/v1/schedules/s1/run", body={})
    assert len(wire.seen) == 1
    wire.orders = [fault]
    assert client.call("GET", "/ready")["status"] == "ok"
    assert len(wire.seen) == 3


def test_a_refusal_is_told_field_by_field_and_not_repeated(client: Client, wire: Wire) -> None:
    with pytest.raises(Refused) as caught:
        client.submit("payment.process", {**PAYMENT, "amount": 0, "currency": "XXX"})
    refused = caught.value
    assert (refused.status, refused.code) == (400, "validation_failed")
    assert {field for field, _ in refused.details} == {"data.amount", "data.currency"}
    assert "data.amount: Send at least 1." in str(refused)
    assert len(wire.seen) == 1


def test_an_unknown_job_is_refused_whatever_its_id_looks_like(client: Client, wire: Wire) -> None:
    for job_id in ("job_9", "../../ready", "a?queue=money", "a b", "ä"):
        with pytest.raises(Refused) as caught:
            client.get(job_id)
        assert caught.value.status in (403, 404)
    assert not any(path.startswith("/ready") for _, path, _ in wire.seen)


def ends(front: Front, job_id: str, state: State) -> Callable[[float], None]:
    """Return a sleep in which the job comes to rest."""

    def sleep(_: float) -> None:
        job = front.store.jobs[job_id]  # type: ignore[index] # an id as the client has it
        now = front.clock.now()
        running = run(job, claim_id=ClaimId("c"), lease_until=now, now=now)
        front.store.jobs[job.id] = rest(running, state, POLICY, now=now)

    return sleep


@pytest.mark.parametrize("state", [State.COMPLETED, State.PARKED, State.CANCELLED])
def test_a_job_is_waited_for_until_it_is_at_rest(front: Front, wire: Wire, state: State) -> None:
    token = front.token("service")
    job_id = Client(wire.url, token).submit("payment.process", PAYMENT).job_id
    job = Client(wire.url, token, patience=Patience(sleep=ends(front, job_id, state))).wait(job_id)
    assert (job.state, job.at_rest) == (state, True)


def test_a_wait_ends_while_the_job_goes_on(client: Client, slept: list[float]) -> None:
    receipt = client.submit("payment.process", PAYMENT)
    with pytest.raises(StillRunning, match="queued"):
        client.wait(receipt.job_id, timeout=timedelta(seconds=0.1))


def test_a_fresh_token_is_asked_for_at_each_request(front: Front, wire: Wire) -> None:
    tokens = [front.token("service", sub=f"service-{number}") for number in range(2)]
    client = Client(wire.url, iter(tokens).__next__)
    for _ in range(2):
        client.call("GET", "/ready")
    assert [headers["Authorization"] for _, _, headers in wire.seen] == [f"Bearer {token}" for token in tokens]


def test_pages_are_read_one_after_another(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {None: {"items": [{"id": 1}, {"id": 2}], "cursor": "c1"}, "c1": {"items": [], "cursor": "c2"}}
    last = {"items": [{"id": 3}], "cursor": None}
    asked: list[Any] = []

    def call(method: str, path: str, *, query: Any) -> Any:
        asked.append(query)
        return pages.get(query["cursor"], last)

    monkeypatch.setattr(client, "call", call)
    assert [item["id"] for item in client.pages("/v1/x", "items", query={"queue": "money"})] == [1, 2, 3]
    assert [query["cursor"] for query in asked] == [None, "c1", "c2"]
    assert all(query["queue"] == "money" for query in asked)


@pytest.mark.parametrize("url", ["ftp://queue.example", "queue.example", "file:///etc/passwd", "http://"])
def test_only_a_url_of_the_web_is_a_service(url: str) -> None:
    with pytest.raises(ValueError, match="no http or https URL"):
        Client(url, "token")


def test_a_service_whose_table_is_down_is_unavailable(front: Front, client: Client) -> None:
    front.quotas.fails = StoreRefused()
    with pytest.raises(Unavailable, match="503"):
        client.submit("payment.process", PAYMENT)


def test_a_job_that_failed_says_why() -> None:
    raw = {
        "id": "job_1",
        "queue": "money",
        "type": "payment.process",
        "venueId": "venue-1",
        "state": "failed",
        "reason": "refused",
        "attempts": 1,
        "maxAttempts": 10,
        "priority": 8,
        "createdAt": "2026-03-01T12:00:00.000Z",
        "finishedAt": "2026-03-01T12:00:01.000Z",
        "error": {"code": "card_declined", "message": "The card was declined."},
    }
    job = Job.of(raw)
    assert job.error is not None
    assert (job.reason, job.error.code, job.error.reference) == ("refused", "card_declined", None)
