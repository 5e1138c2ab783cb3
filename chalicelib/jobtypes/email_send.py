"""email.send: one mail from a template, through SES.

Class C: nothing can be read back from SES, so the record says `begun` before the mail goes out, and a mail of
which nobody knows whether it went is parked, not sent twice. Templates lie in `mail/`, a text and an HTML one
each. A template takes what it knows of `data` and reads well without any of it; nothing in it is required.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import ProviderError
from chalicelib.domain.job import VenueId
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.keys import digest
from chalicelib.domain.outcome import Completed, Failure, Outcome, Unknown, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Mail, Providers
from chalicelib.domain.standing import Need, ToAddress, mail_address, refused
from chalicelib.jobtypes.templates import PLAIN_VALUES, environment_of, known

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
    environment = environment_of(FOLDER)
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
    return with_value.format(values[name]) if known(values.get(name)) else without


def _one_line(text: str) -> str:
    """Return a subject that is one header and no more, whatever the values in it hold."""
    return " ".join(text.split())[:LONGEST_SUBJECT]


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
            "data": PLAIN_VALUES,
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
