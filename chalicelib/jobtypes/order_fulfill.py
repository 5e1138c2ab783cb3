"""order.fulfill: have the order service fulfil an order.

Class D: the service knows a repetition by its key, the same for every attempt, so a call of which nobody knows
what came is simply made again. The platform's own business: venues may not submit it.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.errors import ProviderError
from chalicelib.domain.jobtype import PLATFORM_ONLY, Facts, JobType, Work
from chalicelib.domain.outcome import Completed, Outcome, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Fulfillment, Providers


def run(work: Work, providers: Providers) -> Outcome:
    """Hand the order over and keep what the service says."""
    order = Fulfillment(job_id=work.job.id, venue_id=work.job.venue_id, data=work.data)
    try:
        answer = providers.orders.fulfill(order, key=work.key("fulfill"), deadline=work.deadline)
    except ProviderError as error:
        return outcome_of(error)
    return Completed(answer)


def _natural_key(facts: Facts) -> tuple[object, ...]:
    return (facts.data["orderId"],)


def _id(description: str) -> Mapping[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": 255, "description": description}


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["orderId"],
        "properties": {
            "orderId": _id("The order that is to be fulfilled."),
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": 200,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["itemId", "quantity"],
                    "properties": {
                        "itemId": _id("The item, as the order service knows it."),
                        "quantity": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": 10_000,
                            "description": "How many of it.",
                        },
                    },
                },
                "description": "What of the order is to be fulfilled; without it, all.",
            },
            "note": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1000,
                "description": "What whoever fulfils it should know.",
            },
        },
    }
)

JOB_TYPE = JobType(
    name="order.fulfill",
    aliases=(),
    tier=Tier.MONEY,
    provider="internal",
    effect_class=EffectClass.RECEIVER_DEDUPS,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(hours=24),
    retention=timedelta(days=90),
    archive="payment_archive",
    in_flight=10,
    retry=RETRY["payment"],
    run=run,
    run_time=timedelta(seconds=11),  # one call
    submitters=PLATFORM_ONLY,
    attempts=10,
    example={"orderId": "order-77120", "items": [{"itemId": "ticket-9001", "quantity": 2}]},
)
