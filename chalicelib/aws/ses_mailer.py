"""Mail through SES v2, as raw MIME, so that headers of ours go along. SES knows no idempotency key.

Of what SES says of an error only what it means is kept, and the id of the request: its words quote addresses.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Begun, Mail

MIME = policy.SMTP.clone(cte_type="7bit")  # SES takes no bare 8-bit text
CALL_TIME = timedelta(seconds=5)  # connecting 1 s and reading 3 s, as `clients.py` sets them, and our own part

NEVER_LEFT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, NoRegionError)

# Ours or the account's to mend, so the mail itself may be tried again; every other 4xx is about the mail.
NOT_THE_MAIL: Mapping[str, tuple[str, timedelta | None]] = {
    "AccountSuspendedException": ("account_suspended", timedelta(minutes=5)),
    "SendingPausedException": ("sending_paused", timedelta(minutes=5)),
    "MailFromDomainNotVerifiedException": ("sender_not_verified", None),
    "NotFoundException": ("configuration_missing", None),
    "LimitExceededException": ("quota_exceeded", timedelta(minutes=5)),
    "TooManyRequestsException": ("provider_rate_limited", None),
    "ThrottlingException": ("provider_rate_limited", None),
    "Throttling": ("provider_rate_limited", None),
    "AccessDeniedException": ("provider_not_permitted", None),
    "UnrecognizedClientException": ("provider_not_authenticated", None),
    "InvalidClientTokenId": ("provider_not_authenticated", None),
    "InvalidSignatureException": ("provider_not_authenticated", None),
    "SignatureDoesNotMatch": ("provider_not_authenticated", None),
    "ExpiredTokenException": ("provider_not_authenticated", None),
    "ExpiredToken": ("provider_not_authenticated", None),
    "RequestExpired": ("provider_not_authenticated", None),
}
BY_STATUS: Mapping[int, str] = {
    401: "provider_not_authenticated",
    403: "provider_not_permitted",
    429: "provider_rate_limited",
}
SENTENCES: Mapping[str, str] = {
    "account_suspended": "SES has suspended our account.",
    "configuration_missing": "SES misses something that the mail names.",
    "message_rejected": "SES refused the mail.",
    "provider_failed": "SES failed.",
    "provider_not_authenticated": "SES does not take our credentials.",
    "provider_not_permitted": "Our credentials may not send mail.",
    "provider_rate_limited": "SES takes no more requests at the moment.",
    "quota_exceeded": "The quota of mails at SES is used up.",
    "sender_not_verified": "SES knows the sender, or in its sandbox the recipient, as not verified.",
    "sending_paused": "Sending is paused at SES.",
}


class SesMailer:
    """Implements `ports.Mailer`; the client must not retry, since a retry could send twice."""

    def __init__(self, client: Any, sender: str, clock: Clock) -> None:
        self._client = client
        self._sender = sender
        self._clock = clock

    def send(self, mail: Mail, *, begun: Begun, deadline: datetime) -> str:
        """Hand a mail over and return SES's message id; raises any ProviderError."""
        if begun.job_id != mail.job_id:
            raise ValueError("The record that says begun is another job's.")
        raw = self._mime(mail)
        # Check and call are one step, so that no mail starts that cannot end in time.
        if self._clock.now() + CALL_TIME > deadline:
            raise NotSent("no_time_left", "The invocation ends too soon for a call to SES.")
        try:
            answer = self._client.send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": [mail.to]},
                Content={"Raw": {"Data": raw}},
            )
        except ClientError as error:
            raise _refused(error) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise _broken(error) from error
        return str(answer["MessageId"])

    def _mime(self, mail: Mail) -> bytes:
        """Return the mail as it goes out; a value that would make a second header makes an error instead."""
        message = EmailMessage(MIME)
        try:
            message["From"] = self._sender
            message["To"] = mail.to
            message["Subject"] = mail.subject
            if mail.reply_to is not None:
                message["Reply-To"] = mail.reply_to
            message["Message-ID"] = f"<{mail.job_id}@{self._sender.rpartition('@')[2]}>"
            message["X-Job-Id"] = mail.job_id
            message["Date"] = self._clock.now()
        except ValueError as error:
            raise Declined("invalid_header", "An address or the subject cannot stand in a header.") from error
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        return message.as_bytes()


def _refused(error: ClientError) -> ProviderError:
    """Translate an answer of SES."""
    code = error.response.get("Error", {}).get("Code", "")
    said = error.response.get("Error", {}).get("Message") or ""
    metadata = error.response.get("ResponseMetadata", {})
    status, reference = metadata.get("HTTPStatusCode", 0), metadata.get("RequestId")
    if code in NOT_THE_MAIL:
        reason, after = NOT_THE_MAIL[code]
        return TurnedAway(reason, SENTENCES[reason], reference=reference, after=after)
    if code == "MessageRejected" and "not verified" in said:
        return TurnedAway("sender_not_verified", SENTENCES["sender_not_verified"], reference=reference)
    if status in BY_STATUS:
        return TurnedAway(BY_STATUS[status], SENTENCES[BY_STATUS[status]], reference=reference)
    if 400 <= status < 500:
        return Declined("message_rejected", SENTENCES["message_rejected"], reference=reference)
    return Ambiguous("provider_failed", SENTENCES["provider_failed"], reference=reference)


def _broken(error: Exception) -> ProviderError:
    """Translate a call without an answer: NotSent only where the connection never came about."""
    if isinstance(error, NO_CREDENTIALS):
        return NotSent("provider_not_configured", "There are no credentials for SES.")
    if isinstance(error, NEVER_LEFT):
        return NotSent("connection_failed", "SES could not be reached.")
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NotSent("certificate_refused", "The certificate of SES does not hold.")
    if isinstance(error, ReadTimeoutError):
        return Ambiguous("provider_timeout", "SES did not answer in time.")
    return Ambiguous("connection_broken", "The connection to SES broke before it answered.")
