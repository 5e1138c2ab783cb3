"""The queues in SQS: standard ones, made fair between venues by the message group."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from chalicelib.domain.message import Hint, encode
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Message

logger = logging.getLogger(__name__)

FAILURES = (ClientError, BotoCoreError, ResponseParserError)
MOST_ENTRIES = 10
LONGEST_DELAY = 900  # seconds
LONGEST_HIDING = 11 * 3600  # seconds; SQS counts twelve hours from the receive
GROUP = re.compile(r"[\x21-\x7e]{1,128}")  # what SQS takes as a message group


class SqsJobQueue:
    """The sending side behind `ports.JobQueue`."""

    def __init__(
        self, client: Any, urls: Mapping[tuple[Tier, Lane], str], dead_letters: Mapping[Tier, str]
    ) -> None:
        self._client = client
        self._urls = urls
        self._dead_letters = dead_letters

    def send(self, messages: Sequence[Message]) -> list[bool]:
        """Send each message; say of each whether it surely went. One call per ten messages of a queue."""
        sent = [False] * len(messages)
        for queue, url in self._urls.items():
            places = [i for i, each in enumerate(messages) if (each.tier, each.lane) == queue]
            for part in _parts(places):
                entries = [{"Id": str(place), **_entry(messages[place])} for place in part]
                for place in _went(self._client.send_message_batch, QueueUrl=url, Entries=entries):
                    sent[place] = True
        return sent

    def bury(self, tier: Tier, body: str, reason: str) -> bool:
        """Put a poison message in the tier's dead-letter queue; say whether it surely arrived."""
        try:
            self._client.send_message(
                QueueUrl=self._dead_letters[tier],
                MessageBody=body,
                MessageAttributes={"reason": {"DataType": "String", "StringValue": reason or "unknown"}},
            )
        except FAILURES:
            logger.warning("a poison message of tier %s could not be put away", tier, exc_info=True)
            return False
        return True


class SqsInbox:
    """The receiving side of one queue behind `ports.Inbox`."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def postpone(self, delays: Mapping[str, timedelta]) -> None:
        """Set the visibility of messages, by handle; a failure leaves the queue's own."""
        held = list(delays.items())
        for part in _parts(range(len(held))):
            entries = [
                {
                    "Id": str(place),
                    "ReceiptHandle": held[place][0],
                    "VisibilityTimeout": _seconds(held[place][1], most=LONGEST_HIDING),
                }
                for place in part
            ]
            _went(self._client.change_message_visibility_batch, QueueUrl=self._url, Entries=entries)


def group_of(venue_id: str) -> str:
    """Return the message group of a venue: its id, or a digest of one that SQS would not take."""
    if GROUP.fullmatch(venue_id):
        return venue_id
    return hashlib.sha256(venue_id.encode(errors="surrogatepass")).hexdigest()


def _parts(places: Sequence[int]) -> Iterator[Sequence[int]]:
    return (places[start : start + MOST_ENTRIES] for start in range(0, len(places), MOST_ENTRIES))


def _entry(message: Message) -> dict[str, Any]:
    return {
        "MessageBody": encode(Hint(message.job_id, message.venue_id)),
        "MessageGroupId": group_of(message.venue_id),
        "DelaySeconds": _seconds(message.delay, most=LONGEST_DELAY),
    }


def _seconds(delay: timedelta, *, most: int) -> int:
    """Return whole seconds, never earlier than asked for."""
    return min(max(-(-delay // timedelta(seconds=1)), 0), most)


def _went(call: Callable[..., Mapping[str, Any]], **request: Any) -> list[int]:
    """Make a batch call and return the places of the entries that surely went through."""
    try:
        answer = call(**request)
    except FAILURES:
        logger.warning("a batch of %d messages went unanswered", len(request["Entries"]), exc_info=True)
        return []
    for failure in answer.get("Failed", ()):
        logger.warning("a message was refused: %s", failure["Code"])
    return [int(entry["Id"]) for entry in answer.get("Successful", ())]
