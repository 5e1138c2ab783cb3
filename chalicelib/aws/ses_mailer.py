"""Mail through SES v2, as raw MIME, so that headers of ours go along. SES knows no idempotency key.

Of what SES says of an error only what it means is kept, and the id of the request: its words quote addresses.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.vendors import BY_STATUS, CALL_TIME, NOT_THE_REQUEST, UNANSWERED, unanswered
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Begun, Mail

MIME = policy.SMTP.clone(cte_type="7bit")  # SES takes no bare 8-bit text
# Ours or the account's to mend, so the mail itself may be tried again; every other 4xx is about the mail.
NOT_THE_MAIL: Mapping[str, tuple[str, timedelta | None]] = {
    "AccountSuspendedException": ("account_suspended", timedelta(minutes=5)),
    "SendingPausedException": ("sending_paused", timedelta(minutes=5)),
    "MailFromDomainNotVerifiedException": ("sender_not_verified", None),
    "NotFoundException": ("configuration_missing", None),
    "LimitExceededException": ("quota_exceeded", timedelta(minutes=5)),
    **{code: (reason, None) for code, reason in NOT_THE_REQUEST.items()},
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

    def __init__(self, client: Any, sender: str, clock: Clock, *, configuration_set: str | None = None) -> None:
        self._client = client
        # It says where SES publishes what becomes of the mail.
        self._named = {"ConfigurationSetName": configuration_set} if configuration_set else {}
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
                **self._named,
            )
        except ClientError as error:
            raise _refused(error) from error
        except UNANSWERED as error:
            raise unanswered(error, "SES") from error
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
