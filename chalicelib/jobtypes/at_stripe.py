"""What the job types at Stripe share: fields of their payloads, whose things are, what an absence says."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Declined, ProviderError
from chalicelib.domain.jobtype import Work
from chalicelib.domain.money import EXPONENTS, LEAST_AMOUNT, MOST_AMOUNT
from chalicelib.domain.outcome import Failure, Retry
from chalicelib.domain.providers import Intent, Transaction

Named = TypeVar("Named", Intent, Transaction)

MAY_START = frozenset({Leave.START, Leave.REPEAT})
NOT_THERE = Failure("resource_missing", "The venue has no payment of this id.")

# Stripe wants the last digit of three decimals to be 0, and counts these two otherwise than ISO 4217 does.
THREE_DECIMALS = sorted(code for code, exponent in EXPONENTS.items() if exponent == 3)
NOT_CHARGED = ["MGA", "UGX"]


def of_venue(work: Work, read: Callable[[], Named]) -> Named | None:
    """Read what a payload names, if it is the venue's or names none; a foreign one is as good as unknown.

    Raises what `read` raises, but for the answer that there is no such thing.
    """
    try:
        found = read()
    except Declined as error:
        if error.reason != NOT_THERE.code:
            raise
        return None
    return found if found.venue_id in (None, work.job.venue_id) else None


def absent(work: Work, failure: Failure) -> Retry:
    """No effect is to be seen; whether that proves that there is none is a matter of time."""
    if work.absence_counts():
        return Retry(failure, clears_doubt=True)
    return Retry(failure, after=until_absence_counts(work))


def until_absence_counts(work: Work) -> timedelta:
    """Return how long from now an absence still proves nothing."""
    doubt = work.job.doubt or work.clock.now()
    return max(doubt + work.timing.absence_after - work.clock.now(), timedelta(0))


def failure_of(error: ProviderError) -> Failure:
    """Return what a record keeps of an error."""
    return Failure(error.reason, error.message, error.reference)


def amount(what: str) -> Mapping[str, Any]:
    """Return the field of an amount; `what` is done with it, such as `charged`."""
    return {
        "type": "integer",
        "minimum": LEAST_AMOUNT,
        "maximum": MOST_AMOUNT,
        "description": f"What is {what}, in the currency's minor units: 1250 is 12.50 EUR or 1250 JPY. "
        f"A multiple of 10 in {', '.join(THREE_DECIMALS)}, as card networks have no third decimal.",
    }


def text_id(description: str) -> Mapping[str, Any]:
    """Return the field of an id that someone else has given."""
    return {"type": "string", "minLength": 1, "maxLength": 255, "description": description}


CURRENCY: Mapping[str, Any] = {
    "type": "string",
    "format": "currency",
    "not": {"enum": NOT_CHARGED},
    "description": f"ISO 4217 code in upper case, such as EUR. {' and '.join(NOT_CHARGED)} cannot be charged.",
}
# Of a schema: what its `amount` must be by its `currency`.
WHOLE_TENS: Mapping[str, Any] = {
    "if": {"properties": {"currency": {"enum": THREE_DECIMALS}}, "required": ["currency"]},
    "then": {"properties": {"amount": {"multipleOf": 10}}},
}
