"""The stand-in tells what has changed at Stripe, signed as Stripe signs it, and again where nobody took it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chalicelib.http.callbacks_stripe import is_signed, job_of
from local.standins import StandIns, outbox
from local.standins.listener import Listener
from local.standins.wire import Answer, Request
from tests.fakes import ManualClock
from tests.functional.test_stand_ins import Caller

SECRET = "whsec_of_the_stand_in"


class Ear:
    """Where callbacks go: it hears all of them and takes those after the first few."""

    def __init__(self, *statuses: int) -> None:
        self.heard: list[Request] = []
        self.taken = threading.Event()
        self._statuses = iter(statuses)

    def hear(self, request: Request) -> Answer:
        status = next(self._statuses, 200)
        self.heard.append(request)
        if status == 200:
            self.taken.set()
        return Answer(status, {})


@contextmanager
def told_to(ear: Ear, clock: ManualClock) -> Iterator[StandIns]:
    listener = Listener("127.0.0.1", 0, ear.hear)
    listener.start()
    where = f"http://127.0.0.1:{listener.port}/v1/callbacks/stripe"
    with StandIns(now=clock.now, stripe_webhook=(where, SECRET)) as stand_ins:
        yield stand_ins
    listener.stop()


def waiting(stand_ins: StandIns, method: str) -> str:
    """Return the id of an intent that waits."""
    caller = Caller(stand_ins.url)
    intent = caller.create(payment_method=method)[1]
    caller.close()
    return str(intent["id"])


@pytest.mark.parametrize(
    ("action", "kind"),
    [("succeed", "payment_intent.succeeded"), ("fail", "payment_intent.payment_failed")],
)
@pytest.mark.parametrize("method", ["pm_usBankAccount_processing", "pm_card_authenticationRequired"])
def test_intent_that_moves_on_by_itself_is_told_of(
    clock: ManualClock, action: str, kind: str, method: str
) -> None:
    ear = Ear()
    with told_to(ear, clock) as stand_ins:
        stand_ins.act(waiting(stand_ins, method), action)
        assert ear.taken.wait(5)
    [request] = ear.heard
    event = json.loads(request.body)
    assert (event["type"], job_of(event)) == (kind, "job_1")
    assert is_signed(request.body, request.headers["stripe-signature"], SECRET, now=clock.now())


def test_event_that_is_not_taken_is_sent_again(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PAUSE", 0.01)
    ear = Ear(503, 503)
    with told_to(ear, clock) as stand_ins:
        stand_ins.act(waiting(stand_ins, "pm_usBankAccount_processing"), "succeed")
        assert ear.taken.wait(5)
    assert len(ear.heard) == 3
    assert len({request.body for request in ear.heard}) == 1
