"""payment.process: charge a customer once, at Stripe.

One PaymentIntent per job for ever. Once its id is known every attempt of every generation reads it first, and
an intent can be charged only once; before, the key of the call that creates it keeps it one. Class A: a call
whose answer was lost is repeated with the same key while that is young, else the intent is looked for.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Ambiguous, ProviderError
from chalicelib.domain.job import Poll
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.outcome import (
    Completed,
    Failure,
    Outcome,
    Pending,
    Refused,
    Retry,
    Unknown,
    outcome_of,
)
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Intent, Money, PaymentOrder, Payments, Providers
from chalicelib.jobtypes.at_stripe import (
    CURRENCY,
    MAY_START,
    WHOLE_TENS,
    absent,
    amount,
    failure_of,
    text_id,
    until_absence_counts,
)

CONFIRMABLE = frozenset({"requires_payment_method", "requires_confirmation"})


def run(work: Work, providers: Providers) -> Outcome:
    """Bring the job's one intent to an end, or say how far it is."""
    payments = providers.payments
    try:
        intent = _look_up(work, payments)
    except ProviderError as error:
        return outcome_of(error)
    if intent is not None:
        return _go_on(work, payments, intent)
    if work.leave in MAY_START or (work.leave is Leave.LOOK_UP and work.absence_counts()):
        return _create(work, payments)
    return absent(work, Failure("not_found", "Stripe has no intent for this job."))


def _look_up(work: Work, payments: Payments) -> Intent | None:
    """Read the intent that the job has, or look for the one that it may have."""
    if work.job.handle is not None:
        return payments.retrieve(work.job.handle, deadline=work.deadline)
    if work.leave in MAY_START and work.job.generation == 0:
        return None  # its key keeps it one
    return _find(work, payments)


def _find(work: Work, payments: Payments) -> Intent | None:
    # Since the first claim, not since this generation's: an earlier one may have made the intent.
    since = (work.job.processed_at or work.job.created_at) - work.timing.clock_skew
    return payments.find(work.data["customerId"], work.job.id, since=since, deadline=work.deadline)


def _create(work: Work, payments: Payments, operation: str = "create") -> Outcome:
    """Create and confirm the intent; an answer of Stripe's is definitive, as it is to this job's own key."""
    try:
        intent = payments.create(_order(work), key=work.key(operation), deadline=work.deadline)
    except Ambiguous as error:
        return _look_behind(work, payments, error, operation) if error.replayed else outcome_of(error)
    except ProviderError as error:
        return outcome_of(error, answered_key=True)
    return _read(work, payments, intent, definitive=True)


def _look_behind(work: Work, payments: Payments, error: Ambiguous, operation: str) -> Outcome:
    """A kept 5xx says nothing of the intent and will never say more: look for it in the same run.

    Once it is proven that there is none, that key can make none either: the job goes on under its second and
    last one, frozen like the first.
    """
    try:
        found = _find(work, payments)
    except ProviderError as failed:
        return outcome_of(failed)
    if found is not None:
        return _go_on(work, payments, found)
    if operation == "create" and work.absence_counts() and work.leave in MAY_START:
        return _create(work, payments, "create-anew")
    return absent(work, failure_of(error))


def _go_on(work: Work, payments: Payments, intent: Intent) -> Outcome:
    if intent.status in CONFIRMABLE and work.leave in MAY_START:
        return _confirm(work, payments, intent)
    return _read(work, payments, intent, definitive=work.absence_counts())


def _confirm(work: Work, payments: Payments, intent: Intent, operation: str = "confirm") -> Outcome:
    """Charge the intent that there is; the decline it may show is an earlier generation's.

    Behind a kept 5xx it goes on under its second and last key, as `_look_behind` does: the intent was read
    just now, a replay changes nothing, and one intent is charged once under any key.
    """
    method = work.data["paymentMethod"]
    try:
        confirmed = payments.confirm(intent.id, method, key=work.key(operation), deadline=work.deadline)
    except Ambiguous as error:
        if not error.replayed:
            return Unknown(failure_of(error), handle=intent.id)
        if operation == "confirm" and work.absence_counts():
            return _confirm(work, payments, intent, "confirm-anew")
        return replace(absent(work, failure_of(error)), handle=intent.id)
    except ProviderError as error:
        outcome = outcome_of(error, answered_key=True)
        return replace(outcome, handle=intent.id) if isinstance(outcome, Retry | Refused) else outcome
    return _read(work, payments, confirmed, definitive=True)


