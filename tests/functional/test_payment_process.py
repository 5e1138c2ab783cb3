"""What each answer of Stripe makes of a payment, under each leave, over the real client and the stand-in."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.job import Poll, UserId
from chalicelib.domain.jobtype import Facts
from chalicelib.domain.outcome import Completed, Pending, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.jobtypes.payment_process import JOB_TYPE
from chalicelib.service.intake import Schema
from tests.factories import PAYMENT, VENUE
from tests.fakes import START
from tests.functional.shop import OLD, YOUNG, Shop

LEAVES = list(Leave)
LOOKING = [Leave.LOOK_UP, Leave.LOOK_ONLY]
STARTING = [Leave.START, Leave.REPEAT]
START_DELAY = TIMING.absence_after - YOUNG  # until an absence counts that is looked for while doubt is young


# --- nothing at Stripe yet


def test_payment_is_charged_once_and_told_in_few_words(shop: Shop) -> None:
    outcome = shop.run(Leave.START)
    assert isinstance(outcome, Completed)
    assert outcome.handle == outcome.result["paymentIntentId"]
    assert outcome.result["status"] == "succeeded"
    assert outcome.result["chargeId"].startswith("ch_")
    assert len(json.dumps(outcome.result)) <= 200
    (charge,) = shop.stand_ins.effects()
    assert (charge["jobId"], charge["amount"]) == (shop.job.id, 4500)
    assert charge["idempotencyKey"] == f"{shop.job.id}:create:0"


def test_repeated_attempts_charge_once(shop: Shop) -> None:
    first = shop.run(Leave.START)
    shop.job = replace(shop.job, handle=None)  # its answer was lost
    assert shop.run(Leave.REPEAT) == first
    assert shop.charges == 1


@pytest.mark.parametrize("leave", LOOKING)
def test_absence_proves_nothing_while_doubt_is_young(shop: Shop, leave: Leave) -> None:
    outcome = shop.run(leave, YOUNG)
    assert isinstance(outcome, Retry)
    assert (outcome.clears_doubt, outcome.after) == (False, START_DELAY)
    assert shop.charges == 0


def test_look_up_that_clears_the_doubt_lets_the_charge_start(shop: Shop) -> None:
    assert isinstance(shop.run(Leave.LOOK_UP, OLD), Completed)
    assert shop.charges == 1


def test_look_only_never_starts_a_charge(shop: Shop) -> None:
    outcome = shop.run(Leave.LOOK_ONLY, OLD)
    assert isinstance(outcome, Retry)
    assert outcome.clears_doubt
    assert outcome.failure.code == "not_found"
    assert shop.charges == 0


# --- an intent is there


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("leave", LOOKING)
def test_intent_that_succeeded_completes_the_job(shop: Shop, leave: Leave, known: bool) -> None:
    intent = shop.has("succeeded", known=known)
    outcome = shop.run(leave)
    assert isinstance(outcome, Completed)
    assert outcome.handle == intent.id
    assert shop.charges == 1


@pytest.mark.parametrize("leave", STARTING)
def test_intent_that_is_known_is_read_before_anything_starts(shop: Shop, leave: Leave) -> None:
    shop.has("succeeded")
    assert isinstance(shop.run(leave), Completed)
    assert shop.charges == 1


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("in_doubt_for", [YOUNG, OLD])
@pytest.mark.parametrize("status", ["processing", "requires_action"])
def test_intent_under_way_is_pending(shop: Shop, leave: Leave, in_doubt_for: timedelta, status: str) -> None:
    intent = shop.has(status)
    outcome = shop.run(leave, in_doubt_for)
    assert isinstance(outcome, Pending)
    assert outcome.handle == intent.id
    assert outcome.result["status"] == status
    assert shop.charges == 0


def test_pending_result_tells_what_the_customer_is_to_do(shop: Shop) -> None:
    shop.data["paymentMethod"] = "pm_card_authenticationRequired"
    outcome = shop.run(Leave.START)
    assert isinstance(outcome, Pending)
    assert outcome.result["nextAction"] == {"type": "use_stripe_sdk"}
    assert len(json.dumps(outcome.result)) <= 200


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("in_doubt_for", [YOUNG, OLD])
def test_cancelled_intent_is_refused_for_good(shop: Shop, leave: Leave, in_doubt_for: timedelta) -> None:
    shop.has("canceled")
    outcome = shop.run(leave, in_doubt_for)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.clears_doubt) == ("payment_intent_canceled", True)
    assert shop.charges == 0


@pytest.mark.parametrize("leave", STARTING)
def test_intent_that_was_declined_is_confirmed_not_refused_when_the_job_may_start(
    shop: Shop, leave: Leave
) -> None:
    intent = shop.has("requires_payment_method")
    outcome = shop.run(leave, generation=1)
    assert isinstance(outcome, Completed)
    assert outcome.handle == intent.id
    (charge,) = shop.stand_ins.effects()
    assert charge["idempotencyKey"] == f"{shop.job.id}:confirm:1"


def test_declined_again_by_a_retry_is_refused_with_the_new_reason(shop: Shop) -> None:
    shop.has("requires_payment_method")
    shop.data["paymentMethod"] = "pm_card_chargeDeclinedExpiredCard"
    outcome = shop.run(Leave.START, generation=1)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.clears_doubt) == ("expired_card", True)


@pytest.mark.parametrize("leave", LOOKING)
def test_look_up_of_a_declined_intent_counts_only_once_doubt_is_old(shop: Shop, leave: Leave) -> None:
    intent = shop.has("requires_payment_method")
    early = shop.run(leave, YOUNG)
    assert isinstance(early, Retry)
    assert (early.clears_doubt, early.after, early.handle) == (False, START_DELAY, intent.id)
    late = shop.run(leave, OLD)
    assert isinstance(late, Refused)
    assert (late.failure.code, late.clears_doubt, late.handle) == ("insufficient_funds", True, intent.id)
    assert shop.charges == 0


@pytest.mark.parametrize("action", ["succeed", "fail"])
@pytest.mark.parametrize("status", ["processing", "requires_action"])
def test_poll_ends_with_what_became_of_the_intent(shop: Shop, status: str, action: str) -> None:
    intent = shop.has(status)
    shop.stand_ins.act(intent.id, action)
    outcome = shop.run(Leave.LOOK_ONLY, timedelta(0), poll=Poll.PENDING, poll_since=START)
    if action == "succeed":
        assert isinstance(outcome, Completed)
    else:
        assert isinstance(outcome, Retry | Refused)
        later = shop.run(Leave.LOOK_ONLY, OLD, poll=Poll.PENDING, poll_since=START)
        assert isinstance(later, Refused)
        assert later.failure.code.startswith("payment_intent_")
    assert shop.charges == (1 if action == "succeed" else 0)


# --- an action that is not taken


def overdue(shop: Shop) -> dict[str, Any]:
    shop.clock.advance(TIMING.poll_for)
    return {"poll": Poll.PENDING, "poll_since": START}


def test_action_not_taken_in_a_day_cancels_the_intent_and_refuses(shop: Shop) -> None:
    shop.has("requires_action")
    outcome = shop.run(Leave.LOOK_ONLY, **overdue(shop))
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.clears_doubt) == ("action_not_taken", True)
    assert shop.status == "canceled"


def test_cancelling_that_finds_the_charge_made_completes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = shop.has("requires_action")
    read = shop.payments.retrieve

    def read_then_the_customer_acts(*given: Any, **named: Any) -> Any:
        found = read(*given, **named)
        if found.status == "requires_action":
            shop.stand_ins.act(intent.id, "succeed")
        return found

    monkeypatch.setattr(shop.payments, "retrieve", read_then_the_customer_acts)
    assert isinstance(shop.run(Leave.LOOK_ONLY, **overdue(shop)), Completed)
    assert shop.charges == 1


@pytest.mark.parametrize("mode", ["status-500", "timeout-before-apply", "timeout-after-apply", "status-429"])
def test_cancelling_that_fails_is_tried_again(shop: Shop, mode: str) -> None:
    shop.has("requires_action")
    late = overdue(shop)
    if mode == "status-429":  # which strikes the reading of the intent, too
        shop.stand_ins.arm("stripe", mode, 2)
        assert isinstance(shop.run(Leave.LOOK_ONLY, **late), Retry)
        assert shop.stand_ins.effects() == []
        return
    shop.stand_ins.arm("stripe", mode)
    assert isinstance(shop.run(Leave.LOOK_ONLY, **late, fence=7), Retry)
    assert isinstance(shop.run(Leave.LOOK_ONLY, **late, fence=8), Refused)
    assert shop.status == "canceled"


# --- faults of a fresh call


FRESH = [
    ("status-500", Unknown, "provider_failed", 0),
    ("status-503", Unknown, "provider_failed", 0),
    ("timeout-before-apply", Unknown, "provider_timeout", 0),
    ("timeout-after-apply", Unknown, "provider_timeout", 1),
    ("status-429", Retry, "provider_rate_limited", 0),
    ("decline", Refused, "generic_decline", 0),
    ("refuse-connection", Retry, "connection_failed", 0),
]


@pytest.mark.parametrize(("mode", "kind", "code", "charges"), FRESH)
@pytest.mark.parametrize("generation", [0, 1])
def test_fault_of_a_fresh_call(
    shop: Shop, mode: str, kind: type, code: str, charges: int, generation: int
) -> None:
    if generation:
        shop.has("requires_payment_method")  # so that the call is a confirmation
        if mode == "status-503":
            kind = Retry  # as it strikes the reading of the intent, which comes first
    shop.stand_ins.arm("stripe", mode)
    outcome = shop.run(Leave.START, generation=generation)
    assert isinstance(outcome, Unknown | Retry | Refused)
    assert (type(outcome), outcome.failure.code) == (kind, code)
    assert shop.charges == charges
    if mode == "decline":
        assert outcome.handle is not None
    if mode == "status-429":
        assert isinstance(outcome, Retry)
        assert outcome.after == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("mode", "generation"),
    [
        ("status-503", 0),
        ("timeout-before-apply", 0),
        ("timeout-after-apply", 0),
        ("timeout-before-apply", 1),
        ("timeout-after-apply", 1),
    ],
)
def test_call_whose_answer_was_lost_is_repeated_without_a_second_charge(
    shop: Shop, mode: str, generation: int
) -> None:
    if generation:
        shop.has("requires_payment_method")
    shop.stand_ins.arm("stripe", mode)
    assert isinstance(shop.run(Leave.START, generation=generation), Unknown)
    assert isinstance(shop.run(Leave.REPEAT, generation=generation), Completed)
    assert shop.charges == 1


def test_decline_whose_answer_was_lost_clears_the_doubt(shop: Shop) -> None:
    shop.data["paymentMethod"] = "pm_card_chargeDeclined"
    shop.stand_ins.arm("stripe", "timeout-after-apply")
    assert isinstance(shop.run(Leave.START), Unknown)
    outcome = shop.run(Leave.REPEAT)
    assert isinstance(outcome, Refused)
    assert outcome.clears_doubt
    assert outcome.handle is not None


def test_key_in_use_clears_no_doubt(shop: Shop) -> None:
    shop.stand_ins.arm("stripe", "slow")
    assert isinstance(shop.run(Leave.START), Unknown)  # the client gives up on the slow call
    outcome = shop.run(Leave.REPEAT)
    assert isinstance(outcome, Retry)
    assert (outcome.failure.code, outcome.clears_doubt) == ("idempotency_key_in_use", False)


@pytest.mark.parametrize("generation", [0, 1])
def test_kept_500_is_looked_behind_and_the_job_goes_on_only_once_absence_counts(
    shop: Shop, generation: int
) -> None:
    if generation:
        shop.has("requires_payment_method")
    shop.stand_ins.arm("stripe", "status-500")
    assert isinstance(shop.run(Leave.START, generation=generation), Unknown)
    early = shop.run(Leave.REPEAT, YOUNG, generation=generation)
    assert isinstance(early, Retry)
    assert (early.clears_doubt, early.after) == (False, START_DELAY)
    late = shop.run(Leave.REPEAT, OLD, generation=generation)
    assert isinstance(late, Completed)
    assert shop.charges == 1
    again = shop.run(Leave.REPEAT, OLD, generation=generation)
    assert isinstance(again, Completed)
    assert shop.charges == 1


@pytest.mark.parametrize("generation", [0, 1])
def test_second_kept_500_is_no_reason_for_a_third_key(shop: Shop, generation: int) -> None:
    if generation:
        shop.has("requires_payment_method")
    shop.stand_ins.arm("stripe", "status-500", 2)
    assert isinstance(shop.run(Leave.START, generation=generation), Unknown)
    assert isinstance(shop.run(Leave.REPEAT, OLD, generation=generation), Unknown)
    outcome = shop.run(Leave.REPEAT, OLD, generation=generation)
    assert isinstance(outcome, Retry)
    assert outcome.clears_doubt
    assert shop.charges == 0


@pytest.mark.parametrize("status", ["succeeded", "processing", "requires_payment_method"])
def test_kept_500_behind_which_an_intent_is_found_goes_on_with_it(shop: Shop, status: str) -> None:
    intent = shop.has(status, known=False)
    shop.stand_ins.arm("stripe", "status-500")
    assert isinstance(shop.run(Leave.START), Unknown)
    outcome = shop.run(Leave.REPEAT)
    assert isinstance(outcome, Pending if status == "processing" else Completed)
    assert outcome.handle == intent.id
    assert shop.charges == (0 if status == "processing" else 1)


def test_generation_that_knows_no_intent_looks_for_one_first(shop: Shop) -> None:
    intent = shop.has("succeeded", known=False)
    outcome = shop.run(Leave.START, generation=1)
    assert isinstance(outcome, Completed)
    assert outcome.handle == intent.id
    assert shop.charges == 1


@pytest.mark.parametrize("mode", ["status-503", "status-429", "refuse-connection"])
@pytest.mark.parametrize("known", [True, False])
def test_look_up_that_fails_clears_no_doubt(shop: Shop, mode: str, known: bool) -> None:
    shop.has("succeeded", known=known)
    shop.stand_ins.arm("stripe", mode)
    outcome = shop.run(Leave.LOOK_UP, OLD)
    assert isinstance(outcome, Retry)
    assert not outcome.clears_doubt
    assert shop.charges == 1


def test_other_parameters_under_the_same_key_are_unknown(shop: Shop) -> None:
    shop.data["amount"] = 4600
    shop.run(Leave.START)
    shop.job = replace(shop.job, handle=None)
    shop.data["amount"] = 4500
    outcome = shop.run(Leave.REPEAT)
    assert isinstance(outcome, Unknown)
    assert outcome.failure.code == "parameter_mismatch"
    assert shop.charges == 1


# --- accepting


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 100_000_000}, "amount"),
        ({"amount": 12.5}, "amount"),
        ({"amount": "1250"}, "amount"),
        ({"amount": True}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "XXX"}, "currency"),
        ({"currency": "UGX"}, "currency"),
        ({"currency": "MGA"}, "currency"),
        ({"currency": "KWD", "amount": 1234}, "amount"),
        ({"customerId": ""}, "customerId"),
        ({"eventId": "e" * 256}, "eventId"),
        ({"paymentMethod": None}, "paymentMethod"),
        ({"userId": "u"}, "userId"),
    ],
)
def test_payment_that_cannot_be_charged_is_refused_at_the_door(change: dict[str, Any], field: str) -> None:
    problems = Schema(JOB_TYPE.schema).problems(PAYMENT | change)
    assert {problem.field for problem in problems} == {field}


@pytest.mark.parametrize(
    "change", [{}, {"currency": "KWD", "amount": 1230}, {"currency": "JPY"}, {"description": "Two seats"}]
)
def test_payment_that_can_be_charged_is_accepted(change: dict[str, Any]) -> None:
    assert Schema(JOB_TYPE.schema).problems(PAYMENT | change) == []


def test_example_is_valid() -> None:
    assert Schema(JOB_TYPE.schema).problems(dict(JOB_TYPE.example)) == []


@pytest.mark.parametrize("field", ["customerId", "eventId", "amount", "currency", "orderId"])
def test_natural_key_tells_different_purchases_apart(field: str) -> None:
    def key(data: dict[str, Any]) -> tuple[object, ...]:
        return JOB_TYPE.natural_key(Facts(VENUE, UserId("u"), data, START))

    assert key(PAYMENT) == key(PAYMENT | {"description": "the same", "paymentMethod": "pm_other"})
    assert key(PAYMENT) != key(PAYMENT | {field: "another"})
