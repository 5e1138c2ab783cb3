"""Analytics events on an EventBridge bus: PutEvents, of which every entry has an answer of its own.

Of what EventBridge says of an error only what it means is kept, and the id of the request.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.vendors import BY_STATUS, CALL_TIME, NOT_THE_REQUEST, UNANSWERED, unanswered
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import MOST_EVENTS, AnalyticsEvent

SOURCE = "queue-service"
# Ours, the account's or the moment's, so the event itself may be tried again; of an entry or of a whole call.
NOT_THE_EVENT: Mapping[str, str] = {
    **NOT_THE_REQUEST,
    "NotAuthorizedForSourceException": "provider_not_permitted",
    "NotAuthorizedForDetailTypeException": "provider_not_permitted",
    "ResourceNotFoundException": "bus_missing",
    "LimitExceededException": "provider_rate_limited",
}
THE_EVENT = frozenset(
    {"InvalidArgument", "InvalidParameter", "MalformedDetail", "RequestSizeException", "ValidationException"}
)
SENTENCES: Mapping[str, str] = {
    "bus_missing": "The event bus does not exist.",
    "event_rejected": "EventBridge refused the event.",
    "provider_failed": "EventBridge failed.",
    "provider_not_authenticated": "EventBridge does not take our credentials.",
    "provider_not_permitted": "Our credentials may not put events on the bus.",
    "provider_rate_limited": "EventBridge takes no more events at the moment.",
}


class EventBridgeBus:
    """Implements `providers.Analytics` for one bus, for any number of threads."""

    def __init__(self, client: Any, bus: str, clock: Clock) -> None:
        self._client = client
        self._bus = bus
        self._clock = clock

    def put(self, events: Sequence[AnalyticsEvent], *, deadline: datetime) -> list[str | ProviderError]:
        """Put up to ten events on the bus in one call; say of each what became of it, in order."""
        if len(events) > MOST_EVENTS:
            raise ValueError(f"One call takes {MOST_EVENTS} events.")
        entries = [self._entry(event) for event in events]
        # Check and call are one step, so that no call starts that cannot end in time.
        if self._clock.now() + CALL_TIME > deadline:
            raise NotSent("no_time_left", "The invocation ends too soon for a call to EventBridge.")
        try:
            answer = self._client.put_events(Entries=entries)
        except ClientError as error:
            raise _refused(error) from error
        except UNANSWERED as error:
            raise unanswered(error, "EventBridge") from error
        reference = answer.get("ResponseMetadata", {}).get("RequestId")
        told = answer.get("Entries", [])
        if len(told) != len(events):
            raise Ambiguous("provider_failed", SENTENCES["provider_failed"], reference=reference)
        return [_became(each, reference) for each in told]

    def _entry(self, event: AnalyticsEvent) -> dict[str, Any]:
        detail = {**event.detail, "id": event.job_id}
        return {
            "EventBusName": self._bus,
            "Source": SOURCE,
            "DetailType": event.kind,
            "Time": event.at,
            "Detail": json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
        }


def _became(entry: Mapping[str, Any], reference: str | None) -> str | ProviderError:
    """Translate the answer to one entry: an id, or why there is none."""
    if entry.get("EventId"):
        return str(entry["EventId"])
    return _error(str(entry.get("ErrorCode", "")), 0, reference)


def _refused(error: ClientError) -> ProviderError:
    """Translate an answer to the whole call."""
    code = error.response.get("Error", {}).get("Code", "")
    metadata = error.response.get("ResponseMetadata", {})
    return _error(code, metadata.get("HTTPStatusCode", 0), metadata.get("RequestId"))


def _error(code: str, status: int, reference: str | None) -> ProviderError:
    reason = NOT_THE_EVENT.get(code) or BY_STATUS.get(status)
    if reason is not None:
        return TurnedAway(reason, SENTENCES[reason], reference=reference)
    if code in THE_EVENT or 400 <= status < 500:
        return Declined("event_rejected", SENTENCES["event_rejected"], reference=reference)
    return Ambiguous("provider_failed", SENTENCES["provider_failed"], reference=reference)
