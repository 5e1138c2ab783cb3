"""TwilioMessages and Twilio's own client, on our stand-in and on `emulate`, which others wrote."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import urllib3
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.opting import Wish, wish_of
from chalicelib.domain.providers import Begun, SentSms, Sms
from chalicelib.providers.twilio_messages import (
    ABOUT_THE_TEXT,
    NOT_THE_TEXT,
    SENTENCES,
    TwilioAccount,
    TwilioMessages,
)
from chalicelib.settings.environment import Secret
from chalicelib.settings.vendors import TwilioSettings
from local.standins import StandIns
from local.standins.listener import Listener
from local.standins.wire import Answer, Request
from tests.contract.counterparts import (
    TWILIO_ACCOUNT,
    TWILIO_PHONE,
    TWILIO_TOKEN,
    Counterpart,
    NotInstalled,
    emulate,
)
from tests.fakes import START, ManualClock

DEADLINE = START + timedelta(minutes=1)
CALL_SECONDS = 0.5
TO = "+15005550010"
SMS = Sms(JobId("job_1"), TO, "Zwölf Töne für Ada")


@dataclass
class Ear:
    """Hears what Twilio tells, and whether it was signed."""

    url: str = ""
    heard: list[tuple[str, dict[str, str], bool]] = field(default_factory=list)
    news: threading.Event = field(default_factory=threading.Event)

    def take(self, request: Request) -> Answer:
        url = f"{self.url}{urlsplit(request.path).path}" + (f"?{request.query}" if request.query else "")
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        signed = RequestValidator(TWILIO_TOKEN).validate(url, form, request.headers["x-twilio-signature"])
        self.heard.append((url, form, signed))
        self.news.set()
        return Answer(200, b"<Response/>", {"Content-Type": "application/xml"})

    def await_count(self, count: int) -> None:
        until = time.monotonic() + 5
        while len(self.heard) < count and time.monotonic() < until:
            self.news.wait(0.2)
            self.news.clear()
        assert len(self.heard) >= count


@pytest.fixture(scope="module")
def ears() -> Iterator[Ear]:
    ear = Ear()
    listener = Listener("127.0.0.1", 0, ear.take)
    ear.url = f"http://127.0.0.1:{listener.port}"
    listener.start()
    yield ear
    listener.stop()


@pytest.fixture
def ear(ears: Ear) -> Ear:
    ears.heard.clear()
    return ears


@pytest.fixture(scope="module")
def theirs(ears: Ear) -> Iterator[Counterpart]:
    try:
        running = emulate(f"{ears.url}/inbound")
    except NotInstalled as error:
        pytest.skip(f"emulate: {error}")
    yield running
    running.stop()


@pytest.fixture(params=["stand-in", "emulate"])
def base(request: pytest.FixtureRequest, ear: Ear) -> Iterator[str]:
    """Return the base URL of each Twilio."""
    if request.param == "emulate":
        yield request.getfixturevalue("theirs").url
        return
    with StandIns(twilio_webhook=f"{ear.url}/inbound") as running:
        yield running.twilio_url


@pytest.fixture
def stand_ins() -> Iterator[StandIns]:
    with StandIns() as running:
        yield running


class Plain:
    """Our calls."""

    def __init__(self, base: str, ear: Ear | None = None, *, token: str = TWILIO_TOKEN, **changes: Any) -> None:
        account = TwilioSettings(TWILIO_ACCOUNT, Secret(token, None), TWILIO_PHONE, base)
        self.asked: list[bool] = []
        self._texts = TwilioMessages(
            TwilioAccount(
                replace(account, **changes), self._token(token), ManualClock(), call_seconds=CALL_SECONDS
            ),
            status_callback=None if ear is None else f"{ear.url}/status",
        )

    def _token(self, token: str) -> Any:
        def tell(anew: bool) -> str:
            self.asked.append(anew)
            return token

        return tell

    def send(self, sms: Sms = SMS, **changes: Any) -> SentSms:
        try:
            given: dict[str, Any] = {"begun": Begun(sms.job_id, 1), "deadline": DEADLINE, **changes}
            return self._texts.send(sms, **given)
        finally:
            self._texts.close()


class Through(TwilioHttpClient):  # type: ignore[misc]  # theirs is untyped
    """Twilio's own way over HTTP, to another host than its own."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=5)
        self._base = base

    def request(self, method: str, url: str, *rest: Any, **named: Any) -> Response:
        return super().request(method, self._base + urlsplit(url).path, *rest, **named)

    def close(self) -> None:
        self.session.close()


@pytest.fixture
def sdk(base: str) -> Iterator[Client]:
    way = Through(base)
    yield Client(TWILIO_ACCOUNT, TWILIO_TOKEN, http_client=way)
    way.close()


