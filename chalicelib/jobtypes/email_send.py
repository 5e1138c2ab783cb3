"""email.send: one mail from a template, through SES.

Class C: nothing can be read back from SES, so the record says `begun` before the mail goes out, and a mail of
which nobody knows whether it went is parked, not sent twice. Templates lie in `mail/`, a text and an HTML one
each. A template takes what it knows of `data` and reads well without any of it; nothing in it is required.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import ProviderError
from chalicelib.domain.job import VenueId
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.keys import digest
from chalicelib.domain.money import EXPONENTS
from chalicelib.domain.outcome import Completed, Failure, Outcome, Unknown, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Mail, Providers
from chalicelib.domain.standing import Need, ToAddress, mail_address, refused

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).with_name("mail")

# By template: the subject with and without the one value that says most.
SUBJECTS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "order_confirmation": ("eventName", "Your order for {} is confirmed", "Your order is confirmed"),
        "refund_notice": ("orderId", "Your refund for order {}", "Your refund"),
        "payout_notice": ("period", "Your payout for {}", "Your payout"),
        "ticket_delivery": ("eventName", "Your tickets for {}", "Your tickets"),
    }
)
LONGEST_SUBJECT = 200


def run(work: Work, providers: Providers) -> Outcome:
    """Render the mail, note on the record that it is about to go, and hand it to SES."""
    if work.leave is not Leave.START:
        return Unknown(Failure("cannot_look_up", "SES does not tell whether a mail has gone out."))
    if work.objections:
        return refused(work.objections)
    mail = render(work)
    begun = work.begin(None)
    try:
        message_id = providers.mailer.send(mail, begun=begun, deadline=work.deadline)
    except ProviderError as error:
        return outcome_of(error)
    return Completed({"messageId": message_id}, handle=message_id)


def render(work: Work) -> Mail:
    """Return the mail of a job; pure."""
    template, values = work.data["template"], work.data["data"]
    subject = _one_line(work.data.get("subject", "")) or _one_line(_default_subject(template, values))
    environment = _environment()
    text, html = (
        environment.get_template(f"{template}.{kind}").render(values, subject=subject)
        for kind in ("txt", "html")
    )
    return Mail(
        job_id=work.job.id,
        to=work.data["to"],
        subject=subject,
        text=re.sub(r"\n{3,}", "\n\n", text).strip() + "\n",
        html=html,
        reply_to=work.data.get("replyTo"),
    )


def _default_subject(template: str, values: Mapping[str, Any]) -> str:
    name, with_value, without = SUBJECTS[template]
    return with_value.format(values[name]) if _known(values.get(name)) else without


def _one_line(text: str) -> str:
    """Return a subject that is one header and no more, whatever the values in it hold."""
    return " ".join(text.split())[:LONGEST_SUBJECT]


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=lambda name: name is not None and name.endswith(".html"),  # noqa: S701 - text is no HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests |= {"known": _known, "link": _is_link}
    environment.filters["money"] = _money
    return environment


def _known(value: object) -> bool:
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


def _natural_key(facts: Facts) -> tuple[object, ...]:
    data = facts.data
    return (data["template"], data["to"], facts.accepted_at.date().isoformat(), digest(data["data"]))


def _needs(_: VenueId, data: Mapping[str, Any]) -> Sequence[Need]:
    return [ToAddress("data.to", mail_address(data["to"]))]


def _address(description: str) -> Mapping[str, Any]:
    return {"type": "string", "format": "email", "maxLength": 254, "description": description}


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["to", "template", "data"],
        "properties": {
            "to": _address("One address: name@example.com, without a display name."),
            "template": {"enum": sorted(SUBJECTS), "description": "Which mail it is."},
            "data": {
                "type": "object",
                "maxProperties": 50,
                "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_]{0,63}$"},
                "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 2000},
                "description": "Plain values; the template takes those it knows: customerName, supportEmail, "
                "eventName, eventDate, venueName, orderId, orderUrl, quantity, seats, total, amount, currency, "
                "reason, payoutId, period, arrivalDate, ticketId, ticketUrl. An amount is text as it is to be "
                "shown, or minor units with a currency.",
            },
            "subject": {
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST_SUBJECT,
                "pattern": "^[^\\u0000-\\u001f\\u007f]+$",
                "description": "one line of 1 to 200 characters; without it the template has its own subject",
            },
            "replyTo": _address("One address that answers go to."),
        },
    }
)

JOB_TYPE = JobType(
    name="email.send",
    aliases=("email", "send-email"),
    tier=Tier.COMMUNICATION,
    provider="ses",
    effect_class=EffectClass.BLIND,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(hours=24),
    retention=timedelta(days=7),
    archive=None,
    in_flight=20,
    retry=RETRY["communication"],
    run=run,
    run_time=timedelta(seconds=8),  # a write to the record and one call
    attempts=3,
    needs=_needs,
    example={
        "to": "ada@example.com",
        "template": "order_confirmation",
        "data": {
            "customerName": "Ada",
            "eventName": "Night of Lights",
            "orderId": "order-77120",
            "total": "45.00 EUR",
        },
    },
)
