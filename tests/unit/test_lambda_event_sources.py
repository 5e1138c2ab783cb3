"""What is asked of Lambda, and what becomes of its answers, by the state that a mapping is in."""

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from botocore.stub import Stubber

from chalicelib.aws.clients import Clients
from chalicelib.aws.event_sources import LambdaEventSources
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.policies import Lane, Tier

URLS = {(tier, lane): f"https://sqs/1/{tier}-{lane}" for tier in Tier for lane in Lane}


def uuid(lane: Lane, tier: Tier = Tier.MONEY) -> str:
    return str(uuid5(NAMESPACE_URL, f"{tier}-{lane}"))


def arn(lane: Lane, tier: Tier = Tier.MONEY) -> str:
    return f"arn:aws:sqs:eu-central-1:1:{tier}-{lane}"


class Amazon:
    """Answers in the order in which they are asked for; any other question fails the test."""

    def __init__(self, clients: Clients) -> None:
        self.sqs = Stubber(clients.sqs)
        self.functions = Stubber(clients.functions)

    def has(self, main: str | None, express: str | None = None, tier: Tier = Tier.MONEY) -> None:
        """Let the tier's lanes have a mapping each, in these states; None: there is none."""
        for lane, state in zip(Lane, (main, express), strict=True):
            found = [] if state is None else [{"UUID": uuid(lane, tier), "State": state}]
            self.queue(lane, tier)
            self.page(found, {"EventSourceArn": arn(lane, tier)})

    def queue(self, lane: Lane, tier: Tier = Tier.MONEY) -> None:
        asked = {"QueueUrl": URLS[tier, lane], "AttributeNames": ["QueueArn"]}
        answer = {"Attributes": {"QueueArn": arn(lane, tier)}}
        self.sqs.add_response("get_queue_attributes", answer, asked)

    def page(self, mappings: list[Any], asked: dict[str, Any], **more: str) -> None:
        answer = {"EventSourceMappings": mappings, **more}
        self.functions.add_response("list_event_source_mappings", answer, asked)

    def changes(self, lane: Lane, tier: Tier = Tier.MONEY, *, enabled: bool) -> None:
        """Expect that a mapping is changed."""
        asked = {"UUID": uuid(lane, tier), "Enabled": enabled}
        self.functions.add_response("update_event_source_mapping", {}, asked)

    def refuses(self, lane: Lane, code: str, *, enabled: bool) -> None:
        """Expect that a change is asked for, and refuse it."""
        asked = {"UUID": uuid(lane), "Enabled": enabled}
        self.functions.add_client_error("update_event_source_mapping", code, expected_params=asked)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    made = Clients("eu-central-1")
    yield made
    made.sqs.close()
    made.functions.close()


@pytest.fixture
def amazon(clients: Clients) -> Iterator[Amazon]:
    made = Amazon(clients)
    with made.sqs, made.functions:
        yield made
        made.sqs.assert_no_pending_responses()
        made.functions.assert_no_pending_responses()


@pytest.fixture
def sources(clients: Clients) -> LambdaEventSources:
    return LambdaEventSources(clients, URLS)


@pytest.mark.parametrize(
    ("state", "left_alone_when"),
    [
        ("Creating", {True}),
        ("Enabling", {True}),
        ("Enabled", {True}),
        ("Disabling", {False}),
        ("Disabled", {False}),
        ("Updating", set()),  # to what, it does not say
        ("Deleting", {True, False}),
    ],
)
@pytest.mark.parametrize("enabled", [True, False])
def test_a_mapping_is_changed_unless_it_stands_or_goes_where_it_should(
    amazon: Amazon, sources: LambdaEventSources, state: str, left_alone_when: set[bool], enabled: bool
) -> None:
    amazon.has(state)
    changes = enabled not in left_alone_when
    if changes:
        amazon.changes(Lane.MAIN, enabled=enabled)
    assert sources.set_enabled(Tier.MONEY, enabled) is changes


def test_each_lane_of_the_tier_is_seen_to_by_itself(amazon: Amazon, sources: LambdaEventSources) -> None:
    amazon.has("Disabled", "Enabled", Tier.COMMUNICATION)
    amazon.changes(Lane.EXPRESS, Tier.COMMUNICATION, enabled=False)
    assert sources.set_enabled(Tier.COMMUNICATION, False)


def test_every_page_of_mappings_is_read(amazon: Amazon, sources: LambdaEventSources) -> None:
    amazon.queue(Lane.MAIN)
    amazon.page([], {"EventSourceArn": arn(Lane.MAIN)}, NextMarker="m1")
    last = [{"UUID": uuid(Lane.MAIN), "State": "Enabled"}]
    amazon.page(last, {"EventSourceArn": arn(Lane.MAIN), "Marker": "m1"})
    amazon.queue(Lane.EXPRESS)
    amazon.page([], {"EventSourceArn": arn(Lane.EXPRESS)})
    amazon.changes(Lane.MAIN, enabled=False)
    assert sources.set_enabled(Tier.MONEY, False)


@pytest.mark.parametrize("code", ["ResourceInUseException", "TooManyRequestsException", "ServiceException"])
def test_a_mapping_that_cannot_be_changed_now_is_told_and_keeps_no_other_from_it(
    amazon: Amazon, sources: LambdaEventSources, code: str
) -> None:
    amazon.has("Enabled", "Enabled")
    amazon.refuses(Lane.MAIN, code, enabled=False)
    amazon.changes(Lane.EXPRESS, enabled=False)
    with pytest.raises(StoreRefused):
        sources.set_enabled(Tier.MONEY, False)


def test_queues_or_mappings_that_cannot_be_seen_are_told_and_nothing_is_changed(
    amazon: Amazon, sources: LambdaEventSources
) -> None:
    amazon.sqs.add_client_error("get_queue_attributes", "AWS.SimpleQueueService.NonExistentQueue")
    with pytest.raises(StoreRefused):
        sources.set_enabled(Tier.MONEY, False)
    amazon.queue(Lane.MAIN)
    amazon.functions.add_client_error("list_event_source_mappings", "AccessDeniedException")
    with pytest.raises(StoreRefused):
        sources.set_enabled(Tier.MONEY, False)
