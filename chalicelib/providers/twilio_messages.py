"""Texts through Twilio's REST (https://www.twilio.com/docs/messaging/api/message-resource), called plainly.

Twilio knows no idempotency key, and what it took cannot be told from what it did not: whatever may have left is
Ambiguous. Of its refusals only the code is kept: its words quote numbers and texts.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from chalicelib.domain.errors import Ambiguous, Declined, ProviderError, TurnedAway
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Begun, SentSms, Sms
from chalicelib.providers.http_calls import CALL_SECONDS, Line, Reply, read_anew
from chalicelib.settings.vendors import TwilioSettings

# Ours, the account's or the moment's, so the text itself may be sent again; by status, and by Twilio's code.
BY_STATUS: Mapping[int, str] = {
    401: "provider_not_authenticated",
    403: "provider_not_permitted",
    429: "provider_rate_limited",
}
NOT_THE_TEXT: Mapping[int, tuple[str, timedelta | None]] = {
    20003: ("provider_not_authenticated", None),
    20005: ("account_suspended", timedelta(minutes=5)),
    20429: ("provider_rate_limited", None),
    21212: ("sender_not_usable", None),
    21603: ("sender_not_usable", None),
    21606: ("sender_not_usable", None),
    21609: ("callback_not_usable", None),
    21611: ("sender_queue_full", timedelta(minutes=5)),
    21659: ("sender_not_usable", None),
    21660: ("sender_not_usable", None),
}
# About the text or its phone; any other 4xx is `twilio_` and its code.
ABOUT_THE_TEXT: Mapping[int, str] = {
    21211: "invalid_number",
    21217: "invalid_number",
    21408: "region_not_enabled",
    21602: "text_empty",
    21608: "number_not_verified",
    21610: "unsubscribed",
    21612: "number_not_reachable",
    21614: "not_a_mobile_number",
    21617: "text_too_long",
}
SENTENCES: Mapping[str, str] = {
    "account_suspended": "Twilio has suspended our account.",
    "callback_not_usable": "Twilio cannot call our PUBLIC_BASE_URL.",
    "invalid_number": "Twilio says that this is no phone number.",
    "not_a_mobile_number": "Twilio says that the phone cannot receive texts.",
    "number_not_reachable": "Twilio cannot reach the phone from our number.",
    "number_not_verified": "Our Twilio account is a trial, and may text verified numbers alone.",
    "provider_failed": "Twilio failed.",
    "provider_moved": "Twilio sends its callers elsewhere.",
    "provider_not_authenticated": "Twilio does not take our credentials.",
    "provider_not_permitted": "Our credentials may not send texts.",
    "provider_rate_limited": "Twilio takes no more requests at the moment.",
    "region_not_enabled": "Our Twilio account is not set up to text this country.",
    "sender_not_usable": "Twilio does not let us send from TWILIO_PHONE.",
    "sender_queue_full": "Too many texts of ours wait at Twilio.",
    "text_empty": "Twilio refused the text as empty.",
    "text_too_long": "Twilio refused the text as too long.",
    "unsubscribed": "The phone has told Twilio that it wants no more texts.",
}


class TwilioAccount:
    """The way to one Twilio account, for any number of threads.

    `token` returns the auth token, read anew if asked to be. `call_seconds` bounds one call.
    """

    def __init__(
        self,
        account: TwilioSettings,
        token: Callable[[bool], str],
        clock: Clock,
        *,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self.phone = account.phone
        self._account = account
        self._token = token
        self._clock = clock
        self._line = Line("Twilio", clock, call_seconds=call_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._line.close()

    def make(self, resource: str, fields: Mapping[str, str], *, deadline: datetime) -> Reply:
        """Have one of a resource made (Messages, Calls) and return the answer; raises any ProviderError."""
        import urllib3

        account = self._account
        headers = {
            **urllib3.make_headers(basic_auth=f"{account.account_sid}:{self._token(False)}"),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        url = f"{account.api_base}/2010-04-01/Accounts/{account.account_sid}/{resource}.json"
        reply = self._line.post(url, urlencode(fields).encode(), headers, deadline=deadline)
        if reply.status == 401:
            read_anew(self._token)
        if not reply.ok:
            raise _refused(reply, self._clock.now())
        return reply


class TwilioMessages:
    """Implements `providers.Texts`, for any number of threads.

    `status_callback` is where Twilio is to tell what becomes of a text, the job's id to be added to it.
    """

    def __init__(self, account: TwilioAccount, *, status_callback: str | None = None) -> None:
        self._account = account
        self._status_callback = status_callback

    def close(self) -> None:
        """Close the connections."""
        self._account.close()

    def send(self, sms: Sms, *, begun: Begun, deadline: datetime) -> SentSms:
        """Hand a text over and return what Twilio made of it."""
        if begun.job_id != sms.job_id:
            raise ValueError("The record that says begun is another job's.")
        fields = {"To": sms.to, "From": self._account.phone, "Body": sms.text}
        if self._status_callback is not None:
            fields["StatusCallback"] = f"{self._status_callback}?job={quote(sms.job_id)}"
        return _sent(self._account.make("Messages", fields, deadline=deadline))


def _sent(reply: Reply) -> SentSms:
    """Read an answer that says yes; one that names no text leaves open what happened."""
    told = reply.document
    sid, status, unit = told.get("sid"), told.get("status"), told.get("price_unit")
    if not isinstance(sid, str) or not isinstance(status, str):
        raise Ambiguous("provider_failed", SENTENCES["provider_failed"], reference=_reference(reply))
    return SentSms(sid, status, _whole(told.get("num_segments")), unit if isinstance(unit, str) else None)


def _whole(value: Any) -> int | None:
    """Return a count of Twilio's, which writes them as text and 0 while it does not know."""
    text = str(value)
    return int(text) or None if text.isascii() and text.isdigit() and len(text) <= 3 else None


def _refused(reply: Reply, now: datetime) -> ProviderError:
    """Translate an answer that is no success."""
    code, reference, after = _code(reply), _reference(reply), reply.retry_after(now)
    if reply.status == 408 or reply.status >= 500 or reply.status < 300:
        return Ambiguous("provider_failed", SENTENCES["provider_failed"], reference=reference)
    if reply.status < 400:
        return TurnedAway("provider_moved", SENTENCES["provider_moved"], reference=reference)
    if code in NOT_THE_TEXT:
        reason, wait = NOT_THE_TEXT[code]
        return TurnedAway(reason, SENTENCES[reason], reference=reference, after=after or wait)
    if code not in ABOUT_THE_TEXT and reply.status in BY_STATUS:
        reason = BY_STATUS[reply.status]
        return TurnedAway(reason, SENTENCES[reason], reference=reference, after=after)
    reason = ABOUT_THE_TEXT.get(code, f"twilio_{code or reply.status}")
    sentence = SENTENCES.get(reason, "Twilio refused the text; its error codes are explained in its docs.")
    return Declined(reason, sentence, reference=reference)


def _code(reply: Reply) -> int:
    """Return Twilio's code of an error; 0 where it names none."""
    code = reply.document.get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


def _reference(reply: Reply) -> str | None:
    return reply.headers.get("Twilio-Request-Id")
