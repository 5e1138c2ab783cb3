"""Ends that callers want to be told of: every way a job can end tells once, whatever gets lost on the way."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.job import Job, JobId, Poll, Reason, State
from chalicelib.domain.notice import notice_id
from chalicelib.domain.outcome import Completed, Failure, Outcome, Pending, Refused, Retry, Unknown
from chalicelib.domain.policies import EffectClass, Tier
from chalicelib.domain.steer import Resolution
from tests.factories import VENUE, an_endpoint
from tests.functional.house import ROWS, Fault, House
from tests.functional.test_manage import order

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
A, B, C, D = EffectClass.KEYED, EffectClass.LOOKED_UP, EffectClass.BLIND, EffectClass.RECEIVER_DEDUPS
WHY = Failure("code", "A sentence.")
URL = "https://shop.example/done"
LOST, MUTE, REFUSED = Fault.LOST, Fault.MUTE, Fault.REFUSED
HOOK = Tier.BACKGROUND


@pytest.fixture
def house() -> House:
    return House()


def consume(house: House, effect_class: EffectClass = A) -> None:
    house.consume(ROWS[effect_class][1])


def ended(house: House, job_id: JobId) -> Job:
    """Return the record of a job that must have ended, and been told of once, as it ended."""
    job = house.job(job_id)
    assert house.told() == [(job_id, f"job.{job.state}")]
    [made] = house.notices()
    assert made.id == notice_id(job)
    return job


# --- each way to end


@pytest.mark.parametrize("effect_class", list(EffectClass))
@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Completed({"done": True}), State.COMPLETED), (Refused(WHY, clears_doubt=True), State.FAILED)],
    ids=["completed", "refused"],
)
def test_what_an_attempt_ends_is_told(
    house: House, effect_class: EffectClass, outcome: Outcome, state: State
) -> None:
    job_id = house.accept(effect_class, callback_url=URL)
    house.scripts[effect_class].steps.append(outcome)
    consume(house, effect_class)
    assert ended(house, job_id).state is state


def test_what_its_last_attempt_exhausts_is_told(house: House) -> None:
    job_id = house.accept(callback_url=URL, attempts=1)
    house.scripts[A].steps.append(Retry(WHY))
    consume(house)
    assert ended(house, job_id).reason is Reason.EXHAUSTED


def test_what_a_claim_exhausts_is_told(house: House) -> None:
    job_id = house.accept(D, callback_url=URL, attempts=1)
    house.change(job_id, lambda job: replace(job, attempts=1))
    consume(house, D)
    assert (ended(house, job_id).reason, house.scripts[D].works) == (Reason.EXHAUSTED, [])


def test_what_a_claim_finds_expired_is_told(house: House) -> None:
    job_id = house.accept(D, callback_url=URL)
    house.clock.advance(2 * DAY)
    consume(house, D)
    assert ended(house, job_id).reason is Reason.EXPIRED


def test_what_no_poll_brings_to_an_end_is_told_where_it_fails(house: House) -> None:
    job_id = house.accept(D, callback_url=URL)
    house.scripts[D].steps.append(Pending({}))
    consume(house, D)
    since = house.clock.now()
    house.change(job_id, lambda job: replace(job, poll=Poll.PENDING, poll_since=since - 3 * DAY, due=since))
    house.clock.advance(10 * MINUTE)
    consume(house, D)
    assert ended(house, job_id).reason is Reason.EXHAUSTED


def test_what_an_operator_cancels_is_told(house: House) -> None:
    job_id = house.accept(callback_url=URL)
    house.manage.cancel(order(job_id))
    assert ended(house, job_id).state is State.CANCELLED


@pytest.mark.parametrize("resolution", [Resolution.COMPLETED, Resolution.FAILED])
def test_what_is_parked_is_told_of_once_it_is_resolved(house: House, resolution: Resolution) -> None:
    job_id = house.accept(C, callback_url=URL)
    house.scripts[C].steps.append(Unknown(WHY))
    consume(house, C)
    assert (house.job(job_id).state, house.notices()) == (State.PARKED, [])
    house.manage.resolve(order(job_id), resolution)
    assert ended(house, job_id).state.value == resolution.value


def test_what_is_resolved_to_start_anew_is_told_of_when_it_has_ended(house: House) -> None:
    job_id = house.accept(C, callback_url=URL)
    house.scripts[C].steps.append(Unknown(WHY))
    consume(house, C)
    house.manage.resolve(order(job_id), Resolution.RETRY)
    assert house.notices() == []
    consume(house, C)
    assert ended(house, job_id).state is State.COMPLETED


@pytest.mark.parametrize("act", ["retry", "redrive"])
def test_what_starts_anew_and_ends_again_is_told_again_as_another_event(house: House, act: str) -> None:
    job_id = house.accept(callback_url=URL, attempts=1)
    house.scripts[A].steps.append(Retry(WHY))
    consume(house)
    house.clock.advance(HOUR)
    getattr(house.manage, act)(order(job_id))
    consume(house)
    assert house.told() == [(job_id, "job.failed"), (job_id, "job.completed")]
    first, second = (each.payload for each in house.notices())
    assert first is not None
    assert second is not None
    assert first["eventId"] != second["eventId"]


@pytest.mark.parametrize("outcome", [Retry(WHY), Pending({}), Unknown(WHY)])
def test_what_has_not_ended_is_not_told(house: House, outcome: Outcome) -> None:
    job_id = house.accept(callback_url=URL, attempts=3)
    house.scripts[A].steps.append(outcome)
    consume(house)
    assert (house.notices(), house.job(job_id).finished_at) == ([], None)


def test_erasing_a_job_tells_nobody_again_and_takes_away_whom_to_tell(house: House) -> None:
    job_id = house.accept(callback_url=URL)
    consume(house)
    house.manage.erase(order(job_id))
    assert len(house.notices()) == 1
    assert house.job(job_id).callback_url is None


def test_nothing_is_told_of_a_job_that_names_nobody(house: House) -> None:
    job_id = house.accept()
    consume(house)
    assert (house.job(job_id).state, house.notices()) == (State.COMPLETED, [])


def test_endpoint_is_told_as_a_url_is(house: House) -> None:
    endpoint = an_endpoint()
    house.registry.endpoints[VENUE, endpoint.id] = endpoint
    job_id = house.accept(D, callback_endpoint_id=endpoint.id)
    consume(house, D)
    ended(house, job_id)
    [made] = house.notices()
    assert made.payload is not None
    assert made.payload["endpointId"] == endpoint.id


# --- the notice itself


def test_notice_is_sent_at_once_and_delivered_as_any_job(house: House) -> None:
    job_id = house.accept(callback_url=URL)
    consume(house)
    [message] = house.messages(HOOK)
    assert message.visible_at == house.clock.now()
    house.consume(HOOK)
    [made] = house.notices()
    assert (made.state, house.deliveries.works[0].data["payload"]["jobId"]) == (State.COMPLETED, job_id)


def test_nobody_is_told_of_what_became_of_a_notice(house: House) -> None:
    house.accept(callback_url=URL)
    consume(house)
    house.deliveries.steps.append(Refused(WHY))
    house.consume_all()
    [made] = house.notices()
    assert made.state is State.FAILED


def test_dead_notice_is_redriven_as_any_dead_letter(house: House) -> None:
    house.accept(callback_url=URL)
    consume(house)
    house.deliveries.steps.extend([Retry(WHY)] * 5)
    house.pass_time(HOUR)
    [made] = house.notices()
    assert made.reason is Reason.EXHAUSTED
    house.manage.redrive(order(made.id))
    house.consume_all()
    [made] = house.notices()
    assert (made.state, made.generation) == (State.COMPLETED, 0)
    assert len({work.key("event") for work in house.deliveries.works}) == 1


def test_notice_whose_message_is_lost_is_found_by_dispatch(house: House) -> None:
    house.accept(callback_url=URL)
    house.queue.leaky = True
    consume(house)
    house.queue.leaky = False
    assert house.messages(HOOK) == []
    house.pass_time(10 * MINUTE)
    [made] = house.notices()
    assert made.state is State.COMPLETED


def test_notice_of_a_cancellation_is_sent_by_whoever_cancels(house: House) -> None:
    job_id = house.accept(callback_url=URL)
    house.lose_messages()
    house.manage.cancel(order(job_id))
    assert len(house.messages(HOOK)) == 1
    assert house.messages(Tier.MONEY) == []


# --- what gets lost


@pytest.mark.parametrize("fault", [LOST, MUTE])
@pytest.mark.parametrize(("effect_class", "writes_before"), [(A, 1), (D, 1), (B, 2), (C, 2)])
def test_end_whose_reply_is_lost_is_told_once(
    house: House, fault: Fault, effect_class: EffectClass, writes_before: int
) -> None:
    job_id = house.accept(effect_class, callback_url=URL)
    house.store.order("save_many", *([lambda: None] * writes_before), fault, fault)
    consume(house, effect_class)
    ended(house, job_id)


@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_end_that_nobody_can_tell_of_is_told_once_in_the_end(house: House, fault: Fault) -> None:
    job_id = house.accept(D, callback_url=URL)
    house.store.order("save_many", lambda: None, fault, fault, fault)
    consume(house, D)
    assert house.messages(HOOK)[0].receives == 1
    assert len(house.messages(HOOK)) == 1, "no message of a notice that may not be there"
    house.pass_time(20 * MINUTE)
    ended(house, job_id)
    [made] = house.notices()
    assert made.state is State.COMPLETED


@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_cancellation_whose_reply_is_lost_is_told_once(house: House, fault: Fault) -> None:
    job_id = house.accept(callback_url=URL)
    house.store.order("save_audited", fault, fault)
    house.manage.cancel(order(job_id))
    ended(house, job_id)


def test_cancellation_that_nobody_answers_for_tells_nobody(house: House) -> None:
    job_id = house.accept(callback_url=URL)
    house.store.order("save_audited", MUTE, MUTE, MUTE)
    with pytest.raises(StoreUnsure):
        house.manage.cancel(order(job_id))
    assert house.notices() == []


def test_end_that_another_worker_was_faster_with_is_told_by_that_one_alone(house: House) -> None:
    job_id = house.accept(D, callback_url=URL)

    def another_ends_it() -> None:
        house.change(job_id, lambda job: replace(job, version=job.version + 1, fence=job.fence + 1))

    house.store.order("save_many", lambda: None, another_ends_it)
    consume(house, D)
    assert (house.notices(), house.messages(Tier.BACKGROUND)[1:]) == ([], [])


def test_worker_that_dies_with_the_end_unsaved_leaves_it_to_the_next(house: House) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    job_id = house.accept(D, callback_url=URL)
    house.store.order("save_many", lambda: None, die)
    with pytest.raises(KeyboardInterrupt):
        consume(house, D)
    assert house.notices() == []
    house.pass_time(20 * MINUTE)
    ended(house, job_id)


# --- what it costs


def test_batch_of_ten_that_nobody_is_told_of_takes_no_call_more(house: House) -> None:
    house.accept_many(10)
    house.store.calls.clear()
    house.queue.calls.clear()
    consume(house)
    assert dict(house.store.calls) == {"load_batch": 1, "save_many": 2}
    assert dict(house.queue.calls) == {}


def test_notices_of_a_batch_are_sent_in_one_call(house: House) -> None:
    house.accept_many(10, callback_url=URL)
    house.store.calls.clear()
    house.queue.calls.clear()
    consume(house)
    assert dict(house.store.calls) == {"load_batch": 1, "save_many": 2}
    assert dict(house.queue.calls) == {"send": 1}
    assert len(house.told()) == 10
