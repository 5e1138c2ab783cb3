from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.job import Job, Poll, Reason, State
from chalicelib.domain.outcome import Completed, Failure, HeldBack, Outcome, Pending, Refused, Retry, Unknown
from chalicelib.domain.policies import RETRY, EffectClass
from chalicelib.domain.settle import settle
from tests.factories import a_policy, a_running_job
from tests.fakes import START

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MS = timedelta(milliseconds=1)
A, B, C, D = EffectClass.KEYED, EffectClass.LOOKED_UP, EffectClass.BLIND, EffectClass.RECEIVER_DEDUPS
WHY = Failure("code", "A sentence.", "req_1")
NOW = START + 10 * SECOND
DONE = Completed({"chargeId": "ch_1"}, handle="pi_1")


def settled(
    outcome: Outcome,
    effect_class: EffectClass = A,
    *,
    now: datetime = NOW,
    jitter: float = 0.5,
    **fields: Any,
) -> Job:
    policy = a_policy(effect_class)
    return settle(a_running_job(policy, **fields), outcome, policy, now=now, jitter=jitter)


@pytest.mark.parametrize("doubt", [None, START])
@pytest.mark.parametrize("effect_class", list(EffectClass))
def test_an_observed_effect_completes_the_job_and_ends_all_doubt(
    effect_class: EffectClass, doubt: datetime | None
) -> None:
    job = settled(DONE, effect_class, doubt=doubt, error=WHY)
    assert (job.state, job.doubt, job.error, job.result) == (State.COMPLETED, None, None, {"chargeId": "ch_1"})
    assert (job.handle, job.finished_at, job.reason) == ("pi_1", NOW, None)


@pytest.mark.parametrize(
    ("attempts", "state", "reason"),
    [(1, State.RETRYING, None), (9, State.RETRYING, None), (10, State.FAILED, Reason.EXHAUSTED)],
)
def test_a_retry_is_granted_until_the_attempts_are_used_up(
    attempts: int, state: State, reason: Reason | None
) -> None:
    job = settled(Retry(WHY), attempts=attempts)
    assert (job.state, job.reason, job.error, job.attempts) == (state, reason, WHY, attempts)


@pytest.mark.parametrize(
    ("attempts", "after", "seconds"),
    [
        pytest.param(1, None, 0.5, id="first backoff, half jitter"),
        pytest.param(5, None, 8, id="fifth"),
        pytest.param(1, 20 * SECOND, 20, id="the provider's wish is longer"),
        pytest.param(5, 2 * SECOND, 8, id="the provider's wish is shorter"),
    ],
)
def test_a_retry_waits_for_the_backoff_and_for_what_the_provider_wishes(
    attempts: int, after: timedelta | None, seconds: float
) -> None:
    job = settled(Retry(WHY, after=after), attempts=attempts)
    assert job.next_attempt_at == NOW + timedelta(seconds=seconds)
    assert (job.lease_until, job.due) == (None, START)


def test_backoff_is_the_types_own() -> None:
    policy = a_policy(retry=RETRY["mint"])
    job = settle(a_running_job(policy, attempts=3), Retry(WHY), policy, now=NOW, jitter=0.5)
    assert job.next_attempt_at == NOW + 45 * SECOND


@pytest.mark.parametrize(
    ("outcome", "doubt"),
    [
        pytest.param(Retry(WHY), START, id="a refused connection, a 429: doubt stays"),
        pytest.param(Retry(WHY, clears_doubt=True), None, id="a look-up that found nothing"),
        pytest.param(Refused(WHY), START, id="a no that says nothing of the earlier attempt"),
        pytest.param(Unknown(WHY), NOW, id="again unknown: doubt is of now"),
    ],
)
def test_doubt_outlives_an_attempt_that_does_not_clear_it(outcome: Outcome, doubt: datetime | None) -> None:
    job = settled(outcome, doubt=START)
    assert (job.state, job.doubt) == (State.RETRYING, doubt)


@pytest.mark.parametrize(
    ("doubt", "clears"), [(None, False), (None, True), (START, True)], ids=["none", "none, sure", "cleared"]
)
def test_a_refusal_ends_the_job_if_nothing_is_in_doubt(doubt: datetime | None, clears: bool) -> None:
    job = settled(Refused(WHY, clears_doubt=clears, handle="pi_9"), doubt=doubt)
    assert (job.state, job.reason, job.doubt) == (State.FAILED, Reason.REFUSED, None)
    assert (job.error, job.handle, job.finished_at) == (WHY, "pi_9", NOW)


