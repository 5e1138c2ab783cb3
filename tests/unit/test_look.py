from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.job import AT_REST, Job, State, without_message
from chalicelib.domain.look import Look, look, seen
from chalicelib.domain.policies import TIMING
from tests.factories import a_job, a_running_job
from tests.fakes import START

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NOW = timedelta(0)
BEFORE = timedelta(seconds=-10)


def looked(job: Job, after: timedelta = NOW, *, paused: bool = False, held: bool = False) -> Look:
    made = look(job, TIMING, now=START + after, paused=paused, held=held)
    assert made is not None
    return made


@pytest.mark.parametrize("state", sorted(AT_REST))
def test_a_job_at_rest_is_not_looked_at(state: State) -> None:
    assert look(replace(a_job(), state=state), TIMING, now=START, paused=False) is None


def test_a_job_without_a_look_is_left_alone() -> None:
    assert look(replace(a_job(), next_look=None), TIMING, now=START, paused=False) is None


@pytest.mark.parametrize(
    ("delay", "send_after"), [(NOW, NOW), (40 * SECOND, 40 * SECOND)], ids=["due", "due in 40 s"]
)
def test_a_job_without_a_message_is_sent_for_the_moment_it_wakes(
    delay: timedelta, send_after: timedelta
) -> None:
    made = looked(without_message(a_job(delay=delay)))
    assert made.send_after == send_after
    assert (made.job.looks, made.job.next_look) == (1, START + delay + 5 * MINUTE)


def test_a_job_long_past_due_is_sent_at_once() -> None:
    made = looked(without_message(a_job()), HOUR)
    assert made.send_after == NOW
    assert made.job.next_look == START + HOUR + 5 * MINUTE


def test_a_leased_job_without_a_message_is_sent_for_the_end_of_its_lease() -> None:
    made = looked(replace(a_running_job(), looks=0), 5 * SECOND)
    assert made.send_after == MINUTE
    assert made.job.next_look == START + 65 * SECOND + 5 * MINUTE


@pytest.mark.parametrize(
    ("looks", "again"),
    [
        (1, 10 * MINUTE),
        (2, 20 * MINUTE),
        (3, 40 * MINUTE),
        (4, 80 * MINUTE),
        (5, 160 * MINUTE),
        (6, 320 * MINUTE),
        (7, 6 * HOUR),
        (8, 6 * HOUR),
        (50, 6 * HOUR),
    ],
)
def test_a_lost_message_is_sent_again_ever_more_seldom_up_to_six_hours(looks: int, again: timedelta) -> None:
    made = looked(replace(a_job(), looks=looks), HOUR)
    assert made.send_after == NOW
    assert (made.job.looks, made.job.next_look) == (looks + 1, START + HOUR + again)


def test_a_message_is_missed_only_five_minutes_after_its_job_woke() -> None:
    job = replace(a_job(), next_attempt_at=START + 10 * MINUTE)
    made = looked(job, 5 * MINUTE)
    assert made.send_after is None
    assert (made.job.looks, made.job.next_look) == (1, START + 15 * MINUTE)


def test_a_message_is_not_missed_while_a_worker_has_the_job() -> None:
    job = a_running_job(lease_until=START + 14 * MINUTE)
    made = looked(job, 5 * MINUTE)
    assert (made.send_after, made.job.next_look) == (None, START + 19 * MINUTE)


@pytest.mark.parametrize(
    "early", [NOW, SECOND, 59 * SECOND, 60 * SECOND], ids=["then", "1 s", "59 s", "a whole minute early"]
)
def test_a_look_that_is_made_early_sends_what_would_be_missed_before_the_next_run(early: timedelta) -> None:
    assert looked(a_job(), 5 * MINUTE - early).send_after == NOW


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_nothing_is_sent_while_the_tier_stands_still(looks: int) -> None:
    made = looked(replace(a_job(), looks=looks), HOUR, paused=True)
    assert made.send_after is None
    assert (made.job.looks, made.job.next_look) == (looks, START + HOUR + 5 * MINUTE)


