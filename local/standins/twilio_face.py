"""STAND-IN, never deployed: Twilio's Messages and Calls, as its documentation says they behave.

Twilio knows no idempotency key: each POST that is taken is one more text, or call. What becomes of a text is
told to its StatusCallback, signed; `inbound` plays a phone that texts us, which Twilio tells in the same way,
and a phone that says STOP gets no more. Tokens that begin with `twilio_` are good; what it tells is signed with
one of them. Magic numbers are those of Twilio's own test credentials
(https://www.twilio.com/docs/iam/test-credentials), and `+1500555` with an error of delivery behind it, such as
`+150055530003`: a text that is taken, and not delivered.
"""

import base64
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from chalicelib.domain.segments import measure
from local.standins.books import Books, KeptAnswer
from local.standins.faults import BadOrder, Faults, Mode, Provider
from local.standins.telling import Telling
from local.standins.wire import Answer, Request, Silent

OWN = "+15005550006"  # the one number of ours
TOKEN = "twilio_local"  # noqa: S105 - the stand-in's; no real account has it
RESOURCES = re.compile(
    r"/2010-04-01/Accounts/(AC[0-9a-f]{32})/(Messages|Calls)(?:/([A-Z]{2}[0-9a-f]{32}))?\.json"
)
E164 = re.compile(r"\+[1-9][0-9]{6,14}")
SLOW_SECONDS = 2.0
MOST_CHARACTERS = 1_600
STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit"})
START = frozenset({"start", "unstop", "yes"})

REFUSED_TO: Mapping[str, int] = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
REFUSED_FROM: Mapping[str, int] = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
NOT_DELIVERED = re.compile(r"\+1500555(30\d{3})")
SAID: Mapping[int, str] = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    20503: "Service is unavailable",
    21201: "No 'To' number is specified",
    21205: "Url or Twiml is required",
    21211: "The 'To' number is not a valid phone number",
    21212: "The 'From' number is not a valid phone number",
    21408: "Permission to send an SMS has not been enabled for the region",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' phone number is not a valid, message-capable Twilio phone number",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "This 'From' number has exceeded the maximum number of queued messages",
    21612: "Message cannot be sent with the current combination of 'To' and/or 'From' parameters",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit",
}
FAULTS: Mapping[Mode, tuple[int, int]] = {
    Mode.STATUS_429: (429, 20429),
    Mode.STATUS_500: (500, 20500),
    Mode.STATUS_503: (503, 20503),
    Mode.DECLINE: (400, 21211),
}


