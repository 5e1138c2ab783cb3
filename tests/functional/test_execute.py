"""Consumers over whole batches: what each message deserves, and what each attempt leaves on the record."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.controls import Scope
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, StoreRefused, TurnedAway
from chalicelib.domain.job import ClaimId, Job, JobId, Poll, Reason, State, VenueId, run
from chalicelib.domain.jobtype import Work
from chalicelib.domain.message import Hint, encode
from chalicelib.domain.outcome import Completed, Failure, HeldBack, Pending, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING, EffectClass, Lane, Tier
from chalicelib.domain.ports import Received
from chalicelib.domain.providers import Begun
from chalicelib.domain.tally import Measure, Name
from chalicelib.system import ThreadCrew
from chalicelib.worker import consume
from tests.factories import is_sentence
from tests.functional.house import ROWS, Fault, House

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
A, B, C, D = EffectClass.KEYED, EffectClass.LOOKED_UP, EffectClass.BLIND, EffectClass.RECEIVER_DEDUPS
MONEY, MAIL, HOOK = Tier.MONEY, Tier.COMMUNICATION, Tier.BACKGROUND
LOST, MUTE, REFUSED = Fault.LOST, Fault.MUTE, Fault.REFUSED
WHY = Failure("code", "A sentence.")


def tier_of(effect_class: EffectClass) -> Tier:
    return ROWS[effect_class][1]


@pytest.fixture
def house() -> House:
    return House()


# --- a batch


@pytest.mark.parametrize("effect_class", list(EffectClass))
def test_a_job_is_claimed_run_settled_and_acknowledged(house: House, effect_class: EffectClass) -> None:
    job_id = house.accept(effect_class)
    assert house.consume(tier_of(effect_class)) == []

    job = house.job(job_id)
    assert (job.state, job.attempts, job.fence, job.result) == (State.COMPLETED, 1, 1, {"done": True})
    assert (job.lease_until, job.next_look, job.doubt, job.begun) == (None, None, None, False)
    assert house.queue.waiting() == 0
    assert house.scripts[effect_class].effects == [(job_id, f"{job_id}:act:0")]


def test_an_attempt_knows_its_job_its_payload_its_leave_and_its_deadline(house: House) -> None:
    data = {"order": "order-9", "amount": 1}
    job_id = house.accept(data=data)
    house.consume(lasts=MINUTE)
    [work] = house.scripts[A].works
    assert (work.job.id, work.data, work.leave) == (job_id, data, Leave.START)
    assert work.job.state is State.RUNNING
    assert work.deadline == house.clock.now() + MINUTE - 3 * SECOND
    assert work.job.lease_until == house.clock.now() + MINUTE + 5 * SECOND
    assert work.timing == TIMING
    assert (work.clock, house.scripts[A].providers) == (house.clock, [house.providers])


def test_every_claim_has_an_identity_of_its_own(house: House) -> None:
    ids = house.accept_many(3)
    house.consume()
    claims = {house.job(job_id).claim_id for job_id in ids}
    assert len(claims) == 3
    assert None not in claims


def test_every_change_of_a_job_is_one_line_in_the_log(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Refused(WHY))
    house.consume()
    claimed, moved = house.journal.events[1:]
    assert claimed == (
        "claimed",
        {
            "jobId": job_id,
            "type": "test.charge",
            "state": State.RUNNING,
            "reason": None,
            "code": None,
            "attempt": 1,
            "fence": 1,
        },
    )
    assert moved[0] == "moved"
    assert moved[1] | {"state": State.FAILED, "reason": Reason.REFUSED, "code": "code"} == moved[1]


def test_the_jobs_of_a_batch_run_side_by_side() -> None:
    house = House(crew=ThreadCrew())
    meeting = threading.Barrier(10, timeout=5)

    def meet(_: Work) -> Completed:
        meeting.wait()
        return Completed({})

    house.scripts[A].steps.extend([meet] * 10)
    ids = house.accept_many(10)
    assert house.consume() == []
    assert {house.job(job_id).state for job_id in ids} == {State.COMPLETED}


def test_several_messages_of_one_job_are_one_attempt(house: House) -> None:
    job_id = house.accept()
    for _ in range(4):
        house.queue.put(MONEY, Lane.MAIN, encode(Hint(job_id, VenueId("venue-1"))))
    assert house.consume() == []
    assert (len(house.scripts[A].effects), house.job(job_id).attempts) == (1, 1)
    assert house.queue.waiting() == 0


def test_several_messages_of_one_job_come_back_together(house: House) -> None:
    job_id = house.accept()
    house.queue.put(MONEY, Lane.MAIN, encode(Hint(job_id, VenueId("venue-1"))))
    house.scripts[A].steps.append(Retry(WHY, after=7 * SECOND))
    assert len(house.consume()) == 2
    assert {message.visible_at - house.clock.now() for message in house.messages()} == {7 * SECOND}
    assert house.queue.calls["postpone"] == 1


def test_redelivered_message_does_not_act_twice(house: House) -> None:
    job_id = house.accept()
    house.consume()
    house.queue.put(MONEY, Lane.MAIN, encode(Hint(job_id, VenueId("venue-1"))))
    assert house.consume() == []
    assert len(house.scripts[A].effects) == 1
    assert house.store.calls["save_many"] == 2


def test_a_bad_message_never_holds_up_its_batch(house: House) -> None:
    house.queue.put(MONEY, Lane.MAIN, "no JSON")
    raising, retrying, stray = house.accept_many(3)
    del house.store.jobs[stray]

    def fall_over(_: Work) -> Completed:
        raise ZeroDivisionError

    house.scripts[A].steps.extend([fall_over, Retry(WHY, after=MINUTE)])
    good = [house.accept(data={"order": f"good-{n}"}) for n in range(6)]
    kept = house.consume()
    assert {house.job(job_id).state for job_id in good} == {State.COMPLETED}
    assert [house.job(job_id).state for job_id in (raising, retrying)] == [State.RETRYING] * 2
    assert len(kept) == 2
    assert len(house.queue.dead[MONEY]) == 2


def test_an_empty_batch_asks_nothing(house: House) -> None:
    assert house.worker().run_batch([], ends=house.clock.now() + MINUTE) == []
    assert house.store.calls == {}


def test_a_batch_as_lambda_delivers_it_is_answered_by_the_ids_that_failed(house: House) -> None:
    done, retrying = house.accept_many(2)
    house.scripts[A].steps.extend([Completed({}), Retry(WHY, after=MINUTE)])
    records = [
        {
            "messageId": each.message_id,
            "body": each.body,
            "receiptHandle": each.handle,
            "attributes": {"ApproximateReceiveCount": str(each.receives)},
        }
        for each in house.queue.receive(MONEY, Lane.MAIN)
    ]
    answer = consume(house.worker(), {"Records": records}, ends=house.clock.now() + MINUTE)
    assert answer == {"batchItemFailures": [{"itemIdentifier": records[1]["messageId"]}]}
    assert (house.job(done).state, house.job(retrying).state) == (State.COMPLETED, State.RETRYING)


# --- messages of which nothing can be made


@pytest.mark.parametrize("body", ["no JSON", "{}", '{"v":9,"jobId":"job_1","venueId":"v"}'])
def test_poison_goes_to_the_tiers_dead_letters_and_is_acknowledged(house: House, body: str) -> None:
    house.queue.put(MAIL, Lane.EXPRESS, body)
    assert house.consume(MAIL, Lane.EXPRESS) == []
    assert house.queue.dead == {MAIL: [body]}
    assert house.queue.waiting() == 0
    [(action, facts)] = house.journal.events
    assert (action, facts["tier"], facts["messageId"]) == ("poison", MAIL, "m1")
    assert facts["reason"]


def test_poison_that_cannot_be_buried_stays(house: House) -> None:
    house.queue.put(MONEY, Lane.MAIN, "no JSON")
    house.accept()
    del house.store.jobs[JobId("job_000001")]
    house.queue.down = True
    assert len(house.consume()) == 2
    assert house.queue.dead == {}


def test_a_message_of_no_job_is_poison(house: House) -> None:
    body = encode(Hint(JobId("job_unknown"), VenueId("venue-1")))
    house.queue.put(MONEY, Lane.MAIN, body)
    assert house.consume() == []
    assert house.queue.dead == {MONEY: [body]}
    assert house.journal.events[-1][1]["reason"] == "no_such_job"


def test_a_type_that_this_version_does_not_know_waits_and_alarms(house: House) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, type="test.of_tomorrow"))
    before = house.job(job_id)
    assert len(house.consume()) == 1
    assert (house.job(job_id), house.queue.dead) == (before, {})
    [message] = house.messages()
    assert message.visible_at - house.clock.now() == MINUTE
    assert house.journal.events[-1] == ("unknown_type", {"jobId": job_id, "type": "test.of_tomorrow"})


# --- claims that are refused


@pytest.mark.parametrize(
    "state", [State.COMPLETED, State.FAILED, State.CANCELLED, State.PARKED], ids=lambda state: state.value
)
def test_the_message_of_a_job_at_rest_is_acknowledged(house: House, state: State) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, state=state))
    assert house.consume() == []
    assert (house.scripts[A].works, house.store.calls["save_many"]) == ([], 0)


@pytest.mark.parametrize("wait", [6 * SECOND, 5 * MINUTE, 15 * MINUTE])
def test_a_message_that_comes_early_is_shown_again_when_its_job_is_due(house: House, wait: timedelta) -> None:
    job_id = house.accept()
    due = house.clock.now() + wait
    house.change(job_id, lambda job: replace(job, next_attempt_at=due))
    before = house.job(job_id)
    assert len(house.consume()) == 1
    [message] = house.messages()
    assert (message.visible_at, house.job(job_id)) == (due, before)


def test_a_message_that_comes_a_moment_early_is_met(house: House) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, next_attempt_at=house.clock.now() + 5 * SECOND))
    house.consume()
    assert house.job(job_id).state is State.COMPLETED


def test_a_job_not_due_for_longer_lets_its_message_go_and_dispatch_sends_it(house: House) -> None:
    job_id = house.accept()
    due = house.clock.now() + 15 * MINUTE + SECOND
    house.change(job_id, lambda job: replace(job, next_attempt_at=due))
    version = house.job(job_id).version
    assert house.consume() == []
    job = house.job(job_id)
    assert (job.next_look, job.looks, job.version) == (due, 0, version)
    house.pass_time(17 * MINUTE)
    assert house.job(job_id).state is State.COMPLETED


@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_a_message_whose_look_may_not_be_set_stays(house: House, fault: Fault) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, next_attempt_at=house.clock.now() + DAY))
    house.store.order("save_looks", fault)
    assert len(house.consume()) == 1
    [message] = house.messages()
    assert message.visible_at == house.clock.now() + 6 * MINUTE


def test_a_job_that_another_worker_has_comes_back_when_its_lease_ends(house: House) -> None:
    job_id = house.accept()
    lease = house.clock.now() + 40 * SECOND
    house.change(
        job_id, lambda job: run(job, claim_id=ClaimId("other"), lease_until=lease, now=house.clock.now())
    )
    assert len(house.consume()) == 1
    [message] = house.messages()
    assert message.visible_at == lease
    assert house.scripts[A].works == []


def test_of_two_workers_one_claims_and_the_other_comes_back_when_the_lease_ends(house: House) -> None:
    job_id = house.accept()
    ends = house.clock.now() + MINUTE

    def the_other_claims() -> None:
        house.change(job_id, lambda job: run(job, claim_id=ClaimId("c"), lease_until=ends, now=job.due))

    house.store.order("save_many", the_other_claims)
    assert len(house.consume()) == 1
    assert house.scripts[A].works == []
    [message] = house.messages()
    assert message.visible_at == ends


def other_change(job: Job, **changes: Any) -> Job:
    return replace(job, version=job.version + 1, **changes)


@pytest.mark.parametrize(
    ("left", "kept", "again_in"),
    [
        pytest.param({"state": State.CANCELLED}, 0, None, id="cancelled meanwhile: acknowledged"),
        pytest.param({"state": State.RETRYING}, 1, SECOND, id="moved, and due: again in a second"),
        pytest.param({"next_attempt_in": HOUR}, 1, 15 * MINUTE, id="put off: again as late as may be"),
        pytest.param({"next_attempt_in": MINUTE}, 1, MINUTE, id="put off a little: again then"),
    ],
)
def test_a_claim_that_came_too_late_goes_by_what_the_other_left(
    house: House, left: dict[str, Any], kept: int, again_in: timedelta | None
) -> None:
    job_id = house.accept()
    fields = dict(left)
    if "next_attempt_in" in fields:
        fields["next_attempt_at"] = house.clock.now() + fields.pop("next_attempt_in")
    house.store.order("save_many", lambda: house.change(job_id, lambda job: other_change(job, **fields)))
    assert len(house.consume()) == kept
    assert house.scripts[A].works == []
    for message in house.messages():
        assert again_in is not None
        assert message.visible_at == house.clock.now() + again_in


def test_a_job_that_is_gone_when_it_is_claimed_is_poison(house: House) -> None:
    job_id = house.accept()
    house.store.order("save_many", lambda: house.store.jobs.pop(job_id))
    assert house.consume() == []
    assert len(house.queue.dead[MONEY]) == 1


# --- held back


@pytest.mark.parametrize(
    ("scope", "value"),
    [
        (Scope.TIER, "money"),
        (Scope.PROVIDER, "stripe"),
        (Scope.VENUE, "venue-1"),
        (Scope.TYPE, "test.charge"),
        (Scope.ALL, ""),
    ],
)
def test_what_is_stopped_waits_in_its_queue_and_is_charged_nothing(
    house: House, scope: Scope, value: str
) -> None:
    job_id = house.accept()
    house.stop(scope, value)
    before = house.job(job_id)
    assert len(house.consume()) == 1
    [message] = house.messages()
    assert 30 * SECOND <= message.visible_at - house.clock.now() <= MINUTE
    assert (house.job(job_id), house.scripts[A].works) == (before, [])
    house.lift(scope, value)
    house.pass_time(2 * MINUTE)
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.COMPLETED, 1)


def test_what_is_stopped_for_long_is_put_off_by_record(house: House) -> None:
    job_id = house.accept()
    house.stop(Scope.PROVIDER, "stripe", until=house.clock.now() + 10 * MINUTE)
    assert house.consume() == []
    job = house.job(job_id)
    assert 5 * MINUTE <= job.next_attempt_at - house.clock.now() <= 6 * MINUTE, "a stop may be lifted early"
    assert (job.next_look, job.looks, job.attempts, job.state) == (job.next_attempt_at, 0, 0, State.QUEUED)
    house.pass_time(7 * MINUTE)
    assert house.job(job_id).state is State.QUEUED
    house.pass_time(6 * MINUTE)
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.COMPLETED, 1)


@pytest.mark.parametrize(("receives", "kept"), [(500, 1), (501, 0)])
def test_a_message_received_more_than_500_times_is_let_go_and_its_job_looked_at(
    house: House, receives: int, kept: int
) -> None:
    job_id = house.accept()
    house.stop(Scope.VENUE, "venue-1")
    [message] = house.messages()
    message.receives = receives - 1
    assert len(house.consume()) == kept
    job = house.job(job_id)
    assert (job.looks, job.attempts) == (kept, 0)
    if not kept:
        assert job.next_look == job.next_attempt_at
        assert 30 * SECOND <= job.next_attempt_at - house.clock.now() <= MINUTE


@pytest.mark.parametrize(("receives", "kept"), [(500, 1), (501, 0)])
def test_a_worn_message_of_a_job_that_is_not_due_is_let_go(house: House, receives: int, kept: int) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, next_attempt_at=house.clock.now() + MINUTE))
    house.messages()[0].receives = receives - 1
    assert len(house.consume()) == kept
    assert house.job(job_id).looks == kept


@pytest.mark.parametrize(("receives", "kept"), [(500, 1), (501, 0)])
def test_a_worn_message_of_a_retry_is_let_go_with_the_save(house: House, receives: int, kept: int) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Retry(WHY, after=MINUTE))
    house.messages()[0].receives = receives - 1
    assert len(house.consume()) == kept
    job = house.job(job_id)
    assert (job.state, job.looks) == (State.RETRYING, kept)
    assert job.next_look == (job.due + 5 * MINUTE if kept else job.next_attempt_at)


def test_a_limit_that_a_run_meets_gives_the_attempt_back(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(lambda _: HeldBack("limit", 30 * SECOND))
    assert len(house.consume()) == 1
    job = house.job(job_id)
    assert (job.state, job.attempts, job.fence, job.history) == (State.RETRYING, 0, 1, ())
    assert job.next_attempt_at == house.clock.now() + 30 * SECOND


@pytest.mark.parametrize("effect_class", list(EffectClass))
@pytest.mark.parametrize(("delay", "kept"), [(MINUTE, 1), (MINUTE + SECOND, 0), (10 * MINUTE, 0), (HOUR, 0)])
def test_a_run_that_is_held_back_for_more_than_a_minute_lets_its_message_go(
    house: House, effect_class: EffectClass, delay: timedelta, kept: int
) -> None:
    job_id = house.accept(effect_class)
    house.scripts[effect_class].steps.append(lambda _: HeldBack("limit", delay))
    assert len(house.consume(tier_of(effect_class))) == kept
    job = house.job(job_id)
    again = house.clock.now() + delay
    assert (job.next_attempt_at, job.attempts, job.looks) == (again, 0, kept)
    assert job.next_look == (job.due + 5 * MINUTE if kept else again)
    house.pass_time(delay + 2 * MINUTE)
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.COMPLETED, 1)


@pytest.mark.parametrize(("receives", "kept"), [(500, 1), (501, 0)])
def test_a_job_of_a_type_of_tomorrow_waits_however_long_and_never_in_a_dlq(
    house: House, receives: int, kept: int
) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, type="test.of_tomorrow"))
    house.messages()[0].receives = receives - 1
    assert len(house.consume()) == kept
    job = house.job(job_id)
    assert (job.attempts, job.looks, job.next_look) == (0, kept, job.next_attempt_at + 5 * MINUTE * kept)


def test_a_job_at_rest_of_a_type_of_yesterday_leaves_its_queue(house: House) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, type="test.of_yesterday", state=State.FAILED))
    assert house.consume() == []


@pytest.mark.parametrize(("receives", "kept"), [(500, 1), (501, 0)])
def test_a_worn_message_that_finds_no_time_left_is_let_go(house: House, receives: int, kept: int) -> None:
    job_id = house.accept()
    house.messages()[0].receives = receives - 1
    assert len(house.consume(lasts=SECOND)) == kept
    assert (house.job(job_id).attempts, house.job(job_id).looks) == (0, kept)


def test_a_stop_does_not_keep_a_job_at_rest_in_its_queue(house: House) -> None:
    job_id = house.accept()
    house.stop(Scope.ALL, "")
    house.change(job_id, lambda job: replace(job, state=State.CANCELLED))
    assert house.consume() == []


def test_a_job_held_back_2000_times_is_charged_no_attempt_and_leaves_nothing_in_a_dlq(house: House) -> None:
    job_id = house.accept()
    house.stop(Scope.PROVIDER, "stripe")
    while house.queue.deliveries < 2_000:  # a delivery of a stopped job is held back, one way or the other
        house.pass_time(MINUTE)
    job = house.job(job_id)
    assert (job.attempts, job.fence, job.history, job.state) == (0, 0, (), State.QUEUED)
    assert house.queue.most_receives == 501  # then it was let go, and dispatch sent another
    assert house.queue.calls["send"] == 4
    assert len(house.messages()) == 1
    assert house.queue.dead == {}

    house.lift(Scope.PROVIDER, "stripe")
    house.pass_time(6 * MINUTE)
    job = house.job(job_id)
    assert (job.state, job.attempts) == (State.COMPLETED, 1)
    assert (house.queue.waiting(), house.queue.dead) == (0, {})
    assert len(house.scripts[A].effects) == 1


# --- windows


@pytest.mark.parametrize(("effect_class", "window"), [(C, 7 * DAY), (D, DAY)])
@pytest.mark.parametrize(("late", "state"), [(timedelta(0), State.COMPLETED), (SECOND, State.FAILED)])
def test_a_job_that_was_not_done_within_its_window_expires(
    house: House, effect_class: EffectClass, window: timedelta, late: timedelta, state: State
) -> None:
    job_id = house.accept(effect_class)
    house.clock.advance(window + late)
    assert house.consume(tier_of(effect_class)) == []
    job = house.job(job_id)
    assert job.state is state
    if late:
        assert (job.reason, job.attempts) == (Reason.EXPIRED, 0)
        assert house.scripts[effect_class].works == []


def test_money_does_not_expire(house: House) -> None:
    job_id = house.accept()
    house.clock.advance(400 * DAY)
    house.consume()
    assert house.job(job_id).state is State.COMPLETED


def test_a_window_leaves_out_how_long_its_tier_stood_still(house: House) -> None:
    job_id = house.accept(D)
    house.stop(Scope.TIER, "background")
    house.clock.advance(2 * DAY)
    house.lift(Scope.TIER, "background")
    house.clock.advance(DAY - HOUR)
    house.consume(HOOK)
    assert house.job(job_id).state is State.COMPLETED


def test_a_pause_of_another_tier_stretches_no_window(house: House) -> None:
    job_id = house.accept(D)
    house.stop(Scope.TIER, "money")
    house.clock.advance(2 * DAY)
    house.consume(HOOK)
    assert house.job(job_id).reason is Reason.EXPIRED


# --- attempts


def test_a_retry_comes_back_after_its_backoff(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Retry(WHY, after=20 * SECOND))
    assert len(house.consume()) == 1
    job = house.job(job_id)
    assert (job.state, job.attempts, job.error) == (State.RETRYING, 1, WHY)
    [message] = house.messages()
    assert message.visible_at == job.next_attempt_at == house.clock.now() + 20 * SECOND
    house.clock.advance(20 * SECOND)
    house.consume()
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.COMPLETED, 2)


def test_a_retry_beyond_fifteen_minutes_is_acknowledged_and_sent_by_dispatch(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Retry(WHY, after=HOUR))
    assert house.consume() == []
    job = house.job(job_id)
    assert (job.next_look, job.looks) == (house.clock.now() + HOUR, 0)
    house.pass_time(62 * MINUTE)
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.COMPLETED, 2)


@pytest.mark.parametrize(("effect_class", "limit"), [(A, 10), (B, 10), (C, 3), (D, 5)])
def test_attempts_end_at_their_limit(house: House, effect_class: EffectClass, limit: int) -> None:
    job_id = house.accept(effect_class)
    house.scripts[effect_class].steps.extend([NotSent("refused", "Nobody listens.")] * 20)
    house.pass_time(HOUR, step=5 * SECOND)
    job = house.job(job_id)
    assert (job.state, job.reason, job.attempts) == (State.FAILED, Reason.EXHAUSTED, limit)
    assert len(house.scripts[effect_class].effects) == limit
    assert house.queue.waiting() == 0


def test_the_jobs_own_limit_wins(house: House) -> None:
    job_id = house.accept(attempts=2)
    house.scripts[A].steps.extend([Retry(WHY)] * 5)
    house.pass_time(5 * MINUTE)
    assert (house.job(job_id).attempts, house.job(job_id).reason) == (2, Reason.EXHAUSTED)


def test_a_job_without_attempts_left_is_ended_by_the_claim_itself(house: House) -> None:
    job_id = house.accept()
    house.change(job_id, lambda job: replace(job, attempts=10, state=State.RETRYING))
    assert house.consume() == []
    assert (house.job(job_id).state, house.job(job_id).reason) == (State.FAILED, Reason.EXHAUSTED)
    assert house.scripts[A].works == []


def test_a_decline_is_final_and_no_dead_letter(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Declined("card_declined", "Declined.", reference="req_9", handle="pi_9"))
    assert house.consume() == []
    job = house.job(job_id)
    assert (job.state, job.reason, job.handle) == (State.FAILED, Reason.REFUSED, "pi_9")
    assert job.error == Failure("card_declined", "Declined.", "req_9")
    assert house.queue.dead == {}


def test_a_provider_that_turns_away_is_asked_again_when_it_wishes(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(TurnedAway("rate_limited", "Too many.", after=2 * MINUTE))
    house.consume()
    assert house.job(job_id).next_attempt_at == house.clock.now() + 2 * MINUTE


def test_too_little_time_left_claims_nothing(house: House) -> None:
    job_id = house.accept()
    before = house.job(job_id)
    assert len(house.consume(lasts=13 * SECOND - timedelta(milliseconds=1))) == 1
    assert (house.job(job_id), house.scripts[A].works) == (before, [])
    [message] = house.messages()
    assert message.visible_at == house.clock.now() + SECOND
    house.clock.advance(SECOND)
    assert house.consume(lasts=13 * SECOND) == []
    assert house.job(job_id).state is State.COMPLETED


# --- job types that break


def fall_over(_: Work) -> Completed:
    raise ZeroDivisionError("a number and a name that belong in no log")


@pytest.mark.parametrize(("effect_class", "doubts"), [(A, True), (B, False), (C, False), (D, False)], ids=str)
@pytest.mark.parametrize(
    ("step", "alarm"),
    [
        pytest.param(fall_over, "run_failed", id="raises"),
        pytest.param(lambda _: None, "no_outcome", id="returns nothing"),
        pytest.param(lambda _: "completed", "no_outcome", id="returns nonsense"),
    ],
)
def test_a_type_that_breaks_before_it_began_is_tried_again(
    house: House, effect_class: EffectClass, doubts: bool, step: Callable[[Work], object], alarm: str
) -> None:
    job_id = house.accept(effect_class)
    house.scripts[effect_class].steps.append(step)
    assert len(house.consume(tier_of(effect_class))) == 1
    job = house.job(job_id)
    assert (job.state, job.attempts, job.begun) == (State.RETRYING, 1, False)
    assert (job.doubt is not None) is doubts
    assert job.error is not None
    assert job.error.code == alarm
    assert is_sentence(job.error.message)
    [facts] = [facts for action, facts in house.journal.events if action == alarm]
    names = {"error": "ZeroDivisionError"} if alarm == "run_failed" else {}
    assert facts == {"jobId": job_id, "type": ROWS[effect_class][0], **names}


@pytest.mark.parametrize(("effect_class", "state"), [(B, State.RETRYING), (C, State.PARKED)])
@pytest.mark.parametrize("then", [fall_over, lambda _: None], ids=["raises", "returns nothing"])
def test_a_type_that_breaks_after_it_began_leaves_doubt(
    house: House, effect_class: EffectClass, state: State, then: Callable[[Work], object]
) -> None:
    proofs: list[Begun] = []

    def begin_and_break(work: Work) -> object:
        proofs.append(work.begin("object-1"))
        return then(work)

    job_id = house.accept(effect_class)
    house.scripts[effect_class].steps.append(begin_and_break)
    house.consume(tier_of(effect_class))
    job = house.job(job_id)
    assert (job.state, job.doubt, job.begun) == (state, house.clock.now(), True)
    assert job.handle == "object-1"
    assert proofs == [Begun(job_id, 1)]


# --- doubt


def test_a_young_key_is_repeated(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Ambiguous("timeout", "No answer."))
    house.pass_time(2 * MINUTE)
    assert [work.leave for work in house.scripts[A].works] == [Leave.START, Leave.REPEAT]
    assert house.scripts[A].effects == [(job_id, f"{job_id}:act:0")] * 2
    assert house.job(job_id).state is State.COMPLETED


def test_an_old_key_is_looked_up_and_not_repeated(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Ambiguous("timeout", "No answer."))
    house.consume()
    house.clock.advance(23 * HOUR)
    house.consume()
    assert [work.leave for work in house.scripts[A].works] == [Leave.START, Leave.LOOK_UP]
    assert len(house.scripts[A].effects) == 1
    assert house.job(job_id).state is State.COMPLETED


def test_class_b_looks_before_it_repeats(house: House) -> None:
    job_id = house.accept(B)
    house.scripts[B].steps.extend([Ambiguous("timeout", "No answer."), Retry(WHY, clears_doubt=True)])
    house.pass_time(10 * MINUTE)
    assert [work.leave for work in house.scripts[B].works] == [Leave.START, Leave.LOOK_UP, Leave.START]
    assert (house.job(job_id).state, len(house.scripts[B].effects)) == (State.COMPLETED, 2)


def test_class_c_is_parked_at_once_and_stays_so(house: House) -> None:
    job_id = house.accept(C)
    house.scripts[C].steps.append(Ambiguous("timeout", "No answer."))
    assert house.consume(MAIL) == []
    job = house.job(job_id)
    assert (job.state, job.doubt, job.begun) == (State.PARKED, house.clock.now(), True)
    house.pass_time(2 * DAY, step=HOUR)
    assert (len(house.scripts[C].works), house.job(job_id)) == (1, job)


def test_class_d_repeats_with_the_same_id_and_never_parks(house: House) -> None:
    job_id = house.accept(D)
    house.scripts[D].steps.extend([Ambiguous("timeout", "No answer.")] * 10)
    house.pass_time(HOUR)
    job = house.job(job_id)
    assert (job.state, job.reason, job.doubt) == (State.FAILED, Reason.EXHAUSTED, None)
    assert house.scripts[D].effects == [(job_id, f"{job_id}:act:0")] * 5


@pytest.mark.parametrize("effect_class", [A, B])
def test_exhausted_in_doubt_is_looked_up_for_a_day_and_then_parked(
    house: House, effect_class: EffectClass
) -> None:
    job_id = house.accept(effect_class, attempts=1)
    house.scripts[effect_class].steps.append(Ambiguous("timeout", "No answer."))
    house.scripts[effect_class].steps.extend([Retry(WHY)] * 1_000)
    started = house.clock.now()
    house.pass_time(26 * HOUR, step=5 * MINUTE)
    job = house.job(job_id)
    assert (job.state, job.attempts, job.doubt) == (State.PARKED, 1, started + 5 * MINUTE)
    looks = [work.leave for work in house.scripts[effect_class].works]
    assert looks[0] is Leave.START
    assert set(looks[1:]) == {Leave.LOOK_ONLY}
    assert 24 * 12 - 2 <= len(looks) - 1 <= 24 * 12 + 1
    assert len(house.scripts[effect_class].effects) == 1
    assert house.queue.waiting() == 0


def test_exhausted_in_doubt_completes_when_a_look_up_finds_the_effect(house: House) -> None:
    job_id = house.accept(attempts=1)
    house.scripts[A].steps.extend([Unknown(WHY), Retry(WHY), Completed({"found": True})])
    house.pass_time(HOUR)
    job = house.job(job_id)
    assert (job.state, job.result, job.attempts) == (State.COMPLETED, {"found": True}, 1)


def test_a_pending_effect_is_polled_without_a_charge_until_it_ends(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.extend([Pending({"status": "processing"})] * 5)
    house.pass_time(HOUR)
    job = house.job(job_id)
    assert (job.state, job.attempts, len(house.scripts[A].effects)) == (State.COMPLETED, 1, 1)
    assert len(house.scripts[A].works) == 6


@pytest.mark.parametrize("effect_class", [A, B, C])
def test_a_worker_that_dies_after_its_effect_began_leaves_doubt(
    house: House, effect_class: EffectClass
) -> None:
    job_id = house.accept(effect_class)

    def die(work: Work) -> None:
        if effect_class.begins:
            work.begin(None)
        raise KeyboardInterrupt

    house.scripts[effect_class].steps.append(cast(Callable[[Work], object], die))
    with pytest.raises(KeyboardInterrupt):
        house.consume(tier_of(effect_class))
    assert house.job(job_id).state is State.RUNNING
    house.scripts[effect_class].steps.append(Retry(WHY))
    house.clock.advance(6 * MINUTE)
    house.consume(tier_of(effect_class))
    job = house.job(job_id)
    assert job.doubt == house.clock.now()
    assert job.history[0].outcome == "lapsed"
    assert (job.state is State.PARKED) is (effect_class is C)


def test_a_worker_that_dies_before_a_mail_began_leaves_no_doubt(house: House) -> None:
    def die(_: Work) -> None:
        raise KeyboardInterrupt

    job_id = house.accept(C)
    house.scripts[C].steps.append(cast(Callable[[Work], object], die))
    with pytest.raises(KeyboardInterrupt):
        house.consume(MAIL)
    house.clock.advance(6 * MINUTE)
    house.consume(MAIL)
    job = house.job(job_id)
    assert (job.state, job.attempts, len(house.scripts[C].effects)) == (State.COMPLETED, 2, 1)


# --- writes that nobody can tell of


@pytest.mark.parametrize("fault", [LOST, MUTE])
@pytest.mark.parametrize("effect_class", [A, C])
def test_a_claim_whose_reply_is_lost_is_still_ours(
    house: House, fault: Fault, effect_class: EffectClass
) -> None:
    job_id = house.accept(effect_class)
    house.store.order("save_many", fault)
    assert house.consume(tier_of(effect_class)) == []
    job = house.job(job_id)
    assert (job.state, job.attempts, job.fence) == (State.COMPLETED, 1, 1)


@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_a_claim_that_nobody_can_tell_of_is_left_and_never_run(house: House, fault: Fault) -> None:
    job_id = house.accept()
    house.store.order("save_many", *([fault] * 3))
    assert len(house.consume()) == 1
    assert house.scripts[A].works == []
    [message] = house.messages()
    assert message.visible_at == house.clock.now() + 6 * MINUTE
    house.pass_time(8 * MINUTE)
    assert house.job(job_id).state is State.COMPLETED


def unsure_after(house: House, calls: int, fault: Fault, count: int = 3) -> None:
    house.store.order("save_many", *([lambda: None] * calls), *([fault] * count))


@pytest.mark.parametrize("fault", [LOST, MUTE])
@pytest.mark.parametrize(("effect_class", "writes_before"), [(A, 1), (D, 1), (B, 2), (C, 2)])
def test_a_settlement_whose_reply_is_lost_stands(
    house: House, fault: Fault, effect_class: EffectClass, writes_before: int
) -> None:
    job_id = house.accept(effect_class)
    unsure_after(house, writes_before, fault, 2)
    assert house.consume(tier_of(effect_class)) == []
    assert house.job(job_id).state is State.COMPLETED


@pytest.mark.parametrize("fault", [LOST, MUTE])
@pytest.mark.parametrize(("effect_class", "writes_before"), [(A, 1), (D, 1), (B, 2), (C, 2)])
def test_a_settlement_that_nobody_can_tell_of_leaves_the_message(
    house: House, fault: Fault, effect_class: EffectClass, writes_before: int
) -> None:
    job_id = house.accept(effect_class)
    unsure_after(house, writes_before, fault)
    assert len(house.consume(tier_of(effect_class))) == 1
    assert house.job(job_id).state is (State.COMPLETED if fault is LOST else State.RUNNING)
    house.pass_time(10 * MINUTE)
    ends = {(C, MUTE): State.PARKED}
    assert house.job(job_id).state is ends.get((effect_class, fault), State.COMPLETED)


@pytest.mark.parametrize("effect_class", [B, C])
@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_no_effect_starts_that_the_record_may_not_know_of(
    house: House, effect_class: EffectClass, fault: Fault
) -> None:
    job_id = house.accept(effect_class)
    unsure_after(house, 1, fault)
    assert len(house.consume(tier_of(effect_class))) == 1
    assert house.scripts[effect_class].effects == []
    assert (house.job(job_id).state, house.job(job_id).begun) == (State.RUNNING, fault is LOST)
    assert "attempt_abandoned" in house.journal.actions()
    [message] = house.messages(tier_of(effect_class))
    assert message.visible_at == house.clock.now() + 6 * MINUTE


@pytest.mark.parametrize("fault", [LOST, MUTE])
def test_begun_whose_reply_is_lost_is_tried_again(house: House, fault: Fault) -> None:
    job_id = house.accept(C)
    unsure_after(house, 1, fault, 2)
    assert house.consume(MAIL) == []
    assert (house.job(job_id).state, len(house.scripts[C].effects)) == (State.COMPLETED, 1)


def test_a_worker_that_has_lost_its_claim_starts_no_effect(house: House) -> None:
    job_id = house.accept(C)

    def stolen() -> None:
        house.change(job_id, lambda job: other_change(job, claim_id=ClaimId("thief"), fence=9))

    house.store.order("save_many", lambda: None, stolen)
    assert len(house.consume(MAIL)) == 1
    assert house.scripts[C].effects == []
    assert house.job(job_id).fence == 9
    assert house.journal.events[-1] == ("attempt_abandoned", {"jobId": job_id, "type": "test.mail"})


@pytest.mark.parametrize(("effect_class", "tier"), [(A, MONEY), (C, MAIL)])
def test_the_settlement_of_a_worker_that_came_too_late_is_refused(
    house: House, effect_class: EffectClass, tier: Tier
) -> None:
    job_id = house.accept(effect_class)
    lease = house.clock.now() + 30 * MINUTE

    def work_too_long(work: Work) -> Completed:
        if effect_class.begins:
            work.begin(None)
        house.change(
            job_id,
            lambda job: run(job, claim_id=ClaimId("next"), lease_until=lease, now=house.clock.now()),
        )
        return Completed({"by": "the zombie"})

    house.scripts[effect_class].steps.append(work_too_long)
    assert len(house.consume(tier)) == 1
    job = house.job(job_id)
    assert (job.state, job.claim_id, job.fence, job.result) == (State.RUNNING, "next", 2, None)
    [message] = house.messages(tier)
    assert message.visible_at == house.clock.now() + 15 * MINUTE  # as far as a message may be put off


def test_a_batch_that_cannot_be_read_is_left_whole(house: House) -> None:
    ids = house.accept_many(3)
    house.store.order("load_batch", REFUSED)
    assert len(house.consume()) == 3
    assert {house.job(job_id).state for job_id in ids} == {State.QUEUED}
    assert house.queue.waiting() == 3
    assert "batch_left" in house.journal.actions()


def test_poison_is_buried_once_however_often_the_rest_cannot_be_read(house: House) -> None:
    job_id = house.accept()
    house.queue.put(MONEY, Lane.MAIN, "no message of ours")
    house.store.order("load_batch", REFUSED, REFUSED)
    for _ in range(3):
        house.consume()
        house.clock.advance(6 * MINUTE)
    assert house.queue.dead[MONEY] == ["no message of ours"]
    assert house.job(job_id).state is State.COMPLETED


def test_poison_that_could_not_be_buried_stays_though_the_rest_cannot_be_read(house: House) -> None:
    house.accept()
    house.queue.put(MONEY, Lane.MAIN, "no message of ours")
    house.store.order("load_batch", REFUSED)
    house.queue.down = True
    assert len(house.consume()) == 2


# --- payloads kept apart


BIG = {"order": "order-1", "note": "x" * 2_000}


def test_a_payload_kept_apart_is_read_before_the_claim(house: House) -> None:
    job_id = house.accept(data=BIG)
    house.store.order("load_payloads", REFUSED)
    assert len(house.consume()) == 1
    assert (house.job(job_id).state, house.job(job_id).attempts) == (State.QUEUED, 0)
    house.clock.advance(6 * MINUTE)
    assert house.consume() == []
    assert house.scripts[A].works[0].data == BIG


def test_payloads_kept_apart_are_read_in_one_call(house: House) -> None:
    for number in range(5):
        house.accept(data={"order": f"big-{number}", "note": "x" * 2_000})
    house.accept_many(5)
    house.consume()
    assert house.store.calls["load_payloads"] == 1
    assert {work.data["order"] for work in house.scripts[A].works} == {
        *(f"big-{number}" for number in range(5)),
        *(f"order-{number}" for number in range(1, 6)),
    }


def test_a_job_whose_payload_is_gone_is_left_and_holds_up_no_other(house: House) -> None:
    lost = house.accept(data=BIG)
    good = house.accept(data={"order": "order-2"})
    del house.store.payloads[lost]
    assert len(house.consume()) == 1
    assert (house.job(lost).state, house.job(lost).attempts) == (State.QUEUED, 0)
    assert house.job(good).state is State.COMPLETED
    assert ("payload_missing", {"jobId": lost}) in house.journal.events


# --- what a batch costs


@pytest.mark.parametrize("effect_class", [A, D])
def test_a_batch_of_ten_costs_three_calls_where_the_receiver_dedups(
    house: House, effect_class: EffectClass
) -> None:
    house.accept_many(10, effect_class)
    house.store.calls.clear()
    house.queue.calls.clear()
    assert house.consume(tier_of(effect_class)) == []
    assert dict(house.store.calls) == {"load_batch": 1, "save_many": 2}
    assert dict(house.queue.calls) == {}
    assert house.metrics.writes == 1


@pytest.mark.parametrize("effect_class", list(EffectClass))
def test_what_a_batch_came_to_is_counted_once(house: House, effect_class: EffectClass) -> None:
    house.accept_many(10, effect_class)
    kind = house.of_class[effect_class].name
    house.scripts[effect_class].steps.extend([Refused(WHY)] * 2)
    house.consume(tier_of(effect_class))
    counts = house.metrics.minute(house.clock.now())
    measures = (Measure.BEGUN, Measure.SUCCESS, Measure.REFUSED, Measure.FAILURE)
    assert [counts.get(Name(each, kind), 0) for each in measures] == [10, 8, 2, 0]
    assert counts[Name(Measure.TOOK, kind, "0.1")] == 10


def test_what_was_not_saved_is_not_counted_and_a_count_that_fails_costs_no_job(house: House) -> None:
    job_id = house.accept()
    house.metrics.fails = StoreRefused()
    assert house.consume() == []
    assert house.job(job_id).state is State.COMPLETED
    assert "not_counted" in house.journal.actions()
    house.metrics.fails = None
    assert house.consume() == []
    assert house.metrics.minute(house.clock.now()) == {}


@pytest.mark.parametrize("effect_class", [B, C])
def test_a_batch_of_ten_costs_one_begun_and_one_finish_per_job_where_it_does_not(
    house: House, effect_class: EffectClass
) -> None:
    house.accept_many(10, effect_class)
    house.store.calls.clear()
    assert house.consume(tier_of(effect_class)) == []
    assert dict(house.store.calls) == {"load_batch": 1, "save_many": 1 + 10 + 10}


def test_a_batch_of_ten_that_is_to_come_back_costs_one_call_more(house: House) -> None:
    house.accept_many(10)
    house.scripts[A].steps.extend([Retry(WHY)] * 10)
    house.store.calls.clear()
    house.queue.calls.clear()
    assert len(house.consume()) == 10
    assert dict(house.store.calls) == {"load_batch": 1, "save_many": 2}
    assert dict(house.queue.calls) == {"postpone": 1}


def test_a_batch_of_jobs_at_rest_costs_one_call(house: House) -> None:
    for job_id in house.accept_many(10):
        house.change(job_id, lambda job: replace(job, state=State.COMPLETED))
    house.store.calls.clear()
    assert house.consume() == []
    assert dict(house.store.calls) == {"load_batch": 1}


def test_a_batch_that_is_let_go_costs_two_calls(house: House) -> None:
    for job_id in house.accept_many(10):
        house.change(job_id, lambda job: replace(job, next_attempt_at=job.due + DAY))
    house.store.calls.clear()
    assert house.consume() == []
    assert dict(house.store.calls) == {"load_batch": 1, "save_looks": 1}


def test_each_run_of_class_c_is_saved_before_the_batch_has_ended() -> None:
    house = House()
    first, second = house.accept_many(2, C)
    states: list[State] = []
    house.scripts[C].steps.extend([Completed({}), lambda _: states.append(house.job(first).state)])
    house.consume(MAIL)
    assert states == [State.COMPLETED]
    assert house.job(second).state is State.RETRYING


def test_a_message_is_set_aside_by_its_handle(house: House) -> None:
    job_id = house.accept()
    house.scripts[A].steps.append(Retry(WHY, after=9 * SECOND))
    [message] = house.queue.receive(MONEY, Lane.MAIN)
    odd = Received("an id", message.body, message.handle, 1)
    assert house.worker().run_batch([odd], ends=house.clock.now() + MINUTE) == ["an id"]
    assert house.messages()[0].visible_at == house.job(job_id).next_attempt_at


def test_the_poll_of_a_pending_job_is_not_charged_when_its_worker_dies(house: House) -> None:
    job_id = house.accept()
    house.change(
        job_id,
        lambda job: replace(
            run(job, claim_id=ClaimId("dead"), lease_until=job.due, now=job.due),
            attempts=1,
            poll=Poll.PENDING,
            poll_since=job.due,
        ),
    )
    house.consume()
    assert (house.job(job_id).attempts, house.scripts[A].works[0].leave) == (1, Leave.LOOK_ONLY)