def test_a_text_is_taken_and_can_be_read_back(base: str, sdk: Client) -> None:
    sent = Plain(base).send()
    assert (sent.status, sent.segments, sent.price_unit) == ("queued", 1, "USD")
    kept = sdk.messages(sent.id).fetch()
    assert (kept.sid, kept.to, kept.from_, kept.body) == (sent.id, TO, TWILIO_PHONE, SMS.text)


def test_twilios_own_client_has_the_same_answer(base: str, sdk: Client) -> None:
    ours = Plain(base).send()
    its = sdk.messages.create(to=TO, from_=TWILIO_PHONE, body=SMS.text)
    assert its.sid != ours.id
    assert its.sid[:2] == ours.id[:2] == "SM"
    assert (its.status, int(its.num_segments), its.price_unit) == (ours.status, ours.segments, ours.price_unit)
    assert its.date_created is not None
    assert its.error_code is None


@pytest.mark.parametrize("text", ["x" * 161, "é & + ? = %20", "first\nsecond", "🎟 Ada"])
def test_a_text_arrives_as_it_was(base: str, sdk: Client, text: str) -> None:
    sent = Plain(base).send(replace(SMS, text=text))
    assert sdk.messages(sent.id).fetch().body == text


def test_what_becomes_of_a_text_is_told_and_names_its_job(base: str, ear: Ear) -> None:
    sent = Plain(base, ear).send()
    ear.await_count(1)
    for url, form, signed in ear.heard:
        assert signed
        assert url == f"{ear.url}/status?job=job_1"
        assert (form["MessageSid"], form["To"]) == (sent.id, TO)
        assert form["MessageStatus"] in ("queued", "sent", "delivered")


@pytest.mark.parametrize(("text", "wish"), [("STOP", Wish.STOP), ("Start", Wish.START), ("Hello", None)])
def test_what_a_phone_texts_is_told_signed(
    request: pytest.FixtureRequest, base: str, ear: Ear, text: str, wish: Wish | None
) -> None:
    if "emulate" in request.node.name:
        form = urlencode({"To": TWILIO_PHONE, "From": TO, "Body": text}).encode()
        headers = urllib3.make_headers(basic_auth=f"{TWILIO_ACCOUNT}:{TWILIO_TOKEN}")
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        asked = urllib.request.Request(f"{base}/_twilio/simulate/inbound-message", form, headers)
    else:
        asked = urllib.request.Request(f"{base}/_inbound", json.dumps({"from": TO, "body": text}).encode())
    with urllib.request.urlopen(asked, timeout=5):
        pass
    ear.await_count(1)
    [(url, told, signed)] = ear.heard
    assert (signed, url, told["From"]) == (True, f"{ear.url}/inbound", TO)
    assert told.get("MessageStatus", "received") == "received"
    assert wish_of(told["Body"], told.get("OptOutType")) is wish


def test_a_wrong_token_is_turned_away_and_read_anew(base: str) -> None:
    plain = Plain(base, token="stale")
    with pytest.raises(TurnedAway) as caught:
        plain.send()
    assert caught.value.reason == "provider_not_authenticated"
    assert plain.asked == [False, True]


def test_a_number_that_is_not_ours_is_ours_to_mend(base: str, sdk: Client) -> None:
    with pytest.raises(TurnedAway) as caught:
        Plain(base, phone="+15005550077").send()
    assert caught.value.reason == "sender_not_usable"
    with pytest.raises(TwilioRestException) as its:
        sdk.messages.create(to=TO, from_="+15005550077", body="x")
    assert (its.value.status, its.value.code) == (400, 21606)


def test_a_call_that_speaks_is_taken(base: str, sdk: Client) -> None:
    call = sdk.calls.create(to=TO, from_=TWILIO_PHONE, twiml="<Response><Say>Stuck.</Say></Response>")
    assert call.sid is not None
    assert call.sid.startswith("CA")
    assert call.status in ("queued", "ringing")  # Twilio says the first, emulate the second


# --- what emulate does not know


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("+15005550001", "invalid_number"),
        ("+15005550002", "number_not_reachable"),
        ("+15005550003", "region_not_enabled"),
        ("+15005550004", "unsubscribed"),
        ("+15005550009", "not_a_mobile_number"),
    ],
)
def test_a_magic_number_is_refused(stand_ins: StandIns, to: str, reason: str) -> None:
    with pytest.raises(Declined) as caught:
        Plain(stand_ins.twilio_url).send(replace(SMS, to=to))
    assert (caught.value.reason, caught.value.message) == (reason, SENTENCES[reason])
    assert caught.value.reference is not None
    assert stand_ins.effects() == []


