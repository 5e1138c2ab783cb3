"""payment.process: charge a customer once, at Stripe.

One PaymentIntent per job for ever. Once its id is known every attempt of every generation reads it first, and
an intent can be charged only once; before, the key of the call that creates it keeps it one.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.errors import ProviderError
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.outcome import (
    Failure,
    Outcome,
    outcome_of,
)
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Intent, Money, PaymentOrder, Payments, Providers
from chalicelib.jobtypes.at_stripe import (
    CURRENCY,
    WHOLE_TENS,
    amount,
    text_id,
)
from chalicelib.jobtypes.charging import go_on, outcome_in
from chalicelib.jobtypes.making import Making, make_once, since_first_claim


def run(work: Work, providers: Providers) -> Outcome:
    """Bring the job's one intent to an end, or say how far it is."""
    payments = providers.payments
    if work.job.handle is None:
        return make_once(work, _making(work, payments))
    try:
        intent = payments.retrieve(work.job.handle, deadline=work.deadline)
    except ProviderError as error:
        return outcome_of(error)
    return go_on(work, payments, intent)


def _making(work: Work, payments: Payments) -> Making[Intent]:
    customer, since = work.data["customerId"], since_first_claim(work)
    return Making(
        operation="create",
        make=lambda key: payments.create(_order(work), key=key, deadline=work.deadline),
        find=lambda: payments.find(customer, work.job.id, since=since, deadline=work.deadline),
        made=lambda intent: outcome_in(work, payments, intent, definitive=True),
        found=lambda intent: go_on(work, payments, intent),
        missing=Failure("not_found", "Stripe has no intent for this job."),
    )


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
