"""Webhooks over the real sender and the receiver that stands in: what it verifies, and each of its faults."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.endpoint import Disabled, Endpoint, rotate, signing
from chalicelib.domain.jobtype import Work
from chalicelib.domain.outcome import Completed, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Begun, Providers
from chalicelib.jobtypes.webhook_deliver import JOB_TYPE
from chalicelib.providers.webhook_sender import WebhookSender
from chalicelib.system import signing_secret
from local.standins import StandIns
from local.standins.faults import BadOrder
from tests.factories import a_job, an_endpoint
from tests.fakes import ManualClock
from tests.fakes_endpoints import MemoryEndpointStore

CALL_SECONDS = 0.5  # until the sender gives up; the stand-in is silent for longer
DATA: dict[str, Any] = {
    "endpointId": "ep_1",
    "event": "order.paid",
    "eventId": "evt-1",
    "payload": {"name": "größer ☃ 𝄞", "total": 4500},
}


class Case:
    """An endpoint at the stand-in, which has been told its secret."""

    def __init__(self, stand_ins: StandIns) -> None:
        self.clock = ManualClock(datetime.now(UTC).replace(microsecond=0))
        self.sender = WebhookSender(self.clock, loopback=True, call_seconds=CALL_SECONDS)
        self.store = MemoryEndpointStore()
        made = an_endpoint(url=stand_ins.hooks_url)
        self.store.add(rotate(replace(made, secrets=()), signing_secret(), actor="a", now=self.clock.now()))
        stand_ins.trust(signing(self.endpoint, self.clock.now())[0])

    @property
    def endpoint(self) -> Endpoint:
        [endpoint] = self.store.endpoints.values()
        return endpoint

    def run(self, job_id: str = "job_1") -> Outcome:
        work = Work(
            job=a_job(job_id, type="webhook.deliver"),
            data=DATA,
            leave=Leave.START,
            deadline=self.clock.now() + timedelta(minutes=1),
            clock=self.clock,
            timing=TIMING,
            begin=_never,
            endpoint=self.endpoint,
        )
        providers = SimpleNamespace(hooks=self.sender, endpoints=self.store)
        return JOB_TYPE.run(work, cast(Providers, providers))


def _never(_: str | None) -> Begun:
    raise AssertionError("Class D notes no beginning.")


@pytest.fixture
def stand_ins() -> Iterator[StandIns]:
    with StandIns() as running:
        yield running


@pytest.fixture
def case(stand_ins: StandIns) -> Case:
    return Case(stand_ins)


def test_an_event_is_taken_once_however_often_it_is_sent(stand_ins: StandIns, case: Case) -> None:
    first = case.run()
    assert isinstance(first, Completed)
    assert first.result["status"] == 200
    assert isinstance(case.run(), Completed)
    [effect] = stand_ins.effects()
    assert (effect["provider"], effect["operation"], effect["jobId"]) == ("hooks", "delivery", "job_1")
    assert effect["idempotencyKey"] == "job_1"


def test_a_receiver_that_knows_another_secret_takes_nothing(stand_ins: StandIns, case: Case) -> None:
    now = case.clock.now()
    before = case.endpoint
    case.store.swap(before, rotate(replace(before, secrets=()), signing_secret(), actor="a", now=now))
    outcome = case.run()
    assert isinstance(outcome, Retry)
    assert outcome.failure.code == "http_401"
    assert stand_ins.effects() == []


def test_a_receiver_that_knows_the_old_secret_takes_events_for_a_day_more(
    stand_ins: StandIns, case: Case
) -> None:
    before = case.endpoint
    case.store.swap(before, rotate(before, signing_secret(), actor="a", now=case.clock.now()))
    assert isinstance(case.run(), Completed)
    old = case.endpoint.secrets[1].until
    assert old == case.clock.now() + timedelta(hours=24)
    assert len(stand_ins.effects()) == 1


@pytest.mark.parametrize(
    ("mode", "kind", "code", "after", "effects"),
    [
        ("status-429", Retry, "http_429", timedelta(seconds=1), 0),
        ("status-503", Retry, "http_503", timedelta(seconds=1), 0),
        ("status-500", Retry, "http_500", None, 0),
        ("redirect", Retry, "http_302", None, 0),
        ("decline", Refused, "receiver_gone", None, 0),
        ("refuse-connection", Retry, "connection_failed", None, 0),
        ("timeout-before-apply", Unknown, "receiver_timeout", None, 0),
        ("timeout-after-apply", Unknown, "receiver_timeout", None, 1),
    ],
)
def test_a_fault_of_the_receiver(
    stand_ins: StandIns,
    case: Case,
    mode: str,
    kind: type,
    code: str,
    after: timedelta | None,
    effects: int,
) -> None:
    stand_ins.arm("hooks", mode)
    outcome = case.run()
    assert isinstance(outcome, Retry | Refused | Unknown)
    assert (type(outcome), outcome.failure.code, getattr(outcome, "after", None)) == (kind, code, after)
    assert len(stand_ins.effects()) == effects
    assert case.endpoint.failing_since == case.clock.now()
    assert (case.endpoint.disabled is Disabled.GONE) == (mode == "decline")


@pytest.mark.parametrize("mode", ["status-500", "timeout-before-apply", "timeout-after-apply"])
def test_what_failed_is_taken_once_when_it_comes_again(stand_ins: StandIns, case: Case, mode: str) -> None:
    stand_ins.arm("hooks", mode)
    case.run()
    assert isinstance(case.run(), Completed)
    assert len(stand_ins.effects()) == 1
    [endpoint] = case.store.endpoints.values()
    assert endpoint.failing_since is None


def test_of_a_huge_answer_nothing_is_kept(stand_ins: StandIns, case: Case) -> None:
    stand_ins.arm("hooks", "huge-answer")
    outcome = case.run()
    assert isinstance(outcome, Completed)
    assert len(json.dumps(dict(outcome.result))) < 100


def test_what_is_no_fault_of_others_is_not_armed_of_them(stand_ins: StandIns) -> None:
    with pytest.raises(BadOrder, match="hooks alone"):
        stand_ins.arm("stripe", "redirect")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_*", 7])
def test_what_is_no_secret_is_not_trusted(stand_ins: StandIns, secret: Any) -> None:
    with pytest.raises(BadOrder):
        stand_ins.trust(secret)
