"""payment.refund: give back a part or all of a charge, at Stripe.

It is looked for among all refunds of its transaction, by the job id in its metadata. Stripe takes a refund in
the currency of its charge and knows no venues, so the transaction is read first: one in another currency, or of
another venue, is refused before anything moves. A transaction that names no venue was charged by someone else
than this service, and whoever knows its id may refund it. Completed is a refund that exists; `status` says how
far it is.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.outcome import Completed, Failure, Outcome
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Money, Payments, Providers, Refund, RefundOrder
from chalicelib.jobtypes.at_stripe import CURRENCY, NOT_THERE, WHOLE_TENS, amount, of_venue
from chalicelib.jobtypes.making import Making, make_once


def run(work: Work, providers: Providers) -> Outcome:
    """Make the job's one refund, or find the one that there is."""
    payments, transaction = providers.payments, work.data["transactionId"]
    return make_once(
        work,
        Making(
            operation="refund",
            make=lambda key: payments.refund(_order(work), key=key, deadline=work.deadline),
            find=lambda: payments.find_refund(transaction, work.job.id, deadline=work.deadline),
            made=_made,
            found=_made,
            missing=Failure("not_found", "Stripe has no refund for this job."),
            objection=lambda: _objection(work, payments),
        ),
    )


def _objection(work: Work, payments: Payments) -> Failure | None:
    """Say why this transaction may not be refunded by this job."""
    transaction = of_venue(
        work, lambda: payments.transaction(work.data["transactionId"], deadline=work.deadline)
    )
    if transaction is None:
        return NOT_THERE
    if transaction.currency != work.data["currency"]:
        return Failure("currency_mismatch", "The transaction was charged in another currency.")
    return None


def _made(refund: Refund) -> Completed:
    return Completed({"refundId": refund.id, "status": refund.status}, handle=refund.id)


def _order(work: Work) -> RefundOrder:
    """Return what is asked of Stripe: made of what never changes, so that a repetition is the same request."""
    data = work.data
    return RefundOrder(
        job_id=work.job.id,
        transaction_id=data["transactionId"],
        money=Money(data["amount"], data["currency"]),
        metadata={"venue_id": work.job.venue_id, "reason": data["reason"]},
    )


def _natural_key(facts: Facts) -> tuple[object, ...]:
    return (facts.data["transactionId"], facts.data["amount"])


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["transactionId", "amount", "currency", "reason"],
        "properties": {
            "transactionId": {
                "type": "string",
                "pattern": "^(pi|ch|py)_[A-Za-z0-9_]+$",
                "maxLength": 255,
                "description": "The payment at Stripe: the intent's id (pi_…) or the charge's (ch_…, py_…). "
                "Two refunds of one amount of one transaction are two only under two idempotency keys.",
            },
            "amount": amount("given back"),
            "currency": CURRENCY,
            "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": 500,
                "description": "Why it is given back; kept with the refund at Stripe.",
            },
        },
        **WHOLE_TENS,
    }
)

JOB_TYPE = JobType(
    name="payment.refund",
    aliases=("refund", "refund-process"),
    tier=Tier.MONEY,
    provider="stripe-refunds",
    effect_class=EffectClass.KEYED,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(days=90),
    retention=timedelta(days=90),
    archive="payment_archive",
    in_flight=5,
    retry=RETRY["payment"],
    run=run,
    run_time=timedelta(seconds=40),  # four calls: read, act, look, act under the second key
    attempts=10,
    example={
        "transactionId": "pi_3OqXkE2eZvKYlo2C1a2b3c4d",
        "amount": 1500,
        "currency": "EUR",
        "reason": "The event was cancelled.",
    },
)
