from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.claim import (
    AtRest,
    Claimed,
    Ended,
    Leave,
    NotYet,
    Verdict,
    claim,
    key_is_young,
    leave,
    refusal,
)
from chalicelib.domain.job import AT_REST, ClaimId, Job, Poll, Reason, State
from chalicelib.domain.policies import TIMING, EffectClass, Policy, Timing
from tests.factories import a_job, a_policy, a_running_job, is_sentence
from tests.fakes import START

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
MS = timedelta(milliseconds=1)
A, B, C, D = EffectClass.KEYED, EffectClass.LOOKED_UP, EffectClass.BLIND, EffectClass.RECEIVER_DEDUPS
LEASE_ENDS = START + 65 * SECOND


def claimed(job: Job, policy: Policy | None = None, *, now: datetime = START, **named: Any) -> Verdict:
    return claim(
        job,
        policy or a_policy(),
        claim_id=ClaimId("claim_2"),
        lease_until=now + 65 * SECOND,
        now=now,
        **named,
    )


def taken(job: Job, policy: Policy | None = None, **named: Any) -> Job:
    verdict = claimed(job, policy, **named)
    assert isinstance(verdict, Claimed)
    return verdict.job


def ended(job: Job, policy: Policy | None = None, **named: Any) -> Job:
    verdict = claimed(job, policy, **named)
    assert isinstance(verdict, Ended)
    return verdict.job


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RETRYING])
def test_a_job_that_waits_is_claimed_and_charged(state: State) -> None:
    job = taken(replace(a_job(), state=state))
    assert (job.state, job.attempts, job.fence, job.version) == (State.RUNNING, 1, 1, 2)
    assert (job.claim_id, job.lease_until, job.claimed_at) == ("claim_2", LEASE_ENDS, START)
    assert (job.next_look, job.looks) == (a_job().next_look, 1)


@pytest.mark.parametrize("state", sorted(AT_REST))
def test_a_job_at_rest_is_not_claimed(state: State) -> None:
    assert claimed(replace(a_job(), state=state)) == AtRest()


@pytest.mark.parametrize(
    ("due_in", "verdict"),
    [
        (timedelta(0), Claimed),
        (5 * SECOND, Claimed),
        (5 * SECOND + MS, NotYet),
        (HOUR, NotYet),
    ],
)
def test_a_job_is_claimed_five_seconds_before_it_is_due_at_the_earliest(
    due_in: timedelta, verdict: type[Verdict]
) -> None:
    job = replace(a_job(), next_attempt_at=START + due_in)
    found = claimed(job)
    assert isinstance(found, verdict)
    if isinstance(found, NotYet):
        assert found.until == START + due_in


@pytest.mark.parametrize(
    ("after_lease", "verdict"), [(-65 * SECOND, NotYet), (-MS, NotYet), (timedelta(0), Claimed), (DAY, Claimed)]
)
def test_a_running_job_is_claimed_only_over_a_lapsed_lease(
    after_lease: timedelta, verdict: type[Verdict]
) -> None:
    found = claimed(a_running_job(), now=LEASE_ENDS + after_lease)
    assert isinstance(found, verdict)
    if isinstance(found, NotYet):
        assert found.until == LEASE_ENDS


def test_a_refusal_says_when_to_come_back() -> None:
    leased = replace(a_running_job(), next_attempt_at=START + HOUR)
    assert refusal(leased, now=START, timing=TIMING) == NotYet(START + HOUR)
    assert refusal(a_job(), now=START, timing=TIMING) is None
    assert refusal(a_job(delay=HOUR), now=START, timing=Timing(clock_skew=HOUR)) is None


@pytest.mark.parametrize(
    ("effect_class", "begun", "doubts"),
    [
        pytest.param(A, False, True, id="A: its call may have been under way"),
        pytest.param(B, False, False, id="B that had not begun"),
        pytest.param(B, True, True, id="B that had begun"),
        pytest.param(D, False, False, id="D: the receiver dedups"),
        pytest.param(D, True, False, id="D, whatever it noted"),
    ],
)
def test_a_lapsed_lease_leaves_doubt_where_an_effect_may_have_happened(
    effect_class: EffectClass, begun: bool, doubts: bool
) -> None:
    policy = a_policy(effect_class)
    job = taken(a_running_job(policy, begun=begun), policy, now=LEASE_ENDS)
    assert job.doubt == (LEASE_ENDS if doubts else None)
    assert (job.attempts, job.fence) == (2, 2)
    assert job.error is not None
    assert job.error.code == "lease_lapsed"
    assert is_sentence(job.error.message)


