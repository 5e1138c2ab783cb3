"""What an operator looks at: a running stack, and the work and the trouble that a test puts on it."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from local.identity import signing_secret, token
from local.rest import Answer, Client
from tests.acceptance.works import TIMING
from tests.e2e.stacks import PATIENCE, RunningStack, await_state

MAIL = {"to": "ada@example.com", "template": "refund_notice", "data": {"amount": "1.00 EUR"}}
PAID = {
    "amount": 4_500,
    "currency": "EUR",
    "customerId": "cus_1",
    "eventId": "ev_1",
    "paymentMethod": "pm_card_visa",
}


class Desk:
    """One stack for all tests of the page: each takes a venue of its own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        timing = json.dumps({**json.loads(TIMING), "hold_by_visibility": 2})
        usual = {"PERSIST": "0", "SCHEDULE_SECONDS": "1", "QUEUE_TIMING": timing}
        self._stack = RunningStack(directory, port=0, **usual | environment)
        self._secret = signing_secret(directory)
        self.api = self._stack.endpoints["api"]
        self.client = self._stack.client()

    def close(self) -> None:
        """End the stack."""
        self.client.close()
        self._stack.__exit__(None, None, None)

    def token(self, role: str = "admin", venue: str = "v1", subject: str = "u1") -> str:
        """Return a token that the stack takes."""
        return token(self._secret, role=role, venue=venue, subject=subject)

    def fault(self, provider: str, mode: str, count: int = 1) -> None:
        """Order faults of a provider's stand-in."""
        with closing(Client(self._stack.endpoints["providers"]["stripe"])) as stand_ins:
            order = {"provider": provider, "mode": mode, "count": count}
            assert stand_ins.post("/_faults", order).status == 200

    def read(self, path: str) -> Any:
        """Read as an admin does."""
        return done(self.client.get(f"/v1/{path}")).body

    def do(self, path: str, **body: Any) -> Any:
        """Do something as an admin does."""
        return done(self.client.post(f"/v1/{path}", body)).body

    def submit(self, venue: str, job_type: str, data: dict[str, Any], **more: Any) -> str:
        """Submit one more job of a venue and return its id."""
        body = {"type": job_type, "data": data, "onBehalfOf": {"venueId": venue}}
        job_id: str = self.do("jobs", idempotencyKey=f"key-{time.monotonic_ns()}", **body, **more)["jobId"]
        return job_id

    def ends(self, job_id: str, state: str = "completed") -> dict[str, Any]:
        """Return a job once it is in a state."""
        return await_state(self.client, job_id, state)

    def declined(self, venue: str, count: int = 1) -> list[str]:
        """Have payments that the bank declines, each of which would go through now."""
        return self._failed(venue, count, "decline")

    def dead(self, venue: str, count: int = 1) -> list[str]:
        """Have payments that used up their attempts, each of which would go through now."""
        return self._failed(venue, count, "status-429")

    def parked(self, venue: str) -> str:
        """Have a mail of which nobody knows whether it left."""
        self.fault("ses", "timeout-after-apply")
        job_id = self.submit(venue, "email.send", MAIL)
        self.ends(job_id, "parked")
        return job_id

    def charges(self, job_id: str) -> int:
        """Return how often a job's card was charged."""
        return sum(each["operation"] == "charge" and each["jobId"] == job_id for each in self._stack.ledger())

    def _failed(self, venue: str, count: int, mode: str) -> list[str]:
        self.fault("stripe", mode, count)
        jobs = [self.submit(venue, "payment.process", PAID, options={"attempts": 1}) for _ in range(count)]
        for job_id in jobs:
            self.ends(job_id, "failed")
        return jobs


def done(answer: Answer) -> Answer:
    """Return an answer that is a good one."""
    assert 200 <= answer.status < 300, answer
    return answer


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def screens(desk: Desk, job: str) -> list[str]:
    """Every screen, those of one thing included."""
    operations = desk.read("operations")["operations"]
    schedules = desk.read("schedules")["schedules"]
    return [
        *("overview", "jobs", f"jobs/{job}", "dead-letters", "parked", "operations", "providers"),
        *("alerts", "schedules", "audit", "health"),
        *(f"operations/{each['operationId']}" for each in operations[:1]),
        *(f"schedules/{each['id']}" for each in schedules[:1]),
    ]
