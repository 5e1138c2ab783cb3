"""What a text job is accepted as, waits for, and comes to."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.controls import Scope
from chalicelib.domain.errors import (
    Ambiguous,
    Declined,
    InvalidRequest,
    NotSent,
    ProviderError,
    StoreRefused,
    TurnedAway,
)
from chalicelib.domain.job import JobId, Reason, State
from chalicelib.domain.jobtype import Facts, Work
from chalicelib.domain.outcome import Completed, HeldBack, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING, Tier
from chalicelib.domain.providers import Begun, Providers, SentSms, Sms
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.standing import Objection, phone_number
from chalicelib.domain.suppression import Cause, Suppression
from chalicelib.jobtypes.sms_send import JOB_TYPE, TEMPLATES, text_of
from tests.factories import VENUE, a_job
from tests.fakes import START, ManualClock
from tests.front import Front
from tests.functional.house import House

PHONE = "+15005550010"
TEXT = {"to": PHONE, "message": "Your table is ready."}
NIGHT = QuietHours("Europe/Berlin", time(21), time(8))
AT_23 = datetime(2026, 11, 24, 22, tzinfo=UTC)  # in Berlin


@dataclass
class Air:
    """Texts in memory, and what happened in which order."""

    answer: ProviderError | None = None
    events: list[str] = field(default_factory=list)
    sent: list[Sms] = field(default_factory=list)

    def send(self, sms: Sms, *, begun: Begun, deadline: datetime) -> SentSms:
        self.events.append("send")
        if self.answer is not None:
            raise self.answer
        self.sent.append(sms)
        return SentSms("SM1", "queued", None, None)


def run(
    air: Air,
    *,
    data: dict[str, Any] | None = None,
    leave: Leave = Leave.START,
    begin: Callable[[str | None], Begun] | None = None,
    at: datetime = START,
    **changes: Any,
) -> Outcome:
    clock = ManualClock(at)
    job = a_job(type="sms.send", payload=data or TEXT)

    def write_begun(_: str | None) -> Begun:
        air.events.append("begin")
        return Begun(job.id, 1)

    work = Work(
        job=job,
        data=data or TEXT,
        leave=leave,
        deadline=clock.now() + timedelta(minutes=1),
        clock=clock,
        timing=TIMING,
        begin=begin or write_begun,
        **changes,
    )
    return JOB_TYPE.run(work, cast(Providers, SimpleNamespace(texts=air)))


def submitted(front: Front, **data: Any) -> tuple[int, list[dict[str, str]]]:
    answer = front.post({"type": "sms.send", "data": data})
    return answer.status_code, answer.json_body.get("details", [])


# --- what is accepted


@pytest.mark.parametrize("name", ["sms.send", "sms", "send-sms"])
def test_a_text_is_accepted_by_every_name(name: str) -> None:
    answer = Front().post({"type": name, "data": TEXT})
    assert (answer.status_code, answer.json_body["type"]) == (201, "sms.send")


@pytest.mark.parametrize(
    "to", ["0151123", "+0151123456", "+49 151 123456", "+1234", "+4915112345678901", "ada@example.com"]
)
def test_a_number_that_is_not_e164_is_refused(to: str) -> None:
    status, [problem] = submitted(Front(), **{**TEXT, "to": to})
    assert (status, problem["field"]) == (400, "data.to")
    assert "E.164" in problem["message"]
    assert to not in problem["message"]


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({}, {"data"}),
        ({"message": "Hi.", "template": "order_confirmation", "data": {}}, {"data"}),
        ({"template": "order_confirmation"}, {"data.data"}),
        ({"message": "Hi.", "data": {}}, {"data.template"}),
        ({"message": "Hi.", "urgent": "yes"}, {"data.urgent"}),
        ({"template": "nonsense", "data": {}}, {"data.template"}),
        ({"message": " \n "}, {"data.message"}),
        ({"message": "a\u0000b"}, {"data.message"}),
        ({"message": "x" * 1601}, {"data.message"}),
    ],
)
def test_what_is_no_text_is_refused(data: dict[str, Any], fields: set[str]) -> None:
    status, problems = submitted(Front(), to=PHONE, **data)
    assert (status, {each["field"] for each in problems}) == (400, fields)


def test_a_text_that_is_too_long_is_told_its_segments() -> None:
    status, [problem] = submitted(Front(), to=PHONE, message="🎟" * 801)
    assert status == 400
    told = "The text has 1602 characters in 25 segments of UCS-2: send at most 1600 characters."
    assert problem == {"field": "data.message", "message": told}


def test_a_template_that_grows_too_long_is_told_so_too() -> None:
    values = {"eventName": "x" * 900, "seats": "y" * 900}
    status, [problem] = submitted(Front(), to=PHONE, template="ticket_delivery", data=values)
    assert (status, problem["field"]) == (400, "data.data")
    assert "segments of GSM-7" in problem["message"]


def test_a_phone_that_wants_no_texts_is_refused() -> None:
    front = Front()
    front.registry.suppressed.add(phone_number(PHONE))
    status, [problem] = submitted(front, **TEXT)
    assert (status, problem["field"]) == (400, "data.to")
    assert PHONE not in problem["message"]
    assert (front.store.jobs, front.queue.waiting()) == ({}, 0)


def test_the_same_text_within_an_hour_is_one_job() -> None:
    def key(at: datetime = START, **data: Any) -> tuple[object, ...]:
        return JOB_TYPE.natural_key(Facts(VENUE, None, {**TEXT, **data}, at))

    assert key() == key(START + timedelta(minutes=59, seconds=59)) == key(urgent=True)
    assert len({key(), key(START + timedelta(hours=1)), key(to="+15005550011"), key(message="Other.")}) == 4


# --- templates


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_reads_well_without_any_value(template: str) -> None:
    text = text_of({"template": template, "data": {}})
    assert text.endswith(".")
    assert not {"None", "  ", "{", "Undefined"} & {
        part for part in ("None", "  ", "{", "Undefined") if part in text
    }


def test_a_template_takes_what_it_knows() -> None:
    values = {
        "eventName": "Night & Lights",
        "seats": " A1,\n A2",
        "ticketUrl": "https://e.com/t",
        "other": "x",
    }
    text = text_of({"template": "ticket_delivery", "data": values})
    assert text == "Your tickets for Night & Lights are ready. Seats: A1, A2. https://e.com/t"
    text = text_of({"template": "refund_notice", "data": {"amount": 1250, "currency": "EUR"}})
    assert "Refund: 12.50 EUR." in text


def test_a_link_that_is_none_is_left_out() -> None:
    assert "javascript" not in text_of(
        {"template": "ticket_delivery", "data": {"ticketUrl": "javascript:alert(1)"}}
    )


# --- what it comes to


def test_a_text_goes_out_after_the_record_says_begun() -> None:
    air = Air()
    outcome = run(air, data={"to": PHONE, "message": "ő" * 71})
    told = {"sid": "SM1", "status": "queued", "segments": 2, "encoding": "UCS-2"}
    assert outcome == Completed(told, handle="SM1")
    assert air.events == ["begin", "send"]
    assert air.sent == [Sms(a_job().id, PHONE, "ő" * 71)]


@pytest.mark.parametrize("leave", [Leave.REPEAT, Leave.LOOK_UP, Leave.LOOK_ONLY])
def test_a_text_in_doubt_is_never_sent_again(leave: Leave) -> None:
    air = Air()
    assert isinstance(run(air, leave=leave), Unknown)
    assert air.events == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (NotSent("connection_failed", "No."), Retry),
        (TurnedAway("provider_rate_limited", "No.", after=timedelta(seconds=3)), Retry),
        (Declined("invalid_number", "No."), Refused),
        (Ambiguous("provider_timeout", "Who knows."), Unknown),
    ],
)
def test_an_answer_of_twilio(answer: ProviderError, kind: type) -> None:
    outcome = run(Air(answer))
    assert isinstance(outcome, Retry | Refused | Unknown)
    assert (type(outcome), outcome.failure.code) == (kind, answer.reason)


def test_a_record_that_does_not_say_begun_sends_nothing() -> None:
    air = Air()

    def lost(_: str | None) -> Begun:
        raise RuntimeError("the claim is another worker's")

    with pytest.raises(RuntimeError):
        run(air, begin=lost)
    assert air.events == []


def test_a_phone_that_said_stop_since_is_refused_before_anything_is_sent() -> None:
    air = Air()
    outcome = run(air, objections=[Objection("suppressed", "data.to", "No.")], quiet_hours=NIGHT, at=AT_23)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, air.events) == ("suppressed", [])


# --- quiet hours


def test_a_text_waits_for_the_quiet_hours_to_end() -> None:
    air = Air()
    outcome = run(air, quiet_hours=NIGHT, at=AT_23)
    assert isinstance(outcome, HeldBack)
    assert (outcome.reason, outcome.delay, air.events) == ("quiet_hours", timedelta(hours=9), [])


def test_a_text_goes_out_by_day() -> None:
    assert isinstance(run(Air(), quiet_hours=NIGHT, at=AT_23 + timedelta(hours=9)), Completed)


def test_a_text_accepted_at_23_goes_out_at_8_and_is_charged_one_attempt() -> None:
    house = House(types={JOB_TYPE.name: JOB_TYPE})
    air = Air()
    house.providers.texts = air  # type: ignore[misc]  # the house has no providers of its own
    house.registry.quiet_hours[VENUE] = NIGHT
    house.clock.advance(AT_23 - house.clock.now())
    job_id = house.accept(JOB_TYPE, data=TEXT)
    house.consume(Tier.COMMUNICATION)
    job = house.job(job_id)
    assert (job.state, job.attempts, job.due) == (State.RETRYING, 0, AT_23)
    assert job.next_attempt_at == AT_23 + timedelta(hours=9)
    assert job.error is not None
    assert (job.error.code, "21:00 to 08:00 Europe/Berlin" in job.error.message) == ("quiet_hours", True)
    assert house.messages(Tier.COMMUNICATION) == []
    house.pass_time(timedelta(hours=9, minutes=-1))
    assert air.sent == []
    house.pass_time(timedelta(minutes=7))
    job = house.job(job_id)
    assert (job.state, job.attempts, job.error) == (State.COMPLETED, 1, None)
    assert len(air.sent) == 1


def held_at_night() -> tuple[House, JobId]:
    """Return a house whose consumer has held a text back at 23, an hour after it was late already."""
    house = House(types={JOB_TYPE.name: JOB_TYPE})
    house.providers.texts = Air()  # type: ignore[misc]  # the house has no providers of its own
    house.registry.quiet_hours[VENUE] = NIGHT
    house.clock.advance(AT_23 - house.clock.now() - timedelta(hours=1))
    job_id = house.accept(JOB_TYPE, data=TEXT)
    house.clock.advance(timedelta(hours=1))
    house.dispatch()
    assert house.job(job_id).overdue
    house.consume(Tier.COMMUNICATION)
    return house, job_id


def test_a_text_that_sleeps_as_its_venue_wants_is_not_late_and_wakes_nobody() -> None:
    """The age of the oldest waiting goes by `due`, and tells of more than an hour."""
    house, job_id = held_at_night()
    for after in (timedelta(0), timedelta(hours=9), timedelta(minutes=30)):
        house.clock.advance(after)
        house.dispatch()
        assert not house.job(job_id).overdue, after


def test_a_text_that_is_still_there_an_hour_after_the_quiet_hours_is_late() -> None:
    house, job_id = held_at_night()
    for after in (timedelta(hours=9), timedelta(minutes=61)):
        house.clock.advance(after)
        house.dispatch()
    assert house.job(job_id).overdue


def test_a_text_that_is_stopped_when_it_wakes_is_late_at_once() -> None:
    house, job_id = held_at_night()
    house.clock.advance(timedelta(hours=9))
    until = house.clock.now() + timedelta(hours=2)
    house.stop(Scope.PROVIDER, "twilio", until=until)
    house.dispatch()
    house.consume(Tier.COMMUNICATION)
    job = house.job(job_id)
    assert (job.attempts, job.error) == (0, None)
    house.clock.advance(timedelta(minutes=10))
    house.dispatch()
    assert house.job(job_id).overdue


def test_an_urgent_text_goes_out_at_night() -> None:
    house = House(types={JOB_TYPE.name: JOB_TYPE})
    house.providers.texts = Air()  # type: ignore[misc]  # the house has no providers of its own
    house.registry.quiet_hours[VENUE] = NIGHT
    house.clock.advance(AT_23 - house.clock.now())
    job_id = house.accept(JOB_TYPE, data={**TEXT, "urgent": True})
    house.consume(Tier.COMMUNICATION)
    assert house.job(job_id).state is State.COMPLETED


def test_a_phone_that_says_stop_in_the_night_gets_nothing_in_the_morning() -> None:
    house = House(types={JOB_TYPE.name: JOB_TYPE})
    house.providers.texts = air = Air()  # type: ignore[misc]  # the house has no providers of its own
    house.registry.quiet_hours[VENUE] = NIGHT
    house.clock.advance(AT_23 - house.clock.now())
    job_id = house.accept(JOB_TYPE, data=TEXT)
    house.consume(Tier.COMMUNICATION)
    house.registry.suppressed.add(phone_number(PHONE))
    house.pass_time(timedelta(hours=10))
    job = house.job(job_id)
    assert (job.state, job.reason, air.sent) == (State.FAILED, Reason.REFUSED, [])


@pytest.mark.parametrize("code", ["unsubscribed", "invalid_number"])
def test_a_phone_that_told_twilio_stop_is_suppressed_and_no_other(code: str) -> None:
    house = House(types={JOB_TYPE.name: JOB_TYPE})
    house.providers.texts = Air(Declined(code, "No."))  # type: ignore[misc]  # the house has no providers of its own
    job_id = house.accept(JOB_TYPE, data=TEXT)
    house.consume(Tier.COMMUNICATION)
    assert house.job(job_id).reason is Reason.REFUSED
    to = phone_number(PHONE)
    kept = Suppression(to, Cause.OPTED_OUT, house.clock.now(), "unsubscribed", job_id)
    assert house.suppressions.rows == ({to: kept} if code == "unsubscribed" else {})
    with pytest.raises(InvalidRequest) if code == "unsubscribed" else nullcontext():
        house.submit(JOB_TYPE, data={**TEXT, "message": "Another."})


def test_a_suppression_that_cannot_be_kept_costs_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(types={JOB_TYPE.name: JOB_TYPE})
    house.providers.texts = Air(Declined("unsubscribed", "No."))  # type: ignore[misc]  # see above

    def refuse(_: Suppression) -> bool:
        raise StoreRefused

    monkeypatch.setattr(house.suppressions, "add", refuse)
    job_id = house.accept(JOB_TYPE, data=TEXT)
    house.consume(Tier.COMMUNICATION)
    assert house.job(job_id).reason is Reason.REFUSED
    assert "not_suppressed" in house.journal.actions()