class TwilioFace:
    """Answers requests under /2010-04-01/; `webhook` is where texts to our number are told."""

    def __init__(
        self, books: Books, faults: Faults, now: Callable[[], datetime], telling: Telling, webhook: str | None
    ) -> None:
        self._books = books
        self._faults = faults
        self._now = now
        self._telling = telling
        self._webhook = webhook
        self._lock = threading.Lock()
        self._stopped: set[str] = set()

    def answer(self, request: Request) -> Answer:
        """Answer one request; raises Silent where a fault says so."""
        found = RESOURCES.fullmatch(request.path)
        if found is None:
            return _refusal(404, 20404)
        account, resource, sid = found.groups()
        user, password = _credentials(request)
        if user != account or not password.startswith("twilio_"):
            return _refusal(401, 20003)
        if request.method == "GET" and sid is not None:
            kept = self._books.kept(f"twilio:{sid}")
            return _refusal(404, 20404) if kept is None else Answer(200, kept.body)
        if request.method != "POST" or sid is not None:
            return _refusal(405, 20004)
        fault = self._faults.take(Provider.TWILIO, tuple(Mode))
        fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        if fault is not None and fault in FAULTS:
            return _refusal(*FAULTS[fault], quoting=fields.get("To", ""))
        if fault is Mode.TIMEOUT_BEFORE:
            raise Silent
        if fault is Mode.SLOW:
            time.sleep(SLOW_SECONDS)
        make = self._text if resource == "Messages" else self._call
        answer = make(account, fields)
        if fault is Mode.TIMEOUT_AFTER:
            raise Silent
        return answer

    def inbound(self, order: Any) -> Answer:
        """Play a phone that texts us: `{from, body}`, and `{url}` to tell it to another place than ours."""
        phone, body = (
            (order.get(name) for name in ("from", "body")) if isinstance(order, dict) else (None, None)
        )
        url = order.get("url", self._webhook) if isinstance(order, dict) else None
        if not isinstance(phone, str) or not E164.fullmatch(phone) or not isinstance(body, str):
            raise BadOrder("A JSON object {from: a number in E.164, body: a text} is required.")
        if not isinstance(url, str):
            raise BadOrder("This stand-in was started without the URL that texts are told to: give one.")
        word = body.strip().lower()
        with self._lock:
            if word in STOP:
                self._stopped.add(phone)
            elif word in START:
                self._stopped.discard(phone)
        sid = _sid("SM")
        form = {
            "MessageSid": sid,
            "SmsSid": sid,
            "From": phone,
            "Body": body,
            "NumMedia": "0",
            "NumSegments": "1",
        }
        form |= {"AccountSid": "AC" + "0" * 32, "To": OWN, "ApiVersion": "2010-04-01"}
        kind = "STOP" if word in STOP else "START" if word in START else None
        return Answer(
            200, {"status": self._telling.tell_now(url, form | ({"OptOutType": kind} if kind else {}))}
        )

    def clear(self) -> None:
        """Forget which phones want no texts."""
        with self._lock:
            self._stopped.clear()

    def _text(self, account: str, fields: Mapping[str, str]) -> Answer:
        to, sender, body = (fields.get(name, "") for name in ("To", "From", "Body"))
        with self._lock:
            stopped = to in self._stopped
        code = _wrong(to, sender, stopped=stopped) or (
            21602 if not body else 21617 if len(body) > MOST_CHARACTERS else None
        )
        if code is not None:
            return _refusal(429 if code == 21611 else 400, code, quoting=to)
        sid = _sid("SM")
        text = {**_resource(account, "Messages", sid, fields, self._now()), "body": body, "num_media": "0"}
        text |= {"direction": "outbound-api", "num_segments": str(measure(body).segments)}
        text |= {"error_code": None, "error_message": None, "messaging_service_sid": None, "date_sent": None}
        callback = fields.get("StatusCallback")
        self._enter("sms", sid, text, job=_job_of(callback))
        if callback is not None:
            self._tell(callback, account, text)
        return Answer(201, text)

    def _call(self, account: str, fields: Mapping[str, str]) -> Answer:
        to, sender = fields.get("To", ""), fields.get("From", "")
        code = _wrong(to, sender, stopped=False)
        if code is None and not (fields.get("Twiml") or fields.get("Url")):
            code = 21205
        if code is not None:
            return _refusal(400, code)
        sid = _sid("CA")
        call = {**_resource(account, "Calls", sid, fields, self._now()), "direction": "outbound-api"}
        call |= {"duration": None, "start_time": None, "end_time": None, "answered_by": None}
        self._enter("call", sid, call, job=None)
        return Answer(201, call)

    def _enter(self, operation: str, sid: str, document: dict[str, Any], *, job: str | None) -> None:
        with self._books.change():
            self._books.keep(f"twilio:{sid}", KeptAnswer("", 200, document, self._now().timestamp()))
            self._books.enter(Provider.TWILIO, operation, key=None, job=job, amount=None, at=self._now())

    def _tell(self, callback: str, account: str, text: Mapping[str, Any]) -> None:
        """Tell what becomes of a text: that it is sent, then that it is delivered, or why not."""
        told = {"MessageSid": text["sid"], "SmsSid": text["sid"], "AccountSid": account}
        told |= {"From": text["from"], "To": text["to"], "ApiVersion": "2010-04-01"}
        failed = NOT_DELIVERED.fullmatch(text["to"])
        end = (
            {"MessageStatus": "undelivered", "ErrorCode": failed[1]}
            if failed
            else {"MessageStatus": "delivered"}
        )
        for news in ({"MessageStatus": "sent"}, end):
            self._telling.tell(callback, told | news | {"SmsStatus": news["MessageStatus"]})


def _wrong(to: str, sender: str, *, stopped: bool) -> int | None:
    """Return Twilio's code for what is wrong with the two numbers."""
    if not to:
        return 21604
    if not sender:
        return 21603
    if sender in REFUSED_FROM:
        return REFUSED_FROM[sender]
    if sender != OWN:
        return 21606 if E164.fullmatch(sender) else 21212
    if not E164.fullmatch(to):
        return 21211
    return 21610 if stopped else REFUSED_TO.get(to)


def _resource(
    account: str, resource: str, sid: str, fields: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    at = format_datetime(now)
    return {
        "sid": sid,
        "account_sid": account,
        "api_version": "2010-04-01",
        "to": fields["To"],
        "from": fields["From"],
        "status": "queued",
        "date_created": at,
        "date_updated": at,
        "price": None,
        "price_unit": "USD",
        "subresource_uris": {},
        "uri": f"/2010-04-01/Accounts/{account}/{resource}/{sid}.json",
    }


def _sid(kind: str) -> str:
    return f"{kind}{secrets.token_hex(16)}"


def _job_of(callback: str | None) -> str | None:
    """Return the job that a status callback's URL names."""
    return None if callback is None else parse_qs(urlsplit(callback).query).get("job", [None])[0]


def _credentials(request: Request) -> tuple[str, str]:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return (user, password) if scheme.lower() == "basic" else ("", "")


def _refusal(status: int, code: int, *, quoting: str = "") -> Answer:
    """Refuse as Twilio does, in words that quote what was sent."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    headers = {"Retry-After": "1"} if status == 429 else {}
    body = {
        "code": code,
        "message": f"{SAID.get(code, 'Refused')} {quoting}".strip(),
        "more_info": more,
        "status": status,
    }
    return Answer(status, body, {**headers, "Twilio-Request-Id": f"RQ{secrets.token_hex(16)}"})
