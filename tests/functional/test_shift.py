"""A run of a scheduled function over the fakes: its lease, and whether it leaves a heartbeat."""

from datetime import timedelta

import pytest

from chalicelib.domain.heartbeat import Beat, Function
from chalicelib.domain.policies import TIMING
from chalicelib.service.shift import Shift
from tests.fakes import START, ListJournal, ManualClock, MemoryLeases, SeededChance

MINUTE = timedelta(minutes=1)


class Clockwork:
    """One scheduled function."""

    def __init__(self) -> None:
        self.clock, self.leases, self.journal = ManualClock(), MemoryLeases(), ListJournal()
        self.shift = Shift(
            Function.CLEANUP,
            leases=self.leases,
            clock=self.clock,
            chance=SeededChance(),
            journal=self.journal,
            timing=TIMING,
        )

    def run(self, *, failed: bool = False, error: Exception | None = None) -> bool:
        """Run for a minute, and say whether the lease was to be had."""
        with self.shift.until(self.clock.now() + 2 * MINUTE) as run:
            if run is None:
                return False
            self.clock.advance(MINUTE)
            run.failed = failed
            if error is not None:
                raise error
        return True

    @property
    def beat(self) -> Beat:
        return self.leases.beats()[Function.CLEANUP]


def test_a_heartbeat_is_of_the_moment_at_which_the_run_ended_well() -> None:
    work = Clockwork()
    assert work.run()
    assert work.beat == Beat(START + MINUTE)


def test_a_run_that_failed_leaves_none_and_gives_its_lease_back() -> None:
    work = Clockwork()
    assert work.run(failed=True)
    with pytest.raises(ZeroDivisionError):
        work.run(error=ZeroDivisionError())
    assert work.beat == Beat()
    assert work.run()


def test_a_run_that_found_the_lease_taken_leaves_none_and_says_so() -> None:
    work = Clockwork()
    work.leases.take("cleanup", "another", now=START, until=START + MINUTE)
    assert not work.run()
    assert work.beat == Beat()
    assert work.journal.events == [("ran_elsewhere", {"function": Function.CLEANUP})]
