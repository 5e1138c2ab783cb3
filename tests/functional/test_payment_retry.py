"""What each state of another job's intent makes of a retry, over the real client and the stand-in."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Declined
from chalicelib.domain.job import JobId, Poll
from chalicelib.domain.jobtype import Facts
from chalicelib.domain.outcome import Completed, Outcome, Pending, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Intent, Money, PaymentOrder
from chalicelib.jobtypes.payment_retry import JOB_TYPE
from chalicelib.providers.stripe_payments import StripePayments
from chalicelib.service.intake import Schema
from local.standins import StandIns
from tests.factories import VENUE, a_job
from tests.fakes import START, ManualClock, told
from tests.functional.shop import CALL_SECONDS, METHODS, OLD, YOUNG, attempt

LOOKING = [Leave.LOOK_UP, Leave.LOOK_ONLY]
STARTING = [Leave.START, Leave.REPEAT]
NO_FUNDS = "pm_card_chargeDeclinedInsufficientFunds"


class Counter:
    """A retry, the intent of another job that it is about, and what comes of a run."""

    def __init__(self, stand_ins: StandIns, clock: ManualClock) -> None:
        self.stand_ins = stand_ins
        self.clock = clock
        self.payments = StripePayments(
            told("sk_test_1"), clock, api_base=stand_ins.url, call_seconds=CALL_SECONDS
        )
        self.intent = self.has("requires_payment_method")
        self.data = {"paymentIntentId": self.intent.id, "paymentMethod": "pm_card_visa"}
        self.job = replace(a_job("job_retry", type="payment.retry"), processed_at=clock.now())

    def has(self, status: str, venue: str | None = VENUE) -> Intent:
        """Let Stripe hold an intent of another job in this state."""
        order = PaymentOrder(
            job_id=JobId("job_first"),
            money=Money(4500, "EUR"),
            customer="cus_1",
            payment_method=METHODS.get(status, "pm_card_visa"),
            description=None,
            metadata={"venue_id": venue} if venue else {},
        )
        deadline = self.clock.now() + timedelta(minutes=1)
        try:
            intent = self.payments.create(order, key=f"{status} of {venue}", deadline=deadline)
        except Declined as error:
            intent = self.payments.retrieve(error.handle or "", deadline=deadline)
        if status == "canceled":
            intent = self.payments.cancel(intent.id, key="an operator's", deadline=deadline)
        assert intent.status == status
        return intent

    def about(self, intent: Intent | str) -> "Counter":
        """Let the retry be about this intent."""
        self.data["paymentIntentId"] = intent if isinstance(intent, str) else intent.id
        return self

    def run(self, leave: Leave, in_doubt_for: timedelta | None = None, **changes: Any) -> Outcome:
        """Run the job once."""
        job = replace(self.job, **changes)
        return attempt(JOB_TYPE, self.payments, job, self.data, self.clock, leave, in_doubt_for)

    @property
    def charges(self) -> list[str]:
        """The keys under which money has moved."""
        return [row["idempotencyKey"] for row in self.stand_ins.effects()]


@pytest.fixture
def counter(stand_ins: StandIns, clock: ManualClock) -> Iterator[Counter]:
    made = Counter(stand_ins, clock)
    yield made
    made.payments.close()


def test_declined_payment_is_charged_once_by_another_method(counter: Counter) -> None:
    outcome = counter.run(Leave.START)
    assert isinstance(outcome, Completed)
    assert outcome.handle == counter.intent.id
    assert outcome.result["paymentIntentId"] == counter.intent.id
    assert (outcome.result["status"], outcome.result["chargeId"][:3]) == ("succeeded", "ch_")
    assert counter.charges == ["job_retry:confirm:0"]


@pytest.mark.parametrize("leave", [*STARTING, *LOOKING])
def test_what_has_succeeded_already_is_completed_and_not_charged_again(counter: Counter, leave: Leave) -> None:
    outcome = counter.about(counter.has("succeeded")).run(leave)
    assert isinstance(outcome, Completed)
    assert len(counter.charges) == 1


@pytest.mark.parametrize("leave", [*STARTING, *LOOKING])
def test_cancelled_intent_is_refused(counter: Counter, leave: Leave) -> None:
    outcome = counter.about(counter.has("canceled")).run(leave)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.clears_doubt) == ("payment_intent_canceled", True)


@pytest.mark.parametrize("leave", [*STARTING, *LOOKING])
@pytest.mark.parametrize("status", ["processing", "requires_action"])
def test_what_is_under_way_is_waited_for(counter: Counter, leave: Leave, status: str) -> None:
    outcome = counter.about(counter.has(status)).run(leave)
    assert isinstance(outcome, Pending)
    assert outcome.result["status"] == status
    assert ("nextAction" in outcome.result) == (status == "requires_action")
    assert counter.charges == []


def test_a_day_without_the_customers_answer_cancels_the_intent(counter: Counter) -> None:
    counter.about(counter.has("requires_action"))
    since = counter.clock.now() - TIMING.poll_for
    outcome = counter.run(Leave.LOOK_ONLY, poll=Poll.PENDING, poll_since=since)
    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "action_not_taken"


def test_second_decline_is_refused_with_stripes_code(counter: Counter) -> None:
    counter.data["paymentMethod"] = "pm_card_chargeDeclinedExpiredCard"
    outcome = counter.run(Leave.START)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.clears_doubt, outcome.handle) == (
        "expired_card",
        True,
        counter.intent.id,
    )
    again = counter.run(Leave.REPEAT)
    assert isinstance(again, Refused)
    assert (again.failure.code, again.clears_doubt) == ("expired_card", True)


@pytest.mark.parametrize("leave", [*STARTING, *LOOKING])
def test_intent_of_another_venue_is_refused_as_an_unknown_one_is(counter: Counter, leave: Leave) -> None:
    theirs = counter.about(counter.has("requires_payment_method", "venue-of-others")).run(leave)
    unknown = counter.about("pi_unknown").run(leave)
    assert isinstance(unknown, Refused)
    assert theirs == unknown
    assert (unknown.failure.code, unknown.failure.reference) == ("resource_missing", None)
    assert not unknown.clears_doubt
    assert counter.charges == []


def test_intent_that_names_no_venue_is_charged(counter: Counter) -> None:
    counter.about(counter.has("requires_payment_method", None))
    assert isinstance(counter.run(Leave.START), Completed)


@pytest.mark.parametrize(
    ("mode", "kind", "code", "charges"),
    [
        ("status-500", Unknown, "provider_failed", 0),
        ("status-503", Retry, "provider_failed", 0),  # strikes the reading of the intent, which comes first
        ("status-429", Retry, "provider_rate_limited", 0),
        ("refuse-connection", Retry, "connection_failed", 0),
        ("timeout-before-apply", Unknown, "provider_timeout", 0),
        ("timeout-after-apply", Unknown, "provider_timeout", 1),
        ("decline", Refused, "generic_decline", 0),
    ],
)
def test_fault_of_a_fresh_call(counter: Counter, mode: str, kind: type, code: str, charges: int) -> None:
    counter.stand_ins.arm("stripe", mode)
    outcome = counter.run(Leave.START)
    assert isinstance(outcome, Unknown | Retry | Refused)
    assert (type(outcome), outcome.failure.code) == (kind, code)
    assert len(counter.charges) == charges


@pytest.mark.parametrize("mode", ["timeout-before-apply", "timeout-after-apply"])
@pytest.mark.parametrize("generation", [0, 1])
def test_call_whose_answer_was_lost_is_repeated_without_a_second_charge(
    counter: Counter, mode: str, generation: int
) -> None:
    counter.stand_ins.arm("stripe", mode)
    assert isinstance(counter.run(Leave.START, generation=generation), Unknown)
    assert isinstance(counter.run(Leave.REPEAT, generation=generation), Completed)
    assert len(counter.charges) == 1


@pytest.mark.parametrize("leave", LOOKING)
def test_lost_answer_stands_in_the_intent(counter: Counter, leave: Leave) -> None:
    counter.stand_ins.arm("stripe", "timeout-after-apply")
    assert isinstance(counter.run(Leave.START), Unknown)
    assert isinstance(counter.run(leave), Completed)
    assert len(counter.charges) == 1


@pytest.mark.parametrize("leave", LOOKING)
def test_intent_not_charged_proves_nothing_while_doubt_is_young(counter: Counter, leave: Leave) -> None:
    outcome = counter.run(leave, YOUNG)
    assert isinstance(outcome, Retry)
    assert (outcome.clears_doubt, outcome.after) == (False, TIMING.absence_after - YOUNG)


@pytest.mark.parametrize("leave", LOOKING)
def test_decline_that_the_intent_shows_may_be_another_jobs_and_refuses_nothing(
    counter: Counter, leave: Leave
) -> None:
    outcome = counter.run(leave, OLD)
    assert isinstance(outcome, Retry)
    assert (outcome.clears_doubt, outcome.failure.code) == (True, "insufficient_funds")
    assert counter.charges == []


def test_charge_that_was_waited_for_and_failed_is_refused(counter: Counter) -> None:
    intent = counter.has("processing")
    counter.about(intent).stand_ins.act(intent.id, "fail")
    since = counter.clock.now() - timedelta(hours=1)
    outcome = counter.run(Leave.LOOK_ONLY, OLD, poll=Poll.PENDING, poll_since=since)
    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "payment_intent_payment_attempt_failed"


def test_two_jobs_that_retry_one_intent_charge_it_once(counter: Counter) -> None:
    """The second has read the intent before the first has charged it."""
    first, retrieve = counter.job, counter.payments.known

    def read_then_overtaken(intent_id: str, **rest: Any) -> Intent:
        intent = retrieve(intent_id, **rest)
        counter.payments.known = retrieve  # type: ignore[method-assign] # somebody comes between
        assert isinstance(counter.run(Leave.START, id=JobId("job_faster")), Completed)
        return intent

    counter.payments.known = read_then_overtaken  # type: ignore[method-assign] # see above
    overtaken = counter.run(Leave.START)
    assert isinstance(overtaken, Retry)
    assert overtaken.failure.code == "payment_intent_unexpected_state"
    assert isinstance(counter.run(Leave.START), Completed)
    assert counter.charges == ["job_faster:confirm:0"]
    assert counter.job == first


def test_kept_500_is_gone_behind_only_once_an_uncharged_intent_proves_something(counter: Counter) -> None:
    counter.stand_ins.arm("stripe", "status-500")
    assert isinstance(counter.run(Leave.START), Unknown)
    early = counter.run(Leave.REPEAT, YOUNG)
    assert isinstance(early, Retry)
    assert (early.clears_doubt, early.after) == (False, TIMING.absence_after - YOUNG)
    assert isinstance(counter.run(Leave.REPEAT, OLD), Completed)
    assert counter.charges == ["job_retry:confirm-anew:0"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"paymentIntentId": "ch_1"}, "paymentIntentId"),
        ({"paymentIntentId": "pi_1/capture"}, "paymentIntentId"),
        ({"paymentIntentId": None}, "paymentIntentId"),
        ({"paymentMethod": ""}, "paymentMethod"),
        ({"amount": 4500}, "amount"),
    ],
)
def test_retry_that_cannot_be_made_is_refused_at_the_door(
    counter: Counter, change: dict[str, Any], field: str
) -> None:
    problems = Schema(JOB_TYPE.schema).problems(counter.data | change)
    assert {problem.field for problem in problems} == {field}


@pytest.mark.parametrize("field", ["paymentIntentId", "paymentMethod"])
def test_natural_key_tells_retries_apart(counter: Counter, field: str) -> None:
    def key(data: dict[str, Any]) -> tuple[object, ...]:
        return JOB_TYPE.natural_key(Facts(VENUE, None, data, START))

    assert key(counter.data) != key(counter.data | {field: "another"})
