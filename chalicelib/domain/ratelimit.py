"""The limiter's decision: how much of a batch a provider's bucket lets through at this moment.

One bucket per provider group holds a rate and the calls in flight, for all functions together. The rate is a
leaky bucket: each call adds one to its level, which drains by `per_second`, and `burst` is its rim. Three
shares keep one from starving another: the main lane stops at 70 % of rim and slots, so that the express lane
always finds room; a venue stops at half of the rim; and while others wait it drains at half the rate and has
at most half of the slots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.policies import Lane

MAIN_SHARE = 0.7  # the rest is kept for the express lane
VENUE_SHARE = 0.5
WAITS_FOR = timedelta(seconds=30)  # a venue that was turned away counts as waiting for so long
LEAST_HOLD = timedelta(seconds=1)  # SQS hides messages for whole seconds
MOST_AT_ONCE = 8  # times that a job comes back without a pause
MOST_PATIENCE = 10
MOST_VENUES = 16  # remembered in a bucket; the ones heard of longest ago are forgotten


@dataclass(frozen=True, slots=True)
class Limit:
    """What a provider bears: calls per second, calls at once, in a burst, and the pause when it is full.

    `reserve` is how much of a burst no job gets: it is for alerts, which ask nobody.
    """

    per_second: float
    concurrent: int
    burst: int
    cooldown: timedelta
    reserve: int = 0


def _limit(per_second: float, concurrent: int, burst: int, cooldown_ms: int, *, reserve: int = 0) -> Limit:
    return Limit(per_second, concurrent, burst, timedelta(milliseconds=cooldown_ms), reserve)


LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "stripe": _limit(25, 10, 50, 1000),
        "square": _limit(8, 5, 20, 2000),
        "sendgrid": _limit(5, 20, 100, 1000),
        "ses": _limit(14, 20, 50, 1000),
        "twilio": _limit(1, 5, 10, 5000, reserve=2),
        "solana": _limit(10, 5, 30, 1000),
        "quickbooks": _limit(2, 3, 10, 3000),
        "internal": _limit(100, 50, 200, 100),
    }
)
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "twilio-sms": "twilio",
        "twilio-voice": "twilio",
        "twilio-verify": "twilio",
        "stripe-charges": "stripe",
        "stripe-refunds": "stripe",
        "stripe-payouts": "stripe",
        "sendgrid-transactional": "sendgrid",
        "sendgrid-marketing": "sendgrid",
    }
)


def group_of(provider: str) -> str:
    """Return the group whose bucket a provider shares: itself where it has one of its own."""
    return GROUPS.get(provider, provider)


@dataclass(frozen=True, slots=True)
class Ask:
    """One job that wants to call a provider."""

    job_id: JobId
    job_type: str
    most_in_flight: int  # of its type, over all functions
    venue_id: VenueId
    lane: Lane


@dataclass(frozen=True, slots=True)
class Slot:
    """Calls of one kind that an invocation has in flight."""

    job_type: str
    venue_id: VenueId
    lane: Lane
    count: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What one invocation has reserved; it runs out with the lease, should it never be given back."""

    until: datetime
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What a venue has used of a bucket's rate, and when it last went away with nothing."""

    level: float
    denied_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A provider group's bucket as of `at`; `version` makes the next change conditional."""

    limit: Limit
    at: datetime
    level: float = 0.0
    venues: Mapping[VenueId, Share] = field(default_factory=dict)
    holdings: Mapping[str, Holding] = field(default_factory=dict)
    version: int = 0

    def in_flight(self, now: datetime) -> int:
        """Return how many calls are reserved at this moment."""
        return sum(slot.count for slot in _slots(self.holdings, now))

    def tokens(self, now: datetime) -> float:
        """Return how many calls could start at this moment, by the rate alone."""
        return max(self.limit.burst - _drained(self, now).level, 0.0)


@dataclass(frozen=True, slots=True)
class Admission:
    """The bucket after a batch, who may call, and how long each of the others had best wait.

    `news`: the bucket is worth writing; it is not where nobody was let through whose venue was not known
    to wait.
    """

    bucket: Bucket
    granted: tuple[JobId, ...]
    denied: Mapping[JobId, timedelta]
    news: bool


def admit(bucket: Bucket, asks: Sequence[Ask], *, owner: str, until: datetime, now: datetime) -> Admission:
    """Decide who of a batch may call now, in the order asked; `owner` holds the slots until then.

    A wait is the time until the rate lets the job through, or the cool-down where its slots are full; nothing
    at all for a venue that has less than its share of slots which a louder one fills: the next one is its.
    """
    bucket = _drained(bucket, now)
    holdings = {name: held for name, held in bucket.holdings.items() if held.until > now}
    counting = _Counting(bucket, holdings, now, {ask.venue_id for ask in asks})
    granted: list[JobId] = []
    denied: dict[JobId, timedelta] = {}
    taken: dict[tuple[str, VenueId, Lane], int] = {}
    for ask in asks:
        wait = counting.wait(ask)
        if wait is None:
            counting.take(ask)
            granted.append(ask.job_id)
            kind = (ask.job_type, ask.venue_id, ask.lane)
            taken[kind] = taken.get(kind, 0) + 1
        else:
            counting.deny(ask)
            denied[ask.job_id] = wait
    if taken:
        mine = holdings[owner].slots if owner in holdings else ()
        holdings[owner] = Holding(until, (*mine, *(Slot(*kind, count) for kind, count in taken.items())))
    after = replace(
        bucket,
        level=counting.level,
        venues=counting.shares(),
        holdings=holdings,
        version=bucket.version + 1,
    )
    return Admission(after, tuple(granted), denied, news=bool(granted) or counting.newly_waiting)


