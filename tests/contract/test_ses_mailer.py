"""SesMailer on what others wrote: ministack, alone and behind our relay; moto; botocore's own errors."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import ANY, Stubber
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from chalicelib.aws.ses_mailer import SENTENCES, SesMailer
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.providers import Begun, Mail
from local.emulator import Emulator
from local.standins import StandIns
from tests.fakes import START, ManualClock

SENDER = "tickets@tests.example.com"
DEADLINE = START + timedelta(minutes=1)
READ_SECONDS = 0.5
MAIL = Mail(
    job_id=JobId("job_1"),
    to="ada@example.com",
    subject="Zwölf Töne für Ada",
    text="Hello Ada,\n\nZwölf Töne.\n",
    html=f"<p>Zwölf Töne</p><a href='https://example.com/{'x' * 2000}'>see</a>",
    reply_to="help@example.com",
)


def client_of(endpoint: str | None) -> Any:
    """Return a client as the service has it, but less patient."""
    config = Config(connect_timeout=1, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1})
    return boto3.client(
        "sesv2",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=config,
    )


def send(
    mailer: SesMailer, mail: Mail = MAIL, *, begun: Begun | None = None, deadline: datetime = DEADLINE
) -> str:
    return mailer.send(mail, begun=begun or Begun(mail.job_id, 1), deadline=deadline)


@pytest.fixture
def relay(emulator: Emulator) -> Iterator[StandIns]:
    """Return the stand-in in front of ministack's SES, which lets the sender send."""
    direct = client_of(emulator.endpoint)
    try:
        direct.create_email_identity(EmailIdentity=SENDER.rpartition("@")[2])
    except direct.exceptions.AlreadyExistsException:
        pass
    finally:
        direct.close()
    with StandIns(ses=emulator.endpoint) as running:
        yield running


@pytest.fixture(params=["ministack", "relay"])
def mailer(request: pytest.FixtureRequest, emulator: Emulator, relay: StandIns) -> Iterator[SesMailer]:
    client = client_of(emulator.endpoint if request.param == "ministack" else relay.ses_url)
    yield SesMailer(client, SENDER, ManualClock())
    client.close()


@pytest.fixture
def relayed(relay: StandIns) -> Iterator[SesMailer]:
    client = client_of(relay.ses_url)
    yield SesMailer(client, SENDER, ManualClock())
    client.close()


