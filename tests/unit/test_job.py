from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.job import (
    AT_REST,
    MOST_HISTORY,
    TERMINAL,
    Attempt,
    ClaimId,
    Job,
    Poll,
    Reason,
    State,
    begin,
    hold,
    remember,
    rest,
    restart,
    run,
    same_write,
    wait,
    without_message,
)
from chalicelib.domain.jobtype import Work
from chalicelib.domain.policies import TIMING, EffectClass, Lane
from tests.factories import PAYMENT, a_job, a_policy, a_running_job
from tests.fakes import START, ManualClock

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MS = timedelta(milliseconds=1)


def test_states_are_those_of_the_contract() -> None:
    assert {state.value for state in TERMINAL} == {"completed", "failed", "cancelled"}
    assert {state.value for state in AT_REST - TERMINAL} == {"parked"}
    assert {state.value for state in set(State) - AT_REST} == {"queued", "scheduled", "running", "retrying"}
    assert {reason.value for reason in Reason} == {"refused", "exhausted", "expired"}


@pytest.mark.parametrize(
    ("delay", "state", "looks", "look"),
    [
        pytest.param(timedelta(0), State.QUEUED, 1, 5 * MINUTE, id="now"),
        pytest.param(MS, State.SCHEDULED, 1, 5 * MINUTE + MS, id="in a moment"),
        pytest.param(15 * MINUTE, State.SCHEDULED, 1, 20 * MINUTE, id="as far as SQS delays"),
        pytest.param(15 * MINUTE + MS, State.SCHEDULED, 0, 15 * MINUTE + MS, id="beyond: dispatch sends"),
        pytest.param(365 * DAY, State.SCHEDULED, 0, 365 * DAY, id="in a year"),
    ],
)
def test_an_accepted_job_knows_when_it_is_due_and_looked_at(
    delay: timedelta, state: State, looks: int, look: timedelta
) -> None:
    job = a_job(delay=delay)
    assert (job.state, job.looks) == (state, looks)
    assert (job.due, job.next_attempt_at, job.next_look) == (START + delay, START + delay, START + look)
    assert job.created_at == START


def test_an_accepted_job_has_done_nothing_yet() -> None:
    job = a_job(attempts=7, priority=9, callback_url="https://example.com/done")
    assert (job.version, job.fence, job.generation, job.attempts, job.max_attempts) == (1, 0, 0, 0, 7)
    assert (job.doubt, job.begun, job.poll, job.handle, job.key_used_at) == (None, False, None, None, None)
    assert (job.lane, job.callback_url) == (Lane.EXPRESS, "https://example.com/done")
    assert (job.payload, job.payload_apart, job.overdue) == (PAYMENT, False, False)
    assert (job.user_id, job.submitted_by, job.history) == ("user-1", "service-1", ())


def test_a_claim_holds_the_job_and_raises_the_fence() -> None:
    lease = START + MINUTE
    job = run(a_job(), claim_id=ClaimId("c"), lease_until=lease, now=START)
    assert (job.state, job.version, job.fence, job.claim_id) == (State.RUNNING, 2, 1, "c")
    assert (job.claimed_at, job.lease_until) == (START, lease)
    assert (job.key_used_at, job.processed_at) == (START, START)


def test_only_the_first_claim_notes_when_the_key_was_first_used() -> None:
    first = wait(a_running_job(), START)
    second = run(first, claim_id=ClaimId("d"), lease_until=START, now=START + HOUR)
    assert (second.key_used_at, second.processed_at, second.claimed_at) == (START, START, START + HOUR)


@pytest.mark.parametrize(
    ("begun", "doubt", "stays"), [(True, START, True), (True, None, False), (False, START, False)]
)
def test_begun_outlives_a_claim_only_with_doubt(begun: bool, doubt: datetime | None, stays: bool) -> None:
    job = replace(a_job(), begun=begun, doubt=doubt)
    assert run(job, claim_id=ClaimId("c"), lease_until=START, now=START).begun is stays


def test_begin_notes_the_effect_and_its_object() -> None:
    job = begin(a_running_job(handle="first"))
    assert (job.begun, job.handle, job.version, job.fence) == (True, "first", 3, 1)
    assert begin(job, handle="second").handle == "second"


def test_waiting_lets_go_of_the_lease() -> None:
    job = wait(a_running_job(), START + HOUR)
    assert (job.state, job.lease_until, job.next_attempt_at) == (State.RETRYING, None, START + HOUR)
    assert (job.version, job.fence, job.due) == (3, 1, START)


def test_a_job_wakes_when_it_is_due_and_no_lease_runs() -> None:
    job = replace(a_job(), next_attempt_at=START + HOUR)
    assert job.wakes_at == START + HOUR
    assert replace(job, lease_until=START + 2 * HOUR).wakes_at == START + 2 * HOUR
    assert replace(job, lease_until=START + MINUTE).wakes_at == START + HOUR


OPEN = a_running_job(looks=3, overdue=True, poll=Poll.PENDING, poll_since=START)


@pytest.mark.parametrize("state", sorted(AT_REST))
def test_a_job_at_rest_leaves_both_indexes_and_holds_nothing(state: State) -> None:
    job = rest(OPEN, state, a_policy(), now=START + HOUR, reason=None)
    assert (job.state, job.version) == (state, OPEN.version + 1)
    assert (job.next_look, job.looks, job.overdue) == (None, 0, False)
    assert (job.lease_until, job.poll, job.poll_since) == (None, None, None)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_terminal_job_expires_after_its_retention_unless_it_is_archived(state: State) -> None:
    kept = a_policy(retention=7 * DAY)
    job = rest(OPEN, state, kept, now=START + HOUR, reason=Reason.REFUSED)
    assert (job.finished_at, job.expires_at, job.doubt) == (START + HOUR, START + HOUR + 7 * DAY, None)
    assert job.reason is Reason.REFUSED
    assert rest(OPEN, state, a_policy(archive="payment_archive"), now=START).expires_at is None


