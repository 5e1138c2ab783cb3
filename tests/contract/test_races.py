"""The contract of the stores under races: of many threads that want the same, one gets it."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import TypeVar

import pytest

from chalicelib.domain.controls import Control, Controls, Scope
from chalicelib.domain.job import Job
from chalicelib.domain.ports import Change, Outdated, Saved, SaveResult
from chalicelib.domain.steer import cancel
from tests.contract.backends import Records
from tests.contract.lives import a_control_entry, added, an_entry, claimed, looked, read
from tests.factories import a_job, a_key, a_policy
from tests.fakes import START

T = TypeVar("T")

THREADS = 50
JOBS = 200


@pytest.fixture
def together() -> Iterator[Callable[[Callable[[int], T]], list[T]]]:
    """Return what runs a task on many threads that start at the same moment; it returns what came of it."""
    pool = ThreadPoolExecutor(THREADS)
    barrier = Barrier(THREADS)

    def run(task: Callable[[int], T]) -> list[T]:
        def start(number: int) -> T:
            barrier.wait()
            return task(number)

        return list(pool.map(start, range(THREADS)))

    yield run
    pool.shutdown()


Together = Callable[[Callable[[int], T]], list[T]]


def test_fifty_threads_claim_two_hundred_jobs_and_each_job_has_one_winner(
    records: Records, together: Together[dict[str, SaveResult]]
) -> None:
    store = records.store
    jobs = [added(store, a_job(f"job_{number:03d}")) for number in range(JOBS)]

    def claim_all(thread: int) -> dict[str, SaveResult]:
        order = random.Random(thread).sample(jobs, JOBS)  # noqa: S311 - repeatable, not secret
        results: dict[str, SaveResult] = {}
        for start in range(0, JOBS, 25):
            part = order[start : start + 25]
            changes = [Change(job, claimed(job, f"claim_{thread}")) for job in part]
            results |= {job.id: result for job, result in zip(part, store.save_many(changes), strict=True)}
        return results

    outcomes = together(claim_all)

    for job in jobs:
        winners = [thread for thread, results in enumerate(outcomes) if results[job.id] == Saved()]
        assert len(winners) == 1
        standing = read(store, job.id)
        assert (standing.claim_id, standing.fence) == (f"claim_{winners[0]}", 1)
        losers = [results[job.id] for results in outcomes if results[job.id] != Saved()]
        assert losers == [Outdated(replace(standing, payload=None))] * (THREADS - 1)


def test_fifty_threads_take_one_key_and_one_gets_it(records: Records, together: Together[object]) -> None:
    answers = together(lambda thread: records.store.take_key(a_key(job_id=f"job_{thread}")))

    [winner] = [thread for thread, answer in enumerate(answers) if answer is None]
    assert records.store.load_key(a_key().id) == a_key(job_id=f"job_{winner}")
    assert [answer for answer in answers if answer is not None] == [a_key(job_id=f"job_{winner}")] * (
        THREADS - 1
    )


def test_fifty_threads_take_over_one_released_key_and_one_gets_it(
    records: Records, together: Together[object]
) -> None:
    released = a_key(job_id="job_old")
    records.store.take_key(released)

    answers = together(
        lambda thread: records.store.take_key(a_key(job_id=f"job_{thread}"), instead_of=released)
    )

    [winner] = [thread for thread, answer in enumerate(answers) if answer is None]
    assert records.store.load_key(released.id) == a_key(job_id=f"job_{winner}")


@pytest.mark.parametrize("length", [10, 5000], ids=["small", "large"])
def test_fifty_threads_add_one_job_and_one_does(
    records: Records, together: Together[bool], length: int
) -> None:
    job = a_job(payload={"text": "x" * length})

    assert sum(together(lambda _: records.store.add(job))) == 1
    loaded = records.store.load(job.id, None)
    assert loaded is not None
    assert loaded.payload == job.payload


def test_fifty_threads_move_one_look_and_one_does(
    records: Records, together: Together[list[SaveResult]]
) -> None:
    job = added(records.store, a_job())

    def move(thread: int) -> list[SaveResult]:
        return records.store.save_looks([Change(job, looked(job, now=START + timedelta(minutes=6 + thread)))])

    assert together(move).count([Saved()]) == 1
    assert read(records.store, job.id).looks == 2


def test_look_and_claim_at_once_both_stand(records: Records, together: Together[list[SaveResult]]) -> None:
    job = added(records.store, a_job())
    moved_look = looked(job, now=START + timedelta(minutes=6))

    def either(thread: int) -> list[SaveResult]:
        if thread % 2:
            return records.store.save_looks([Change(job, moved_look)])
        return records.store.save_many([Change(job, claimed(job, f"claim_{thread}"))])

    results = together(either)

    assert [results[1::2].count([Saved()]), results[::2].count([Saved()])] == [1, 1]
    standing = read(records.store, job.id)
    assert (standing.next_look, standing.looks, standing.fence) == (moved_look.next_look, 2, 1)


def test_operators_at_once_leave_one_entry(records: Records, together: Together[object]) -> None:
    job = added(records.store, a_job())
    after = cancel(job, a_policy(), now=START)
    assert isinstance(after, Job)

    results = together(
        lambda thread: records.store.save_audited(Change(job, after), an_entry(job, f"entry_{thread:02d}"))
    )

    assert results.count(Saved()) == 1
    assert records.audited() == [f"entry_{results.index(Saved()):02d}"]


def test_fifty_threads_replace_the_controls_and_one_does(records: Records, together: Together[bool]) -> None:
    def replace_them(thread: int) -> bool:
        return records.store.save_controls(
            Controls().started(Control(Scope.ALL, "", "stop", f"admin-{thread}", START)),
            a_control_entry(f"entry_{thread:02d}"),
        )

    done = together(replace_them)

    assert done.count(True) == 1
    assert records.store.load_controls().entries[0].owner == f"admin-{done.index(True)}"
    assert records.audited() == [f"entry_{done.index(True):02d}"]


def test_fifty_runs_take_one_lease_and_one_works(records: Records, together: Together[bool]) -> None:
    until = START + timedelta(minutes=1)

    assert (
        together(lambda run: records.leases.take("dispatch", f"run_{run}", now=START, until=until)).count(True)
        == 1
    )
