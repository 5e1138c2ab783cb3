"""The figures that operators read: rates, averages and failures, of the series that the monitor keeps.

All of them are approximate and a minute or two old. They cost a read or two, however many jobs there are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib.domain.alerting import AlertBook, AlertType, Severity
from chalicelib.domain.backlog import Backlog
from chalicelib.domain.cost import Cost, cost
from chalicelib.domain.heartbeat import Beats, Every, Heartbeats, silent
from chalicelib.domain.job import State
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Clock, Limiter
from chalicelib.domain.ratelimit import Bucket
from chalicelib.domain.stock import Stock, StockBook, moved
from chalicelib.domain.tally import (
    HOUR,
    HOURS_KEPT,
    MINUTE,
    MINUTES_KEPT,
    RATES_OVER,
    Flow,
    Metrics,
    Results,
    Series,
    ended_per_minute,
    hour_of,
    minute_of,
    percentile,
)
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.read import moment

MOST_TYPES = 10
RECOUNTED = (State.SCHEDULED, State.RETRYING, State.PARKED, State.FAILED)  # of the others SQS knows more


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is told of one moment; `tiers` is that of each job type."""

    series: Series
    stock: Stock | None
    tiers: Mapping[str, Tier]
    oldest_due: Mapping[Tier, datetime | None]
    buckets: Mapping[str, Bucket]
    beats: Beats
    now: datetime


class Status(StrEnum):
    """How a scheduled function is; `never`: no run of it has ended well yet, and it is not late."""

    OK = "ok"
    LATE = "late"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Pace:
    """How many jobs of each tier were begun and ended a minute, lately, and what stands, once counted.

    `p95` is the bound that 95 % of a tier's attempts of the hour kept; None: there was none.
    """

    rates: Mapping[Tier, tuple[float, float]]
    p95: Mapping[Tier, str | None]
    stock: Stock | None