def test_a_refusal_in_doubt_is_tried_again_after_the_backoff() -> None:
    job = settled(Refused(WHY), doubt=START, attempts=5)
    assert job.next_attempt_at == NOW + 8 * SECOND


@pytest.mark.parametrize(
    ("effect_class", "state", "doubt"),
    [
        (A, State.RETRYING, NOW),
        (B, State.RETRYING, NOW),
        (C, State.PARKED, NOW),
        (D, State.RETRYING, None),
    ],
)
def test_an_unknown_outcome_by_effect_class(
    effect_class: EffectClass, state: State, doubt: datetime | None
) -> None:
    job = settled(Unknown(WHY, handle="pi_1"), effect_class, attempts=5)
    assert (job.state, job.doubt, job.error, job.handle) == (state, doubt, WHY, "pi_1")
    if state is State.RETRYING:
        assert job.next_attempt_at == NOW + 8 * SECOND


@pytest.mark.parametrize("effect_class", [A, B])
def test_exhausted_in_doubt_is_looked_up_every_five_minutes(effect_class: EffectClass) -> None:
    job = settled(Unknown(WHY), effect_class, attempts=10)
    assert (job.state, job.poll, job.poll_since) == (State.RETRYING, Poll.LOOK_UP, NOW)
    assert job.next_attempt_at == NOW + 5 * MINUTE


@pytest.mark.parametrize(
    ("looked_for", "state"),
    [(HOUR, State.RETRYING), (24 * HOUR - MS, State.RETRYING), (24 * HOUR, State.PARKED)],
)
def test_doubt_that_a_day_of_looking_cannot_clear_is_parked(looked_for: timedelta, state: State) -> None:
    job = settled(Retry(WHY), attempts=10, doubt=START, poll=Poll.LOOK_UP, poll_since=NOW - looked_for)
    assert (job.state, job.doubt) == (state, START)
    assert (job.poll, job.poll_since) == (
        (Poll.LOOK_UP, NOW - looked_for) if state is State.RETRYING else (None, None)
    )


def test_a_look_up_that_clears_doubt_with_no_attempts_left_ends_the_job() -> None:
    job = settled(Retry(WHY, clears_doubt=True), attempts=10, doubt=START, poll=Poll.LOOK_UP, poll_since=START)
    assert (job.state, job.reason, job.doubt) == (State.FAILED, Reason.EXHAUSTED, None)


def test_class_d_is_exhausted_without_ever_being_in_doubt() -> None:
    job = settled(Unknown(WHY), D, attempts=10)
    assert (job.state, job.reason, job.doubt) == (State.FAILED, Reason.EXHAUSTED, None)


def test_a_pending_effect_is_polled_every_five_minutes_and_is_no_doubt() -> None:
    job = settled(Pending({"status": "processing"}, handle="pi_1"), doubt=START)
    assert (job.state, job.poll, job.poll_since, job.doubt) == (State.RETRYING, Poll.PENDING, NOW, None)
    assert (job.next_attempt_at, job.result, job.handle) == (NOW + 5 * MINUTE, {"status": "processing"}, "pi_1")


def test_a_poll_counts_from_when_the_effect_was_first_seen_pending() -> None:
    job = settled(Pending({}), poll=Poll.PENDING, poll_since=START - HOUR)
    assert job.poll_since == START - HOUR


def test_a_look_up_that_finds_the_effect_pending_begins_a_poll() -> None:
    job = settled(Pending({}), doubt=START, poll=Poll.LOOK_UP, poll_since=START - HOUR)
    assert (job.poll, job.poll_since) == (Poll.PENDING, NOW)


@pytest.mark.parametrize(
    ("outcome", "polled_for", "state"),
    [
        (Pending({}), 24 * HOUR - MS, State.RETRYING),
        (Pending({}), 24 * HOUR, State.PARKED),
        (Retry(WHY), 24 * HOUR, State.RETRYING),
        (Retry(WHY), 25 * HOUR - MS, State.RETRYING),
        (Retry(WHY), 25 * HOUR, State.PARKED),
        (Unknown(WHY), 25 * HOUR, State.PARKED),
    ],
    ids=["pending, a day less", "pending, a day", "failing, a day", "failing, an hour more", "25 h", "unknown"],
)
def test_a_pending_effect_is_parked_after_a_day_and_its_ending_call_gets_an_hour(
    outcome: Outcome, polled_for: timedelta, state: State
) -> None:
    job = settled(outcome, poll=Poll.PENDING, poll_since=NOW - polled_for, attempts=1)
    assert job.state is state
    if state is State.PARKED:
        assert job.doubt is not None
    else:
        assert (job.poll, job.next_attempt_at) == (Poll.PENDING, NOW + 5 * MINUTE)


