import threading
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.system import SystemChance, SystemClock, ThreadCrew


def test_the_clock_is_aware_and_cut_to_milliseconds() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
    assert abs(now - before) < timedelta(seconds=5)


class SteppingClock(SystemClock):
    """A clock that moves one millisecond each time it is read."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 1, 12, 0, 0, 995_000, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now


def test_later_identities_sort_after_earlier_ones() -> None:
    chance = SystemChance(SteppingClock())
    entries = [chance.entry_id() for _ in range(2000)]
    assert entries == sorted(entries)
    assert len(set(entries)) == len(entries)


def test_identities_of_one_millisecond_are_all_different() -> None:
    chance = SystemChance(SystemClock())
    jobs = {chance.job_id() for _ in range(5000)}
    assert len(jobs) == 5000
    assert all(len(job_id) == 30 and job_id.startswith("job_") for job_id in jobs)


def test_a_fraction_is_below_one() -> None:
    chance = SystemChance(SystemClock())
    assert all(0 <= chance.fraction() < 1 for _ in range(1000))


def test_a_crew_works_side_by_side_and_answers_in_order() -> None:
    together = threading.Barrier(5, timeout=5)

    def task(item: int) -> int:
        together.wait()  # passes only if all five are there at once
        return item * item

    assert ThreadCrew().run_all(task, range(5)) == [0, 1, 4, 9, 16]


def test_a_crew_raises_only_after_every_task_has_ended() -> None:
    ended: list[int] = []
    failed = threading.Event()

    def task(item: int) -> None:
        if item == 0:
            failed.set()
            raise RuntimeError("the first one fails at once")
        failed.wait(5)
        ended.append(item)

    with pytest.raises(RuntimeError, match="the first one"):
        ThreadCrew().run_all(task, range(4))
    assert sorted(ended) == [1, 2, 3]


@pytest.mark.parametrize("items", [[], [1], [1, 2]])
def test_a_crew_takes_any_number_of_tasks(items: list[int]) -> None:
    assert ThreadCrew().run_all(str, items) == [str(item) for item in items]
