"""What each answer of Stripe makes of a refund, under each leave, over the real client and the stand-in."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.job import JobId
from chalicelib.domain.jobtype import Facts
from chalicelib.domain.outcome import Completed, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Money, PaymentOrder
from chalicelib.jobtypes.payment_refund import JOB_TYPE
from chalicelib.providers.stripe_payments import StripePayments
from chalicelib.service.intake import Schema
from local.standins import StandIns
from tests.factories import PAYMENT, VENUE, a_job
from tests.fakes import START, ManualClock, told
from tests.functional.shop import CALL_SECONDS, OLD, YOUNG, attempt

LOOKING = [Leave.LOOK_UP, Leave.LOOK_ONLY]
STARTING = [Leave.START, Leave.REPEAT]
CHARGED = 4500


class Desk:
    """A refund job, the payment that it is about, and what comes of a run."""

    def __init__(self, stand_ins: StandIns, clock: ManualClock) -> None:
        self.stand_ins = stand_ins
        self.clock = clock
        self.payments = StripePayments(
            told("sk_test_1"), clock, api_base=stand_ins.url, call_seconds=CALL_SECONDS
        )
        intent = self.charge(VENUE)
        self.charge_id = intent.charge_id or ""
        self.data: dict[str, Any] = {
            "transactionId": intent.id,
            "amount": 1500,
            "currency": "EUR",
            "reason": "The event was cancelled.",
        }
        self.job = replace(a_job("job_refund", type="payment.refund"), processed_at=clock.now())

    @property
    def deadline(self) -> datetime:
        return self.clock.now() + timedelta(minutes=1)

    def charge(self, venue: str | None) -> Any:
        """Let Stripe hold a payment of a venue."""
        order = PaymentOrder(
            job_id=JobId(f"job_of_{venue}"),
            money=Money(CHARGED, "EUR"),
            customer=PAYMENT["customerId"],
            payment_method=PAYMENT["paymentMethod"],
            description=None,
            metadata={"venue_id": venue} if venue else {},
        )
        return self.payments.create(order, key=f"payment of {venue}", deadline=self.deadline)

    def run(self, leave: Leave, in_doubt_for: timedelta | None = None, **changes: Any) -> Outcome:
        """Run the job once; every leave but START means doubt, a young one unless said otherwise."""
        job = replace(self.job, **changes)
        return attempt(JOB_TYPE, self.payments, job, self.data, self.clock, leave, in_doubt_for)

    @property
    def refunds(self) -> list[int]:
        """What was given back, refund by refund."""
        return [row["amount"] for row in self.stand_ins.effects() if row["operation"] == "refund"]


@pytest.fixture
def desk(stand_ins: StandIns, clock: ManualClock) -> Iterator[Desk]:
    made = Desk(stand_ins, clock)
    yield made
    made.payments.close()


@pytest.mark.parametrize("by", ["intent", "charge"])
def test_money_is_given_back_once_and_told_in_few_words(desk: Desk, by: str) -> None:
    if by == "charge":
        desk.data["transactionId"] = desk.charge_id
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Completed)
    assert outcome.result == {"refundId": outcome.handle, "status": "succeeded"}
    assert desk.refunds == [1500]
    (row,) = [row for row in desk.stand_ins.effects() if row["operation"] == "refund"]
    assert (row["jobId"], row["idempotencyKey"]) == (desk.job.id, f"{desk.job.id}:refund:0")


def test_repeated_attempts_refund_once(desk: Desk) -> None:
    first = desk.run(Leave.START)
    assert desk.run(Leave.REPEAT) == first
    assert desk.refunds == [1500]


def test_two_partial_refunds_of_different_amounts_both_pass(desk: Desk) -> None:
    assert isinstance(desk.run(Leave.START), Completed)
    desk.job = replace(desk.job, id=JobId("job_second"))
    desk.data["amount"] = 2000
    assert isinstance(desk.run(Leave.START), Completed)
    assert desk.refunds == [1500, 2000]


@pytest.mark.parametrize(
    ("before", "amount", "code"),
    [(CHARGED, 1, "charge_already_refunded"), (1500, 3001, "invalid_request"), (0, 4501, "invalid_request")],
)
def test_over_refund_is_refused_with_stripes_code(desk: Desk, before: int, amount: int, code: str) -> None:
    if before:
        desk.data["amount"] = before
        assert isinstance(desk.run(Leave.START), Completed)
    desk.job = replace(desk.job, id=JobId("job_second"))
    desk.data["amount"] = amount
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.clears_doubt) == (code, True)
    assert sum(desk.refunds) == before


def test_refund_in_another_currency_is_refused_before_anything_moves(desk: Desk) -> None:
    desk.data["currency"] = "JPY"
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "currency_mismatch"
    assert desk.refunds == []


@pytest.mark.parametrize("by", ["intent", "charge"])
def test_payment_of_another_venue_is_as_good_as_unknown(desk: Desk, by: str) -> None:
    foreign = desk.charge("venue-of-others")
    desk.data["transactionId"] = foreign.id if by == "intent" else foreign.charge_id
    theirs = desk.run(Leave.START)
    desk.data["transactionId"] = "pi_unknown"
    unknown = desk.run(Leave.START)
    assert isinstance(theirs, Refused)
    assert isinstance(unknown, Refused)
    assert theirs == unknown
    assert unknown.failure.code == "resource_missing"
    assert desk.refunds == []


def test_payment_that_names_no_venue_is_refunded(desk: Desk) -> None:
    desk.data["transactionId"] = desk.charge(None).id
    assert isinstance(desk.run(Leave.START), Completed)


@pytest.mark.parametrize(
    ("mode", "kind", "code", "refunds"),
    [
        ("status-500", Unknown, "provider_failed", []),
        ("status-503", Retry, "provider_failed", []),  # strikes the reading of the payment, which comes first
        ("timeout-before-apply", Unknown, "provider_timeout", []),
        ("timeout-after-apply", Unknown, "provider_timeout", [1500]),
        ("status-429", Retry, "provider_rate_limited", []),
        ("refuse-connection", Retry, "connection_failed", []),
    ],
)
def test_fault_of_a_fresh_call(desk: Desk, mode: str, kind: type, code: str, refunds: list[int]) -> None:
    desk.stand_ins.arm("stripe", mode)
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Unknown | Retry | Refused)
    assert (type(outcome), outcome.failure.code) == (kind, code)
    assert desk.refunds == refunds


@pytest.mark.parametrize("mode", ["timeout-before-apply", "timeout-after-apply"])
@pytest.mark.parametrize("generation", [0, 1])
def test_call_whose_answer_was_lost_is_repeated_without_a_second_refund(
    desk: Desk, mode: str, generation: int
) -> None:
    desk.stand_ins.arm("stripe", mode)
    assert isinstance(desk.run(Leave.START, generation=generation), Unknown)
    assert isinstance(desk.run(Leave.REPEAT, generation=generation), Completed)
    assert desk.refunds == [1500]


@pytest.mark.parametrize("leave", LOOKING)
@pytest.mark.parametrize("by", ["intent", "charge"])
def test_look_up_finds_the_refund_that_was_made_behind_a_hundred_others(
    desk: Desk, leave: Leave, by: str
) -> None:
    if by == "charge":
        desk.data["transactionId"] = desk.charge_id
    first = desk.run(Leave.START)
    mine = desk.job
    desk.data["amount"] = 1
    for number in range(120):
        desk.job = replace(mine, id=JobId(f"job_{number}"))
        assert isinstance(desk.run(Leave.START), Completed)
    desk.job, desk.data["amount"] = mine, 1500
    assert desk.run(leave) == first
    assert desk.refunds == [1500] + [1] * 120


@pytest.mark.parametrize("leave", LOOKING)
def test_absence_proves_nothing_while_doubt_is_young(desk: Desk, leave: Leave) -> None:
    outcome = desk.run(leave, YOUNG)
    assert isinstance(outcome, Retry)
    assert (outcome.clears_doubt, outcome.after) == (False, TIMING.absence_after - YOUNG)
    assert desk.refunds == []


def test_look_up_that_clears_the_doubt_lets_the_refund_start(desk: Desk) -> None:
    assert isinstance(desk.run(Leave.LOOK_UP, OLD), Completed)
    assert desk.refunds == [1500]


def test_look_only_never_starts_a_refund(desk: Desk) -> None:
    outcome = desk.run(Leave.LOOK_ONLY, OLD)
    assert isinstance(outcome, Retry)
    assert (outcome.clears_doubt, outcome.failure.code) == (True, "not_found")
    assert desk.refunds == []


@pytest.mark.parametrize("mode", ["status-503", "status-429", "refuse-connection"])
def test_look_up_that_fails_clears_no_doubt(desk: Desk, mode: str) -> None:
    desk.stand_ins.arm("stripe", mode)
    outcome = desk.run(Leave.LOOK_UP, OLD)
    assert isinstance(outcome, Retry)
    assert not outcome.clears_doubt
    assert desk.refunds == []


def test_kept_500_is_looked_behind_and_the_job_goes_on_only_once_absence_counts(desk: Desk) -> None:
    desk.stand_ins.arm("stripe", "status-500")
    assert isinstance(desk.run(Leave.START), Unknown)
    early = desk.run(Leave.REPEAT, YOUNG)
    assert isinstance(early, Retry)
    assert (early.clears_doubt, early.after) == (False, TIMING.absence_after - YOUNG)
    late = desk.run(Leave.REPEAT, OLD)
    assert isinstance(late, Completed)
    assert desk.run(Leave.REPEAT, OLD) == late
    assert desk.refunds == [1500]


def test_second_kept_500_is_no_reason_for_a_third_key(desk: Desk) -> None:
    desk.stand_ins.arm("stripe", "status-500", 2)
    assert isinstance(desk.run(Leave.START), Unknown)
    assert isinstance(desk.run(Leave.REPEAT, OLD), Unknown)
    outcome = desk.run(Leave.REPEAT, OLD)
    assert isinstance(outcome, Retry)
    assert outcome.clears_doubt
    assert desk.refunds == []


def test_generation_looks_for_a_refund_before_it_makes_one(desk: Desk) -> None:
    first = desk.run(Leave.START)
    assert desk.run(Leave.START, generation=1) == first
    assert desk.refunds == [1500]


def test_other_parameters_under_the_same_key_are_unknown(desk: Desk) -> None:
    desk.run(Leave.START)
    desk.data["amount"] = 1400
    outcome = desk.run(Leave.REPEAT)
    assert isinstance(outcome, Unknown)
    assert outcome.failure.code == "parameter_mismatch"
    assert desk.refunds == [1500]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 15.5}, "amount"),
        ({"amount": 100_000_000}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "KWD", "amount": 1234}, "amount"),
        ({"transactionId": "cus_1"}, "transactionId"),
        ({"transactionId": "pi_1/confirm"}, "transactionId"),
        ({"reason": ""}, "reason"),
        ({"reason": None}, "reason"),
        ({"paymentMethod": "pm_1"}, "paymentMethod"),
    ],
)
def test_refund_that_cannot_be_made_is_refused_at_the_door(
    desk: Desk, change: dict[str, Any], field: str
) -> None:
    problems = Schema(JOB_TYPE.schema).problems(desk.data | change)
    assert {problem.field for problem in problems} == {field}


@pytest.mark.parametrize("field", ["transactionId", "amount"])
def test_natural_key_tells_different_refunds_apart(desk: Desk, field: str) -> None:
    def key(data: dict[str, Any]) -> tuple[object, ...]:
        return JOB_TYPE.natural_key(Facts(VENUE, None, data, START))

    assert key(desk.data) == key(desk.data | {"reason": "another"})
    assert key(desk.data) != key(desk.data | {field: "another"})
