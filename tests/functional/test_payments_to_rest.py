"""Payments through the whole protocol while Stripe fails at random: each record tells what happened."""

import os
import random
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from chalicelib.domain import steer
from chalicelib.domain.job import AT_REST, Job, Reason, State
from chalicelib.domain.policies import TIMING
from chalicelib.domain.ports import Change, Saved
from chalicelib.domain.providers import Providers
from chalicelib.jobtypes.payment_process import JOB_TYPE
from chalicelib.providers.stripe_payments import StripePayments
from chalicelib.service.execute import Execute
from local.standins import StandIns
from tests.factories import PAYMENT, a_job
from tests.fakes import ListJournal, ManualClock, MemoryQueue, MemoryStore, SeededChance, SequentialCrew, told
from tests.fakes_registry import MemoryRegistry

SEEDS = range(1_000 if os.environ.get("QS_FULL") else 50)
ROUNDS = 400  # of one job until it must have come to rest
FAULTS = (
    "status-500",
    "status-503",
    "status-429",
    "decline",
    "timeout-before-apply",
    "timeout-after-apply",
    "refuse-connection",
)
METHODS = (
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_authenticationRequired",
    "pm_usBankAccount_processing",
)


class Life:
    """One payment from acceptance to rest, faults and customer chosen by a seed."""

    def __init__(self, stand_ins: StandIns, clock: ManualClock, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.stand_ins = stand_ins
        self.clock = clock
        self.payments = StripePayments(told("sk_test_1"), clock, api_base=stand_ins.url, call_seconds=0.1)
        self.store = MemoryStore()
        method = self.random.choice(METHODS)
        self.id = a_job().id
        self.store.add(a_job(payload=PAYMENT | {"paymentMethod": method}))
        self.execute = Execute(
            store=self.store,
            registry=MemoryRegistry(),
            queue=MemoryQueue(clock),
            providers=cast(Providers, SimpleNamespace(payments=self.payments)),
            types={JOB_TYPE.name: JOB_TYPE},
            clock=clock,
            chance=SeededChance(seed),
            crew=SequentialCrew(),
            journal=ListJournal(),
        )

    @property
    def job(self) -> Job:
        found = self.store.load(self.id, None)
        assert found is not None
        return found

    @property
    def charges(self) -> int:
        return len(self.stand_ins.effects())

    def to_rest(self, faults: int) -> None:
        """Deliver the job until it is at rest, with that many faults on the way."""
        for _ in range(ROUNDS):
            if self.job.state in AT_REST:
                return
            if faults and self.random.random() < 0.7:
                faults -= 1
                self.stand_ins.arm("stripe", self.random.choice(FAULTS))
            if self.job.handle is not None and self.random.random() < 0.1:
                self.stand_ins.act(self.job.handle, self.random.choice(["succeed", "fail"]))
            wait = self.job.wakes_at - self.clock.now()
            self.clock.advance(max(wait, timedelta(0)))
            self.execute.execute({self.id: 1}, ends=self.clock.now() + timedelta(minutes=1))
        raise AssertionError(f"not at rest after {ROUNDS} deliveries: {self.job}")

    def retried(self) -> bool:
        """Let an operator retry the job; say whether that was allowed."""
        job = self.job
        again = steer.retry(job, JOB_TYPE.policy(TIMING), now=self.clock.now())
        return isinstance(again, Job) and self.store.save_many([Change(job, again)]) == [Saved()]


@pytest.fixture(params=SEEDS)
def life(request: pytest.FixtureRequest, stand_ins: StandIns, clock: ManualClock) -> Iterator[Life]:
    made = Life(stand_ins, clock, request.param)
    yield made
    made.payments.close()


def test_payment_comes_to_rest_and_its_record_tells_what_happened(life: Life) -> None:
    for _ in range(3):
        life.to_rest(faults=4)
        job = life.job
        assert job.state in (State.COMPLETED, State.FAILED), job
        assert life.charges == (1 if job.state is State.COMPLETED else 0), job
        assert job.doubt is None
        if job.reason is Reason.REFUSED:
            assert job.error is not None
        if not life.retried():
            return
