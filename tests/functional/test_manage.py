"""What operators do to one job: each action by state, its audit entry, lost replies, races with workers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.batch import StageState, open_stage
from chalicelib.domain.errors import ActionRefused, BatchPending, NotFound, StoreRefused, StoreUnsure
from chalicelib.domain.job import ClaimId, Job, JobId, Poll, Reason, StageId, State, VenueId, run
from chalicelib.domain.keys import Key, lives
from chalicelib.domain.outcome import Completed, Failure, Refused, Unknown
from chalicelib.domain.policies import TIMING, EffectClass, Lane
from chalicelib.domain.ports import Entry
from chalicelib.domain.steer import Resolution
from chalicelib.service.manage import Order
from tests.factories import VENUE
from tests.functional.house import Fault, House

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
A, C, D = EffectClass.KEYED, EffectClass.BLIND, EffectClass.RECEIVER_DEDUPS
WHY = Failure("code", "A sentence.")
LOST, MUTE, REFUSED = Fault.LOST, Fault.MUTE, Fault.REFUSED
Act = Callable[[House, Order], Job]


@pytest.fixture
def house() -> House:
    return House()


def cancel(house: House, order: Order) -> Job:
    return house.manage.cancel(order)


def retry(house: House, order: Order) -> Job:
    return house.manage.retry(order)


def completed(house: House, order: Order) -> Job:
    return house.manage.resolve(order, Resolution.COMPLETED)


def failed(house: House, order: Order) -> Job:
    return house.manage.resolve(order, Resolution.FAILED)


def retried(house: House, order: Order) -> Job:
    return house.manage.resolve(order, Resolution.RETRY)


def order(job_id: JobId, venue_id: VenueId | None = VENUE) -> Order:
    return Order(job_id, venue_id, "admin-1", "the venue asked for it")


def standing(house: House, state: State, effect_class: EffectClass = A, **fields: Any) -> JobId:
    """Return a job that stands so, no message of it being out."""
    job_id = house.accept(effect_class)
    doubt = house.clock.now() if state is State.PARKED else None
    at_rest = state not in (State.QUEUED, State.SCHEDULED, State.RUNNING, State.RETRYING)
    look = None if at_rest else house.job(job_id).next_look
    changes = {"state": state, "doubt": doubt, "next_look": look, "attempts": 1, "fence": 1, **fields}
    house.change(job_id, lambda job: replace(job, **changes))
    house.lose_messages()
    return job_id


NO_CANCEL, NO_RETRY, NO_RESOLVE = "not_cancellable", "not_retryable", "not_parked"
TABLE = {
    State.QUEUED: (State.CANCELLED, NO_RETRY, NO_RESOLVE, NO_RESOLVE, NO_RESOLVE),
    State.SCHEDULED: (State.CANCELLED, NO_RETRY, NO_RESOLVE, NO_RESOLVE, NO_RESOLVE),
    State.RETRYING: (State.CANCELLED, NO_RETRY, NO_RESOLVE, NO_RESOLVE, NO_RESOLVE),
    State.RUNNING: (NO_CANCEL, NO_RETRY, NO_RESOLVE, NO_RESOLVE, NO_RESOLVE),
    State.COMPLETED: (NO_CANCEL, NO_RETRY, NO_RESOLVE, NO_RESOLVE, NO_RESOLVE),
    State.FAILED: (NO_CANCEL, State.QUEUED, NO_RESOLVE, NO_RESOLVE, NO_RESOLVE),
    State.CANCELLED: (NO_CANCEL, State.QUEUED, NO_RESOLVE, NO_RESOLVE, NO_RESOLVE),
    State.PARKED: (NO_CANCEL, "outcome_unknown", State.COMPLETED, State.FAILED, State.QUEUED),
}
ACTS: tuple[tuple[str, Act], ...] = (
    ("cancel", cancel),
    ("retry", retry),
    ("resolve_completed", completed),
    ("resolve_failed", failed),
    ("resolve_retry", retried),
)
ALLOWED = [
    pytest.param(state, action, act, after, id=f"{action} {state}")
    for state, row in TABLE.items()
    for (action, act), after in zip(ACTS, row, strict=True)
    if isinstance(after, State)
]
REFUSALS = [
    pytest.param(state, act, code, id=f"{action} {state}")
    for state, row in TABLE.items()
    for (action, act), code in zip(ACTS, row, strict=True)
    if not isinstance(code, State)
]


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TABLE) == set(State)


@pytest.mark.parametrize(("state", "action", "act", "after"), ALLOWED)
def test_an_action_moves_the_job_and_writes_its_audit_entry(
    house: House, state: State, action: str, act: Act, after: State
) -> None:
    job_id = standing(house, state)
    house.clock.advance(HOUR)
    made = act(house, order(job_id))
    assert made.state is house.job(job_id).state is after
    [entry] = house.store.audit
    assert entry == Entry(
        id=entry.id,
        at=house.clock.now(),
        actor="admin-1",
        action=action,
        subject=job_id,
        venue_id=VENUE,
        reason="the venue asked for it",
        before=state,
        after=after,
    )
    assert entry.id.startswith("entry_")
    assert house.journal.events[-1] == (action, {"jobId": job_id, "actor": "admin-1", "state": after})


@pytest.mark.parametrize(("state", "act", "code"), REFUSALS)
def test_an_action_that_is_not_allowed_changes_nothing_and_says_why(
    house: House, state: State, act: Act, code: str
) -> None:
    job_id = standing(house, state)
    before = house.job(job_id)
    with pytest.raises(ActionRefused) as caught:
        act(house, order(job_id))
    assert (caught.value.code, caught.value.state) == (code, state)
    assert caught.value.message
    assert (house.job(job_id), house.store.audit, house.queue.waiting()) == (before, [], 0)


@pytest.mark.parametrize("fields", [{"begun": True}, {"poll": Poll.PENDING}], ids=["begun", "pending"])
def test_a_job_whose_effect_may_have_begun_is_not_cancelled(house: House, fields: dict[str, Any]) -> None:
    job_id = standing(house, State.RETRYING, **fields)
    with pytest.raises(ActionRefused) as caught:
        cancel(house, order(job_id))
    assert caught.value.code == "effect_begun"


@pytest.mark.parametrize("act", [act for _, act in ACTS])
def test_another_venues_job_is_not_found_and_neither_is_an_unknown_one(house: House, act: Act) -> None:
    job_id = standing(house, State.FAILED)
    for unknown in (order(job_id, VenueId("venue-2")), order(JobId("job_unknown"))):
        with pytest.raises(NotFound):
            act(house, unknown)
    assert house.store.audit == []


def test_an_operator_of_the_platform_may_act_for_any_venue(house: House) -> None:
    job_id = standing(house, State.FAILED)
    assert retry(house, order(job_id, None)).state is State.QUEUED
    assert house.store.audit[0].venue_id == VENUE


# --- what follows


def test_a_cancelled_job_never_runs(house: House) -> None:
    job_id = house.accept()
    cancel(house, order(job_id))
    house.pass_time(HOUR)
    assert house.scripts[A].works == []
    assert (house.job(job_id).state, house.queue.waiting()) == (State.CANCELLED, 0)


@pytest.mark.parametrize(("state", "act"), [(State.FAILED, retry), (State.PARKED, retried)])
def test_a_job_that_starts_anew_is_sent_at_once_and_runs_under_a_new_key(
    house: House, state: State, act: Act
) -> None:
    job_id = standing(house, state, handle="pi_1")
    act(house, order(job_id))
    assert house.queue.waiting() == 1
    house.consume()
    job = house.job(job_id)
    assert (job.state, job.attempts, job.max_attempts, job.fence) == (State.COMPLETED, 2, 20, 2)
    assert house.scripts[A].effects == [(job_id, f"{job_id}:act:1")]
    assert job.handle == "pi_1"


def test_a_job_of_class_d_starts_anew_under_the_same_id(house: House) -> None:
    job_id = standing(house, State.FAILED, D)
    retry(house, order(job_id))
    house.pass_time(timedelta(minutes=1))
    assert house.scripts[D].effects == [(job_id, f"{job_id}:act:0")]


def test_an_urgent_job_starts_anew_in_the_express_lane(house: House) -> None:
    job_id = standing(house, State.FAILED, priority=9)
    retry(house, order(job_id))
    assert len(house.messages(lane=Lane.EXPRESS)) == 1


def test_a_job_that_could_not_be_sent_is_sent_by_dispatch(house: House) -> None:
    job_id = standing(house, State.FAILED)
    house.queue.down = True
    assert retry(house, order(job_id)).state is State.QUEUED
    house.queue.down = False
    house.pass_time(timedelta(minutes=6))
    assert house.job(job_id).state is State.COMPLETED


@pytest.mark.parametrize(("act", "state"), [(cancel, State.QUEUED), (completed, State.PARKED)])
def test_a_job_that_does_not_start_anew_is_sent_no_message(house: House, act: Act, state: State) -> None:
    act(house, order(standing(house, state)))
    assert house.queue.calls["send"] == 1  # its acceptance's


def test_resolving_a_mail_that_went_out_sends_no_other(house: House) -> None:
    job_id = house.accept(C)
    house.scripts[C].steps.append(Unknown(WHY))
    house.pass_time(timedelta(minutes=1))
    assert house.job(job_id).state is State.PARKED
    completed(house, order(job_id))
    house.pass_time(HOUR)
    job = house.job(job_id)
    assert (job.state, job.result, len(house.scripts[C].effects)) == (State.COMPLETED, {"resolved": True}, 1)


def test_resolving_a_mail_that_did_not_go_out_sends_it_once_more(house: House) -> None:
    job_id = house.accept(C)
    house.scripts[C].steps.append(Unknown(WHY))
    house.pass_time(timedelta(minutes=1))
    retried(house, order(job_id))
    house.pass_time(HOUR)
    assert (house.job(job_id).state, len(house.scripts[C].effects)) == (State.COMPLETED, 2)


# --- keys


def test_a_job_that_starts_anew_takes_its_key_back(house: House) -> None:
    job_id = standing(house, State.FAILED, reason=Reason.EXHAUSTED)
    house.clock.advance(2 * DAY)
    key = house.store.keys[house.job(job_id).key_id]
    assert not lives(key, house.job(job_id), house.clock.now())
    house.store.keys.clear()
    retry(house, order(job_id))
    taken = house.store.keys[key.id]
    assert (taken.job_id, taken.payload_hash, taken.created_at) == (job_id, key.payload_hash, key.created_at)
    assert (taken.period, taken.natural) == (DAY, False)
    assert house.submit().job.id == job_id


def test_a_key_that_the_job_still_holds_stays_as_it_is(house: House) -> None:
    job_id = standing(house, State.FAILED)
    keys = dict(house.store.keys)
    retry(house, order(job_id))
    assert house.store.keys == keys
    assert keys[house.job(job_id).key_id].natural


@pytest.mark.parametrize(("first_state", "act"), [(State.FAILED, retry), (State.CANCELLED, retry)])
def test_a_job_whose_key_another_holds_does_not_start_anew(house: House, first_state: State, act: Act) -> None:
    first = standing(house, first_state, reason=Reason.REFUSED if first_state is State.FAILED else None)
    second = house.accept()
    with pytest.raises(ActionRefused) as caught:
        act(house, order(first))
    assert (caught.value.code, caught.value.held_by, caught.value.state) == ("key_taken", second, first_state)
    assert second in caught.value.message
    assert (house.job(first).state, house.store.audit) == (first_state, [])
    assert house.store.keys[house.job(first).key_id].job_id == second


def test_a_parked_job_whose_key_another_holds_is_not_run_again(house: House) -> None:
    first, other = standing(house, State.PARKED), house.accept(data={"order": "order-2"})
    hold_key(house, first, other)
    with pytest.raises(ActionRefused) as caught:
        retried(house, order(first))
    assert (caught.value.code, caught.value.held_by) == ("key_taken", other)
    assert completed(house, order(first)).state is State.COMPLETED  # asks for no key


def hold_key(house: House, job_id: JobId, by: JobId, **fields: Any) -> Key:
    """Let the job's key be another's by now."""
    key_id, now = house.job(job_id).key_id, house.clock.now()
    house.store.keys[key_id] = replace(house.store.keys[key_id], job_id=by, created_at=now, **fields)
    return house.store.keys[key_id]


GHOST, STAGE = JobId("job_ghost"), StageId("stage_1")


@pytest.mark.parametrize(("state", "act"), [(State.FAILED, retry), (State.PARKED, retried)])
def test_a_key_of_a_job_that_never_came_to_be_is_taken_back_once_its_acceptance_is_over(
    house: House, state: State, act: Act
) -> None:
    job_id = standing(house, state)
    hold_key(house, job_id, GHOST)
    house.clock.advance(timedelta(seconds=60))
    with pytest.raises(StoreRefused):
        act(house, order(job_id))
    assert (house.job(job_id).state, house.store.audit) == (state, [])
    house.clock.advance(timedelta(milliseconds=1))
    assert act(house, order(job_id)).state is State.QUEUED
    assert house.store.keys[house.job(job_id).key_id].job_id == job_id


def stage_in(house: House, state: StageState) -> None:
    now = house.clock.now()
    house.store.stages[STAGE] = replace(open_stage(STAGE, [GHOST], now=now, timing=TIMING), state=state)


@pytest.mark.parametrize("written", [False, True], ids=["no record", "its record on the stage"])
def test_a_key_of_a_batch_that_was_given_up_is_taken_back_at_once(house: House, written: bool) -> None:
    job_id = standing(house, State.FAILED)
    hold_key(house, job_id, GHOST, stage=STAGE)
    if written:
        house.store.jobs[GHOST] = replace(house.job(job_id), id=GHOST, stage=STAGE)
    stage_in(house, StageState.STAGED)
    with pytest.raises(BatchPending):
        retry(house, order(job_id))
    stage_in(house, StageState.ABORTED)
    assert retry(house, order(job_id)).state is State.QUEUED
    assert house.store.keys[house.job(job_id).key_id].job_id == job_id


@pytest.mark.parametrize("stage", [STAGE, None], ids=["still on the stage", "off the stage"])
def test_a_key_of_a_batch_that_was_accepted_is_its_jobs(house: House, stage: StageId | None) -> None:
    job_id = standing(house, State.FAILED)
    hold_key(house, job_id, GHOST, stage=STAGE)
    house.store.jobs[GHOST] = replace(house.job(job_id), id=GHOST, stage=stage)
    stage_in(house, StageState.FLIPPED)
    with pytest.raises(ActionRefused) as caught:
        retry(house, order(job_id))
    assert (caught.value.code, caught.value.held_by) == ("key_taken", GHOST)


def test_a_ghost_whose_acceptance_is_finished_meanwhile_keeps_its_key(house: House) -> None:
    job_id = standing(house, State.FAILED)
    hold_key(house, job_id, GHOST)
    house.clock.advance(HOUR)

    def finish() -> None:
        hold_key(house, job_id, GHOST)
        house.store.jobs[GHOST] = replace(house.job(job_id), id=GHOST)

    house.store.order("save_audited", finish)
    with pytest.raises(ActionRefused) as caught:
        retry(house, order(job_id))
    assert (caught.value.code, caught.value.held_by) == ("key_taken", GHOST)
    assert (house.job(job_id).state, house.store.audit) == (State.FAILED, [])


def test_an_action_whose_reply_is_lost_is_known_again_after_midnight(house: House) -> None:
    job_id = standing(house, State.QUEUED)

    def pass_midnight() -> None:
        house.clock.advance(DAY)
        raise StoreUnsure

    house.store.order("save_audited", LOST, pass_midnight)
    assert cancel(house, order(job_id)).state is State.CANCELLED
    assert len(house.store.audit) == 1


@pytest.mark.parametrize("act", [cancel, completed, failed])
def test_an_ending_asks_for_no_key(house: House, act: Act) -> None:
    job_id = standing(house, State.QUEUED if act is cancel else State.PARKED)
    act(house, order(job_id))
    assert house.store.calls["load_key"] == 0


# --- lost replies and races


@pytest.mark.parametrize("faults", [(LOST,), (MUTE,), (MUTE, MUTE), (MUTE, LOST), (LOST, LOST)], ids=str)
@pytest.mark.parametrize(("state", "act"), [(State.QUEUED, cancel), (State.FAILED, retry)])
def test_an_action_whose_reply_is_lost_happens_once(
    house: House, state: State, act: Act, faults: tuple[Fault, ...]
) -> None:
    job_id = standing(house, state)
    version = house.job(job_id).version
    house.store.order("save_audited", *faults)
    made = act(house, order(job_id))
    assert made.state is house.job(job_id).state
    assert house.job(job_id).version == version + 1
    assert len(house.store.audit) == 1
    assert house.queue.waiting() == (act is retry)


def test_a_retry_whose_reply_is_lost_is_recognised_although_a_worker_has_the_job_since(house: House) -> None:
    job_id = standing(house, State.FAILED)
    house.store.order("save_audited", LOST, claim_by(house, job_id))
    assert retry(house, order(job_id)).state is State.QUEUED
    assert house.job(job_id).state is State.RUNNING
    assert len(house.store.audit) == 1


def test_an_action_that_nobody_can_tell_of_says_so(house: House) -> None:
    job_id = standing(house, State.QUEUED)
    house.store.order("save_audited", MUTE, MUTE, MUTE)
    with pytest.raises(StoreUnsure):
        cancel(house, order(job_id))
    assert house.job(job_id).state is State.QUEUED
    assert house.store.calls["save_audited"] == 3
    assert cancel(house, order(job_id)).state is State.CANCELLED


def test_a_table_that_does_not_answer_changes_nothing(house: House) -> None:
    job_id = standing(house, State.QUEUED)
    house.store.order("load", REFUSED)
    with pytest.raises(StoreRefused):
        cancel(house, order(job_id))
    assert house.store.audit == []


def claim_by(house: House, job_id: JobId) -> Callable[[], None]:
    now = house.clock.now()
    return lambda: house.change(
        job_id, lambda job: run(job, claim_id=ClaimId("c"), lease_until=now + HOUR, now=now)
    )


def test_a_worker_that_was_faster_is_not_cancelled(house: House) -> None:
    job_id = house.accept()
    house.store.order("save_audited", claim_by(house, job_id))
    with pytest.raises(ActionRefused) as caught:
        cancel(house, order(job_id))
    assert (caught.value.code, caught.value.state) == ("not_cancellable", State.RUNNING)
    assert (house.job(job_id).state, house.store.audit) == (State.RUNNING, [])


def test_a_job_that_a_worker_has_moved_meanwhile_is_cancelled_as_it_stands(house: House) -> None:
    job_id = house.accept()
    later = house.clock.now() + HOUR

    def fail_once() -> None:
        house.change(
            job_id,
            lambda job: replace(job, version=job.version + 2, state=State.RETRYING, next_attempt_at=later),
        )

    house.store.order("save_audited", fail_once)
    assert cancel(house, order(job_id)).state is State.CANCELLED
    assert [entry.before for entry in house.store.audit] == [State.RETRYING]


def test_an_operator_that_loses_every_race_is_told_to_try_again(house: House) -> None:
    job_id = house.accept()

    def move_on() -> None:
        house.change(job_id, lambda job: replace(job, version=job.version + 1))

    house.store.order("save_audited", *([move_on] * 3))
    with pytest.raises(StoreUnsure):
        cancel(house, order(job_id))
    assert (house.job(job_id).state, house.store.audit) == (State.QUEUED, [])


def test_a_write_of_another_is_not_taken_for_a_lost_one(house: House) -> None:
    job_id = house.accept()
    house.store.order("save_audited", MUTE, claim_by(house, job_id))
    with pytest.raises(ActionRefused) as caught:
        cancel(house, order(job_id))
    assert caught.value.state is State.RUNNING
    assert house.store.audit == []


def test_a_job_that_is_cancelled_while_it_is_claimed_starts_no_call(house: House) -> None:
    job_id = house.accept()
    house.store.order("save_many", lambda: cancel(house, order(job_id)))
    assert house.consume() == []
    assert house.scripts[A].works == []
    assert house.job(job_id).state is State.CANCELLED


def test_a_zombie_that_settles_after_a_new_start_is_refused(house: House) -> None:
    job_id = house.accept()

    def too_late(_: object) -> Completed:
        house.change(
            job_id,
            lambda job: replace(
                job, state=State.PARKED, doubt=job.due, version=job.version + 1, next_look=None
            ),
        )
        retried(house, order(job_id))
        return Completed({"by": "the zombie"})

    house.scripts[A].steps.append(too_late)
    house.consume()
    assert (house.job(job_id).state, house.job(job_id).result) == (State.QUEUED, None)


def test_the_decline_of_a_retried_job_is_final_again(house: House) -> None:
    job_id = standing(house, State.FAILED, reason=Reason.REFUSED)
    retry(house, order(job_id))
    house.scripts[A].steps.append(Refused(WHY))
    house.consume()
    assert (house.job(job_id).state, house.job(job_id).reason) == (State.FAILED, Reason.REFUSED)