def test_a_pending_effect_that_is_refused_ends_the_job() -> None:
    job = settled(Refused(WHY, clears_doubt=True), poll=Poll.PENDING, poll_since=START)
    assert (job.state, job.reason) == (State.FAILED, Reason.REFUSED)


def test_a_failing_poll_does_not_become_an_attempt() -> None:
    job = settled(Retry(WHY), poll=Poll.PENDING, poll_since=START, attempts=1)
    assert (job.poll, job.poll_since, job.next_attempt_at) == (Poll.PENDING, START, NOW + 5 * MINUTE)


def test_attempts_left_end_a_look_up() -> None:
    job = settled(Retry(WHY), attempts=3, doubt=START, poll=Poll.LOOK_UP, poll_since=START)
    assert (job.poll, job.poll_since, job.doubt) == (None, None, START)


@pytest.mark.parametrize(
    ("poll", "attempts"), [(None, 2), (Poll.PENDING, 3), (Poll.LOOK_UP, 3)], ids=["charged", "poll", "look-up"]
)
def test_a_held_back_attempt_is_given_back_if_it_was_charged(poll: Poll | None, attempts: int) -> None:
    job = settled(HeldBack("limit", 40 * SECOND), attempts=3, poll=poll, doubt=START, error=WHY)
    assert (job.attempts, job.next_attempt_at, job.state) == (attempts, NOW + 40 * SECOND, State.RETRYING)
    assert (job.history, job.doubt, job.error, job.poll) == ((), START, WHY, poll)


def test_what_waits_for_a_reason_says_it_until_it_is_done() -> None:
    quiet = Failure("quiet_hours", "The venue sleeps.")
    job = settled(HeldBack("quiet_hours", 9 * HOUR, why=quiet), error=WHY)
    assert (job.error, job.next_attempt_at) == (quiet, NOW + 9 * HOUR)


@pytest.mark.parametrize(
    ("outcome", "begun", "doubt", "stays"),
    [
        pytest.param(Retry(WHY), True, None, False, id="a 429: nothing has happened"),
        pytest.param(Retry(WHY), True, START, True, id="doubt of an earlier attempt"),
        pytest.param(Retry(WHY, clears_doubt=True), True, START, False, id="doubt cleared"),
        pytest.param(Unknown(WHY), True, None, True, id="unknown"),
        pytest.param(Retry(WHY), False, START, False, id="never begun"),
    ],
)
def test_begun_is_forgotten_once_nothing_can_have_happened(
    outcome: Outcome, begun: bool, doubt: datetime | None, stays: bool
) -> None:
    assert settled(outcome, B, begun=begun, doubt=doubt).begun is stays


@pytest.mark.parametrize(
    ("outcome", "word", "code", "reference"),
    [
        (DONE, "completed", None, None),
        (Retry(WHY), "retry", "code", "req_1"),
        (Refused(WHY), "refused", "code", "req_1"),
        (Unknown(WHY), "unknown", "code", "req_1"),
        (Pending({}), "pending", None, None),
    ],
)
def test_every_attempt_is_in_the_history(
    outcome: Outcome, word: str, code: str | None, reference: str | None
) -> None:
    [entry] = settled(outcome, attempts=4, claimed_at=START + SECOND).history
    assert (entry.number, entry.outcome, entry.code, entry.reference) == (4, word, code, reference)
    assert (entry.started_at, entry.ended_at) == (START + SECOND, NOW)


def test_the_providers_object_is_kept_until_it_names_another() -> None:
    assert settled(Retry(WHY), handle="pi_1").handle == "pi_1"
    assert settled(Retry(WHY, handle="pi_2"), handle="pi_1").handle == "pi_2"
    assert settled(Completed({}), handle="pi_1").handle == "pi_1"


def test_each_settlement_is_one_write_and_leaves_the_fence() -> None:
    for outcome in (DONE, Retry(WHY), Refused(WHY), Unknown(WHY), Pending({}), HeldBack("limit", SECOND)):
        job = settled(outcome, fence=7, version=20)
        assert (job.version, job.fence) == (21, 7)