def test_an_older_doubt_outlives_a_lapse_that_adds_none() -> None:
    policy = a_policy(B)
    job = taken(a_running_job(policy, doubt=START - HOUR), policy, now=LEASE_ENDS)
    assert job.doubt == START - HOUR


def test_a_lapse_is_in_the_history() -> None:
    [entry] = taken(a_running_job(), now=LEASE_ENDS).history
    assert (entry.number, entry.outcome, entry.code) == (1, "lapsed", "lease_lapsed")
    assert (entry.started_at, entry.ended_at) == (START, LEASE_ENDS)


def test_a_mail_that_may_have_gone_is_parked_at_the_claim() -> None:
    policy = a_policy(C)
    job = ended(a_running_job(policy, begun=True), policy, now=LEASE_ENDS)
    assert (job.state, job.doubt, job.attempts, job.claim_id) == (State.PARKED, LEASE_ENDS, 1, "claim_2")


def test_a_mail_that_had_not_begun_is_tried_again() -> None:
    policy = a_policy(C)
    assert taken(a_running_job(policy), policy, now=LEASE_ENDS).attempts == 2


@pytest.mark.parametrize("effect_class", [A, B, C, D])
@pytest.mark.parametrize(("attempts", "limit"), [(10, 10), (11, 10), (3, 3)])
def test_a_job_without_attempts_left_is_never_taken(
    effect_class: EffectClass, attempts: int, limit: int
) -> None:
    job = replace(a_job(), attempts=attempts, max_attempts=limit)
    after = ended(job, a_policy(effect_class))
    assert (after.state, after.reason) == (State.FAILED, Reason.EXHAUSTED)
    assert (after.attempts, after.fence, after.version, after.claim_id) == (attempts, 0, 2, "claim_2")


def test_the_last_attempt_is_taken() -> None:
    assert taken(replace(a_job(), attempts=9)).attempts == 10


def test_doubt_with_attempts_left_is_charged_an_attempt() -> None:
    job = taken(replace(a_job(), attempts=9, doubt=START))
    assert (job.attempts, job.poll) == (10, None)


def test_doubt_without_attempts_left_is_looked_up_without_a_charge() -> None:
    job = taken(replace(a_job(), attempts=10, doubt=START - HOUR))
    assert (job.attempts, job.poll, job.poll_since) == (10, Poll.LOOK_UP, START)


@pytest.mark.parametrize("poll", list(Poll))
def test_a_poll_goes_on_without_a_charge(poll: Poll) -> None:
    doubt = START - HOUR if poll is Poll.LOOK_UP else None
    waiting = replace(a_job(), attempts=10, doubt=doubt, poll=poll, poll_since=START - HOUR)
    job = taken(waiting)
    assert (job.attempts, job.poll, job.poll_since) == (10, poll, START - HOUR)


def test_a_pending_job_with_attempts_left_is_only_polled() -> None:
    job = taken(replace(a_job(), attempts=1, poll=Poll.PENDING, poll_since=START))
    assert (job.attempts, job.poll) == (1, Poll.PENDING)


@pytest.mark.parametrize(
    ("polled_for", "verdict"), [(25 * HOUR - MS, Claimed), (25 * HOUR, Ended), (30 * DAY, Ended)]
)
def test_a_poll_is_given_up_after_a_day_and_an_hour(polled_for: timedelta, verdict: type[Verdict]) -> None:
    job = replace(a_job(), poll=Poll.PENDING, poll_since=START - polled_for)
    found = claimed(job)
    assert isinstance(found, verdict)
    if isinstance(found, Ended):
        assert (found.job.state, found.job.doubt) == (State.PARKED, START)


WINDOW = a_policy(D, window=DAY)


