"""The tables a product owner can read: tiers, lanes, effect classes, retry strategies, times.

Figures are those of the specification, sections 3, 5 and 6. Nothing here decides; it is looked up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType


class Tier(StrEnum):
    """One class of durability and urgency; the API calls it `queue`."""

    MONEY = "money"
    COMMUNICATION = "communication"
    BACKGROUND = "background"


def queue_name(tier: Tier) -> str:
    """Return what metrics call a tier."""
    return f"{tier.value}-queue"


class Lane(StrEnum):
    """A queue of its own within a tier: urgent jobs never wait behind the backlog."""

    MAIN = "main"
    EXPRESS = "express"


class EffectClass(StrEnum):
    """How an unknown outcome of a provider call may be cleared."""

    KEYED = "A"  # the provider dedups by key: repeat while the key is young, then look up
    LOOKED_UP = "B"  # the effect can be read back: look up, never repeat blindly
    BLIND = "C"  # nothing can be read back: park
    RECEIVER_DEDUPS = "D"  # the receiver dedups by id: repeat

    @property
    def begins(self) -> bool:
        """Whether the record says `begun` before the effect, so that a crash before it leaves no doubt."""
        return self in (EffectClass.LOOKED_UP, EffectClass.BLIND)

    @property
    def doubts(self) -> bool:
        """Whether an unknown outcome is kept on the record at all."""
        return self is not EffectClass.RECEIVER_DEDUPS


class Role(StrEnum):
    """Who a token speaks for."""

    USER = "user"
    VENUE_ADMIN = "venue_admin"
    SERVICE = "service"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """What holds for every job of a tier unless its type or the job itself says otherwise."""

    priority: int
    express_from: int
    attempts: int
    window: timedelta | None  # from due, pauses left out; None: until terminal, however old


TIERS: Mapping[Tier, TierPolicy] = MappingProxyType(
    {
        Tier.MONEY: TierPolicy(priority=8, express_from=9, attempts=10, window=None),
        Tier.COMMUNICATION: TierPolicy(priority=5, express_from=8, attempts=3, window=timedelta(days=7)),
        Tier.BACKGROUND: TierPolicy(priority=5, express_from=8, attempts=3, window=timedelta(hours=24)),
    }
)

PRIORITIES = range(1, 11)
ATTEMPTS = range(1, 11)
MAX_DELAY = timedelta(days=365)


def lane_of(tier: Tier, priority: int) -> Lane:
    """Return the lane of a job: express from the tier's threshold on (10 is most urgent)."""
    return Lane.EXPRESS if priority >= TIERS[tier].express_from else Lane.MAIN


class Growth(StrEnum):
    """How the backoff grows from attempt to attempt."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class RetryStrategy:
    """Backoff of one family of job types; full jitter, never above the cap."""

    growth: Growth
    base: timedelta
    cap: timedelta
    attempts: int
    factor: int = 1


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


RETRY: Mapping[str, RetryStrategy] = MappingProxyType(
    {
        "payment": RetryStrategy(Growth.EXPONENTIAL, _seconds(1), _seconds(60), attempts=10, factor=2),
        "communication": RetryStrategy(Growth.EXPONENTIAL, _seconds(5), _seconds(30), attempts=3, factor=2),
        "webhook": RetryStrategy(Growth.EXPONENTIAL, _seconds(2), _seconds(120), attempts=5, factor=3),
        "mint": RetryStrategy(Growth.LINEAR, _seconds(30), _seconds(300), attempts=10),
        "default": RetryStrategy(Growth.EXPONENTIAL, _seconds(1), _seconds(10), attempts=3, factor=2),
    }
)


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of the protocol; a parameter, so that tests can set them to seconds."""

    clock_skew: timedelta = timedelta(seconds=5)  # any two clocks are at most this far apart
    look_after: timedelta = timedelta(minutes=5)  # a message is missed this long after its job was to run
    look_cap: timedelta = timedelta(hours=6)
    look_ahead: timedelta = timedelta(seconds=60)  # `dispatch` runs once a minute and sends ahead with a delay
    longest_delay: timedelta = timedelta(minutes=15)  # SQS DelaySeconds; beyond it `dispatch` sends
    hold_by_visibility: timedelta = timedelta(seconds=60)
    most_receives: int = 500
    poll_every: timedelta = timedelta(minutes=5)
    poll_for: timedelta = timedelta(hours=24)
    # After `poll_for` a pending job's own ending call (cancel the intent) may still fail for a while.
    poll_grace: timedelta = timedelta(hours=1)
    key_young: timedelta = timedelta(hours=23)
    accept_within: timedelta = timedelta(seconds=60)  # no acceptance takes longer from its key to its record
    settle_margin: timedelta = timedelta(seconds=3)  # of an invocation, kept for saving what came of its calls
    absence_after: timedelta = timedelta(minutes=5)  # a look-up that finds nothing counts only from then on


TIMING = Timing()


@dataclass(frozen=True, slots=True)
class Policy:
    """What `claim` and `settle` must know of a job's type and tier."""

    effect_class: EffectClass
    retry: RetryStrategy
    attempts: int  # by which an operator's retry raises the limit
    window: timedelta | None
    retention: timedelta
    archive: str | None = None
    timing: Timing = field(default=TIMING)
