"""STAND-IN, never deployed: a relay to the emulator's SES that enters accepted mails in the ledger.

Beside it, SES's mailbox simulator: mail to one of its addresses has its event published, as by SNS.
"""

import base64
import http.client
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from email import message_from_bytes
from urllib.parse import urlsplit

from local.standins.books import Books
from local.standins.faults import Faults, Mode, Provider
from local.standins.mail_events import CERTIFICATE_PATH, MailEvents
from local.standins.wire import Answer, Request, Silent

PATH = "/v2/email/outbound-emails"
PATIENCE = 10.0  # seconds
SLOW_SECONDS = 2.0
PASSED_ON = ("authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
RETURNED = ("content-type", "x-amzn-errortype", "x-amzn-requestid")

REFUSALS: Mapping[Mode, tuple[int, str, str]] = {
    Mode.STATUS_429: (429, "TooManyRequestsException", "Maximum sending rate exceeded."),
    Mode.STATUS_500: (500, "InternalFailure", "An internal error occurred."),
    Mode.STATUS_503: (503, "ServiceUnavailable", "The service is unavailable."),
    Mode.DECLINE: (400, "MessageRejected", "The message was rejected."),
}


class SesFace:
    """Answers POST /v2/email/outbound-emails; `upstream` is the base URL of the emulator.

    `events` publishes what becomes of mail to the simulator's addresses; None: nobody is told.
    """

    def __init__(
        self,
        books: Books,
        faults: Faults,
        now: Callable[[], datetime],
        upstream: str | None,
        events: MailEvents | None = None,
    ) -> None:
        self._events = events
        self._books = books
        self._faults = faults
        self._now = now
        self._upstream = urlsplit(upstream) if upstream else None

    def answer(self, request: Request) -> Answer:
        """Pass a mail on; raises Silent where a fault says so."""
        if (request.method, request.path) != ("POST", PATH):
            return _refusal(404, "NotFoundException", "Only SendEmail is relayed here.")
        fault = self._faults.take(Provider.SES, tuple(Mode))
        if fault is not None and fault in REFUSALS:
            return _refusal(*REFUSALS[fault])
        if fault is Mode.TIMEOUT_BEFORE:
            raise Silent
        if fault is Mode.SLOW:
            time.sleep(SLOW_SECONDS)
        answer = self._pass_on(request)
        if answer.status == 200:
            self._books.enter(
                Provider.SES, "mail", key=None, job=_job_of(request.body), amount=None, at=self._now()
            )
            if self._events is not None:
                self._events.mailed(request.body, answer)
        if fault is Mode.TIMEOUT_AFTER:
            raise Silent
        return answer

    def answer_as_sns(self, request: Request) -> Answer:
        """Give the certificate that notices are signed with, or take the confirmation of a subscription."""
        if self._events is None:
            return _refusal(404, "NotFoundException", "This stand-in was started without events of mails.")
        if request.path == CERTIFICATE_PATH:
            return Answer(200, self._events.certificate, {"Content-Type": "application/x-pem-file"})
        self._events.confirmed(request.query)
        return Answer(200, b"<ConfirmSubscriptionResponse/>", {"Content-Type": "text/xml"})

    def _pass_on(self, request: Request) -> Answer:
        if self._upstream is None or self._upstream.hostname is None:
            return _refusal(503, "ServiceUnavailable", "This stand-in was started without an SES behind it.")
        connection = http.client.HTTPConnection(self._upstream.hostname, self._upstream.port, timeout=PATIENCE)
        try:
            headers = {name: text for name, text in request.headers.items() if name in PASSED_ON}
            connection.request("POST", PATH, request.body, headers)
            response = connection.getresponse()
            kept = {name: text for name, text in response.getheaders() if name.lower() in RETURNED}
            return Answer(response.status, response.read(), kept)
        except OSError as error:
            return _refusal(502, "ServiceUnavailable", f"The SES behind this stand-in does not answer: {error}")
        finally:
            connection.close()


def _refusal(status: int, name: str, message: str) -> Answer:
    return Answer(status, {"message": message}, {"x-amzn-errortype": name})


def _job_of(body: bytes) -> str | None:
    """Return the job that a raw mail names in its X-Job-Id."""
    raw = json.loads(body).get("Content", {}).get("Raw", {}).get("Data")
    return message_from_bytes(base64.b64decode(raw))["X-Job-Id"] if raw else None