def held_back(wait: timedelta, *, receives: int, spread: float) -> timedelta:
    """Return how long a job that was denied stays away, `spread` in [0, 1).

    The longer a backlog has kept it waiting the longer it stays, so that a crowd does not come back at once
    and again and again. Who need not wait comes back at once, though not for ever.
    """
    if not wait and receives <= MOST_AT_ONCE:
        return timedelta(0)
    return max(wait, LEAST_HOLD) * (1 + spread) * min(receives, MOST_PATIENCE)


def given_back(bucket: Bucket, owner: str) -> Bucket:
    """Return the bucket without what an invocation has reserved."""
    return replace(bucket, holdings={name: held for name, held in bucket.holdings.items() if name != owner})


def emptied(bucket: Bucket, now: datetime) -> Bucket:
    """Return the bucket as if nobody had called lately; what is in flight is never forgotten."""
    return replace(bucket, at=now, level=0.0, venues={}, version=bucket.version + 1)


class _Counting:
    """The levels of a bucket while a batch is let through."""

    def __init__(
        self, bucket: Bucket, holdings: Mapping[str, Holding], now: datetime, asking: set[VenueId]
    ) -> None:
        self.level = bucket.level
        self._limit = bucket.limit
        self._now = now
        self._venues = dict(bucket.venues)
        self._slots = list(_slots(holdings, now))
        self.newly_waiting = False
        self._active = asking | {venue for venue, share in self._venues.items() if _waits(share, now)}

    def wait(self, ask: Ask) -> timedelta | None:
        limit = self._limit
        main = ask.lane is Lane.MAIN
        rim = min(limit.burst * (MAIN_SHARE if main else 1.0), float(limit.burst - limit.reserve))
        own = self._venues.get(ask.venue_id, Share(0.0)).level
        over = max(self.level + 1 - max(rim, 1.0), own + 1 - max(limit.burst * VENUE_SHARE, 1.0))
        if over > 0:
            return timedelta(seconds=over / limit.per_second)
        slots = max(int(limit.concurrent * MAIN_SHARE), 1) if main else limit.concurrent
        mine = self._count(venue=ask.venue_id)
        share = max(int(limit.concurrent * VENUE_SHARE), 1)
        if self._count(job_type=ask.job_type) >= ask.most_in_flight:
            return limit.cooldown
        if self._count() >= slots:
            return timedelta(0) if mine < share and own < self._loudest(ask.venue_id) else limit.cooldown
        others_wait = bool(self._active - {ask.venue_id})
        return limit.cooldown if others_wait and mine >= share else None

    def _loudest(self, but: VenueId) -> float:
        return max((share.level for venue, share in self._venues.items() if venue != but), default=0.0)

    def _count(self, *, job_type: str | None = None, venue: VenueId | None = None) -> int:
        return sum(
            slot.count
            for slot in self._slots
            if job_type in (None, slot.job_type) and venue in (None, slot.venue_id)
        )

    def take(self, ask: Ask) -> None:
        self.level += 1
        share = self._venues.get(ask.venue_id, Share(0.0))
        self._venues[ask.venue_id] = replace(share, level=share.level + 1)
        self._slots.append(Slot(ask.job_type, ask.venue_id, ask.lane, 1))

    def deny(self, ask: Ask) -> None:
        share = self._venues.get(ask.venue_id, Share(0.0))
        if share.denied_at is None or self._now - share.denied_at > WAITS_FOR / 2:
            self._venues[ask.venue_id] = replace(share, denied_at=self._now)
            self.newly_waiting = True

    def shares(self) -> dict[VenueId, Share]:
        """Return what is worth remembering of the venues."""
        kept = [
            (venue, share)
            for venue, share in self._venues.items()
            if share.level > 0 or _waits(share, self._now)
        ]
        kept.sort(key=lambda each: each[1].level)
        return dict(kept[-MOST_VENUES:])


def _drained(bucket: Bucket, now: datetime) -> Bucket:
    """Let the levels drain until now. A clock that is behind the last writer's drains nothing."""
    seconds = max((now - bucket.at) / timedelta(seconds=1), 0.0)
    drain = seconds * bucket.limit.per_second
    active = sum(share.level > 0 or _waits(share, now) for share in bucket.venues.values())
    own = drain * (VENUE_SHARE if active > 1 else 1.0)
    return replace(
        bucket,
        at=max(bucket.at, now),
        level=max(bucket.level - drain, 0.0),
        venues={
            venue: replace(share, level=max(share.level - own, 0.0)) for venue, share in bucket.venues.items()
        },
    )


def _waits(share: Share, now: datetime) -> bool:
    return share.denied_at is not None and now - share.denied_at < WAITS_FOR


def _slots(holdings: Mapping[str, Holding], now: datetime) -> list[Slot]:
    return [slot for held in holdings.values() if held.until > now for slot in held.slots]
