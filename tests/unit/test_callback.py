from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.callback import called_back
from chalicelib.domain.job import Job, Poll, StageId, State
from chalicelib.domain.policies import TIMING
from chalicelib.domain.steer import WAITING
from tests.factories import a_job, a_policy
from tests.fakes import START

POLLS = timedelta(minutes=5)


def polling(poll: Poll = Poll.PENDING, **fields: object) -> Job:
    """Return a job whose next poll comes in five minutes."""
    job = replace(a_job(), state=State.RETRYING, poll=poll, poll_since=START, next_attempt_at=START + POLLS)
    return replace(job, **fields)  # type: ignore[arg-type] # fields of Job


@pytest.mark.parametrize("poll", Poll)
def test_a_poll_is_brought_forward_and_nothing_else_is_changed(poll: Poll) -> None:
    job = polling(poll, doubt=START, attempts=3, fence=4, looks=2)
    now = START + timedelta(minutes=1)
    after = called_back(job, a_policy(), now=now)
    assert after == replace(
        job, version=job.version + 1, next_attempt_at=now, next_look=now + TIMING.look_after, looks=1
    )


@pytest.mark.parametrize(
    "job",
    [
        a_job(),
        polling(poll=None),  # type: ignore[arg-type] # backs off
        *(polling(state=state) for state in State if state not in WAITING),
        polling(next_attempt_at=START),
        polling(next_attempt_at=START + TIMING.clock_skew),
        polling(stage=StageId("stage_1")),
    ],
    ids=lambda job: f"{job.state} {job.poll}",
)
def test_whoever_asks_nobody_or_asks_now_is_left_alone(job: Job) -> None:
    assert called_back(job, a_policy(), now=START) is None


def test_the_same_word_twice_brings_the_poll_forward_once() -> None:
    first = called_back(polling(), a_policy(), now=START)
    assert first is not None
    assert called_back(first, a_policy(), now=START + timedelta(seconds=1)) is None
