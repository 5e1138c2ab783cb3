"""The scheduled function behind promise one: no accepted job is forgotten."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.controls import Scope
from chalicelib.domain.job import ClaimId, JobId, State, run
from chalicelib.domain.message import decode
from chalicelib.domain.policies import EffectClass, Lane, Tier
from chalicelib.service.dispatch import PAGE, Dispatched
from tests.functional.house import ROWS, Fault, House

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
LOST, MUTE, REFUSED = Fault.LOST, Fault.MUTE, Fault.REFUSED


@pytest.fixture
def house() -> House:
    return House()


def unsent(house: House, count: int = 1, effect_class: EffectClass = EffectClass.KEYED) -> list[JobId]:
    """Accept jobs due now of which no message is out."""
    ids = house.accept_many(count, effect_class, delay=HOUR)
    house.clock.advance(HOUR)
    return ids


# --- what is sent


def test_what_was_accepted_and_never_sent_is_sent(house: House) -> None:
    house.queue.down = True
    job_id = house.accept()
    house.queue.down = False
    house.clock.advance(5 * MINUTE)
    assert house.dispatch() == Dispatched(ran=True, looked=1, sent=1)
    [message] = house.messages()
    assert (decode(message.body).job_id, message.group) == (job_id, "venue-1")
    assert house.journal.events[-1] == ("dispatched", {"looked": 1, "sent": 1, "settled": 0})


def test_what_is_far_in_the_future_is_sent_when_it_is_due_and_not_before(house: House) -> None:
    job_id = house.accept(delay=3 * DAY)
    house.pass_time(3 * DAY - 2 * MINUTE, step=HOUR)
    assert (house.queue.made, house.job(job_id).attempts) == (0, 0)
    house.pass_time(3 * MINUTE)
    assert (house.queue.made, house.job(job_id).state) == (1, State.COMPLETED)


@pytest.mark.parametrize(
    ("early", "sent", "delay"),
    [(MINUTE + SECOND, 0, None), (MINUTE, 1, MINUTE), (10 * SECOND, 1, 10 * SECOND), (-HOUR, 1, timedelta(0))],
    ids=["a minute and more before", "a minute before", "ten seconds before", "an hour late"],
)
def test_a_message_is_sent_ahead_and_shows_when_its_job_is_due(
    house: House, early: timedelta, sent: int, delay: timedelta | None
) -> None:
    house.accept(delay=HOUR)
    house.clock.advance(HOUR - early)
    assert house.dispatch().sent == sent
    for message in house.messages():
        assert delay is not None
        assert message.visible_at == house.clock.now() + delay


def test_a_job_is_sent_to_the_queue_of_its_tier_and_lane(house: House) -> None:
    for effect_class, (_, tier, _, _) in ROWS.items():
        for priority, lane in ((5, Lane.MAIN), (10, Lane.EXPRESS)):
            house.accept(effect_class, priority=priority, delay=HOUR, data={"order": f"{tier}-{lane}"})
    house.clock.advance(HOUR)
    house.dispatch()
    found = {key: len(queue) for key, queue in house.queue.messages.items()}
    assert found == {(tier, lane): 2 if tier is Tier.MONEY else 1 for tier in Tier for lane in Lane}


def test_a_lost_message_is_sent_again_ever_more_seldom(house: House) -> None:
    job_id = house.accept()
    house.queue.leaky = True
    sent_at: list[timedelta] = []
    started = house.clock.now()
    house.lose_messages()
    while house.clock.now() < started + DAY:
        house.clock.advance(MINUTE)
        if house.dispatch().sent:
            sent_at.append(house.clock.now() - started)
    minutes = [round(each / MINUTE) for each in sent_at]
    assert minutes == [4, 13, 32, 71, 150, 309, 628, 987, 1346]
    assert house.job(job_id).looks == 10
    assert [later - earlier for earlier, later in zip(minutes[-3:], minutes[-2:], strict=False)] == [359, 359]

    house.queue.leaky = False
    house.pass_time(6 * HOUR)
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.COMPLETED, 1)


def test_a_message_that_may_still_come_is_not_sent_again(house: House) -> None:
    house.accept()
    house.clock.advance(3 * MINUTE)
    assert house.dispatch() == Dispatched(ran=True)
    assert house.queue.waiting() == 1


def test_a_job_that_a_worker_has_is_looked_at_after_its_lease(house: House) -> None:
    job_id = house.accept()
    lease = house.clock.now() + 12 * MINUTE
    house.change(job_id, lambda job: run(job, claim_id=ClaimId("c"), lease_until=lease, now=job.due))
    house.clock.advance(5 * MINUTE)
    assert house.dispatch() == Dispatched(ran=True, looked=1, sent=0)
    assert house.job(job_id).next_look == lease + 5 * MINUTE


def test_a_worker_that_died_with_its_message_is_made_up_for(house: House) -> None:
    job_id = house.accept()
    house.consume()
    lease = house.clock.now() + 65 * SECOND
    house.change(
        job_id,
        lambda job: replace(
            run(job, claim_id=ClaimId("dead"), lease_until=lease, now=job.due),
            next_look=job.due + 5 * MINUTE,
            looks=1,
        ),
    )
    house.pass_time(8 * MINUTE)
    job = house.job(job_id)
    assert (job.state, job.attempts) == (State.COMPLETED, 2)


def test_jobs_at_rest_are_on_no_agenda(house: House) -> None:
    house.accept()
    house.consume()
    house.clock.advance(30 * DAY)
    house.store.calls.clear()
    assert house.dispatch() == Dispatched(ran=True)
    assert set(house.store.calls) == {"agenda"}


def test_what_is_past_due_is_entered_among_the_overdue(house: House) -> None:
    job_id = house.accept()
    assert not house.job(job_id).overdue
    house.pass_time(4 * MINUTE, step=4 * MINUTE)
    assert house.job(job_id).state is State.COMPLETED
    other = house.accept(data={"order": "order-2"})
    house.clock.advance(5 * MINUTE)
    house.dispatch()
    assert house.job(other).overdue
    house.clock.advance(5 * MINUTE)
    house.consume_all()
    assert not house.job(other).overdue


def test_a_look_moves_neither_state_nor_version(house: House) -> None:
    [job_id] = unsent(house)
    before = house.job(job_id)
    house.dispatch()
    after = house.job(job_id)
    assert (after.next_look, after.looks) == (house.clock.now() + 5 * MINUTE, 1)
    assert replace(after, next_look=before.next_look, looks=before.looks) == before


# --- what is not sent


@pytest.mark.parametrize(("scope", "value"), [(Scope.TIER, "money"), (Scope.ALL, "")])
def test_nothing_is_sent_while_a_tier_stands_still(house: House, scope: Scope, value: str) -> None:
    [job_id] = unsent(house)
    house.stop(scope, value)
    assert house.dispatch() == Dispatched(ran=True, looked=1, sent=0)
    job = house.job(job_id)
    assert (house.queue.waiting(), job.looks, job.next_look) == (0, 0, house.clock.now() + 5 * MINUTE)
    house.lift(scope, value)
    house.pass_time(6 * MINUTE)
    assert house.job(job_id).state is State.COMPLETED


def test_another_tier_is_sent_while_one_stands_still(house: House) -> None:
    unsent(house, effect_class=EffectClass.RECEIVER_DEDUPS)
    house.stop(Scope.TIER, "money")
    assert house.dispatch().sent == 1


@pytest.mark.parametrize(
    ("scope", "value"), [(Scope.PROVIDER, "stripe"), (Scope.VENUE, "venue-1"), (Scope.TYPE, "test.charge")]
)
def test_what_is_stopped_has_one_message_however_long_the_stop(house: House, scope: Scope, value: str) -> None:
    ids = house.accept_many(12)
    house.stop(scope, value)
    house.pass_time(8 * HOUR)
    assert len(house.messages()) == 12
    house.lift(scope, value)
    house.pass_time(2 * MINUTE)
    assert {house.job(job_id).state for job_id in ids} == {State.COMPLETED}


def test_what_another_provider_has_stopped_does_not_hide_a_lost_message(house: House) -> None:
    job_id = house.accept()
    house.lose_messages()
    house.stop(Scope.PROVIDER, "ses")
    house.pass_time(6 * MINUTE)
    assert house.job(job_id).state is State.COMPLETED


def test_a_type_that_this_version_does_not_know_is_sent_all_the_same(house: House) -> None:
    [job_id] = unsent(house)
    house.change(job_id, lambda job: replace(job, type="test.of_tomorrow"))
    assert house.dispatch().sent == 1


# --- runs


def test_of_two_overlapping_runs_one_works(house: House) -> None:
    unsent(house)
    now = house.clock.now()
    assert house.leases.take("dispatch", "the other", now=now, until=now + MINUTE)
    assert house.dispatch() == Dispatched(ran=False)
    assert (house.queue.waiting(), house.store.calls["agenda"]) == (0, 0)
    assert house.journal.actions()[-1] == "ran_elsewhere"
    house.clock.advance(MINUTE)
    assert house.dispatch() == Dispatched(ran=True, looked=1, sent=1)


def test_a_run_gives_its_lease_back_even_if_it_fails(house: House) -> None:
    unsent(house)
    house.store.order("agenda", REFUSED)
    with pytest.raises(Exception, match="refused"):
        house.dispatch()
    assert house.dispatch().ran


def test_a_runs_lease_outlives_it_by_what_clocks_differ(house: House) -> None:
    unsent(house)
    found: list[bool] = []

    def another(late: timedelta) -> Callable[[], None]:
        moment = house.clock.now() + MINUTE + late
        return lambda: found.append(house.leases.take("dispatch", "other", now=moment, until=moment))

    house.store.order("agenda", another(5 * SECOND - timedelta(milliseconds=1)), another(5 * SECOND))
    house.dispatch(lasts=MINUTE)
    assert found == [False, True]


def test_a_run_that_outlives_its_lease_does_no_harm(house: House) -> None:
    [job_id] = unsent(house)
    others: list[Dispatched] = []

    def stall_while_another_runs() -> None:
        house.clock.advance(MINUTE + 5 * SECOND)
        others.append(house.dispatch())

    house.store.order("save_looks", stall_while_another_runs)
    assert house.dispatch(lasts=MINUTE) == Dispatched(ran=True, looked=0, sent=1)
    assert others == [Dispatched(ran=True, looked=1, sent=1)]
    assert (house.job(job_id).looks, house.queue.waiting()) == (1, 2)
    house.consume_all()
    assert (house.job(job_id).state, len(house.scripts[EffectClass.KEYED].effects)) == (State.COMPLETED, 1)


def test_a_run_ends_in_time_and_the_next_goes_on(house: House) -> None:
    ids = unsent(house, 8)
    tier = house.job(ids[0]).tier
    shards = [shard for shard in range(4) if house.store.agenda(shard, tier, until=house.clock.now(), limit=9)]
    assert len(shards) > 1
    house.store.order("agenda", *([lambda: None] * shards[0]), lambda: house.clock.advance(57 * SECOND))
    first = house.dispatch(lasts=MINUTE)
    assert 0 < first.sent < 8
    assert house.dispatch().sent == 8 - first.sent


def test_a_run_without_time_does_nothing(house: House) -> None:
    unsent(house)
    assert house.dispatch(lasts=3 * SECOND) == Dispatched(ran=True)
    assert house.dispatch(lasts=3 * SECOND + timedelta(milliseconds=1)).sent == 1


def test_more_than_a_page_is_looked_at_page_by_page(house: House) -> None:
    ids = unsent(house, 5 * PAGE)
    shards = {sum(job_id.encode()) % 4 for job_id in ids}
    assert house.dispatch() == Dispatched(ran=True, looked=5 * PAGE, sent=5 * PAGE)
    assert house.queue.waiting() == 5 * PAGE
    assert house.store.calls["load_batch"] > len(shards)
    assert house.dispatch() == Dispatched(ran=True)


def test_a_backlog_that_nobody_takes_is_looked_at_once_per_run(house: House) -> None:
    house.accept_many(5 * PAGE)
    house.clock.advance(4 * MINUTE + 30 * SECOND)
    house.store.calls.clear()
    assert house.dispatch().looked == 5 * PAGE
    assert house.store.calls["load_batch"] <= 4 * 2 + 4
    assert house.dispatch() == Dispatched(ran=True)


# --- trouble


def test_a_job_whose_message_did_not_go_keeps_its_look(house: House) -> None:
    [job_id] = unsent(house)
    before = house.job(job_id)
    house.queue.down = True
    assert house.dispatch() == Dispatched(ran=True)
    assert house.job(job_id) == before
    house.queue.down = False
    assert house.dispatch().sent == 1


def test_a_queue_that_is_down_is_asked_once_per_page(house: House) -> None:
    unsent(house, 3)
    house.queue.down = True
    house.queue.calls.clear()
    house.dispatch()
    assert house.queue.calls["send"] <= 3


@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_a_look_that_nobody_can_tell_of_costs_a_message_at_most(house: House, fault: Fault) -> None:
    [job_id] = unsent(house)
    house.store.order("save_looks", fault)
    assert house.dispatch() == Dispatched(ran=True, looked=0, sent=1)
    house.dispatch()
    assert house.queue.waiting() == (1 if fault is LOST else 2)
    house.consume_all()
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.COMPLETED, 1)


def test_a_job_that_the_index_shows_late_is_left_alone(house: House) -> None:
    ended, moved, due = unsent(house, 3)

    def meanwhile() -> None:
        house.change(ended, lambda job: replace(job, state=State.CANCELLED, next_look=None))
        house.change(moved, lambda job: replace(job, next_look=house.clock.now() + HOUR))

    house.store.order("load_batch", *([meanwhile] * 4))
    assert house.dispatch() == Dispatched(ran=True, looked=1, sent=1)
    [message] = house.messages()
    assert decode(message.body).job_id == due
    assert house.job(moved).looks == 0


def test_a_job_that_is_gone_is_left_alone(house: House) -> None:
    gone, due = unsent(house, 2)
    house.store.order("load_batch", *([lambda: house.store.jobs.pop(gone, None)] * 4))
    assert house.dispatch().sent == 1
    assert decode(house.messages()[0].body).job_id == due


def test_one_refused_look_hides_no_other(house: House) -> None:
    ids = unsent(house, 4)
    house.store.order("save_looks", LOST)
    done = house.dispatch()
    assert (done.sent, done.looked < 4) == (4, True)
    assert all(house.job(job_id).looks == 1 for job_id in ids)


def test_only_one_lane_waiting_asks_for_one_send_per_page(house: House) -> None:
    unsent(house, 40)
    house.queue.calls.clear()
    house.dispatch()
    assert house.queue.calls["send"] <= 4
    assert len(house.messages(lane=Lane.MAIN)) == 40