@pytest.mark.parametrize(("looks", "again"), [(1, 10 * MINUTE), (3, 40 * MINUTE), (9, 6 * HOUR)])
def test_the_message_of_what_is_held_back_is_not_lost(looks: int, again: timedelta) -> None:
    made = looked(replace(a_job(), looks=looks), HOUR, held=True)
    assert made.send_after is None
    assert (made.job.looks, made.job.next_look) == (looks, START + HOUR + again)


def test_a_job_is_not_held_back_unless_it_is_said_to_be() -> None:
    made = look(a_job(), TIMING, now=START + HOUR, paused=False)
    assert made is not None
    assert made.send_after == NOW


def test_what_is_held_back_and_has_no_message_is_sent_one() -> None:
    assert looked(without_message(a_job()), held=True).send_after == NOW


@pytest.mark.parametrize(
    ("after", "overdue"), [(BEFORE, False), (NOW, False), (timedelta(milliseconds=1), True), (HOUR, True)]
)
@pytest.mark.parametrize("paused", [False, True])
def test_the_first_look_past_due_makes_the_job_overdue(after: timedelta, overdue: bool, paused: bool) -> None:
    assert looked(a_job(), after, paused=paused).job.overdue is overdue


def test_overdue_goes_by_due_not_by_the_next_attempt() -> None:
    assert looked(replace(a_job(), next_attempt_at=START + HOUR), MINUTE).job.overdue
    assert not looked(replace(a_job(), due=START + HOUR), MINUTE).job.overdue


def test_an_overdue_job_stays_so() -> None:
    assert looked(replace(a_job(), due=START + HOUR, overdue=True)).job.overdue


def test_a_look_moves_neither_state_nor_version() -> None:
    job = a_running_job()
    after = looked(job, HOUR).job
    assert replace(after, next_look=job.next_look, looks=job.looks, overdue=job.overdue) == job


moments = st.integers(-3600, 200_000).map(lambda seconds: timedelta(seconds=seconds))


@given(
    next_attempt=moments,
    lease=st.none() | moments,
    next_look=moments,
    looks=st.integers(0, 60),
    paused=st.booleans(),
    held=st.booleans(),
    now=moments,
)
def test_a_look_always_moves_past_what_its_run_looks_for(
    next_attempt: timedelta,
    lease: timedelta | None,
    next_look: timedelta,
    looks: int,
    paused: bool,
    held: bool,
    now: timedelta,
) -> None:
    job = replace(
        a_job(),
        next_attempt_at=START + next_attempt,
        lease_until=None if lease is None else START + lease,
        next_look=START + next_look,
        looks=looks,
    )
    made = looked(job, now, paused=paused, held=held)
    assert made.job.next_look is not None
    assert made.job.next_look > START + now + TIMING.look_ahead
    assert made.job.looks - looks == (1 if made.send_after is not None else 0)
    assert made.send_after is None or made.send_after >= timedelta(0)


@pytest.mark.parametrize(
    ("waited", "next_look"),
    [
        pytest.param(NOW, None, id="the look is far: nothing to write"),
        pytest.param(2 * MINUTE - SECOND, None, id="still far enough"),
        pytest.param(2 * MINUTE, 8 * MINUTE, id="near: five minutes after it is back"),
        pytest.param(20 * MINUTE, 41 * MINUTE, id="as long again as it has waited"),
        pytest.param(24 * HOUR, 30 * HOUR + MINUTE, id="six hours at most"),
    ],
)
def test_the_look_of_a_job_whose_message_was_just_seen_is_put_off(
    waited: timedelta, next_look: timedelta | None
) -> None:
    after = seen(a_job(), TIMING, now=START + waited, back_in=MINUTE)
    assert (None if after is None else after.next_look) == (None if next_look is None else START + next_look)


def test_a_message_that_is_seen_counts_as_out_and_makes_its_job_overdue() -> None:
    after = seen(without_message(a_job()), TIMING, now=START + SECOND, back_in=MINUTE)
    assert after is not None
    assert (after.looks, after.overdue, after.version) == (1, True, a_job().version)


def test_the_look_of_a_job_at_rest_is_not_put_off() -> None:
    assert seen(replace(a_job(), next_look=None), TIMING, now=START, back_in=MINUTE) is None
