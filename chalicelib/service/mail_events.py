"""What becomes of mails, as SES tells it: who cannot be reached, or wants no more, is mailed no more.

A completed job means that SES took its mail, and what has ended changes by an operator alone; so what becomes
of a mail goes to the log. Any event may come twice, or be of several addresses.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parseaddr
from typing import Any

from chalicelib.domain.errors import NotConfigured
from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Clock, Journal
from chalicelib.domain.standing import mail_address
from chalicelib.domain.suppression import Cause, Suppression, Suppressions
from chalicelib.domain.topic import Kind, Topic
from chalicelib.service.writing import insist

ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
WORD = re.compile(r"[A-Za-z][A-Za-z _-]{0,39}")
HEADER = "x-job-id"


@dataclass(frozen=True, slots=True)
class MailEvent:
    """One event: SES's word for it, of which job's mail, its id at SES, and whom it suppresses, if anybody."""

    kind: str | None
    job_id: JobId | None
    message_id: str | None
    detail: str | None = None
    cause: Cause | None = None
    addresses: Sequence[str] = ()


class MailEvents:
    """The use case behind POST /v1/callbacks/ses; None as topic: this stage has none."""

    def __init__(
        self, topic: Topic | None, suppressions: Suppressions, *, clock: Clock, journal: Journal
    ) -> None:
        self._topic = topic
        self._suppressions = suppressions
        self._clock = clock
        self._journal = journal

    def take(self, bulletin: Mapping[str, Any]) -> MailEvent | None:
        """Do what a bulletin asks for, once its signature holds; return the event that it told of, if any.

        Raises NotConfigured, NotSigned, StoreRefused or StoreUnsure: then SNS is to send it again.
        """
        if self._topic is None:
            raise NotConfigured("This stage has no topic for the events of its mails.")
        match self._topic.check(bulletin):
            case Kind.NOTIFICATION:
                event = read_event(bulletin["Message"])
                self._note(event)
                return event
            case Kind.SUBSCRIBED:
                self._topic.confirm(bulletin)
                self._journal.note("mail_events_subscribed")
            case Kind.UNSUBSCRIBED:
                self._journal.alarm("mail_events_unsubscribed")
        return None

    def _note(self, event: MailEvent) -> None:
        suppressed = sum(self._suppress(event, address) for address in event.addresses)
        self._journal.note(
            "mail_event",
            kind=event.kind,
            detail=event.detail,
            jobId=event.job_id,
            suppressed=suppressed or None,
        )

    def _suppress(self, event: MailEvent, address: str) -> bool:
        if event.cause is None:
            return False
        suppression = Suppression(
            mail_address(address), event.cause, self._clock.now(), event.detail, event.job_id
        )
        return insist(lambda: self._suppressions.add(suppression))


def read_event(message: str) -> MailEvent:
    """Return what SES says in a message; of what is not known here nothing but a word. Pure."""
    try:
        told = json.loads(message)
    except (ValueError, RecursionError):
        told = None  # "Successfully validated SNS topic", once
    kind = _word(_of(told, "eventType")) or _word(_of(told, "notificationType"))
    event = MailEvent(kind, _job_of(_of(told, "mail")), _id(_of(_of(told, "mail"), "messageId")))
    if kind == "Bounce":
        return _bounce(event, _of(told, "bounce"))
    if kind == "Complaint":
        return _complaint(event, _of(told, "complaint"))
    return event


def _bounce(event: MailEvent, told: object) -> MailEvent:
    """Have one that bounced for good suppress; a full mailbox, or a server that is away, may do tomorrow."""
    detail = _word(_of(told, "bounceSubType"))
    if _of(told, "bounceType") != "Permanent":
        return replace(event, detail=_word(_of(told, "bounceType")))
    addresses = _addresses(_of(told, "bouncedRecipients"))
    return replace(event, detail=detail, cause=Cause.BOUNCE, addresses=addresses)


def _complaint(event: MailEvent, told: object) -> MailEvent:
    """Have one suppress, unless its reader says that the mail is no spam after all."""
    detail = _word(_of(told, "complaintFeedbackType"))
    if detail == "not-spam":
        return replace(event, detail=detail)
    addresses = _addresses(_of(told, "complainedRecipients"))
    return replace(event, detail=detail, cause=Cause.COMPLAINT, addresses=addresses)


def _addresses(recipients: object) -> Sequence[str]:
    told = [_of(each, "emailAddress") for each in recipients] if isinstance(recipients, list) else []
    found = [parseaddr(each)[1] for each in told if isinstance(each, str)]
    return list(dict.fromkeys(each for each in found if "@" in each))


def _job_of(mail: object) -> JobId | None:
    """Return the job that a mail's own header names."""
    headers = _of(mail, "headers")
    for each in headers if isinstance(headers, list) else ():
        name, value = _of(each, "name"), _id(_of(each, "value"))
        if isinstance(name, str) and name.lower() == HEADER and value is not None:
            return JobId(value)
    return None


def _of(told: object, name: str) -> object:
    return told.get(name) if isinstance(told, dict) else None


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and ID.fullmatch(value) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and WORD.fullmatch(value) else None
