"""Analytics events on an EventBridge bus: PutEvents, of which every entry has an answer of its own.

Of what EventBridge says of an error only what it means is kept, and the id of the request.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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
from chalicelib.domain.providers import MOST_EVENTS, AnalyticsEvent

SOURCE = "queue-service"
CALL_TIME = timedelta(seconds=5)  # connecting 1 s and reading 3 s, as `clients.py` sets them, and our own part

NEVER_LEFT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, NoRegionError)

# Ours, the account's or the moment's, so the event itself may be tried again; of an entry or of a whole call.
NOT_THE_EVENT: Mapping[str, str] = {
    "AccessDeniedException": "provider_not_permitted",
    "NotAuthorizedForSourceException": "provider_not_permitted",
    "NotAuthorizedForDetailTypeException": "provider_not_permitted",
    "ResourceNotFoundException": "bus_missing",
    "LimitExceededException": "provider_rate_limited",
    "ThrottlingException": "provider_rate_limited",
    "Throttling": "provider_rate_limited",
    "TooManyRequestsException": "provider_rate_limited",
    "UnrecognizedClientException": "provider_not_authenticated",
    "InvalidClientTokenId": "provider_not_authenticated",
    "InvalidSignatureException": "provider_not_authenticated",
    "SignatureDoesNotMatch": "provider_not_authenticated",
    "ExpiredTokenException": "provider_not_authenticated",
    "ExpiredToken": "provider_not_authenticated",
}
THE_EVENT = frozenset(
    {"InvalidArgument", "InvalidParameter", "MalformedDetail", "RequestSizeException", "ValidationException"}
)
BY_STATUS: Mapping[int, str] = {
    401: "provider_not_authenticated",
    403: "provider_not_permitted",
    429: "provider_rate_limited",
}
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
        except (BotoCoreError, ResponseParserError) as error:
            raise _broken(error) from error
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


def _broken(error: Exception) -> ProviderError:
    """Translate a call without an answer: NotSent only where the connection never came about."""
    if isinstance(error, NO_CREDENTIALS):
        return NotSent("provider_not_configured", "There are no credentials for EventBridge.")
    if isinstance(error, NEVER_LEFT):
        return NotSent("connection_failed", "EventBridge could not be reached.")
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NotSent("certificate_refused", "The certificate of EventBridge does not hold.")
    if isinstance(error, ReadTimeoutError):
        return Ambiguous("provider_timeout", "EventBridge did not answer in time.")
    return Ambiguous("connection_broken", "The connection to EventBridge broke before it answered.")
