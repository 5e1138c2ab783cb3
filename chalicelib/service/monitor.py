"""Monitoring, every minute: what consumers counted is added up, beside what waits then, and both are judged.

A minute is added up once, in order, and never before every consumer must have counted in it. After an outage
the minutes that were missed are added up first; only the last one has depths, which nobody measured then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.domain.backlog import Backlog, TierDepth
from chalicelib.domain.errors import StoreError
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import TIMING, Tier, Timing
from chalicelib.domain.ports import Chance, Clock, Journal, Leases
from chalicelib.domain.tally import MINUTE, Depths, Metrics, Series, folded, minute_of
from chalicelib.service.alerting import Alerting
from chalicelib.service.shift import Shift

LATE = timedelta(
    seconds=20
)  # how long after its end a minute may still be counted in: clocks, and a slow write


@dataclass(frozen=True, slots=True)
class Monitored:
    """What a run did; `ran` is False when another run holds the lease."""

    ran: bool
    minutes: int = 0
    counted: int = 0
    alerted: int = 0  # notices that were sent


class Monitor:
    """The scheduled function that makes rates, averages and totals of counts, and wakes people."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        backlog: Backlog,
        leases: Leases,
        types: Mapping[str, JobType],
        clock: Clock,
        chance: Chance,
        journal: Journal,
        alerting: Alerting,
        timing: Timing = TIMING,
    ) -> None:
        self._alerting = alerting
        self._metrics = metrics
        self._backlog = backlog
        self._shift = Shift(
            Function.MONITOR, leases=leases, clock=clock, chance=chance, journal=journal, timing=timing
        )
        self._tiers = {name: job_type.tier for name, job_type in types.items()}
        self._clock = clock
        self._journal = journal
        self._timing = timing

    def run(self, *, ends: datetime) -> Monitored:
        """Add up every minute that is over, or go on where an earlier run failed.

        Raises StoreRefused or StoreUnsure.
        """
        with self._shift.until(ends) as run:
            if run is None:
                return Monitored(ran=False)
            done = self._watch(run.began, stop=ends - self._timing.settle_margin)
            run.failed = not done.ran
        self._journal.note("monitored", minutes=done.minutes, counted=done.counted, alerted=done.alerted)
        return done

    def _watch(self, now: datetime, *, stop: datetime) -> Monitored:
        """Add up, and tell people of what could be seen, whatever became of the counters."""
        depths, series = self._depths(), None
        try:
            # After a long outage there is much to add up, which can wait for the next run; people cannot.
            done, series = self._add_up(now, depths, stop=now + (stop - now) / 2)
        finally:
            alerted = self._alerting.run(series, depths, deadline=stop)
        return replace(done, alerted=alerted)

    def _add_up(
        self, now: datetime, measured: Mapping[Tier, TierDepth], *, stop: datetime
    ) -> tuple[Monitored, Series | None]:
        over = minute_of(now - LATE)  # the minutes before this one can be added up
        series = self._metrics.series() or Series(until=over - MINUTE)
        minutes = counted = 0
        while series.until < over and self._clock.now() < stop:
            counts = self._metrics.minute(series.until)
            depths = {tier: _depths(depth) for tier, depth in measured.items()}
            now_over = series.until + MINUTE == over
            series = folded(series, counts, depths if now_over else {}, self._tiers)
            minutes, counted = minutes + 1, counted + sum(counts.values())
        if minutes and not self._metrics.save_series(series):
            self._journal.note("ran_elsewhere", function=Function.MONITOR)
            return Monitored(ran=False), None
        return Monitored(True, minutes, counted), series

    def _depths(self) -> dict[Tier, TierDepth]:
        """Return what waits in each tier; a tier that does not answer is left out, and says so."""
        depths: dict[Tier, TierDepth] = {}
        for tier in Tier:
            try:
                depths[tier] = self._backlog.depth(tier)
            except StoreError as error:
                self._journal.alarm("depth_unknown", queue=tier, error=type(error).__name__)
        return depths


def _depths(measured: TierDepth) -> Depths:
    lanes = measured.lanes.values()
    return Depths(sum(lane.waiting for lane in lanes), sum(lane.in_flight for lane in lanes))