def arrived(emulator: Emulator, message_id: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{emulator.endpoint}/_ministack/ses/messages", timeout=5) as answer:
        body = json.load(answer)
    messages: list[dict[str, Any]] = [message for account in body["messages"].values() for message in account]
    (found,) = [message for message in messages if message["MessageId"] == message_id]
    return found


def test_mail_arrives_whole(mailer: SesMailer, emulator: Emulator) -> None:
    message = arrived(emulator, send(mailer))
    assert message["To"] == [MAIL.to]
    assert message["Source"] == SENDER
    assert message["Subject"] == MAIL.subject
    assert message["BodyText"].replace("\r\n", "\n") == MAIL.text
    assert "Zwölf Töne" in message["BodyHtml"]


@pytest.mark.parametrize("named", [{}, {"ConfigurationSetName": "queue-service-test"}])
def test_mail_names_the_set_that_says_where_its_events_go(named: dict[str, str]) -> None:
    client = client_of(None)
    asked = {"FromEmailAddress": SENDER, "Destination": {"ToAddresses": [MAIL.to]}, "Content": ANY, **named}
    with Stubber(client) as stubber:
        stubber.add_response("send_email", {"MessageId": "m"}, asked)
        mailer = SesMailer(client, SENDER, ManualClock(), configuration_set=named.get("ConfigurationSetName"))
        assert send(mailer) == "m"
    client.close()


def test_unverified_sender_is_ours_to_mend_and_no_effect(relay: StandIns) -> None:
    client = client_of(relay.ses_url)
    with pytest.raises(TurnedAway) as caught:
        send(SesMailer(client, "nobody@unverified.example", ManualClock()))
    client.close()
    assert caught.value.reason == "sender_not_verified"
    assert relay.effects() == []


def test_relay_enters_each_accepted_mail_in_the_ledger(relay: StandIns, relayed: SesMailer) -> None:
    send(relayed)
    (effect,) = relay.effects()
    assert {**effect, "at": None} == {
        "provider": "ses",
        "operation": "mail",
        "idempotencyKey": None,
        "jobId": "job_1",
        "amount": None,
        "at": None,
    }


@pytest.mark.parametrize(
    ("mode", "kind", "reason", "mails"),
    [
        ("status-429", TurnedAway, "provider_rate_limited", 0),
        ("status-500", Ambiguous, "provider_failed", 0),
        ("status-503", Ambiguous, "provider_failed", 0),
        ("decline", Declined, "message_rejected", 0),
        ("timeout-before-apply", Ambiguous, "provider_timeout", 0),
        ("timeout-after-apply", Ambiguous, "provider_timeout", 1),
        ("slow", Ambiguous, "provider_timeout", 0),  # slower than this client waits
        ("refuse-connection", NotSent, "connection_failed", 0),
    ],
)
def test_fault_of_ses_is_what_it_stands_for(
    relay: StandIns, relayed: SesMailer, mode: str, kind: type[ProviderError], reason: str, mails: int
) -> None:
    relay.arm("ses", mode)
    with pytest.raises(kind) as caught:
        send(relayed)
    assert caught.value.reason == reason
    assert len(relay.effects()) == mails


def test_mail_is_sent_once_whatever_is_answered(relay: StandIns, relayed: SesMailer) -> None:
    relay.arm("ses", "timeout-after-apply")
    with pytest.raises(Ambiguous):
        send(relayed)
    assert len(relay.effects()) == 1


def test_no_mail_starts_that_cannot_end_in_time(relay: StandIns, relayed: SesMailer) -> None:
    with pytest.raises(NotSent) as caught:
        send(relayed, deadline=START + timedelta(seconds=4.9))
    assert caught.value.reason == "no_time_left"
    assert relay.effects() == []


def test_another_jobs_begun_sends_nothing(relay: StandIns, relayed: SesMailer) -> None:
    with pytest.raises(ValueError, match="another job"):
        send(relayed, begun=Begun(JobId("job_2"), 1))
    assert relay.effects() == []


@pytest.mark.parametrize("field", ["to", "subject", "reply_to"])
def test_second_header_is_refused_not_sent(relay: StandIns, relayed: SesMailer, field: str) -> None:
    values = {"to": MAIL.to, "subject": MAIL.subject, "reply_to": MAIL.reply_to}
    hostile = {**values, field: "a@example.com\r\nBcc: everyone@example.com"}
    mail = Mail(MAIL.job_id, text=MAIL.text, html=MAIL.html, **hostile)  # type: ignore[arg-type]  # all are text
    with pytest.raises(Declined) as caught:
        send(relayed, mail)
    assert caught.value.reason == "invalid_header"
    assert relay.effects() == []


def test_raw_mail_carries_our_headers_and_nothing_but_ascii() -> None:
    with mock_aws():
        client = client_of(None)
        client.create_email_identity(EmailIdentity=SENDER)
        send(SesMailer(client, SENDER, ManualClock()))
        client.close()
        raw = ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages[-1].raw_data
    data = raw.encode() if isinstance(raw, str) else raw
    assert data.isascii()
    assert max(len(line) for line in data.splitlines()) <= 998
    message = message_from_bytes(data, _class=EmailMessage, policy=policy.SMTP)
    assert message["From"] == SENDER
    assert message["To"] == MAIL.to
    assert message["Subject"] == MAIL.subject
    assert message["Reply-To"] == MAIL.reply_to
    assert message["X-Job-Id"] == "job_1"
    assert message["Message-ID"] == "<job_1@tests.example.com>"
    assert message["Date"].datetime == START
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == MAIL.text
    assert html.get_content().strip() == MAIL.html


@pytest.mark.parametrize(
    ("code", "status", "kind", "reason"),
    [
        ("MessageRejected", 400, Declined, "message_rejected"),
        ("BadRequestException", 400, Declined, "message_rejected"),
        ("AccountSuspendedException", 400, TurnedAway, "account_suspended"),
        ("SendingPausedException", 400, TurnedAway, "sending_paused"),
        ("MailFromDomainNotVerifiedException", 400, TurnedAway, "sender_not_verified"),
        ("NotFoundException", 404, TurnedAway, "configuration_missing"),
        ("LimitExceededException", 400, TurnedAway, "quota_exceeded"),
        ("TooManyRequestsException", 429, TurnedAway, "provider_rate_limited"),
        ("AccessDeniedException", 403, TurnedAway, "provider_not_permitted"),
        ("UnrecognizedClientException", 403, TurnedAway, "provider_not_authenticated"),
        ("ExpiredTokenException", 403, TurnedAway, "provider_not_authenticated"),
        ("SomethingNew", 403, TurnedAway, "provider_not_permitted"),
        ("InternalFailure", 500, Ambiguous, "provider_failed"),
        ("ServiceUnavailable", 503, Ambiguous, "provider_failed"),
    ],
)
def test_answer_of_ses_is_what_it_stands_for(
    code: str, status: int, kind: type[ProviderError], reason: str
) -> None:
    client = client_of(None)
    with Stubber(client) as stubber:
        stubber.add_client_error("send_email", code, f"Why: {MAIL.to}.", status)
        with pytest.raises(kind) as caught:
            send(SesMailer(client, SENDER, ManualClock()))
    client.close()
    assert (caught.value.reason, caught.value.message) == (reason, SENTENCES[reason])
