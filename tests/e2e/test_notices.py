"""Ends told on the local stack, to a receiver that checks each signature with the standard's library."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import standardwebhooks

from local.standins.listener import Listener
from local.standins.wire import Answer, Request
from tests.e2e.stacks import PATIENCE, RunningStack, await_state
from tests.e2e.test_front_door import PAYMENT


class Receiver:
    """A receiver on this machine, which takes an event at the second try alone."""

    def __init__(self) -> None:
        self.listener = Listener("127.0.0.1", 0, self._take)
        self.url = f"http://127.0.0.1:{self.listener.port}/done"
        self.secret = ""
        self.tries: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def _take(self, request: Request) -> Answer:
        with self._lock:
            name = request.headers["webhook-id"]
            self.tries[name] = self.tries.get(name, 0) + 1
            if self.tries[name] == 1:
                return Answer(503, {"error": "asleep"})
            verifier = standardwebhooks.Webhook(self.secret)
            self.events.append(verifier.verify(request.body.decode(), dict(request.headers)))
            return Answer(200, {"taken": True})

    def await_events(self, count: int) -> None:
        """Wait for so many events."""
        end = time.monotonic() + PATIENCE
        while len(self.events) < count:
            assert time.monotonic() < end, (self.tries, self.events)
            time.sleep(0.1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.listener.start()
    yield made
    made.listener.stop()


def test_ends_are_told_signed_until_they_are_taken(stack: RunningStack, receiver: Receiver) -> None:
    client = stack.client()
    receiver.secret = client.post("/v1/endpoints/default/rotate-secret", {}).body["secret"]
    endpoint = client.post("/v1/endpoints", {"url": f"{receiver.url}/payments"}).body["id"]
    data = PAYMENT["data"]
    paid = client.post("/v1/jobs", {**PAYMENT, "callbackUrl": receiver.url}).body["jobId"]
    declined = {**data, "paymentMethod": "pm_card_chargeDeclined", "orderId": "declined"}
    failed = client.post("/v1/jobs", {**PAYMENT, "data": declined, "callbackUrl": receiver.url}).body["jobId"]
    receiver.await_events(2)

    told = {event["data"]["jobId"]: event for event in receiver.events}
    assert {job_id: event["type"] for job_id, event in told.items()} == {
        paid: "job.completed",
        failed: "job.failed",
    }
    job = await_state(client, paid, "completed")
    assert told[paid]["data"]["result"] == job["result"]
    assert told[failed]["data"]["error"]["code"] == await_state(client, failed, "failed")["error"]["code"]
    delivery = await_state(client, job["callbackJobId"], "completed")
    assert (delivery["type"], delivery["attempts"]) == ("webhook.deliver", 2)
    assert receiver.tries[job["callbackJobId"]] == 2

    receiver.secret = client.post(f"/v1/endpoints/{endpoint}/rotate-secret", {}).body["secret"]
    later = {**PAYMENT, "data": {**data, "orderId": "later"}, "options": {"delay": 3_600_000}}
    cancelled = client.post("/v1/jobs", {**later, "callbackEndpointId": endpoint}).body["jobId"]
    assert client.delete(f"/v1/jobs/{cancelled}").status == 200
    receiver.await_events(3)
    assert [event["type"] for event in receiver.events[2:]] == ["job.cancelled"]
    client.close()
