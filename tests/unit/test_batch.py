"""Batches of all or nothing: what a stage may become, and what it means for its jobs and their keys."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.batch import KEPT_FINISHED, Stage, StageState, abort, finish, flip, open_stage
from chalicelib.domain.claim import AtRest, refusal
from chalicelib.domain.job import Job, JobId, Reason, StageId, State, leave_stage, put_on_stage
from chalicelib.domain.keys import Conflict, Duplicate, Hit, Key, Pending, Released, Unfinished, judge
from chalicelib.domain.look import look
from chalicelib.domain.policies import TIMING
from tests.factories import a_job, a_key
from tests.fakes import START

MINUTE, MS = timedelta(minutes=1), timedelta(milliseconds=1)
ID = StageId("stage_1")
STAGED = open_stage(ID, [JobId("job_1"), JobId("job_2")], now=START, timing=TIMING)
FLIPPED, ABORTED = flip(STAGED), abort(STAGED, now=START + MINUTE)
ON_STAGE = put_on_stage(a_job(), ID)
OFF_STAGE = leave_stage(ON_STAGE, now=START, timing=TIMING)
DECLINED = replace(OFF_STAGE, state=State.FAILED, reason=Reason.REFUSED)
HELD = a_key(job_id="job_1", stage=ID)
SAME, OTHER = a_key(job_id="job_2"), a_key(job_id="job_2", payload_hash="another payload")


def test_a_stage_is_looked_at_when_no_acceptance_can_be_under_way_any_more() -> None:
    assert STAGED.state is StageState.STAGED
    assert STAGED.job_ids == ("job_1", "job_2")
    assert STAGED.next_look == START + TIMING.accept_within == START + MINUTE
    assert STAGED.expires_at is None


def test_a_flipped_stage_keeps_its_look_and_an_aborted_one_is_looked_at_at_once() -> None:
    assert (FLIPPED.state, FLIPPED.next_look) == (StageState.FLIPPED, START + MINUTE)
    assert (ABORTED.state, ABORTED.next_look) == (StageState.ABORTED, START + MINUTE)
    assert abort(STAGED, now=START).next_look == START


@pytest.mark.parametrize("stage", [FLIPPED, ABORTED], ids=lambda stage: stage.state)
def test_a_finished_stage_is_looked_at_no_more_and_expires(stage: Stage) -> None:
    done = finish(stage, now=START)
    assert (done.state, done.next_look, done.expires_at) == (stage.state, None, START + KEPT_FINISHED)


def test_a_job_on_a_stage_is_on_no_agenda_and_is_not_claimed() -> None:
    assert (ON_STAGE.next_look, ON_STAGE.looks, ON_STAGE.stage) == (None, 0, ID)
    assert refusal(ON_STAGE, now=START, timing=TIMING) == AtRest()
    assert look(ON_STAGE, TIMING, now=START + 9 * MINUTE, paused=False) is None


@pytest.mark.parametrize("delay", [timedelta(0), 15 * MINUTE, 15 * MINUTE + MS, timedelta(days=3)], ids=str)
def test_a_job_that_leaves_its_stage_at_once_is_as_if_it_had_come_alone(delay: timedelta) -> None:
    alone = a_job(delay=delay)
    left = leave_stage(put_on_stage(alone, ID), now=START, timing=TIMING)
    assert left == replace(alone, version=2)
    assert refusal(left, now=left.due, timing=TIMING) is None


@pytest.mark.parametrize(
    ("delay", "late", "next_look", "looks"),
    [
        (timedelta(0), 10 * MINUTE, 15 * MINUTE, 1),
        (20 * MINUTE, 4 * MINUTE, 20 * MINUTE, 0),
        (20 * MINUTE, 5 * MINUTE, 25 * MINUTE, 1),
        (20 * MINUTE, 30 * MINUTE, 35 * MINUTE, 1),
    ],
)
def test_a_job_that_leaves_its_stage_late_is_looked_at_from_then_on_and_stays_due_when_it_was(
    delay: timedelta, late: timedelta, next_look: timedelta, looks: int
) -> None:
    job = put_on_stage(a_job(delay=delay), ID)
    left = leave_stage(job, now=START + late, timing=TIMING)
    assert (left.next_look, left.looks) == (START + next_look, looks)
    assert (left.due, left.next_attempt_at, left.state) == (job.due, job.next_attempt_at, job.state)


# What a key that names a stage means, by both records: for the same payload, and for another.
MEANS: list[tuple[Stage | None, Job | None, Hit, Hit]] = [
    (STAGED, None, Pending(), Pending()),
    (STAGED, ON_STAGE, Pending(), Pending()),
    (FLIPPED, ON_STAGE, Duplicate(ON_STAGE), Conflict(JobId("job_1"))),
    (FLIPPED, OFF_STAGE, Duplicate(OFF_STAGE), Conflict(JobId("job_1"))),
    (FLIPPED, None, Released(), Released()),  # its retention is over
    (FLIPPED, DECLINED, Duplicate(DECLINED), Conflict(JobId("job_1"))),
    (ABORTED, None, Released(), Released()),
    (ABORTED, ON_STAGE, Released(), Released()),
    (None, None, Released(), Released()),
    (None, ON_STAGE, Released(), Released()),
    (None, OFF_STAGE, Duplicate(OFF_STAGE), Conflict(JobId("job_1"))),
]


@pytest.mark.parametrize(("stage", "holder", "same", "other"), MEANS)
@pytest.mark.parametrize("after", [timedelta(0), 61 * MINUTE], ids=str)
def test_a_key_of_a_batch_stands_for_its_job_once_the_batch_is_accepted(
    stage: Stage | None, holder: Job | None, same: Hit, other: Hit, after: timedelta
) -> None:
    assert judged(HELD, holder, SAME, stage, after) == same
    assert judged(HELD, holder, OTHER, stage, after) == other


def test_a_natural_key_of_a_batch_is_released_like_any_other() -> None:
    assert judged(replace(HELD, natural=True), DECLINED, SAME, FLIPPED) == Released()


@pytest.mark.parametrize(
    ("after", "hit"), [(timedelta(0), Pending()), (MINUTE, Pending()), (MINUTE + MS, Released())]
)
def test_a_batch_finishes_nobodys_acceptance_and_takes_its_key_once_that_is_surely_dead(
    after: timedelta, hit: Hit
) -> None:
    ghost = a_key(job_id="job_1")
    for offered in (SAME, OTHER):
        assert judged(ghost, None, replace(offered, stage=ID), None, after) == hit
    assert judged(ghost, None, SAME, None, after) == Unfinished(JobId("job_1"))


def test_a_batch_meets_a_job_that_came_alone_as_anybody_does() -> None:
    alone = a_job()
    assert judged(a_key(job_id="job_1"), alone, replace(SAME, stage=ID), None) == Duplicate(alone)
    assert judged(a_key(job_id="job_1"), alone, replace(OTHER, stage=ID), None) == Conflict(JobId("job_1"))


def judged(
    held: Key, holder: Job | None, offered: Key, stage: Stage | None, after: timedelta = timedelta(0)
) -> Hit:
    return judge(held, holder, offered, now=START + after, timing=TIMING, stage=stage)
