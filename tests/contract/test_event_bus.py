"""EventBridgeBus on ministack, with a rule and a queue for what arrives, and before botocore's Stubber."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.stub import Stubber

from chalicelib.aws.event_bus import SENTENCES, EventBridgeBus
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.providers import AnalyticsEvent
from local.emulator import Emulator
from local.sessions import session
from tests.fakes import START, ManualClock

DEADLINE = START + timedelta(minutes=1)


def event(number: int = 1) -> AnalyticsEvent:
    return AnalyticsEvent(JobId(f"job_{number}"), "ticket.viewed", START, {"targetId": "Zwölf", "venueId": "v"})


@pytest.fixture
def stack(new_stack: Callable[..., Mapping[str, str]]) -> Mapping[str, str]:
    return new_stack()


@pytest.fixture
def arrived(emulator: Emulator, stack: Mapping[str, str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Send all that comes on the stack's bus to a queue; return what reads it."""
    made = session(emulator.endpoint)
    events, sqs = made.client("events"), made.client("sqs")
    bus = stack["ANALYTICS_BUS"]
    url = sqs.create_queue(QueueName=f"{bus}-arrived")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = json.dumps({"source": ["queue-service"]})
    events.put_rule(Name="all", EventBusName=bus, EventPattern=pattern, State="ENABLED")
    events.put_targets(Rule="all", EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])

    def read() -> list[dict[str, Any]]:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        return sorted((json.loads(each["Body"]) for each in answer.get("Messages", [])), key=_id)

    yield read
    events.close()
    sqs.close()


def _id(arrival: dict[str, Any]) -> str:
    return str(arrival["detail"]["id"])


@pytest.fixture
def live(emulator: Emulator, stack: Mapping[str, str]) -> Iterator[EventBridgeBus]:
    client = session(emulator.endpoint).client("events")
    yield EventBridgeBus(client, stack["ANALYTICS_BUS"], ManualClock())
    client.close()


def test_events_arrive_whole(live: EventBridgeBus, arrived: Callable[[], list[dict[str, Any]]]) -> None:
    told = live.put([event(1), event(2)], deadline=DEADLINE)
    assert len({each for each in told if isinstance(each, str)}) == 2
    came = arrived()
    assert [each["id"] for each in came] == told
    assert [each["detail-type"] for each in came] == ["ticket.viewed"] * 2
    assert [each["source"] for each in came] == ["queue-service"] * 2
    assert [each["detail"] for each in came] == [
        {"targetId": "Zwölf", "venueId": "v", "id": f"job_{number}"} for number in (1, 2)
    ]


@pytest.fixture
def stubbed() -> Iterator[tuple[EventBridgeBus, Stubber]]:
    client = session("http://127.0.0.1:9").client("events")
    with Stubber(client) as stubber:
        yield EventBridgeBus(client, "bus", ManualClock()), stubber
    client.close()


def answer(stubber: Stubber, *entries: Mapping[str, str]) -> None:
    failed = sum("ErrorCode" in entry for entry in entries)
    stubber.add_response(
        "put_events",
        {
            "FailedEntryCount": failed,
            "Entries": list(entries),
            "ResponseMetadata": {"RequestId": "request-1", "HTTPStatusCode": 200},
        },
    )


def test_each_entry_has_its_own_answer(stubbed: tuple[EventBridgeBus, Stubber]) -> None:
    bus, stubber = stubbed
    answer(
        stubber,
        {"EventId": "e-1"},
        {"ErrorCode": "ThrottlingException", "ErrorMessage": "of job_2 and ada@example.com"},
        {"ErrorCode": "MalformedDetail", "ErrorMessage": "of job_3"},
        {"ErrorCode": "InternalFailure", "ErrorMessage": "of job_4"},
        {"ErrorCode": "WhoKnows", "ErrorMessage": "of job_5"},
    )
    told = bus.put([event(number) for number in range(1, 6)], deadline=DEADLINE)
    kinds = [type(each) for each in told]
    assert kinds == [str, TurnedAway, Declined, Ambiguous, Ambiguous]
    errors = [each for each in told if isinstance(each, ProviderError)]
    assert {error.reference for error in errors} == {"request-1"}
    assert {error.message for error in errors} <= set(SENTENCES.values())


def test_an_answer_that_leaves_an_entry_out_says_nothing(stubbed: tuple[EventBridgeBus, Stubber]) -> None:
    bus, stubber = stubbed
    answer(stubber, {"EventId": "e-1"})
    with pytest.raises(Ambiguous):
        bus.put([event(1), event(2)], deadline=DEADLINE)


@pytest.mark.parametrize(
    ("code", "status", "kind", "reason"),
    [
        ("ThrottlingException", 400, TurnedAway, "provider_rate_limited"),
        ("LimitExceededException", 400, TurnedAway, "provider_rate_limited"),
        ("Unheard", 429, TurnedAway, "provider_rate_limited"),
        ("ExpiredTokenException", 400, TurnedAway, "provider_not_authenticated"),
        ("Unheard", 401, TurnedAway, "provider_not_authenticated"),
        ("AccessDeniedException", 400, TurnedAway, "provider_not_permitted"),
        ("Unheard", 403, TurnedAway, "provider_not_permitted"),
        ("ResourceNotFoundException", 400, TurnedAway, "bus_missing"),
        ("ValidationException", 400, Declined, "event_rejected"),
        ("RequestSizeException", 413, Declined, "event_rejected"),
        ("InternalException", 500, Ambiguous, "provider_failed"),
        ("ServiceUnavailable", 503, Ambiguous, "provider_failed"),
    ],
)
def test_an_answer_to_the_call_is_about_all_of_it(
    stubbed: tuple[EventBridgeBus, Stubber], code: str, status: int, kind: type[ProviderError], reason: str
) -> None:
    bus, stubber = stubbed
    stubber.add_client_error("put_events", code, "ada@example.com", http_status_code=status)
    with pytest.raises(kind) as caught:
        bus.put([event()], deadline=DEADLINE)
    assert (caught.value.reason, caught.value.message) == (reason, SENTENCES[reason])


class Broken:
    """A client whose calls come to nothing."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def put_events(self, **_: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (EndpointConnectionError(endpoint_url="x"), NotSent, "connection_failed"),
        (ConnectTimeoutError(endpoint_url="x"), NotSent, "connection_failed"),
        (NoCredentialsError(), NotSent, "provider_not_configured"),
        (ReadTimeoutError(endpoint_url="x"), Ambiguous, "provider_timeout"),
    ],
)
def test_a_call_without_an_answer(error: Exception, kind: type[ProviderError], reason: str) -> None:
    with pytest.raises(kind) as caught:
        EventBridgeBus(Broken(error), "bus", ManualClock()).put([event()], deadline=DEADLINE)
    assert caught.value.reason == reason


def test_no_call_starts_that_cannot_end_in_time() -> None:
    bus = EventBridgeBus(Broken(AssertionError("It was called.")), "bus", ManualClock())
    with pytest.raises(NotSent, match="too soon"):
        bus.put([event()], deadline=START + timedelta(seconds=4))


def test_a_call_takes_ten_events_at_the_most() -> None:
    bus = EventBridgeBus(Broken(AssertionError("It was called.")), "bus", ManualClock())
    with pytest.raises(ValueError, match="10"):
        bus.put([event()] * 11, deadline=DEADLINE)
