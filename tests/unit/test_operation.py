"""The pace of a redrive, for any history: one ahead, never above rate or limit, an end in every case."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import operation as moves
from chalicelib.domain.job import JobId
from chalicelib.domain.operation import (
    EVERY,
    FAILING_LEAST,
    MOST_WATCHED,
    RAMP,
    WATCHED_FOR,
    Action,
    Finish,
    Judgement,
    Mode,
    Operation,
    OperationId,
    Release,
    Starter,
    Status,
    Stop,
    Tally,
    Wait,
    Watched,
)
from chalicelib.domain.policies import Role
from chalicelib.domain.search import Place
from tests.fakes import START

RATES = st.integers(1, 100)
LIMITS = st.none() | st.integers(1, 2000)


def a_redrive(**changes: object) -> Operation:
    made = Operation(
        id=OperationId("op_1"),
        action=Action.REDRIVE,
        mode=Mode.START,
        asked={"queue": "money"},
        starter=Starter("ops", Role.ADMIN, None),
        reason="The bank is back",
        created_at=START,
        wakes_at=START,
        rate=5,
    )
    return replace(made, **changes)  # type: ignore[arg-type] # the fields are the tests' to know


def let_go(operation: Operation, count: int, *, now: timedelta, last: bool = False) -> Operation:
    watched = [Watched(JobId(f"job_{operation.tally.done + index}"), 1) for index in range(count)]
    place = None if last else Place(JobId("job_0"))
    return moves.went_on(
        operation, Tally(matched=count, done=count), place=place, watched=watched, now=START + now
    )


@given(rate=RATES, limit=LIMITS, there=st.integers(0, 5000))
def test_a_redrive_that_goes_well_lets_go_all_it_may_never_above_its_rate(
    rate: int, limit: int | None, there: int
) -> None:
    operation, now, most = a_redrive(rate=rate, limit=limit), timedelta(0), rate * 60
    for _ in range(20_000):
        done = operation.tally.done
        operation = moves.judged_anew(operation, Judgement(well=min(done, MOST_WATCHED)))
        match moves.next_step(operation, now=START + now):
            case Release(count):
                assert 1 <= count <= most
                assert count <= max(1, done * RAMP)
                count = min(count, 90, there - done)
                operation = moves.stepping(operation, count) if count else operation
                operation = let_go(operation, count, now=now, last=operation.tally.done + count == there)
            case Wait():
                now += EVERY
            case Finish():
                break
            case Stop(why):
                pytest.fail(why)
    assert operation.walked
    assert operation.tally.done == (there if limit is None else min(limit, there))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_it_stops_once_three_and_a_third_fail_and_goes_on_before(well: int, failing: int, waiting: int) -> None:
    operation = a_redrive(tally=Tally(done=200), judged=Judgement(well, failing, waiting), released_at=START)
    stopped = isinstance(moves.next_step(operation, now=START + EVERY), Stop)
    assert stopped == (failing >= FAILING_LEAST and failing >= 0.3 * (well + failing))


def test_nothing_follows_a_canary_that_is_still_open_however_long_that_takes() -> None:
    operation = let_go(moves.stepping(a_redrive(), 1), 1, now=timedelta(0))
    judged = moves.judged_anew(operation, Judgement(open=1))
    assert moves.next_step(judged, now=START + timedelta(days=3)) == Wait()


def test_a_step_that_was_broken_off_is_finished_first() -> None:
    operation = moves.stepping(a_redrive(tally=Tally(done=11)), 110)
    operation = let_go(operation, 90, now=timedelta(0))
    assert moves.next_step(operation, now=START) == Release(20)
    assert moves.spread(moves.stepping(operation, 20), 0) == timedelta(seconds=18)


def test_the_watch_over_the_last_ends() -> None:
    operation = let_go(moves.stepping(a_redrive(), 1), 1, now=timedelta(0), last=True)
    judged = moves.judged_anew(operation, Judgement(open=1))
    assert moves.next_step(judged, now=START + WATCHED_FOR - EVERY) == Wait()
    assert moves.next_step(judged, now=START + WATCHED_FOR) == Finish()
    assert moves.finish(judged, now=START).status is Status.COMPLETED


def test_more_than_the_watched_are_forgotten_the_oldest_first() -> None:
    operation = let_go(a_redrive(), 70, now=timedelta(0))
    assert len(operation.watched) == MOST_WATCHED
    assert operation.watched[-1].id == "job_69"
