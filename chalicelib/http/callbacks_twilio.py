"""POST /v1/callbacks/twilio: what became of a text of ours, and what a phone texts us.

Signatures are made over the URL that Twilio calls, which is PUBLIC_BASE_URL and this route, and over the form
(https://www.twilio.com/docs/usage/security). Twilio wants TwiML as an answer; an empty one says nothing back.
What became of a text goes to the log: a completed job means that Twilio took it, and only an operator changes
one that has ended. A parked job gets the text's id, so that its operator sees that Twilio has it.
"""

import re
from collections.abc import Mapping
from functools import partial
from urllib.parse import parse_qsl, urlencode

from chalice.app import Blueprint, Response

from chalicelib.domain.errors import NotConfigured
from chalicelib.domain.opting import wish_of
from chalicelib.http.callbacks import described, signed_body_of
from chalicelib.http.operations import TEXT, Answer, Operations, Parameter, Shapes
from chalicelib.http.views import parameters_of, view
from chalicelib.wiring import service

routes = Blueprint(__name__)

PATH = "/v1/callbacks/twilio"
HEADER = "X-Twilio-Signature"
FORM = "application/x-www-form-urlencoded"
RECEIVED = "received"  # a phone's text; whatever else there is, a text of ours
MOST_FIELDS = 200  # Twilio sends about twenty
JOB_ID = re.compile(r"job_[0-9A-Za-z_-]{1,64}")
WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


@routes.route("/callbacks/twilio", methods=["POST"], content_types=[FORM])
@view
def take_twilio_callback() -> Response:
    """Note what became of a text, or do as a phone wants."""
    request = routes.current_request
    asked = parameters_of(request, "job")
    check = partial(is_signed, url=_url(asked))
    form = form_of(signed_body_of(request, "twilio", HEADER, check)) or {}
    if form.get("MessageStatus", RECEIVED) != RECEIVED:
        _note(asked.get("job", ""), form)
    elif "From" in form and (wish := wish_of(form.get("Body", ""), form.get("OptOutType"))) is not None:
        service().opt_outs.hear(form["From"], wish)
    return _said_nothing()


def _url(asked: Mapping[str, str]) -> str:
    """Return the URL that Twilio has called, as it knows it."""
    base = service().settings.public_base_url
    if base is None:
        raise NotConfigured("This stage does not know its PUBLIC_BASE_URL, over which Twilio signs.")
    return f"{base}{PATH}{f'?{urlencode(asked)}' if asked else ''}"


def is_signed(body: bytes, signature: str, secret: str, *, url: str) -> bool:
    """Whether Twilio has signed a form for a URL with an auth token."""
    from twilio.request_validator import RequestValidator

    form = form_of(body)
    return form is not None and bool(RequestValidator(secret).validate(url, form, signature))


def form_of(body: bytes) -> dict[str, str] | None:
    """Return the fields of a form; None if it is none, or has a field twice, as Twilio never sends it."""
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return None
    form = dict(fields)
    return form if len(form) == len(fields) else None


def _note(job_id: str, form: Mapping[str, str]) -> None:
    """Put on the log what became of a text; nothing of it but words and ids of Twilio's."""
    sid, status, code = (_word(form.get(name)) for name in ("MessageSid", "MessageStatus", "ErrorCode"))
    known = job_id if JOB_ID.fullmatch(job_id) else None
    service().journal.note("sms_status", jobId=known, sid=sid, status=status, code=code)
    if known is not None and sid is not None:
        service().callbacks.name_object(known, sid, "twilio")


def _word(text: str | None) -> str | None:
    return text if text is not None and WORD.fullmatch(text) else None


def _said_nothing() -> Response:
    from twilio.twiml.messaging_response import MessagingResponse

    headers: dict[str, str | list[str]] = {
        "Content-Type": "text/xml; charset=utf-8",
        "Cache-Control": "no-store",
    }
    return Response(str(MessagingResponse()), headers=headers, status_code=200)


ABOUT = (
    "What became of a text, told to its status callback, or a text of a phone to our number. What became of a "
    "text is logged. A phone that says STOP gets no more texts until it says START."
)
OPERATIONS: Operations = {
    ("POST", PATH): described(
        "takeTwilioCallback",
        "Twilio",
        HEADER,
        about=ABOUT,
        body={
            "type": "object",
            "additionalProperties": TEXT,
            "description": "A form as Twilio sends it: of a text of ours its MessageSid, MessageStatus and "
            "ErrorCode are read, of a phone's text its From, Body and OptOutType.",
            "examples": [{"MessageSid": "SM1", "MessageStatus": "delivered"}],
        },
        media=FORM,
        parameters=(Parameter("job", "query", TEXT, "The job that a text is of."),),
        answer=Answer("It was received; an empty TwiML, so nothing is texted back.", TEXT, media="text/xml"),
    )
}
SCHEMAS: Shapes = {}
