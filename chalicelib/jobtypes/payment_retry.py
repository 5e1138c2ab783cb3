"""payment.retry: charge an intent that another job has made and that was declined, by another payment method.

Class A. The intent is read before each attempt, and can be charged once, so a call whose answer was lost is
repeated with the same key while that is young, else read back from the intent. Two jobs may retry one intent at
once: whichever charges it, both are completed. An intent of another venue is refused as an unknown one is; one
that names no venue was made by someone else than this service, and whoever knows its id may retry it.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.errors import ProviderError
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.outcome import Outcome, Refused, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Providers
from chalicelib.jobtypes.at_stripe import NOT_THERE, of_venue, text_id
from chalicelib.jobtypes.charging import go_on


def run(work: Work, providers: Providers) -> Outcome:
    """Charge the intent, or say how far it is."""
    payments, intent_id = providers.payments, work.data["paymentIntentId"]
    try:
        intent = of_venue(work, lambda: payments.known(intent_id, deadline=work.deadline))
    except ProviderError as error:
        return outcome_of(error)
    return Refused(NOT_THERE) if intent is None else go_on(work, payments, intent)


def _natural_key(facts: Facts) -> tuple[object, ...]:
    return (facts.data["paymentIntentId"], facts.data["paymentMethod"])


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["paymentIntentId", "paymentMethod"],
        "properties": {
            "paymentIntentId": {
                "type": "string",
                "pattern": "^pi_[A-Za-z0-9_]+$",
                "maxLength": 255,
                "description": "The intent that was declined, as the payment's job names it: pi_….",
            },
            "paymentMethod": text_id("The customer's payment method at Stripe that is to be charged: pm_…"),
        },
    }
)

JOB_TYPE = JobType(
    name="payment.retry",
    aliases=("payment-retry",),
    tier=Tier.MONEY,
    provider="stripe-charges",
    effect_class=EffectClass.KEYED,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(hours=24),
    retention=timedelta(days=90),
    archive="payment_archive",
    in_flight=3,
    retry=RETRY["payment"],
    run=run,
    run_time=timedelta(seconds=30),  # three calls: read, act, act under the second key
    attempts=10,
    example={"paymentIntentId": "pi_3OqXkE2eZvKYlo2C1a2b3c4d", "paymentMethod": "pm_card_mastercard"},
)
