from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.job import TERMINAL, Job, Poll, Reason, State
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import EffectClass
from chalicelib.domain.steer import (
    ERASED,
    NotAllowed,
    Resolution,
    cancel,
    clone_refusal,
    erase,
    redrive,
    resolve,
    retry,
)
from tests.factories import a_policy, a_running_job, is_sentence
from tests.fakes import START

LATER = START + timedelta(hours=1)
POLICY = a_policy(archive="payment_archive")


def standing(state: State, **fields: Any) -> Job:
    doubt = START if state is State.PARKED else None
    return replace(a_running_job(), state=state, lease_until=None, **{"doubt": doubt, **fields})


@pytest.mark.parametrize(
    ("state", "cancelled", "retried", "resolved"),
    [
        (State.QUEUED, State.CANCELLED, "not_retryable", "not_parked"),
        (State.SCHEDULED, State.CANCELLED, "not_retryable", "not_parked"),
        (State.RUNNING, "not_cancellable", "not_retryable", "not_parked"),
        (State.RETRYING, State.CANCELLED, "not_retryable", "not_parked"),
        (State.COMPLETED, "not_cancellable", "not_retryable", "not_parked"),
        (State.FAILED, "not_cancellable", State.QUEUED, "not_parked"),
        (State.PARKED, "not_cancellable", "outcome_unknown", State.QUEUED),
        (State.CANCELLED, "not_cancellable", State.QUEUED, "not_parked"),
    ],
)
def test_what_an_operator_may_do_by_state(state: State, cancelled: str, retried: str, resolved: str) -> None:
    job = standing(state)
    after = (
        cancel(job, POLICY, now=LATER),
        retry(job, POLICY, now=LATER),
        resolve(job, POLICY, Resolution.RETRY, now=LATER),
    )
    found = [made.code if isinstance(made, NotAllowed) else made.state for made in after]
    assert found == [cancelled, retried, resolved]
    assert all(is_sentence(made.message) for made in after if isinstance(made, NotAllowed))


def test_what_is_not_allowed_says_where_the_job_stands() -> None:
    for made in (
        cancel(standing(State.COMPLETED), POLICY, now=LATER),
        retry(standing(State.COMPLETED), POLICY, now=LATER),
        resolve(standing(State.COMPLETED), POLICY, Resolution.RETRY, now=LATER),
    ):
        assert isinstance(made, NotAllowed)
        assert "completed" in made.message


@pytest.mark.parametrize(
    "fields",
    [{"doubt": START}, {"begun": True}, {"poll": Poll.PENDING}],
    ids=["in doubt", "begun", "pending"],
)
@pytest.mark.parametrize("state", [State.QUEUED, State.RETRYING])
def test_a_job_whose_effect_may_have_begun_is_not_cancelled(state: State, fields: dict[str, Any]) -> None:
    made = cancel(standing(state, **fields), POLICY, now=LATER)
    assert isinstance(made, NotAllowed)
    assert made.code == "effect_begun"
    assert is_sentence(made.message)


def test_a_cancelled_job_is_at_rest_and_keeps_its_record() -> None:
    job = standing(State.RETRYING)
    after = cancel(job, POLICY, now=LATER)
    assert isinstance(after, Job)
    assert (after.state, after.reason, after.finished_at, after.next_look) == (
        State.CANCELLED,
        None,
        LATER,
        None,
    )
    assert (after.version, after.attempts, after.payload) == (job.version + 1, 1, job.payload)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_failed_job_starts_anew_whatever_it_failed_of(reason: Reason) -> None:
    job = standing(State.FAILED, reason=reason)
    after = retry(job, POLICY, now=LATER)
    assert isinstance(after, Job)
    assert (after.state, after.reason, after.due, after.generation) == (State.QUEUED, None, LATER, 1)
    assert (after.max_attempts, after.attempts) == (20, 1)


def test_resolving_as_completed_ends_the_job_as_an_operator_said() -> None:
    job = standing(State.PARKED, result={"paymentIntentId": "pi_1"}, begun=True, error=Failure("c", "No."))
    after = resolve(job, POLICY, Resolution.COMPLETED, now=LATER)
    assert isinstance(after, Job)
    assert (after.state, after.doubt, after.error, after.reason) == (State.COMPLETED, None, None, None)
    assert (after.result, after.finished_at) == ({"paymentIntentId": "pi_1", "resolved": True}, LATER)
    assert not after.begun


