"""sms.send: one text to one phone, through Twilio.

Class C: Twilio knows no key, so the record says `begun` before the text goes out, and a text of which nobody
knows whether it went is parked, not sent twice. It waits while the venue has its quiet hours, unless it is
urgent: no attempt is charged. Templates lie in `sms/`, and take what they know of `data`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Problem, ProviderError
from chalicelib.domain.job import VenueId
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.keys import digest
from chalicelib.domain.outcome import QUIET, Completed, Failure, HeldBack, Outcome, Unknown, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Providers, Sms
from chalicelib.domain.segments import MOST_CHARACTERS, measure
from chalicelib.domain.standing import Need, QuietAt, ToAddress, phone_number, refused
from chalicelib.domain.suppression import Cause
from chalicelib.jobtypes.templates import PLAIN_VALUES, environment_of

FOLDER = Path(__file__).with_name("sms")
TEMPLATES = ("order_confirmation", "payout_notice", "refund_notice", "ticket_delivery")


def run(work: Work, providers: Providers) -> Outcome:
    """Wait for the quiet hours to end, note on the record that the text is about to go, hand it to Twilio."""
    if work.leave is not Leave.START:
        return Unknown(Failure("cannot_look_up", "Twilio does not tell whether a job's text has gone out."))
    if work.objections:
        return refused(work.objections)
    if (quiet := _quiet(work)) is not None:
        return quiet
    text = text_of(work.data)
    measured = measure(text)
    begun = work.begin(None)
    sms = Sms(job_id=work.job.id, to=work.data["to"], text=text)
    try:
        sent = providers.texts.send(sms, begun=begun, deadline=work.deadline)
    except ProviderError as error:
        return outcome_of(error)
    result = {
        "sid": sent.id,
        "status": sent.status,
        "segments": sent.segments or measured.segments,
        "encoding": measured.alphabet,
        **({} if sent.price_unit is None else {"priceUnit": sent.price_unit}),
    }
    return Completed(result, handle=sent.id)


def _quiet(work: Work) -> HeldBack | None:
    """Return until when the venue's quiet hours hold the text back, if they do."""
    now = work.clock.now()
    until = None if work.quiet_hours is None else work.quiet_hours.until(now)
    if until is None:
        return None
    message = f"The venue has quiet hours ({work.quiet_hours}); the text goes out when they end."
    return HeldBack(QUIET, until - now, why=Failure(QUIET, message))


def text_of(data: Mapping[str, Any]) -> str:
    """Return the text of a job; pure."""
    if "message" in data:
        return str(data["message"]).strip()
    template = environment_of(FOLDER).get_template(f"{data['template']}.txt")
    lines = (" ".join(line.split()) for line in template.render(data["data"]).splitlines())
    return " ".join(line for line in lines if line)


def _problems(data: Mapping[str, Any]) -> Sequence[Problem]:
    """Return what is wrong with a text: that there is none, or that it is too long for Twilio."""
    text = text_of(data)
    field = "data.message" if "message" in data else "data.data"
    if not text:
        return [Problem(field, "Send a text that says something.")]
    measured = measure(text)
    if not measured.too_long:
        return []
    size = f"{measured.characters} characters in {measured.segments} segments of {measured.alphabet}"
    return [Problem(field, f"The text has {size}: send at most {MOST_CHARACTERS} characters.")]


def _natural_key(facts: Facts) -> tuple[object, ...]:
    hour = facts.accepted_at.isoformat(timespec="hours")
    return (facts.data["to"], hour, digest(text_of(facts.data)))


def _needs(venue_id: VenueId, data: Mapping[str, Any]) -> Sequence[Need]:
    to = ToAddress("data.to", phone_number(data["to"]))
    return [to] if data.get("urgent") else [to, QuietAt(venue_id)]


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "description": "either a message, or a template and its data",
        "required": ["to"],
        "oneOf": [{"required": ["message"]}, {"required": ["template"]}],
        "dependentRequired": {"template": ["data"], "data": ["template"]},
        "properties": {
            "to": {
                "type": "string",
                "pattern": "^\\+[1-9][0-9]{6,14}$",
                "description": "one phone number in E.164, such as +4915112345678",
            },
            "message": {
                "type": "string",
                "minLength": 1,
                "maxLength": MOST_CHARACTERS,
                "pattern": "^[^\\u0000-\\u0009\\u000b-\\u001f\\u007f]+$",
                "description": "a text of at most 1,600 characters, without control characters but line breaks",
            },
            "template": {"enum": list(TEMPLATES), "description": "Which text it is."},
            "data": PLAIN_VALUES,
            "urgent": {
                "type": "boolean",
                "description": "Whether the text goes out in the venue's quiet hours, too.",
            },
        },
    }
)

JOB_TYPE = JobType(
    name="sms.send",
    aliases=("sms", "send-sms"),
    tier=Tier.COMMUNICATION,
    provider="twilio-sms",
    effect_class=EffectClass.BLIND,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(hours=24),
    retention=timedelta(days=7),
    archive=None,
    in_flight=5,
    retry=RETRY["communication"],
    run=run,
    run_time=timedelta(seconds=13),  # a write to the record and one call
    attempts=3,
    problems=_problems,
    needs=_needs,
    suppresses={"unsubscribed": Cause.OPTED_OUT},
    example={
        "to": "+15005550010",
        "template": "ticket_delivery",
        "data": {"eventName": "Night of Lights", "seats": "A1, A2"},
    },
)
