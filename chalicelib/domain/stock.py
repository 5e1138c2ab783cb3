"""The stock: how many jobs stand in each state, and how much money waits in those that are open. Pure.

Nobody keeps count of it: accepting a job counts nothing, and what operators move is not counted. `recount`
walks through the indexes of what is open, parked or dead; until the next walk is whole, what consumers count
moves the figures. So they are approximate, and no error outlives the next walk.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from chalicelib.domain.job import JobId, State
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import AGENDA_SHARDS
from chalicelib.domain.search import DEAD, PARKED, Partition, Place, ended
from chalicelib.domain.tally import Counts, Measure

OPEN = (State.SCHEDULED, State.QUEUED, State.RETRYING, State.RUNNING)
# What moves a figure between two walks, and which way. What is scheduled stands as it was counted.
MOVED_BY: Mapping[State, Mapping[Measure, int]] = {
    State.RETRYING: {Measure.RETRIED: 1, Measure.RESUMED: -1},
    State.PARKED: {Measure.PARKED: 1},
    State.FAILED: {Measure.FAILURE: 1},
}
_MOVING = frozenset(measure for measures in MOVED_BY.values() for measure in measures)

States = Mapping[Tier, Mapping[State, int]]  # `failed` are the dead letters alone
Sums = Mapping[Tier, Mapping[Measure, int]]


@dataclass(frozen=True, slots=True)
class Ended:
    """A part of a walk: the jobs of a tier that are parked, or failed of a reason."""

    tier: Tier
    how: str

    @property
    def state(self) -> State:
        """What they count as."""
        return State.PARKED if self.how == PARKED else State.FAILED

    @property
    def partition(self) -> Partition:
        """Where they are."""
        return ended(self.tier, self.how)


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a walk: a shard of a tier's agenda."""

    tier: Tier
    number: int


PARTS: Sequence[Ended | Shard] = (
    *(Ended(tier, how) for tier in Tier for how in (PARKED, *DEAD)),
    *(Shard(tier, number) for tier in Tier for number in range(AGENDA_SHARDS)),
)


@dataclass(frozen=True, slots=True)
class Stock:
    """What stood at a moment: jobs by tier and state, and the money of open jobs by currency, in minor units.

    `base` is what consumers had counted by then of what moves it.
    """

    counted_at: datetime
    base: Sums
    states: States = field(default_factory=dict)
    money: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk: what it has found so far, and when, in which part and where its last page ended."""

    stock: Stock
    seen_at: datetime
    part: int = 0
    after: Place | None = None

    @property
    def whole(self) -> bool:
        """Whether it has been everywhere."""
        return self.part >= len(PARTS)


@dataclass(frozen=True, slots=True)
class Account:
    """All that is kept: the stock of the last whole walk, and the walk that goes on."""

    stock: Stock | None = None
    walk: Walk | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Sighted:
    """What is read of a job: its state, and the currency and amount of its payload if they were asked for."""

    state: State
    money: tuple[str, int] | None


def begun(counted: Iterable[Counts], tiers: Mapping[str, Tier], *, now: datetime) -> Walk:
    """Begin a walk; `counted` is all that consumers have counted by now, `tiers` the tier of each job type."""
    return Walk(Stock(counted_at=now, base=_sums(counted, tiers)), seen_at=now)


def passed(walk: Walk, found: Sequence[Sighted], after: Place | None, *, now: datetime) -> Walk:
    """Add the jobs of a page and go on behind `after`; None: in the next part."""
    tier = PARTS[walk.part].tier
    states = Counter(each.state for each in found)
    money: Counter[str] = Counter(walk.stock.money)
    for currency, amount in (each.money for each in found if each.money is not None):
        money[currency] += amount
    return _gone_on(replace(walk, stock=replace(walk.stock, money=money)), tier, states, after, now)


def counted(walk: Walk, state: State, count: int, after: Place | None, *, now: datetime) -> Walk:
    """Add a count of jobs of one state and go on behind `after`; None: in the next part."""
    return _gone_on(walk, PARTS[walk.part].tier, {state: count}, after, now)


def _gone_on(walk: Walk, tier: Tier, states: Mapping[State, int], after: Place | None, now: datetime) -> Walk:
    total = Counter(walk.stock.states.get(tier, {}))
    total.update(states)
    stock = replace(walk.stock, states={**walk.stock.states, tier: dict(total)})
    return Walk(stock, seen_at=now, part=walk.part + (after is None), after=after)


def moved(stock: Stock, totals: Counts, tiers: Mapping[str, Tier]) -> Stock:
    """Return the stock as what consumers have counted since has moved it, never below nothing.

    The totals are a minute or two behind what the walk knew, so that a count may be less than its base.
    """
    sums = _sums([totals], tiers)
    states = {
        tier: {state: _moved(state, stock, tier, sums) for state in (*OPEN, State.PARKED, State.FAILED)}
        for tier in Tier
    }
    return replace(stock, states=states)


def _moved(state: State, stock: Stock, tier: Tier, sums: Sums) -> int:
    base = stock.base.get(tier, {})
    since = sum(
        way * max(sums[tier].get(measure, 0) - base.get(measure, 0), 0)
        for measure, way in MOVED_BY.get(state, {}).items()
    )
    return max(stock.states.get(tier, {}).get(state, 0) + since, 0)


def _sums(counted: Iterable[Counts], tiers: Mapping[str, Tier]) -> Sums:
    sums: dict[Tier, Counter[Measure]] = {tier: Counter() for tier in Tier}
    for counts in counted:
        for name, count in counts.items():
            tier = tiers.get(name.subject)
            if name.measure in _MOVING and tier is not None:
                sums[tier][name.measure] += count
    return sums


class StockBook(Protocol):
    """The port of what a walk reads and keeps."""

    def load(self) -> Account:
        """Return what is kept, empty before the first walk. Raises StoreRefused."""
        ...

    def save(self, account: Account) -> bool:
        """Replace the account that has this one's version by one of the next; say whether it was done.

        Version 0: there is none yet. Raises StoreRefused or StoreUnsure.
        """
        ...

    def sight(self, job_ids: Sequence[JobId], *, money: bool) -> list[Sighted]:
        """Return how those of these jobs stand (at most 100, no doubles) that there are, in one call.

        Read eventually consistently, in no order. A payload that is kept apart is not read, so its money is
        not told. Raises StoreRefused.
        """
        ...

    def count(self, partition: Partition, *, above: JobId | None, limit: int) -> tuple[int, JobId | None]:
        """Count at most `limit` jobs of a partition of the index of what failed, in one query.

        Lowest ids first, those above `above`; returns where to go on, None where there are no more. Raises
        StoreRefused.
        """
        ...
