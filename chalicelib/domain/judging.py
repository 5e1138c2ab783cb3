"""Judging: which conditions fire, of what is seen of a tier at one moment. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.domain.alerting import SEVERITIES, AlertType, Condition, Firing
from chalicelib.domain.heartbeat import Every, Silence
from chalicelib.domain.job import JobId
from chalicelib.domain.policies import Tier
from chalicelib.domain.tally import Flow, failure_rate

LEAST_FINISHED = 20  # of an hour, before a failure rate says anything


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is still well; an alert is about more than that."""

    depth: Mapping[Tier, int] = field(
        default_factory=lambda: {Tier.MONEY: 50, Tier.COMMUNICATION: 5_000, Tier.BACKGROUND: 50_000}
    )
    age: Mapping[Tier, timedelta] = field(
        default_factory=lambda: {
            Tier.MONEY: timedelta(minutes=10),
            Tier.COMMUNICATION: timedelta(minutes=60),
        }
    )
    dead_letters: int = 10
    failure_percent: float = 10.0
    silence: Mapping[Every, timedelta] = field(
        default_factory=lambda: {
            Every.MINUTE: timedelta(minutes=5),
            Every.FIVE_MINUTES: timedelta(minutes=15),
            Every.DAY: timedelta(hours=26),
        }
    )


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of a tier at one moment; None: it could not be seen, so nothing is said of it."""

    tier: Tier
    flows: Sequence[Flow] | None  # of the last hour, a minute each
    ended_per_minute: float = 0.0
    waiting: int | None = None
    poison: int | None = None
    parked: Sequence[JobId] | None = None
    oldest_due: datetime | None = None
    ages_known: bool = False
    silent: Sequence[Silence] | None = None  # the scheduled functions that this tier suffers from first


def judge(sight: Sight, thresholds: Thresholds, now: datetime) -> dict[Condition, Firing | None]:
    """Return every condition of a tier that could be seen, and how it fires; None: it is well."""
    values = _values(sight, thresholds, now)
    judged: dict[Condition, Firing | None] = {}
    for kind, (value, threshold) in values.items():
        severity = SEVERITIES[kind].get(sight.tier)
        if severity is None:
            continue
        condition = Condition(kind, severity, sight.tier)
        jobs = tuple(sight.parked or ()) if kind is AlertType.PARKED else ()
        judged[condition] = Firing(condition, value, threshold, jobs) if value > threshold else None
    return judged


def _values(sight: Sight, thresholds: Thresholds, now: datetime) -> dict[AlertType, tuple[float, float]]:
    values: dict[AlertType, tuple[float, float]] = {}
    if sight.flows is not None:
        rate = failure_rate(sight.flows, least=LEAST_FINISHED) or 0.0
        values[AlertType.DEAD_LETTERS] = sum(flow.failure for flow in sight.flows), thresholds.dead_letters
        values[AlertType.FAILURE_RATE] = rate * 100, thresholds.failure_percent
    if sight.waiting is not None:
        values[AlertType.QUEUE_DEPTH] = sight.waiting, thresholds.depth[sight.tier]
    if sight.ages_known and sight.tier in thresholds.age:
        age = timedelta(0) if sight.oldest_due is None else now - sight.oldest_due
        values[AlertType.QUEUE_AGE] = age.total_seconds(), thresholds.age[sight.tier].total_seconds()
    if sight.parked is not None:
        values[AlertType.PARKED] = len(sight.parked), 0
    if sight.poison is not None:
        values[AlertType.POISON] = sight.poison, 0
    if sight.silent is not None:
        values[AlertType.HEARTBEAT] = len(sight.silent), 0
    return values
