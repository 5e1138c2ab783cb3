"""payment.refund: give back a part or all of a charge, at Stripe.

Class A: a call whose answer was lost is repeated with the same key while that is young, else the refund is
looked for among all those of its transaction, by the job id in its metadata. Stripe takes a refund in the
currency of its charge and knows no venues, so the transaction is read first: one in another currency, or of
another venue, is refused before anything moves. A transaction that names no venue was charged by someone else
than this service, and whoever knows its id may refund it. Completed is a refund that exists; `status` says how
far it is.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Ambiguous, ProviderError
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.outcome import Completed, Failure, Outcome, Refused, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Money, Payments, Providers, Refund, RefundOrder
from chalicelib.jobtypes.at_stripe import (
    CURRENCY,
    MAY_START,
    WHOLE_TENS,
    absent,
    amount,
    failure_of,
)


def run(work: Work, providers: Providers) -> Outcome:
    """Make the job's one refund, or find the one that there is."""
    payments = providers.payments
    try:
        found = None if _its_key_keeps_it_one(work) else _find(work, payments)
        if found is not None:
            return _made(found)
        if not (work.leave in MAY_START or (work.leave is Leave.LOOK_UP and work.absence_counts())):
            return absent(work, Failure("not_found", "Stripe has no refund for this job."))
        no = _objection(work, payments)
    except ProviderError as error:
        return outcome_of(error)
    return Refused(no) if no is not None else _create(work, payments)


def _its_key_keeps_it_one(work: Work) -> bool:
    return work.leave in MAY_START and work.job.generation == 0


def _find(work: Work, payments: Payments) -> Refund | None:
    return payments.find_refund(work.data["transactionId"], work.job.id, deadline=work.deadline)


def _objection(work: Work, payments: Payments) -> Failure | None:
    """Say why this transaction may not be refunded by this job; a foreign one is as good as unknown."""
    transaction = payments.transaction(work.data["transactionId"], deadline=work.deadline)
    if transaction.venue_id not in (None, work.job.venue_id):
        return Failure("resource_missing", "The venue has no transaction of this id.")
    if transaction.currency != work.data["currency"]:
        return Failure("currency_mismatch", "The transaction was charged in another currency.")
    return None


def _create(work: Work, payments: Payments, operation: str = "refund") -> Outcome:
    """Create the refund; an answer of Stripe's is definitive, as it is to this job's own key."""
    try:
        refund = payments.refund(_order(work), key=work.key(operation), deadline=work.deadline)
    except Ambiguous as error:
        return _look_behind(work, payments, error, operation) if error.replayed else outcome_of(error)
    except ProviderError as error:
        return outcome_of(error, answered_key=True)
    return _made(refund)


def _look_behind(work: Work, payments: Payments, error: Ambiguous, operation: str) -> Outcome:
    """A kept 5xx says nothing of the refund and will never say more: look for it in the same run.

    Once it is proven that there is none, that key can make none either: the job goes on under its second and
    last one, frozen like the first.
    """
    try:
        found = _find(work, payments)
    except ProviderError as failed:
        return outcome_of(failed)
    if found is not None:
        return _made(found)
    if operation == "refund" and work.absence_counts() and work.leave in MAY_START:
        return _create(work, payments, "refund-anew")
    return absent(work, failure_of(error))


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
