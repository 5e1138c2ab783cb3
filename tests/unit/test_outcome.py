from collections.abc import Callable
from datetime import timedelta

import pytest

from chalicelib.domain import errors
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.outcome import Failure, Outcome, Refused, Retry, Unknown, outcome_of
from tests.factories import is_sentence

WHY = Failure("code", "A sentence.", "req_1")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotSent("code", "A sentence.", reference="req_1"), Retry(WHY)),
        (TurnedAway("code", "A sentence.", reference="req_1"), Retry(WHY)),
        (
            TurnedAway("code", "A sentence.", reference="req_1", after=timedelta(seconds=9)),
            Retry(WHY, after=timedelta(seconds=9)),
        ),
        (
            Declined("code", "A sentence.", reference="req_1", handle="pi_1"),
            Refused(WHY, handle="pi_1"),
        ),
        (Ambiguous("code", "A sentence.", reference="req_1"), Unknown(WHY)),
        (Ambiguous("code", "A sentence.", reference="req_1", replayed=True), Unknown(WHY)),
        (ProviderError("code", "A sentence.", reference="req_1"), Unknown(WHY)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_of_a_provider_is_one_outcome(error: ProviderError, outcome: Outcome) -> None:
    assert outcome_of(error) == outcome


def test_only_a_no_to_the_jobs_own_young_key_clears_doubt() -> None:
    outcomes = [
        outcome_of(error("code", "A sentence.", reference="req_1"), answered_key=True)
        for error in (Declined, TurnedAway, NotSent, Ambiguous)
    ]
    assert outcomes == [Refused(WHY, clears_doubt=True), Retry(WHY), Retry(WHY), Unknown(WHY)]


def test_a_failed_call_that_was_no_replay_says_so() -> None:
    assert not Ambiguous("code", "A sentence.").replayed
    assert Ambiguous("code", "A sentence.", replayed=True).replayed


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (errors.QueueServiceError, "internal_error", "The base of every error of ours"),
        (errors.NotFound, "not_found", "There is no such job."),
        (lambda: errors.NotFound("No such schedule."), "not_found", "No such schedule."),
        (errors.StoreUnsure, "unavailable", "what was asked may have been done."),
        (errors.StoreRefused, "unavailable", "nothing was written. Repeat the request."),
        (errors.AcceptanceUnknown, "acceptance_unknown", "repeat with the same key"),
        (lambda: errors.KeyConflict("job_1"), "idempotency_conflict", "held by job job_1, which has another"),
        (lambda: errors.InvalidRequest([]), "validation_failed", "see details"),
        (lambda: errors.InvalidRequest([], "No."), "validation_failed", "No."),
        (lambda: errors.ActionRefused("key_taken", "Held.", state="failed"), "key_taken", "Held."),
    ],
)
def test_each_error_has_a_stable_code_and_a_sentence(
    make: Callable[[], errors.QueueServiceError], code: str, message: str
) -> None:
    error = make()
    assert error.code == code
    assert message in error.message
    assert is_sentence(error.message)


def test_an_error_says_the_first_line_of_what_it_is() -> None:
    class Spilled(errors.QueueServiceError):
        """The milk is spilled.

        Nobody cries.
        """

    class Silent(errors.QueueServiceError):
        __doc__ = None

    assert Spilled().message == "The milk is spilled."
    assert Silent().message == ""


def test_an_error_carries_what_its_caller_needs() -> None:
    problem = errors.Problem("data.amount", "is missing")
    assert errors.InvalidRequest([problem]).problems == (problem,)
    assert errors.KeyConflict("job_1").job_id == "job_1"
    refused = errors.ActionRefused("key_taken", "Held.", state="failed", held_by="job_2")
    assert (refused.state, refused.held_by) == ("failed", "job_2")