class Figures:
    """The use cases behind GET /metrics and /v1/metrics/…, and the rates of GET /v1/queues."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        stock: StockBook,
        backlog: Backlog,
        limiter: Limiter | None,
        alerts: AlertBook,
        heartbeats: Heartbeats,
        silence: Mapping[Every, timedelta],
        types: Mapping[str, JobType],
        clock: Clock,
    ) -> None:
        self._metrics = metrics
        self._stock = stock
        self._backlog = backlog
        self._limiter = limiter
        self._alerts = alerts
        self._heartbeats = heartbeats
        self._silence = silence
        self._tiers = {name: job_type.tier for name, job_type in types.items()}
        self._clock = clock

    def series(self) -> Series:
        """Return all counters over time, empty before anything was counted; raises StoreRefused."""
        return self._metrics.series() or Series(until=minute_of(self._clock.now()))

    def stock(self, series: Series) -> Stock | None:
        """Return what stands by these counters; None before it was counted. Raises StoreRefused."""
        kept = self._stock.load().stock
        return None if kept is None else moved(kept, series.totals, self._tiers)

    def summary(self, principal: Principal) -> dict[str, Any]:
        """Return what stood and what happened in each tier in the last hour, and the alerts of the last day.

        Raises Forbidden or StoreRefused, as the others do.
        """
        admit(principal)
        series = self.series()
        stock = self.stock(series)
        flows = {tier: [each[tier] for each in series.minutes.values() if tier in each] for tier in Tier}
        return {
            "until": moment(series.until),
            "queues": [
                {"queue": tier.value, **_summed(flows[tier]), "standing": standing(stock, tier)}
                for tier in Tier
            ],
            "money": money(stock),
            "countedAt": counted_at(stock),
            "alerts": self._by_severity(),
            "cost": _cost(cost(series.totals)),
            "functions": self._functions(),
        }

    def _functions(self) -> list[dict[str, Any]]:
        """Return when a run of each scheduled function last ended well, and whether that is too long ago."""
        beats = self._heartbeats.beats()
        late = {each.function for each in silent(beats, self._silence, self._clock.now())}
        return [
            {
                "name": function.value,
                "lastRunAt": None if beat.last_run_at is None else moment(beat.last_run_at),
                "status": Status.LATE if function in late else Status.OK if beat.last_run_at else Status.NEVER,
            }
            for function, beat in beats.items()
        ]

    def _by_severity(self) -> dict[str, int]:
        """Return how many alerts began in the last day; tests are none."""
        began = self._alerts.since(self._clock.now() - HOURS_KEPT * HOUR)
        counts = Counter(each.condition.severity for each in began if each.condition.type is not AlertType.TEST)
        return {severity.value: counts[severity] for severity in Severity}

    def throughput(self, principal: Principal) -> dict[str, Any]:
        """Return what went through each tier, minute by minute, for an hour."""
        admit(principal)
        series = self.series()
        starts = (series.until - n * MINUTE for n in range(MINUTES_KEPT, 0, -1))
        return {
            "until": moment(series.until),
            "minutes": [
                {"at": moment(start), "queues": _flows(series.minutes.get(start, {}))} for start in starts
            ],
        }

    def failures(self, principal: Principal) -> dict[str, Any]:
        """Return what failed, hour by hour, for a day, and in which types most."""
        admit(principal)
        series = self.series()
        last = hour_of(series.until - MINUTE)
        starts = (last - n * HOUR for n in range(HOURS_KEPT - 1, -1, -1))
        return {
            "until": moment(series.until),
            "hours": [
                {"at": moment(start), **_results(_sum(series.hours.get(start, {}).values()))}
                for start in starts
            ],
            "types": self._worst(series),
        }

    def pace(self) -> Pace:
        """Return how fast jobs go and how many stand: two reads. Raises StoreRefused."""
        series = self.series()
        since = series.until - RATES_OVER * MINUTE
        lately = [each for start, each in series.minutes.items() if start >= since]
        rates = {
            tier: (
                sum(each[tier].begun for each in lately if tier in each) / RATES_OVER,
                ended_per_minute(series, tier),
            )
            for tier in Tier
        }
        hour = {tier: [each[tier] for each in series.minutes.values() if tier in each] for tier in Tier}
        p95 = {tier: percentile(flows, 0.95) for tier, flows in hour.items()}
        return Pace(rates, p95, self.stock(series))

    def snapshot(self) -> Snapshot:
        """Return what Prometheus scrapes: six reads. Raises StoreRefused."""
        series = self.series()
        return Snapshot(
            series=series,
            stock=self.stock(series),
            tiers=self._tiers,
            oldest_due={tier: self._backlog.oldest_due(tier) for tier in Tier},
            buckets={} if self._limiter is None else self._limiter.buckets(),
            beats=self._heartbeats.beats(),
            now=self._clock.now(),
        )

    def _worst(self, series: Series) -> list[dict[str, Any]]:
        kinds = {kind for results in series.hours.values() for kind in results}
        sums = {
            kind: _sum(results[kind] for results in series.hours.values() if kind in results) for kind in kinds
        }
        worst = sorted(sums, key=lambda kind: (-sums[kind].failure, -sums[kind].refused, kind))[:MOST_TYPES]
        return [{"type": kind, "queue": self._queue(kind), **_results(sums[kind])} for kind in worst]

    def _queue(self, kind: str) -> str | None:
        tier = self._tiers.get(kind)
        return None if tier is None else tier.value


def admit(principal: Principal) -> None:
    """Let an administrator through; raises Forbidden."""
    only_admin(principal, "read the service's figures")


def drains_in(waiting: int, ended_per_minute: float) -> timedelta | None:
    """Return how long a backlog takes at this rate; None where nothing ends."""
    return None if ended_per_minute == 0 else timedelta(minutes=waiting / ended_per_minute)


def standing(stock: Stock | None, tier: Tier) -> dict[str, int] | None:
    """Return how many jobs of a tier stand in the states that only a recount knows, by name."""
    return None if stock is None else {state.value: stock.states[tier][state] for state in RECOUNTED}


def money(stock: Stock | None) -> list[dict[str, Any]] | None:
    """Return the money that waits, a row per currency."""
    if stock is None:
        return None
    return [{"currency": currency, "amount": amount} for currency, amount in sorted(stock.money.items())]


def counted_at(stock: Stock | None) -> str | None:
    """Return when the stock began to be counted, as callers read it."""
    return None if stock is None else moment(stock.counted_at)


def _summed(flows: Sequence[Flow]) -> dict[str, Any]:
    failures = [flow.failure for flow in flows]
    depths = [flow.depths for flow in flows if flow.depths is not None]
    return {
        "waiting": _average_and_most([each.waiting for each in depths]),
        "active": _average_and_most([each.active for each in depths]),
        "failed": _average_and_most(failures) | {"total": sum(failures)},
        "refused": sum(flow.refused for flow in flows),
        "completed": sum(flow.success for flow in flows),
        "retried": sum(flow.retried for flow in flows),
        "parked": sum(flow.parked for flow in flows),
    }


def _average_and_most(values: Sequence[int]) -> dict[str, Any]:
    """Return both of what was measured; null where nothing was."""
    if not values:
        return {"average": None, "highest": None}
    return {"average": round(sum(values) / len(values), 2), "highest": max(values)}


def _flows(flows: Mapping[Tier, Flow]) -> dict[str, Any]:
    return {
        tier.value: {
            "begun": flow.begun,
            "completed": flow.success,
            "failed": flow.failure,
            "refused": flow.refused,
            "retried": flow.retried,
        }
        for tier in Tier
        for flow in [flows.get(tier, Flow())]
    }


def _sum(results: Iterable[Results]) -> Results:
    total: Counter[str] = Counter()
    for each in results:
        total.update(success=each.success, failure=each.failure, refused=each.refused)
    return Results(total["success"], total["failure"], total["refused"])


def _results(results: Results) -> dict[str, Any]:
    tried = results.success + results.failure
    return {
        "completed": results.success,
        "failed": results.failure,
        "refused": results.refused,
        "failureRate": round(results.failure / tried, 4) if tried else None,
    }


def _cost(told: Cost | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {
        "jobs": told.jobs,
        "callsPerJob": {service: round(calls, 2) for service, calls in told.calls.items()},
        "writeUnitsPerJob": round(told.write_units, 2),
        "readUnitsPerJob": round(told.read_units, 2),
        "dollarsPerMillion": round(told.dollars_per_million, 2),
    }
