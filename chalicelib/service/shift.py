"""A shift: one run of a scheduled function at a time, and the heartbeat of each that ended well."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain.heartbeat import Function
from chalicelib.domain.policies import Timing
from chalicelib.domain.ports import Chance, Clock, Journal, Leases


@dataclass
class Run:
    """A run that has the lease; one that failed without raising says so."""

    began: datetime
    failed: bool = False


class Shift:
    """The run lease of one scheduled function."""

    def __init__(
        self,
        function: Function,
        *,
        leases: Leases,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing,
    ) -> None:
        self._function = function
        self._leases = leases
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._timing = timing

    @contextmanager
    def until(self, ends: datetime) -> Iterator[Run | None]:
        """Have the lease meanwhile, until the invocation is cut off at `ends`; None: another run has it."""
        owner, now = self._chance.claim_id(), self._clock.now()
        until = ends + self._timing.clock_skew
        if not self._leases.take(self._function, owner, now=now, until=until):
            self._journal.note("ran_elsewhere", function=self._function)
            yield None
            return
        run, well_at = Run(now), None
        try:
            yield run
            well_at = None if run.failed else self._clock.now()
        finally:
            self._leases.end_run(self._function, owner, well_at=well_at)
