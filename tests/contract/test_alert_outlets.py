"""The channels of alerts: SNS on ministack and before botocore's Stubber, Twilio on our stand-in."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from chalicelib.aws.alert_topic import AlertTopic
from chalicelib.domain.alerting import AlertType, Condition, Notice, Outlet, Severity, Word
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.policies import Tier
from chalicelib.providers.twilio_messages import TwilioAccount
from chalicelib.providers.twilio_oncall import OnCallPhone, OnCallText, spoken
from chalicelib.settings.environment import Secret
from chalicelib.settings.vendors import TwilioSettings
from local.emulator import Emulator
from local.sessions import session
from local.standins import StandIns
from tests.contract.counterparts import TWILIO_ACCOUNT, TWILIO_PHONE, TWILIO_TOKEN
from tests.fakes import START, ManualClock, told

DEADLINE = START + timedelta(minutes=1)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alerts"
ONCALL = "+15005550010"
NOTICE = Notice(
    "20260301T120000000-queue_depth-critical-money",
    Condition(AlertType.QUEUE_DEPTH, Severity.CRITICAL, Tier.MONEY),
    Word.ALERT,
    "CRITICAL money: 51 jobs wait, more than 50 & <none> ends.",
    "https://queue.example/dashboard",
)


# --- SNS


@pytest.fixture
def stack(new_stack: Callable[..., Mapping[str, str]]) -> Mapping[str, str]:
    return new_stack()


def test_an_alert_is_published_whole_and_can_be_filtered(emulator: Emulator, stack: Mapping[str, str]) -> None:
    made = session(emulator.endpoint)
    sns, sqs = made.client("sns"), made.client("sqs")
    topic = stack["ALERT_TOPIC"]
    url = sqs.create_queue(QueueName=f"{topic.rpartition(':')[2]}-arrived")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    AlertTopic(sns, topic, ManualClock()).send(NOTICE, deadline=DEADLINE)
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2)["Messages"]
    for client in (sns, sqs):
        client.close()
    bulletin = json.loads(message["Body"])
    assert bulletin["Message"] == NOTICE.written
    assert bulletin["Subject"] == "CRITICAL queue_depth money alert"
    attributes = {name: each["Value"] for name, each in bulletin["MessageAttributes"].items()}
    assert attributes == {"severity": "critical", "type": "queue_depth", "queue": "money", "word": "alert"}


@pytest.fixture
def stubbed() -> Iterator[tuple[AlertTopic, Stubber]]:
    client = session("http://127.0.0.1:9").client("sns")
    with Stubber(client) as stubber:
        yield AlertTopic(client, TOPIC, ManualClock()), stubber
    client.close()


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("Throttling", 400, TurnedAway),
        ("AuthorizationError", 403, TurnedAway),
        ("NotFound", 404, TurnedAway),
        ("InvalidParameter", 400, TurnedAway),
        ("InternalError", 500, Ambiguous),
    ],
)
def test_what_sns_answers_is_told_without_its_words(
    stubbed: tuple[AlertTopic, Stubber], code: str, status: int, error: type[ProviderError]
) -> None:
    topic, stubber = stubbed
    stubber.add_client_error("publish", code, "of 51 jobs", status)
    with pytest.raises(error) as caught:
        topic.send(NOTICE, deadline=DEADLINE)
    assert "51" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (EndpointConnectionError(endpoint_url="http://sns"), NotSent),
        (ReadTimeoutError(endpoint_url="http://sns"), Ambiguous),
    ],
)
def test_a_call_without_an_answer_is_told_as_what_it_may_have_done(
    failure: Exception, error: type[ProviderError]
) -> None:
    def fail(**_: Any) -> None:
        raise failure

    client = session("http://127.0.0.1:9").client("sns")
    client.meta.events.register("before-send.sns.Publish", fail)
    with pytest.raises(error):
        AlertTopic(client, TOPIC, ManualClock()).send(NOTICE, deadline=DEADLINE)
    client.close()


def test_nothing_is_published_that_cannot_end_in_time(stubbed: tuple[AlertTopic, Stubber]) -> None:
    with pytest.raises(NotSent):
        stubbed[0].send(NOTICE, deadline=START + timedelta(seconds=4))


# --- Twilio


@pytest.fixture
def stand_ins() -> Iterator[StandIns]:
    with StandIns() as running:
        yield running


@pytest.fixture(params=[OnCallText, OnCallPhone])
def outlet(request: pytest.FixtureRequest, stand_ins: StandIns) -> Iterator[Outlet]:
    account, made = account_of(stand_ins), request.param
    yield made(account, ONCALL)
    account.close()


def account_of(stand_ins: StandIns) -> TwilioAccount:
    settings = TwilioSettings(TWILIO_ACCOUNT, Secret(TWILIO_TOKEN, None), TWILIO_PHONE, stand_ins.twilio_url)
    return TwilioAccount(settings, told(TWILIO_TOKEN), ManualClock(), call_seconds=0.5)


def test_a_text_says_all_and_a_call_speaks_it_twice() -> None:
    said = ElementTree.fromstring(spoken(NOTICE.text)).find("Say")  # noqa: S314 - what we made ourselves
    assert said is not None
    assert (said.text, said.attrib) == (NOTICE.text, {"loop": "2"})


def test_who_is_on_call_is_texted_and_called_once(stand_ins: StandIns, outlet: Outlet) -> None:
    outlet.send(NOTICE, deadline=DEADLINE)
    operation = "sms" if isinstance(outlet, OnCallText) else "call"
    effects = stand_ins.effects()
    assert [each["operation"] for each in effects] == [operation]


@pytest.mark.parametrize(
    ("fault", "error", "effects"),
    [
        ("status-429", TurnedAway, 0),
        ("decline", Declined, 0),
        ("status-503", Ambiguous, 0),
        ("timeout-before-apply", Ambiguous, 0),
        ("timeout-after-apply", Ambiguous, 1),
    ],
)
def test_a_failure_of_twilio_is_told(
    stand_ins: StandIns, outlet: Outlet, fault: str, error: type[ProviderError], effects: int
) -> None:
    stand_ins.arm("twilio", fault)
    with pytest.raises(error):
        outlet.send(NOTICE, deadline=DEADLINE)
    assert len(stand_ins.effects()) == effects
