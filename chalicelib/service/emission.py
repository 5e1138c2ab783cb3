"""Telling CloudWatch: what an invocation counted and saw is kept until its end, and told of then.

Everything that is counted or measured passes here on its way, so nothing is counted or read for this alone but
the limiter's buckets.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.backlog import Backlog, TierDepth
from chalicelib.domain.emission import Emitter, Figure, Figures, figure, figures_of
from chalicelib.domain.errors import StoreError
from chalicelib.domain.job import JobId
from chalicelib.domain.policies import Tier, queue_name
from chalicelib.domain.ports import Clock, Journal, Limiter
from chalicelib.domain.ratelimit import group_of
from chalicelib.domain.tally import Counts, Metrics, Series


class Emission:
    """What one invocation has to tell; without an emitter nobody is told of anything."""

    def __init__(self, emitter: Emitter | None, journal: Journal) -> None:
        self._emitter = emitter
        self._journal = journal
        self._lock = threading.Lock()  # on one machine all functions are threads of one process
        self._counts: defaultdict[Figure, float] = defaultdict(float)
        self._gauges: dict[Figure, float] = {}

    @property
    def on(self) -> bool:
        """Whether anybody is told."""
        return self._emitter is not None

    def count(self, figures: Figures) -> None:
        """Have what came be told of at the end, added to what came before."""
        if self.on:
            with self._lock:
                for each, value in figures.items():
                    self._counts[each] += value

    def measure(self, figures: Figures) -> None:
        """Have what stands be told of at the end, instead of what stood before."""
        if self.on:
            with self._lock:
                self._gauges.update(figures)

    def flush(self) -> None:
        """Tell of what there is to tell; what cannot be told of is lost, and fails nothing."""
        if self._emitter is None:
            return
        with self._lock:
            held = {**self._gauges, **self._counts}
            self._counts.clear()
            self._gauges.clear()
        try:
            if held:
                self._emitter.emit(held)
        except Exception as error:  # noqa: BLE001 - whatever it was, jobs and answers are worth more than figures
            self._journal.alarm("figures_not_told", error=type(error).__name__)

    @contextmanager
    def at_the_end(self) -> Iterator[None]:
        """Tell at the end of an invocation, however it ends."""
        try:
            yield
        finally:
            self.flush()

    @contextmanager
    def of_run(self, function: str) -> Iterator[Callable[[Any], None]]:
        """Tell at the end of a scheduled function's run how it ended, and what it says that it did."""
        said: list[Any] = []
        result = "failure"
        with self.at_the_end():
            try:
                yield said.append
                result = "success" if all(getattr(each, "ran", True) for each in said) else "elsewhere"
            finally:
                self.count({figure("function_runs", function=function, result=result): 1})
                for each in said:
                    self.count(_work(function, each))


def _work(function: str, said: Any) -> Figures:
    """Return the numbers of what a run says that it did; a nought costs as much as a one, and says less."""
    told = {each.name: getattr(said, each.name) for each in fields(said)} if is_dataclass(said) else {}
    return {figure(f"{function}_{name}"): value for name, value in told.items() if type(value) is int and value}


class EmittingMetrics:
    """The counters, which tell of what is added to them, whether or not the table takes it."""

    def __init__(self, metrics: Metrics, emission: Emission, tiers: Mapping[str, Tier]) -> None:
        self._metrics = metrics
        self._emission = emission
        self._tiers = tiers

    def add(self, counts: Counts, *, at: datetime, spread: float) -> bool:
        """Add to the counters of a minute, and tell of it."""
        self._emission.count(figures_of(counts, self._tiers))
        return self._metrics.add(counts, at=at, spread=spread)

    def minute(self, at: datetime) -> Counts:
        """Return what has been counted in a minute."""
        return self._metrics.minute(at)

    def series(self) -> Series | None:
        """Return the counters over time."""
        return self._metrics.series()

    def save_series(self, series: Series) -> bool:
        """Replace the series."""
        return self._metrics.save_series(series)


class EmittingBacklog:
    """What waits, as the monitor sees it, which tells of what it sees."""

    def __init__(self, backlog: Backlog, emission: Emission, clock: Clock) -> None:
        self._backlog = backlog
        self._emission = emission
        self._clock = clock

    def depth(self, tier: Tier) -> TierDepth:
        """Count the messages of a tier, and tell of them by the states that they stand for."""
        depth = self._backlog.depth(tier)
        lanes = depth.lanes.values()
        counted = {
            "queued": sum(lane.waiting for lane in lanes),
            "running": sum(lane.in_flight for lane in lanes),
        }
        name = queue_name(tier)
        self._emission.measure(
            {figure("queue_depth", queue_name=name, status=status): n for status, n in counted.items()}
        )
        return depth

    def oldest_due(self, tier: Tier) -> datetime | None:
        """Return when the oldest open job that was missed once was to run, and tell of its age."""
        due = self._backlog.oldest_due(tier)
        age = timedelta(0) if due is None else max(self._clock.now() - due, timedelta(0))
        name = queue_name(tier)
        self._emission.measure({figure("oldest_job_age_seconds", queue_name=name): age.total_seconds()})
        return due

    def overdue(self, tier: Tier, *, limit: int) -> list[JobId]:
        """Return the open jobs that were missed once."""
        return self._backlog.overdue(tier, limit=limit)


class LimiterGauges:
    """The buckets of the providers that job types call, told of once a minute: one read, and none when off."""

    def __init__(
        self,
        limiter: Limiter | None,
        emission: Emission,
        providers: frozenset[str],
        *,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._limiter = limiter
        self._emission = emission
        self._groups = {group_of(provider) for provider in providers}
        self._clock = clock
        self._journal = journal

    def measure(self) -> None:
        """Have the buckets be told of; a table that does not answer fails nothing."""
        if self._limiter is None or not self._emission.on:
            return
        try:
            buckets = self._limiter.buckets()
        except StoreError as error:
            self._journal.note("limits_not_seen", error=type(error).__name__)
            return
        now = self._clock.now()
        for group in self._groups & buckets.keys():
            tokens, in_flight = buckets[group].tokens(now), buckets[group].in_flight(now)
            self._emission.measure(
                {
                    figure("rate_limit_tokens", provider=group): tokens,
                    figure("rate_limit_in_flight", provider=group): in_flight,
                }
            )