def test_resolving_as_completed_makes_a_result_where_there_is_none() -> None:
    after = resolve(standing(State.PARKED), POLICY, Resolution.COMPLETED, now=LATER)
    assert isinstance(after, Job)
    assert after.result == {"resolved": True}


def test_resolving_as_failed_asserts_that_nothing_happened() -> None:
    after = resolve(standing(State.PARKED, begun=True), POLICY, Resolution.FAILED, now=LATER)
    assert isinstance(after, Job)
    assert (after.state, after.reason, after.doubt, after.begun) == (
        State.FAILED,
        Reason.REFUSED,
        None,
        False,
    )
    assert after.error is not None
    assert after.error.code == "resolved_failed"
    assert is_sentence(after.error.message)


@pytest.mark.parametrize(
    ("effect_class", "generation"),
    [(EffectClass.KEYED, 1), (EffectClass.LOOKED_UP, 1), (EffectClass.BLIND, 1)],
)
def test_resolving_as_retry_ends_the_doubt_and_raises_the_generation(
    effect_class: EffectClass, generation: int
) -> None:
    policy = a_policy(effect_class)
    after = resolve(standing(State.PARKED, begun=True), policy, Resolution.RETRY, now=LATER)
    assert isinstance(after, Job)
    assert (after.state, after.doubt, after.begun, after.generation) == (State.QUEUED, None, False, generation)
    assert after.key_used_at is None


def test_the_resolutions_are_those_of_the_api() -> None:
    assert [resolution.value for resolution in Resolution] == ["completed", "failed", "retry"]


@pytest.mark.parametrize("act", [cancel, retry], ids=["cancel", "retry"])
def test_an_action_takes_back_neither_fence_nor_version(act: Any) -> None:
    for state in State:
        after = act(standing(state, fence=5, version=9), POLICY, now=LATER)
        if isinstance(after, Job):
            assert (after.fence, after.version) == (5, 10)


def test_class_d_retried_keeps_the_id_that_its_receiver_knows() -> None:
    after = retry(standing(State.FAILED), a_policy(EffectClass.RECEIVER_DEDUPS), now=LATER)
    assert isinstance(after, Job)
    assert after.generation == 0


def test_no_terminal_state_but_failed_and_cancelled_is_left() -> None:
    left = {state for state in TERMINAL if isinstance(retry(standing(state), POLICY, now=LATER), Job)}
    assert left == {State.FAILED, State.CANCELLED}


def test_resolving_sets_the_finish_and_the_expiry() -> None:
    policy = a_policy(retention=timedelta(days=7))
    after = resolve(standing(State.PARKED), policy, Resolution.FAILED, now=LATER)
    assert isinstance(after, Job)
    assert (after.finished_at, after.expires_at) == (LATER, LATER + timedelta(days=7))


@pytest.mark.parametrize("reason", list(Reason))
def test_only_a_dead_letter_is_redriven(reason: Reason) -> None:
    job = standing(State.FAILED, reason=reason)
    after = redrive(job, POLICY, now=LATER)
    if reason is Reason.REFUSED:
        assert after == NotAllowed("not_a_dead_letter", "A job that is refused is no dead letter.")
    else:
        assert after == retry(job, POLICY, now=LATER)


@pytest.mark.parametrize("state", list(State))
def test_only_what_has_ended_is_erased_and_then_it_never_runs_again(state: State) -> None:
    job = standing(state, payload={"to": "ann"}, result={"id": "1"}, reason=Reason.EXHAUSTED)
    after = erase(job, POLICY, now=LATER)
    if state not in TERMINAL:
        assert isinstance(after, NotAllowed)
        assert after.code == "still_open"
        return
    assert isinstance(after, Job)
    assert (after.payload, after.result, after.erased_at, after.state) == ({}, None, LATER, state)
    assert clone_refusal(after) == ERASED
    if state in (State.FAILED, State.CANCELLED):
        assert retry(after, POLICY, now=LATER) == ERASED
