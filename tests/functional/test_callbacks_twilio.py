"""Twilio's callbacks: let in by their signature alone; STOP keeps texts from a phone, START lets them by."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from chalice.test import HTTPResponse
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import JobId, State
from chalicelib.domain.opting import WORDS, Wish, wish_of
from chalicelib.domain.standing import mail_address, phone_number
from chalicelib.domain.suppression import Cause, Suppression
from chalicelib.http.callbacks_twilio import form_of
from tests.fakes import START
from tests.front import TWILIO, Front

TOKEN = TWILIO["TWILIO_AUTH_TOKEN"]
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:queue-service/test/twilio-AbCdEf"
URL = f"{TWILIO['PUBLIC_BASE_URL']}/v1/callbacks/twilio"
PHONE = "+15005550010"
JOB = JobId("job_000001")
TEXT = {"type": "sms.send", "data": {"to": PHONE, "message": "Your table is ready."}}
NEWS = {"MessageSid": "SM0123456789", "MessageStatus": "delivered", "To": PHONE, "AccountSid": "AC1"}


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front(environment=TWILIO)
    wiring.install(None)


def call(
    front: Front,
    form: dict[str, str],
    *,
    job: str | None = None,
    secret: str = TOKEN,
    url: str = URL,
    signature: str | None = None,
    body: bytes | None = None,
    media: str = "application/x-www-form-urlencoded",
) -> HTTPResponse:
    """Send a callback, signed as it should be unless a signature is given."""
    query = "" if job is None else f"?{urlencode({'job': job})}"
    made = RequestValidator(secret).compute_signature(f"{url}{query}", form)
    headers = {"Content-Type": media, "X-Twilio-Signature": made if signature is None else signature}
    raw = urlencode(form).encode() if body is None else body
    return front.client.http.post(f"/v1/callbacks/twilio{query}", headers=headers, body=raw)


def texted(front: Front, body: str, **more: str) -> HTTPResponse:
    """Have a phone text us."""
    return call(front, {"From": PHONE, "To": "+15005550006", "Body": body, "MessageSid": "SM9", **more})


def suppressed(front: Front) -> list[Suppression]:
    return list(front.suppressions.rows.values())


# --- texts to us


@pytest.mark.parametrize("word", ["STOP", "stop", " Stop\n", "StopAll", "unsubscribe", "CANCEL", "end", "quit"])
def test_a_phone_that_says_stop_gets_no_more(front: Front, word: str) -> None:
    answer = texted(front, word)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert answer.body == b'<?xml version="1.0" encoding="UTF-8"?><Response />'
    assert suppressed(front) == [Suppression(phone_number(PHONE), Cause.OPTED_OUT, START, detail="STOP")]
    refused = front.post(TEXT)
    assert (refused.status_code, refused.json_body["details"][0]["field"]) == (400, "data.to")


def test_a_phones_text_may_bear_a_status(front: Front) -> None:
    assert texted(front, "STOP", MessageStatus="received", SmsStatus="received").status_code == 200
    assert len(suppressed(front)) == 1


@pytest.mark.parametrize("word", ["START", "unstop", "Yes"])
def test_a_phone_that_says_start_gets_texts_again(front: Front, word: str) -> None:
    texted(front, "STOP")
    assert texted(front, word).status_code == 200
    assert suppressed(front) == []
    assert front.post(TEXT).status_code == 201
    [entry] = front.store.audit
    assert (entry.actor, entry.action, entry.before) == ("twilio", "lift_suppression", "opted_out")
    assert PHONE not in repr(entry)


@pytest.mark.parametrize("word", ["HELP", "info", "please stop it", "", "STOP!", "yes please"])
def test_a_phone_that_says_something_else_is_left_alone(front: Front, word: str) -> None:
    assert texted(front, word).status_code == 200
    assert suppressed(front) == []
    texted(front, "STOP")
    assert texted(front, word).status_code == 200
    assert len(suppressed(front)) == 1


@pytest.mark.parametrize(
    ("body", "told", "wish"),
    [
        ("Arrêt", "STOP", Wish.STOP),
        ("STOP", "HELP", None),
        ("Los", "START", Wish.START),
        ("STOP", "", None),
        ("arret", None, None),
    ],
)
def test_what_twilio_makes_of_a_text_counts(body: str, told: str | None, wish: Wish | None) -> None:
    assert wish_of(body, told) is wish


def test_saying_stop_twice_is_saying_it_once(front: Front) -> None:
    texted(front, "STOP")
    front.clock.advance(timedelta(hours=1))
    texted(front, "STOP")
    assert [each.since for each in suppressed(front)] == [START]
    assert front.journal.actions().count("opted_out") == 1


def test_start_lifts_nothing_that_a_stop_has_not_suppressed(front: Front) -> None:
    front.suppressions.add(Suppression(phone_number(PHONE), Cause.COMPLAINT, START))
    texted(front, "START")
    assert len(suppressed(front)) == 1


@pytest.mark.parametrize("sender", ["22000", "Shop", "whatsapp:+15005550010", ""])
def test_who_has_no_number_is_left_alone(front: Front, sender: str) -> None:
    assert texted(front, "STOP", From=sender).status_code == 200
    assert suppressed(front) == []


@pytest.mark.parametrize(("failures", "status"), [(2, 200), (3, 503)])
def test_a_stop_that_cannot_be_kept_is_tried_again_at_once(
    front: Front, monkeypatch: pytest.MonkeyPatch, failures: int, status: int
) -> None:
    before, left = front.suppressions.add, iter([StoreRefused, StoreUnsure, StoreRefused][:failures])

    def add(suppression: Suppression) -> bool:
        for error in left:
            raise error
        return before(suppression)

    monkeypatch.setattr(front.suppressions, "add", add)
    assert texted(front, "STOP").status_code == status
    assert bool(suppressed(front)) is (status == 200)


# --- what became of our texts


def test_what_became_of_a_text_is_logged_without_its_phone(front: Front) -> None:
    answer = call(front, {**NEWS, "MessageStatus": "undelivered", "ErrorCode": "30003"}, job=JOB)
    assert answer.status_code == 200
    [event] = [facts for action, facts in front.journal.events if action == "sms_status"]
    assert event == {"jobId": JOB, "sid": "SM0123456789", "status": "undelivered", "code": "30003"}


@pytest.mark.parametrize("state", [state for state in State if state is not State.PARKED])
@pytest.mark.parametrize("handle", [None, "SM1"])
def test_news_of_a_text_change_no_job_but_a_parked_one(front: Front, state: State, handle: str | None) -> None:
    front.post(TEXT)
    before = front.store.jobs[JOB] = replace(front.store.jobs[JOB], state=state, handle=handle)
    assert call(front, NEWS, job=JOB).status_code == 200
    assert front.store.jobs[JOB] == before


def test_a_parked_job_gets_to_know_its_text_so_that_its_operator_does(front: Front) -> None:
    front.post(TEXT)
    parked = front.store.jobs[JOB] = replace(front.store.jobs[JOB], state=State.PARKED, doubt=START)
    for _ in range(2):
        assert call(front, {**NEWS, "MessageStatus": "sent"}, job=JOB).status_code == 200
    job = front.store.jobs[JOB]
    assert job == replace(parked, handle="SM0123456789", version=parked.version + 1)
    assert front.get(f"/v1/jobs/{JOB}").json_body["providerObject"] == "SM0123456789"
    assert front.journal.actions().count("object_named") == 1


@pytest.mark.parametrize("job", ["job_9", "", "x" * 300, "../etc", "job_é"])
def test_news_of_no_job_change_nothing(front: Front, job: str) -> None:
    assert call(front, NEWS, job=job).status_code == 200
    assert front.store.jobs == {}


def test_words_that_are_none_stay_off_the_log(front: Front) -> None:
    form = {"MessageStatus": f"sent to {PHONE}", "MessageSid": PHONE, "ErrorCode": "a b"}
    assert call(front, form, job=PHONE).status_code == 200
    assert PHONE not in repr(front.journal.events)


# --- the signature


@pytest.mark.parametrize(
    "given",
    [
        {"signature": ""},
        {"signature": "bm90IHNpZ25lZA=="},
        {"secret": "guessed"},
        {"url": "http://queue.example/v1/callbacks/twilio"},
        {"url": "https://other.example/v1/callbacks/twilio"},
        {"body": b"From=%2B15005550011&To=%2B15005550006&Body=STOP&MessageSid=SM9"},
        {"body": b"\xff\xfe"},
        {"body": b"Body=a&Body=STOP"},
        {"body": b"a=1&" * 300},
    ],
)
def test_what_twilio_has_not_signed_is_not_read(front: Front, given: dict[str, Any]) -> None:
    form = {"From": PHONE, "To": "+15005550006", "Body": "STOP", "MessageSid": "SM9"}
    answer = call(front, form, **given)
    assert (answer.status_code, answer.json_body["error"]) == (400, "signature_invalid")
    assert suppressed(front) == []
    assert front.journal.actions() == []


def test_another_jobs_news_cannot_be_made_of_ours(front: Front) -> None:
    made = RequestValidator(TOKEN).compute_signature(f"{URL}?job=job_1", NEWS)
    assert call(front, NEWS, job="job_2", signature=made).status_code == 400


def test_a_form_alone_is_taken(front: Front) -> None:
    assert call(front, NEWS, media="application/json").status_code == 415


@pytest.mark.parametrize("missing", ["TWILIO_AUTH_TOKEN", "TWILIO_PHONE", "PUBLIC_BASE_URL"])
def test_without_its_settings_the_route_says_that_it_is_not_configured(missing: str) -> None:
    answer = call(Front(environment={**TWILIO, missing: ""}), NEWS)
    assert (answer.status_code, answer.json_body["error"]) == (503, "provider_not_configured")
    wiring.install(None)


def test_a_replaced_token_is_read_anew() -> None:
    front = Front(
        environment={**TWILIO, "TWILIO_AUTH_TOKEN": "", "TWILIO_AUTH_TOKEN_ARN": ARN}, secrets={ARN: TOKEN}
    )
    assert call(front, NEWS).status_code == 200
    front.secrets[ARN] = "twilio_the_next"
    assert call(front, NEWS, secret="twilio_the_next").status_code == 200
    wiring.install(None)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_none(raw: bytes) -> None:
    form = form_of(raw)
    assert form is None or all(isinstance(value, str) for value in form.values())


def test_the_words_are_those_that_twilio_knows() -> None:
    assert {word for word, wish in WORDS.items() if wish is Wish.START} == {"start", "unstop", "yes"}
    assert mail_address("a@example.com").channel != phone_number(PHONE).channel
