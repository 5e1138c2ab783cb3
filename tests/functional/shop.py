"""Jobs at Stripe: the real client, the stand-in behind it, and a clock that both go by."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Declined
from chalicelib.domain.job import Job
from chalicelib.domain.jobtype import JobType, Work
from chalicelib.domain.outcome import HeldBack, Outcome
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Begun, Intent, Money, PaymentOrder, Providers
from chalicelib.jobtypes.payment_process import JOB_TYPE
from chalicelib.providers.stripe_account import StripeAccount
from chalicelib.providers.stripe_payments import StripePayments
from local.standins import StandIns
from tests.factories import PAYMENT, a_job
from tests.fakes import START, ManualClock, told

YOUNG, OLD = timedelta(seconds=10), TIMING.absence_after  # how long a job has been in doubt
CALL_SECONDS = 0.8  # until the client gives up; the stand-in is silent for longer
METHODS: Mapping[str, str] = {
    "processing": "pm_usBankAccount_processing",
    "requires_action": "pm_card_authenticationRequired",
    "canceled": "pm_card_authenticationRequired",
    "requires_payment_method": "pm_card_chargeDeclinedInsufficientFunds",
}


class Shop:
    """A job, what Stripe holds of it, and what comes of a run."""

    def __init__(self, stand_ins: StandIns, clock: ManualClock) -> None:
        self.stand_ins = stand_ins
        self.clock = clock
        self.payments = StripePayments(
            told("sk_test_1"), clock, api_base=stand_ins.url, call_seconds=CALL_SECONDS
        )
        self.data = dict(PAYMENT)
        self.job = replace(a_job(), processed_at=clock.now(), key_used_at=clock.now())

    @property
    def deadline(self) -> datetime:
        return self.clock.now() + timedelta(minutes=1)

    def run(self, leave: Leave, in_doubt_for: timedelta | None = None, **changes: Any) -> Outcome:
        """Run the job once; every leave but START means doubt, a young one unless said otherwise."""
        outcome = attempt(
            JOB_TYPE, self.payments, replace(self.job, **changes), self.data, self.clock, leave, in_doubt_for
        )
        if not isinstance(outcome, HeldBack):
            self.job = replace(self.job, handle=outcome.handle or self.job.handle)
        return outcome

    def has(self, status: str, *, known: bool = True) -> Intent:
        """Let Stripe hold the job's intent in this state; `known`: the record names it."""
        order = PaymentOrder(
            job_id=self.job.id,
            money=Money(self.data["amount"], self.data["currency"]),
            customer=self.data["customerId"],
            payment_method=METHODS.get(status, self.data["paymentMethod"]),
            description=None,
            metadata={},
        )
        try:
            intent = self.payments.create(order, key="an earlier attempt's", deadline=self.deadline)
        except Declined as error:
            intent = self.payments.retrieve(error.handle or "", deadline=self.deadline)
        if status == "canceled":
            intent = self.payments.cancel(intent.id, key="an operator's", deadline=self.deadline)
        assert intent.status == status
        if known:
            self.job = replace(self.job, handle=intent.id)
        return intent

    @property
    def charges(self) -> int:
        """How often the customer's money has moved."""
        return len([row for row in self.stand_ins.effects() if row["operation"] == "charge"])

    @property
    def status(self) -> str | None:
        """What state Stripe holds the job's intent in."""
        since = START - timedelta(days=9)
        found = self.payments.find(self.data["customerId"], self.job.id, since=since, deadline=self.deadline)
        return found.status if found else None


def attempt(
    job_type: JobType,
    client: StripeAccount,
    job: Job,
    data: Mapping[str, Any],
    clock: ManualClock,
    leave: Leave,
    in_doubt_for: timedelta | None = None,
) -> Outcome:
    """Run a job once; every leave but START means doubt, a young one unless said otherwise."""
    if in_doubt_for is None and leave is not Leave.START:
        in_doubt_for = YOUNG
    work = Work(
        job=replace(job, doubt=None if in_doubt_for is None else clock.now() - in_doubt_for),
        data=data,
        leave=leave,
        deadline=clock.now() + timedelta(minutes=1),
        clock=clock,
        timing=TIMING,
        begin=_never,
    )
    return job_type.run(work, cast(Providers, SimpleNamespace(payments=client, payouts=client)))


def _never(_: str | None) -> Begun:
    raise AssertionError("class A needs no `begun`")