@pytest.mark.parametrize(
    ("late", "paused", "expired"),
    [
        (DAY, timedelta(0), False),
        (DAY + MS, timedelta(0), True),
        (3 * DAY, 2 * DAY, False),
        (3 * DAY, 2 * DAY - MS, True),
    ],
)
def test_a_window_is_counted_from_due_and_leaves_pauses_out(
    late: timedelta, paused: timedelta, expired: bool
) -> None:
    found = claimed(a_job(), WINDOW, now=START + late, paused=paused)
    assert isinstance(found, Ended) is expired
    if isinstance(found, Ended):
        job = found.job
        assert (job.state, job.reason, job.attempts) == (State.FAILED, Reason.EXPIRED, 0)
        assert job.error is not None
        assert job.error.code == "expired"
        assert is_sentence(job.error.message)


def test_the_window_begins_when_the_job_is_due_not_when_it_was_accepted() -> None:
    late = a_job(delay=30 * DAY)
    assert isinstance(claimed(late, WINDOW, now=START + 30 * DAY + HOUR), Claimed)


def test_backoff_and_hold_back_do_not_move_the_window() -> None:
    job = replace(a_job(), next_attempt_at=START + 2 * DAY)
    assert ended(job, WINDOW, now=START + 2 * DAY).reason is Reason.EXPIRED


def test_money_never_expires() -> None:
    assert isinstance(claimed(a_job(), now=START + 3650 * DAY), Claimed)


def test_a_window_that_is_over_does_not_end_what_is_in_doubt() -> None:
    policy = a_policy(B, window=DAY)
    job = taken(replace(a_job(), doubt=START), policy, now=START + 2 * DAY)
    assert job.doubt == START


def test_an_expired_job_whose_worker_died_ends_as_expired() -> None:
    job = ended(a_running_job(WINDOW), WINDOW, now=START + 2 * DAY)
    assert job.reason is Reason.EXPIRED


OLD, YOUNG = START - 23 * HOUR, START - 23 * HOUR + MS


@pytest.mark.parametrize(
    ("effect_class", "doubt", "key_used_at", "poll", "expected"),
    [
        pytest.param(A, False, YOUNG, None, Leave.START, id="A without doubt"),
        pytest.param(A, False, OLD, None, Leave.START, id="A without doubt, old key"),
        pytest.param(A, True, YOUNG, None, Leave.REPEAT, id="A in doubt, young key"),
        pytest.param(A, True, OLD, None, Leave.LOOK_UP, id="A in doubt, old key"),
        pytest.param(A, True, None, None, Leave.LOOK_UP, id="A in doubt, key never used"),
        pytest.param(A, True, YOUNG, Poll.LOOK_UP, Leave.LOOK_ONLY, id="A, no attempts left"),
        pytest.param(A, False, YOUNG, Poll.PENDING, Leave.LOOK_ONLY, id="A pending"),
        pytest.param(B, False, YOUNG, None, Leave.START, id="B without doubt"),
        pytest.param(B, True, YOUNG, None, Leave.LOOK_UP, id="B in doubt"),
        pytest.param(B, True, YOUNG, Poll.LOOK_UP, Leave.LOOK_ONLY, id="B, no attempts left"),
        pytest.param(C, False, YOUNG, None, Leave.START, id="C without doubt"),
        pytest.param(C, True, YOUNG, None, Leave.LOOK_UP, id="C in doubt, should it ever be run"),
        pytest.param(D, False, YOUNG, None, Leave.START, id="D"),
        pytest.param(D, True, OLD, None, Leave.START, id="D knows no doubt"),
    ],
)
def test_what_a_run_may_do_about_its_effect(
    effect_class: EffectClass, doubt: bool, key_used_at: datetime | None, poll: Poll | None, expected: Leave
) -> None:
    job = a_running_job(doubt=START if doubt else None, key_used_at=key_used_at, poll=poll)
    assert leave(job, a_policy(effect_class), START) is expected


def test_a_key_is_young_for_23_hours() -> None:
    job = a_running_job(key_used_at=START)
    assert key_is_young(job, TIMING, START + 23 * HOUR - MS)
    assert not key_is_young(job, TIMING, START + 23 * HOUR)
    assert not key_is_young(replace(job, key_used_at=None), TIMING, START)
