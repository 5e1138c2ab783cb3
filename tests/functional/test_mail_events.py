"""What SES tells us of mails: signed as by SNS, it suppresses who cannot be reached or wants no more."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import begin
from chalicelib.domain.outcome import Failure, Unknown
from chalicelib.domain.settle import settle
from chalicelib.domain.standing import mail_address
from chalicelib.domain.suppression import Cause, Suppression
from chalicelib.providers.sns_topic import MOST_READ, READ_WITHIN, SnsTopic
from chalicelib.service.mail_events import read_event
from local.standins.listener import Listener
from local.standins.mail_events import CERTIFICATE_PATH, MailEvents
from local.standins.wire import Answer, Request
from tests.contract.lives import claimed
from tests.fakes import ManualClock
from tests.fakes_registry import MemorySuppressions
from tests.front import Front

ARN = "arn:aws:sns:eu-central-1:123456789012:queue-service-test-mail-events"
ADA = mail_address("ada@example.com")
WHOM = [{"emailAddress": "Ada <Ada@Example.com>"}]
BOUNCE = {"bounceType": "Permanent", "bounceSubType": "NoEmail", "bouncedRecipients": WHOM}
COMPLAINT = {"complaintFeedbackType": "abuse", "complainedRecipients": WHOM}


class Sns:
    """SNS as the service reaches it, and what it was asked for."""

    def __init__(self, clock: ManualClock) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.content: bytes | None = None
        self._listener = Listener("127.0.0.1", 0, self._answer)
        self.base = f"http://127.0.0.1:{self._listener.port}"
        self.events = MailEvents("http://127.0.0.1:1/", ARN, lambda: self.base, clock.now)
        self._listener.start()

    def stop(self) -> None:
        self.events.stop()
        self._listener.stop()

    def _answer(self, request: Request) -> Answer:
        self.asked.append(request.path)
        if self.status != 200:
            return Answer(self.status, b"no", {"Location": f"{self.base}/elsewhere"})
        if request.path == CERTIFICATE_PATH:
            return Answer(200, self.content or self.events.certificate)
        self.events.confirmed(request.query)
        return Answer(200, b"<ok/>")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sns(clock: ManualClock) -> Iterator[Sns]:
    made = Sns(clock)
    yield made
    made.stop()


@pytest.fixture
def front(clock: ManualClock, sns: Sns) -> Iterator[Front]:
    topic = SnsTopic(ARN, clock, base=sns.base)
    yield Front(clock=clock, mail_topic=topic)
    topic.close()
    wiring.install(None)


def send(front: Front, body: object, media: str = "text/plain; charset=UTF-8") -> HTTPResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return front.client.http.post("/v1/callbacks/ses", headers={"Content-Type": media}, body=raw)


def event(kind: str, *, name: str = "eventType", **told: object) -> str:
    """Return an event as SES publishes it, of the mail of job_1."""
    headers = [{"name": "From", "value": "us"}, {"name": "X-Job-Id", "value": "job_1"}]
    return json.dumps({name: kind, "mail": {"messageId": "m", "headers": headers}, **told})


def told(front: Front, action: str) -> list[dict[str, Any]]:
    return [facts for each, facts in front.journal.events if each == action]


# --- what is done


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("name", ["eventType", "notificationType"])
def test_address_that_bounced_for_good_is_suppressed(front: Front, sns: Sns, version: str, name: str) -> None:
    bulletin = sns.events.bulletin("Notification", event("Bounce", name=name, bounce=BOUNCE), version=version)
    assert send(front, bulletin).status_code == 200
    assert front.suppressions.load(ADA) == Suppression(
        ADA, Cause.BOUNCE, front.clock.now(), "NoEmail", front.suppressions.rows[ADA].job_id
    )
    [noted] = told(front, "mail_event")
    assert (noted["kind"], noted["jobId"], noted["suppressed"]) == ("Bounce", "job_1", 1)
    assert "example" not in repr(front.journal.events).lower()


def test_next_mail_to_it_is_refused(front: Front, sns: Sns) -> None:
    mail = {
        "type": "email.send",
        "data": {"to": "ada@example.com", "template": "refund_notice", "data": {}},
    }
    assert front.post(mail, key="a").status_code == 201
    send(front, sns.events.bulletin("Notification", event("Bounce", bounce=BOUNCE)))
    assert front.post(mail, key="b").status_code == 400


def test_complaint_suppresses_and_its_withdrawal_does_not(front: Front, sns: Sns) -> None:
    withdrawn = {**COMPLAINT, "complaintFeedbackType": "not-spam"}
    send(front, sns.events.bulletin("Notification", event("Complaint", complaint=withdrawn)))
    assert front.suppressions.load(ADA) is None
    send(front, sns.events.bulletin("Notification", event("Complaint", complaint=COMPLAINT)))
    standing = front.suppressions.load(ADA)
    assert standing is not None
    assert (standing.cause, standing.detail) == (Cause.COMPLAINT, "abuse")


@pytest.mark.parametrize(
    "message",
    [
        event("Bounce", bounce={**BOUNCE, "bounceType": "Transient"}),
        event("Bounce", bounce={**BOUNCE, "bounceType": "Undetermined"}),
        event("Bounce"),
        event(
            "Bounce", bounce={"bounceType": "Permanent", "bouncedRecipients": [{}, None, {"emailAddress": 1}]}
        ),
        event("Delivery", delivery={"recipients": ["ada@example.com"]}),
        event("Something New", bounce=BOUNCE),
        "Successfully validated SNS topic for Amazon SES event publishing.",
        "[" * 100_000,
        "[]",
        "",
    ],
)
def test_what_suppresses_nobody_is_received_all_the_same(front: Front, sns: Sns, message: str) -> None:
    assert send(front, sns.events.bulletin("Notification", message)).status_code == 200
    assert front.suppressions.rows == {}
    assert len(told(front, "mail_event")) == 1


def test_the_same_event_twice_suppresses_once(front: Front, sns: Sns) -> None:
    bulletin = sns.events.bulletin("Notification", event("Bounce", bounce=BOUNCE))
    assert [send(front, bulletin).status_code for _ in range(2)] == [200, 200]
    assert [each["suppressed"] for each in told(front, "mail_event")] == [1, None]
    assert sns.asked == [CERTIFICATE_PATH]


def test_all_addresses_of_an_event_are_suppressed(front: Front, sns: Sns) -> None:
    whom = [*WHOM, {"emailAddress": "bob@example.com"}, *WHOM]
    send(
        front,
        sns.events.bulletin("Notification", event("Bounce", bounce={**BOUNCE, "bouncedRecipients": whom})),
    )
    assert set(front.suppressions.rows) == {ADA, mail_address("bob@example.com")}


def test_subscription_is_confirmed_and_its_end_alarms(front: Front, sns: Sns) -> None:
    assert send(front, sns.events.bulletin("SubscriptionConfirmation", "Hello")).status_code == 200
    assert sns.asked == [CERTIFICATE_PATH, "/"]
    assert send(front, sns.events.bulletin("UnsubscribeConfirmation", "Goodbye")).status_code == 200
    assert sns.asked == [CERTIFICATE_PATH, "/"]
    assert told(front, "mail_events_unsubscribed") == [{}]


def test_confirmation_that_sns_does_not_take_is_asked_for_again(front: Front, sns: Sns) -> None:
    send(front, sns.events.bulletin("Notification", ""))
    sns.status = 500
    assert send(front, sns.events.bulletin("SubscriptionConfirmation", "Hello")).status_code == 503


def test_table_that_does_not_answer_has_the_event_sent_again(
    front: Front, sns: Sns, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Suppression] = []

    def down(_: MemorySuppressions, suppression: Suppression) -> bool:
        tries.append(suppression)
        raise StoreRefused

    monkeypatch.setattr(MemorySuppressions, "add", down)
    bulletin = sns.events.bulletin("Notification", event("Bounce", bounce=BOUNCE))
    assert send(front, bulletin).status_code == 503
    assert len(tries) == 3


def test_stage_without_a_topic_says_so() -> None:
    answer = send(Front(mail_topic=None), {})
    assert (answer.status_code, answer.json_body["error"]) == (503, "provider_not_configured")


def test_parked_job_learns_that_ses_has_its_mail_and_stays_parked(front: Front, sns: Sns) -> None:
    data = {"to": "ada@example.com", "template": "refund_notice", "data": {}}
    job_id = front.post({"type": "email.send", "data": data}).json_body["jobId"]
    job = front.store.jobs[job_id]
    policy = wiring.service().types["email.send"].policy()
    held = begin(claimed(job, now=front.clock.now(), policy=policy), handle=None)
    why = Failure("provider_timeout", "SES did not answer in time.")
    while (parked := settle(held, Unknown(why), policy, now=front.clock.now(), jitter=0.5)).state != "parked":
        held = parked
    front.store.jobs[job_id] = parked
    mail = {"messageId": "0102-ses", "headers": [{"name": "X-Job-Id", "value": job_id}]}
    send(front, sns.events.bulletin("Notification", json.dumps({"eventType": "Delivery", "mail": mail})))
    told_of = front.get(f"/v1/jobs/{job_id}").json_body
    assert (told_of["state"], told_of["error"]["code"]) == ("parked", "provider_timeout")
    assert front.store.jobs[job_id].handle == "0102-ses"


# --- what is turned away


Change = Callable[[Sns, dict[str, str]], Mapping[str, Any]]


def changed(**fields: Any) -> Change:
    """Return what changes a bulletin after it was signed; None takes a field away."""
    return lambda _, made: {name: value for name, value in {**made, **fields}.items() if value is not None}


def signed_with(**fields: str) -> Change:
    """Return what changes a bulletin before it is signed, as only SNS could."""
    return lambda sns, made: sns.events.signed({**made, **fields})


FORGED: dict[str, Change] = {
    "nothing": lambda *_: {},
    "another message": changed(Message=event("Bounce", bounce=BOUNCE)),
    "another subject": changed(Subject="Hello"),
    "no signature": changed(Signature=None),
    "an empty signature": changed(Signature=""),
    "no base64": changed(Signature="%%%"),
    "not ASCII": changed(Signature="ü"),
    "another's signature": changed(Signature=base64.b64encode(bytes(256)).decode()),
    "a number as signature": changed(Signature=1),
    "the other version": changed(SignatureVersion="1"),
    "a version that nobody knows": changed(SignatureVersion="3"),
    "another kind": changed(Type="SubscriptionConfirmation"),
    "a kind that nobody knows": changed(Type="Hello"),
    "a list as kind": changed(Type=["Notification"]),
    "another topic": changed(TopicArn=f"{ARN}2"),
    "another topic, rightly signed": signed_with(TopicArn=f"{ARN}2"),
    "yesterday's, rightly signed": signed_with(Timestamp="2026-02-28T11:59:59.000Z"),
    "tomorrow's, rightly signed": signed_with(Timestamp="2026-03-02T12:00:01.000Z"),
    "no moment, rightly signed": signed_with(Timestamp="now"),
    "no offset, rightly signed": signed_with(Timestamp="2026-03-01T12:00:00"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_sns_has_not_signed_for_us_changes_nothing(front: Front, sns: Sns, name: str) -> None:
    made = sns.events.bulletin("Notification", event("Delivery"))
    answer = send(front, FORGED[name](sns, made))
    assert (answer.status_code, answer.json_body["error"]) == (400, "signature_invalid")
    assert (front.suppressions.rows, told(front, "mail_event")) == ({}, [])


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"Type": "a", "Type": "b"}'])
def test_what_is_no_object_is_refused(front: Front, text: bytes) -> None:
    assert send(front, text).status_code == 400


CERTIFICATES = [
    "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-a.pem",
    "https://evil.example/SimpleNotificationService-a.pem",
    "{base}.evil.example/SimpleNotificationService-a.pem",
    "{base}@evil.example/SimpleNotificationService-a.pem",
    "{base}/evil.pem",
    "{base}/?SimpleNotificationService-a.pem",
    "{base}/SimpleNotificationService-a.pem?x=1",
    "{base}/SimpleNotificationService-a.pem#x",
    "{base}/x/../SimpleNotificationService-a.pem",
    "{base}/SimpleNotificationService-a/b.pem",
    "{base}/SimpleNotificationService-a.pem\n",
    "{base}//SimpleNotificationService-a.pem",
    "ftp://127.0.0.1/SimpleNotificationService-a.pem",
    "",
]


@pytest.mark.parametrize("url", CERTIFICATES)
def test_certificates_are_read_nowhere_else(front: Front, sns: Sns, url: str) -> None:
    made = sns.events.bulletin("Notification", event("Delivery"), SigningCertURL=url.format(base=sns.base))
    assert send(front, made).status_code == 400
    assert sns.asked == []


@pytest.mark.parametrize(
    ("arn", "base"),
    [
        (ARN, "https://sns.eu-central-1.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:t", "https://sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:t", "https://sns.us-gov-west-1.amazonaws.com"),
    ],
)
def test_certificates_of_a_real_topic_are_read_from_its_own_region(arn: str, base: str) -> None:
    topic = SnsTopic(arn, ManualClock())
    assert topic._base == base


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?Action=ConfirmSubscription&TopicArn={arn}&Token=t",
        "{base}/?Action=DeleteTopic&TopicArn={arn}&Token=t",
        "{base}/?Action=ConfirmSubscription&TopicArn={arn}2&Token=t",
        "{base}/x?Action=ConfirmSubscription&TopicArn={arn}&Token=t",
        "{base}@evil.example/?Action=ConfirmSubscription&TopicArn={arn}&Token=t",
    ],
)
def test_subscriptions_are_confirmed_nowhere_else(front: Front, sns: Sns, url: str) -> None:
    asked = url.format(base=sns.base, arn=ARN)
    made = sns.events.bulletin("SubscriptionConfirmation", "Hello", SubscribeURL=asked)
    assert send(front, made).status_code == 400
    assert sns.asked == [CERTIFICATE_PATH]


@pytest.mark.parametrize(
    ("status", "content", "answered"),
    [(403, None, 400), (404, None, 400), (302, None, 503), (500, None, 503), (200, b"no certificate", 503)],
)
def test_certificate_that_cannot_be_read_lets_nothing_in(
    front: Front, sns: Sns, status: int, content: bytes | None, answered: int
) -> None:
    sns.status, sns.content = status, content
    made = sns.events.bulletin("Notification", event("Bounce", bounce=BOUNCE))
    assert send(front, made).status_code == answered
    assert (front.suppressions.rows, sns.asked) == ({}, [CERTIFICATE_PATH])
    sns.status, sns.content = 200, None
    assert send(front, made).status_code == 200


def test_certificate_of_another_time_lets_nothing_in(front: Front, sns: Sns) -> None:
    assert sns.events.certificate
    front.clock.advance(timedelta(days=366))
    assert send(front, sns.events.bulletin("Notification", event("Delivery"))).status_code == 400


def test_strangers_have_few_certificates_read(front: Front, sns: Sns) -> None:
    for number in range(MOST_READ + 5):
        url = f"{sns.base}/SimpleNotificationService-{number}.pem"
        made = sns.events.bulletin("Notification", event("Delivery"), SigningCertURL=url)
        send(front, {**made, "Signature": base64.b64encode(bytes(256)).decode()})
    assert len(sns.asked) == MOST_READ
    front.clock.advance(READ_WITHIN)
    assert send(front, sns.events.bulletin("Notification", event("Delivery"))).status_code == 200


def test_only_a_job_id_is_taken_from_a_mail() -> None:
    headers = [
        {"name": "X-JOB-ID", "value": "job_1 <script>"},
        {"name": 7},
        "x",
        {"name": "x-job-id", "value": "j"},
    ]
    told_of = read_event(json.dumps({"eventType": "Send", "mail": {"headers": headers}}))
    assert told_of.job_id == "j"
    assert read_event(json.dumps({"eventType": "Send " * 20})).kind is None
