"""payment.payout: pay a venue out, at Stripe: to its connected account, or without one to the platform's bank.

To a connected account it is a transfer, in a transfer group that is the job's id, by which it is looked for; a
payout is looked for among all since the job's first claim, by the job id in its metadata. Completed is a
transfer or payout that exists; a payout's `status` says how far it is.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.jobtype import PLATFORM_ONLY, Facts, JobType, Work
from chalicelib.domain.outcome import Completed, Failure, Outcome
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Money, Payout, PayoutOrder, Providers
from chalicelib.jobtypes.at_stripe import CURRENCY, WHOLE_TENS, amount, text_id
from chalicelib.jobtypes.making import Making, make_once, since_first_claim

WHOLE_UNITS = ["HUF", "TWD"]  # Stripe charges them in hundredths and pays them out in whole units


def run(work: Work, providers: Providers) -> Outcome:
    """Make the job's one payout, or find the one that there is."""
    payouts, order, since = providers.payouts, _order(work), since_first_claim(work)
    return make_once(
        work,
        Making(
            operation="payout",
            make=lambda key: payouts.pay_out(order, key=key, deadline=work.deadline),
            find=lambda: payouts.find_payout(order, since=since, deadline=work.deadline),
            made=lambda payout: _made(order, payout),
            found=lambda payout: _made(order, payout),
            missing=Failure("not_found", "Stripe has no payout for this job."),
        ),
    )


def _made(order: PayoutOrder, payout: Payout) -> Completed:
    if order.destination is not None:
        return Completed({"transferId": payout.id, "status": payout.status}, handle=payout.id)
    return Completed({"payoutId": payout.id, "status": payout.status}, handle=payout.id)


def _order(work: Work) -> PayoutOrder:
    """Return what is asked of Stripe: made of what never changes, so that a repetition is the same request."""
    data = work.data
    named = {"period": "period", "payoutId": "payout_id"}
    metadata = {ours: data[name] for name, ours in named.items() if name in data}
    return PayoutOrder(
        job_id=work.job.id,
        money=Money(data["amount"], data["currency"]),
        destination=data.get("destination"),
        metadata={"venue_id": work.job.venue_id, **metadata},
    )


def _natural_key(facts: Facts) -> tuple[object, ...]:
    return (facts.venue_id, facts.data.get("period"), facts.data.get("payoutId"))


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["amount", "currency"],
        "properties": {
            "amount": amount("paid out"),
            "currency": CURRENCY,
            "destination": {
                "type": "string",
                "pattern": "^acct_[A-Za-z0-9_]+$",
                "maxLength": 255,
                "description": "The venue's connected account at Stripe: acct_…. Without one the money goes to "
                "the platform's own bank account.",
            },
            "period": text_id("What is paid out for, such as 2026-11; a venue is paid once for each."),
            "payoutId": text_id(
                "Your own id of the payout, in place of a period; a venue is paid once for each."
            ),
        },
        "allOf": [
            WHOLE_TENS,
            {  # exactly one of the two, so that the natural key says what is paid for
                "if": {"required": ["period"]},
                "then": {"properties": {"payoutId": False}},
                "else": {"required": ["payoutId"]},
            },
            {
                "if": {
                    "properties": {"currency": {"enum": WHOLE_UNITS}, "destination": False},
                    "required": ["currency"],
                },
                "then": {"properties": {"amount": {"multipleOf": 100}}},
            },
        ],
    }
)

JOB_TYPE = JobType(
    name="payment.payout",
    aliases=("payout", "payout-process"),
    tier=Tier.MONEY,
    provider="stripe-payouts",
    effect_class=EffectClass.KEYED,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(days=90),
    retention=timedelta(days=90),
    archive="payment_archive",
    in_flight=3,
    retry=RETRY["payment"],
    run=run,
    run_time=timedelta(seconds=40),  # make, look through two pages, make under the second key
    submitters=PLATFORM_ONLY,
    attempts=10,
    example={
        "amount": 1250000,
        "currency": "EUR",
        "period": "2026-11",
        "destination": "acct_1Gqj58KxCP4sXh2A",
    },
)