@pytest.mark.parametrize(
    ("mode", "kind", "reason", "texts"),
    [
        ("status-429", TurnedAway, "provider_rate_limited", 0),
        ("status-500", Ambiguous, "provider_failed", 0),
        ("status-503", Ambiguous, "provider_failed", 0),
        ("decline", Declined, "invalid_number", 0),
        ("timeout-before-apply", Ambiguous, "provider_timeout", 0),
        ("timeout-after-apply", Ambiguous, "provider_timeout", 1),
        ("refuse-connection", NotSent, "connection_failed", 0),
    ],
)
def test_a_fault_is_what_it_stands_for(
    stand_ins: StandIns, mode: str, kind: type[ProviderError], reason: str, texts: int
) -> None:
    stand_ins.arm("twilio", mode)
    with pytest.raises(kind) as caught:
        Plain(stand_ins.twilio_url).send()
    assert caught.value.reason == reason
    assert len(stand_ins.effects()) == texts
    if isinstance(caught.value, TurnedAway):
        assert caught.value.after == timedelta(seconds=1)


def test_the_ledger_names_the_job_of_a_text(stand_ins: StandIns, ear: Ear) -> None:
    Plain(stand_ins.twilio_url, ear).send()
    [effect] = stand_ins.effects()
    assert (effect["provider"], effect["operation"], effect["jobId"]) == ("twilio", "sms", "job_1")


def test_a_text_that_is_not_delivered_is_told_with_its_error(stand_ins: StandIns, ear: Ear) -> None:
    Plain(stand_ins.twilio_url, ear).send(replace(SMS, to="+150055530003"))
    ear.await_count(2)
    told = [(form["MessageStatus"], form.get("ErrorCode")) for _, form, _ in ear.heard]
    assert told == [("sent", None), ("undelivered", "30003")]


def test_a_phone_that_said_stop_gets_no_more_until_it_says_start(ear: Ear) -> None:
    with StandIns(twilio_webhook=f"{ear.url}/inbound") as running:
        assert running.text_us(TO, " Stop ") == 200
        with pytest.raises(Declined) as caught:
            Plain(running.twilio_url).send()
        assert caught.value.reason == "unsubscribed"
        assert running.text_us(TO, "START") == 200
        Plain(running.twilio_url).send()
    told = [(form["From"], form["Body"], form["OptOutType"], signed) for _, form, signed in ear.heard]
    assert told == [(TO, " Stop ", "STOP", True), (TO, "START", "START", True)]


def test_nothing_starts_that_cannot_end_in_time(stand_ins: StandIns) -> None:
    with pytest.raises(NotSent) as caught:
        Plain(stand_ins.twilio_url).send(deadline=START + timedelta(seconds=9.9))
    assert caught.value.reason == "no_time_left"
    assert stand_ins.effects() == []


def test_another_jobs_begun_sends_nothing(stand_ins: StandIns) -> None:
    with pytest.raises(ValueError, match="another job"):
        Plain(stand_ins.twilio_url).send(begun=Begun(JobId("job_2"), 1))
    assert stand_ins.effects() == []


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Answer(400, {"code": 21265}), Declined, "twilio_21265"),
        (Answer(400, {"code": "21211"}), Declined, "twilio_400"),
        (Answer(404, b"<html>"), Declined, "twilio_404"),
        (Answer(400, {"code": 20429}, {"Retry-After": "7"}), TurnedAway, "provider_rate_limited"),
        (Answer(403, {"code": 20005}), TurnedAway, "account_suspended"),
        (Answer(403, b""), TurnedAway, "provider_not_permitted"),
        (Answer(403, {"code": 21610}), Declined, "unsubscribed"),
        (Answer(302, b"", {"Location": "http://127.0.0.1:9/"}), TurnedAway, "provider_moved"),
        (Answer(408, b""), Ambiguous, "provider_failed"),
        (Answer(502, b"<html>"), Ambiguous, "provider_failed"),
        (Answer(201, b"{"), Ambiguous, "provider_failed"),
        (Answer(201, {"sid": None, "status": "queued"}), Ambiguous, "provider_failed"),
    ],
)
def test_an_answer_is_one_error(answer: Answer, kind: type[ProviderError], reason: str) -> None:
    listener = Listener("127.0.0.1", 0, lambda _: answer)
    listener.start()
    try:
        with pytest.raises(kind) as caught:
            Plain(f"http://127.0.0.1:{listener.port}").send()
    finally:
        listener.stop()
    assert caught.value.reason == reason
    assert TO not in caught.value.message


def test_every_code_has_a_sentence() -> None:
    named = {*ABOUT_THE_TEXT.values(), *(reason for reason, _ in NOT_THE_TEXT.values())}
    assert named <= SENTENCES.keys()