def _read(work: Work, payments: Payments, intent: Intent, *, definitive: bool) -> Outcome:
    """Say what the state of an intent makes of the job; `definitive`: no call for it is still under way."""
    match intent.status:
        case "succeeded":
            return Completed(_result(intent), handle=intent.id)
        case "processing":
            return Pending(_result(intent), handle=intent.id)
        case "requires_action":
            return _await_action(work, payments, intent)
        case "canceled":
            why = Failure("payment_intent_canceled", "The intent was cancelled: submit a new job.")
            return Refused(why, clears_doubt=True, handle=intent.id)
        case "requires_payment_method" | "requires_confirmation":
            return _not_charged(work, intent, definitive=definitive)
    why = Failure("unexpected_status", f"The intent is {intent.status}.", intent.reference)
    return Unknown(why, handle=intent.id)


def _not_charged(work: Work, intent: Intent, *, definitive: bool) -> Outcome:
    message = intent.error_message or "The intent has not been charged."
    failure = Failure(intent.error_code or "not_charged", message, intent.reference)
    if not definitive:
        return Retry(failure, after=until_absence_counts(work), handle=intent.id)
    if intent.error_code is not None or work.job.poll is Poll.PENDING:
        return Refused(failure, clears_doubt=True, handle=intent.id)
    return Retry(failure, clears_doubt=True, handle=intent.id)


def _await_action(work: Work, payments: Payments, intent: Intent) -> Outcome:
    """Let the customer answer the bank; whoever has not done so after a day is not waited for."""
    since = work.job.poll_since
    if since is None or work.clock.now() - since < work.timing.poll_for:
        return Pending(_result(intent), handle=intent.id)
    # A key for each attempt: cancelling twice does no harm, and a kept 5xx would bar it for a day.
    key = work.key(f"cancel-{work.job.fence}")
    try:
        ended = payments.cancel(intent.id, key=key, deadline=work.deadline)
    except ProviderError as error:
        # Whatever it was: as long as the intent lives the customer may still be charged.
        return Retry(failure_of(error), after=getattr(error, "after", None), handle=intent.id)
    match ended.status:
        case "succeeded":
            return Completed(_result(ended), handle=ended.id)
        case "canceled":
            why = Failure("action_not_taken", "The customer did not answer the bank in time.", ended.reference)
            return Refused(why, clears_doubt=True, handle=ended.id)
    why = Failure("not_cancelled", f"The intent is {ended.status}.", ended.reference)
    return Retry(why, handle=ended.id)


def _order(work: Work) -> PaymentOrder:
    """Return what is asked of Stripe: made of what never changes, so that a repetition is the same request."""
    data = work.data
    metadata = {"venue_id": work.job.venue_id, "event_id": data["eventId"]}
    if "orderId" in data:
        metadata["order_id"] = data["orderId"]
    return PaymentOrder(
        job_id=work.job.id,
        money=Money(data["amount"], data["currency"]),
        customer=data["customerId"],
        payment_method=data["paymentMethod"],
        description=data.get("description"),
        metadata=metadata,
    )


def _result(intent: Intent) -> Mapping[str, Any]:
    result: dict[str, Any] = {"paymentIntentId": intent.id, "status": intent.status}
    if intent.charge_id is not None:
        result["chargeId"] = intent.charge_id
    if intent.next_action is not None:
        result["nextAction"] = _next_action(intent.next_action)
    return result


def _next_action(action: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep the kind and, where there is one, the page; Stripe.js reads the rest from the intent itself."""
    kind = str(action.get("type"))
    url = (action.get(kind) or {}).get("url")
    return {"type": kind, "url": url} if url else {"type": kind}


def _natural_key(facts: Facts) -> tuple[object, ...]:
    data = facts.data
    return (
        facts.venue_id,
        data["customerId"],
        data["eventId"],
        data["amount"],
        data["currency"],
        data.get("orderId"),
    )


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["amount", "currency", "customerId", "eventId", "paymentMethod"],
        "properties": {
            "amount": amount("charged"),
            "currency": CURRENCY,
            "customerId": text_id("The customer, as Stripe knows them: cus_…"),
            "eventId": text_id("The event that is paid for."),
            "paymentMethod": text_id("The customer's payment method at Stripe: pm_…"),
            "orderId": text_id("The order that is paid for; equal payments of two orders are two payments."),
            "description": {
                "type": "string",
                "minLength": 1,
                "maxLength": 500,
                "description": "What the payment is for, as receipts and Stripe's dashboard show it.",
            },
        },
        **WHOLE_TENS,
    }
)

JOB_TYPE = JobType(
    name="payment.process",
    aliases=("payment", "payment-process"),
    tier=Tier.MONEY,
    provider="stripe-charges",
    effect_class=EffectClass.KEYED,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(hours=24),
    retention=timedelta(days=90),
    archive="payment_archive",
    in_flight=5,
    retry=RETRY["payment"],
    run=run,
    run_time=timedelta(seconds=30),  # three calls: read or look, act, look again
    attempts=10,
    example={
        "amount": 4500,
        "currency": "EUR",
        "customerId": "cus_9s6XKzkNRiz8i3",
        "eventId": "event-2041",
        "paymentMethod": "pm_card_visa",
        "orderId": "order-77120",
    },
)
