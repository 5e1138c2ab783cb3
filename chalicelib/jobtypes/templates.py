"""Templates of mails and texts: a folder of files that take what they know of plain values.

Nothing in a template is required: it reads well without any of its values.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chalicelib.domain.money import EXPONENTS

if TYPE_CHECKING:
    from jinja2 import Environment

# The schema of a template's values.
PLAIN_VALUES: Mapping[str, Any] = {
    "type": "object",
    "maxProperties": 50,
    "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_]{0,63}$"},
    "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 2000},
    "description": "Plain values; the template takes those it knows: customerName, supportEmail, "
    "eventName, eventDate, venueName, orderId, orderUrl, quantity, seats, total, amount, currency, "
    "reason, payoutId, period, arrivalDate, ticketId, ticketUrl. An amount is text as it is to be "
    "shown, or minor units with a currency.",
}


@cache
def environment_of(folder: Path) -> "Environment":
    """Return what renders the templates of a folder: .html is escaped, all else is text as it is."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=lambda name: name is not None and name.endswith(".html"),  # noqa: S701 - text is no HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests |= {"known": known, "link": _is_link}
    environment.filters["money"] = _money
    return environment


def known(value: object) -> bool:
    """Whether a template has something to show: 0 is something, an absent value or an empty text is not."""
    if isinstance(value, bool):
        return False  # says nothing to a reader
    return isinstance(value, int | float) or (isinstance(value, str) and bool(value.strip()))


def _is_link(value: object) -> bool:
    """Whether a value may become a link; `javascript:` and the like may not."""
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s\"'<>]+", value) is not None


def _money(value: object, currency: object) -> object:
    """Return an amount as people read it: text as it is, a whole number as minor units of its currency.

    A whole number without a currency is left out, since nobody could tell what it means.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not isinstance(currency, str) or currency not in EXPONENTS:
        return None
    exponent = EXPONENTS[currency]
    sign, digits = "-" if value < 0 else "", str(abs(value)).rjust(exponent + 1, "0")
    whole, part = digits[: len(digits) - exponent], digits[len(digits) - exponent :]
    return f"{sign}{whole}{'.' if part else ''}{part} {currency}"