def test_a_parked_job_never_expires_and_always_has_doubt() -> None:
    job = rest(OPEN, State.PARKED, a_policy(), now=START + HOUR)
    assert (job.finished_at, job.expires_at, job.doubt) == (None, None, START + HOUR)
    earlier = replace(OPEN, doubt=START, begun=True)
    parked = rest(earlier, State.PARKED, a_policy(), now=START + HOUR)
    assert (parked.doubt, parked.begun) == (START, True)


def test_a_terminal_job_without_doubt_has_begun_nothing() -> None:
    assert not rest(replace(OPEN, begun=True), State.FAILED, a_policy(), now=START).begun


FAILED = rest(
    a_running_job(attempts=4, fence=6, generation=2, begun=True, doubt=START),
    State.FAILED,
    a_policy(),
    now=START,
    reason=Reason.EXHAUSTED,
)


def test_a_new_start_is_due_now_and_knows_no_doubt() -> None:
    now = START + DAY
    job = restart(replace(FAILED, doubt=START, begun=True), a_policy(), now=now)
    assert (job.state, job.reason, job.version) == (State.QUEUED, None, FAILED.version + 1)
    assert (job.due, job.next_attempt_at, job.next_look, job.looks) == (now, now, now + 5 * MINUTE, 1)
    assert (job.doubt, job.begun, job.key_used_at) == (None, False, None)
    assert (job.finished_at, job.expires_at) == (None, None)


def test_a_new_start_takes_back_neither_attempts_nor_fence() -> None:
    job = restart(FAILED, a_policy(), now=START)
    assert (job.attempts, job.fence, job.processed_at) == (4, 6, START)


@pytest.mark.parametrize(
    ("limit", "by", "raised"),
    [
        pytest.param(10, 10, 20, id="payment that was refused early"),
        pytest.param(4, 3, 7, id="mail that was exhausted"),
        pytest.param(10, 3, 13, id="a limit above the type's own does not fall"),
    ],
)
def test_a_new_start_raises_the_limit_by_the_policys_attempts(limit: int, by: int, raised: int) -> None:
    job = restart(replace(FAILED, max_attempts=limit), a_policy(attempts=by), now=START)
    assert job.max_attempts == raised


@pytest.mark.parametrize(
    ("effect_class", "generation"),
    [
        (EffectClass.KEYED, 3),
        (EffectClass.LOOKED_UP, 3),
        (EffectClass.BLIND, 3),
        (EffectClass.RECEIVER_DEDUPS, 2),
    ],
)
def test_only_class_d_keeps_its_generation_at_a_new_start(effect_class: EffectClass, generation: int) -> None:
    assert restart(FAILED, a_policy(effect_class), now=START).generation == generation


def test_a_held_back_job_is_put_off_without_a_message_and_without_a_charge() -> None:
    before = a_running_job(lease_until=START - MS, looks=2)
    job = hold(before, START + HOUR)
    assert (job.next_attempt_at, job.next_look, job.looks) == (START + HOUR, START + HOUR, 0)
    assert (job.version, job.attempts, job.fence, job.state) == (3, 1, 1, State.RUNNING)


def test_a_job_without_a_message_is_looked_at_when_it_wakes() -> None:
    job = without_message(a_running_job())
    assert (job.next_look, job.looks, job.version) == (START + timedelta(seconds=65), 0, 2)


def test_history_keeps_the_latest_attempts() -> None:
    job = a_job()
    for number in range(1, MOST_HISTORY + 4):
        job = remember(job, Attempt(number, START, START, "retry"))
    assert [entry.number for entry in job.history] == list(range(4, MOST_HISTORY + 4))
    assert MOST_HISTORY == 12


@pytest.mark.parametrize(
    ("current", "ours"),
    [
        ({}, True),
        ({"version": 3}, False),
        ({"claim_id": ClaimId("another")}, False),
        ({"state": State.RETRYING}, False),
        ({"next_look": None, "looks": 4, "payload": None, "overdue": True}, True),
    ],
)
def test_a_write_is_ours_by_its_version_claim_and_state(current: dict[str, object], ours: bool) -> None:
    job = a_running_job()
    assert same_write(job, replace(job, **current)) is ours  # type: ignore[arg-type]  # any of its fields


def a_work(job: Job, clock: ManualClock) -> Work:
    def begins(_: str | None) -> object:
        raise AssertionError

    return Work(job, {}, Leave.START, START + MINUTE, clock, TIMING, begins)  # type: ignore[arg-type]  # unused


def test_a_provider_key_is_the_same_for_every_attempt_of_a_generation() -> None:
    clock = ManualClock()
    first, later = a_running_job(), a_running_job(attempts=9, fence=12)
    assert a_work(first, clock).key("create") == a_work(later, clock).key("create") == "job_1:create:0"
    assert a_work(replace(first, generation=2), clock).key("create") == "job_1:create:2"
    assert a_work(first, clock).key("cancel") == "job_1:cancel:0"


@pytest.mark.parametrize(
    ("doubt_age", "counts"), [(None, True), (timedelta(0), False), (5 * MINUTE - MS, False), (5 * MINUTE, True)]
)
def test_absence_counts_only_five_minutes_after_the_doubt(doubt_age: timedelta | None, counts: bool) -> None:
    doubt = None if doubt_age is None else START - doubt_age
    assert a_work(a_running_job(doubt=doubt), ManualClock()).absence_counts() is counts
