"""Recounting, every five minutes: how many jobs stand in each state, and how much money waits.

A walk goes through the indexes page by page, and what it has found is told once it has been everywhere. A run
reads a bounded number of pages and the next goes on from there. Looks move while a shard is walked: a job met
twice in one run is counted once; a shard that takes several runs may count some twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from chalicelib.domain.heartbeat import Function
from chalicelib.domain.job import JobId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import TIMING, Tier, Timing
from chalicelib.domain.ports import Chance, Clock, Journal, Leases
from chalicelib.domain.search import JobIndex, Place, Upcoming
from chalicelib.domain.stock import (
    OPEN,
    PARTS,
    Account,
    Ended,
    Shard,
    StockBook,
    Walk,
    begun,
    counted,
    passed,
)
from chalicelib.domain.tally import MINUTE, Counts, Metrics
from chalicelib.service.shift import Shift

PAGE = 100  # jobs of the agenda whose records are read in one call
COUNTED = 5_000  # dead letters or parked jobs in one query: less than DynamoDB's megabyte, half a page's price
MOST_PAGES = 200  # in a run: 20,000 open jobs
MOST_MINUTES = 10  # that the monitor may be behind
STALE = timedelta(minutes=30)  # a walk that has lain for so long is begun anew


@dataclass(frozen=True, slots=True)
class Recounted:
    """What a run did; `ran` is False when another run holds the lease."""

    ran: bool
    pages: int = 0
    whole: bool = False


@dataclass(slots=True)
class _Round:
    """One run: the walk that it goes on with, and the jobs that it has met in the shard where it is."""

    walk: Walk
    met: set[JobId] = field(default_factory=set)


class Recount:
    """The scheduled function behind the figures that nobody keeps count of."""

    def __init__(
        self,
        *,
        book: StockBook,
        index: JobIndex,
        metrics: Metrics,
        leases: Leases,
        types: Mapping[str, JobType],
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._book = book
        self._index = index
        self._metrics = metrics
        self._shift = Shift(
            Function.RECOUNT, leases=leases, clock=clock, chance=chance, journal=journal, timing=timing
        )
        self._tiers = {name: job_type.tier for name, job_type in types.items()}
        self._clock = clock
        self._journal = journal
        self._timing = timing

    def run(self, *, ends: datetime) -> Recounted:
        """Go on with the walk, or begin one, until it is whole or this run's part is done.

        Raises StoreRefused or StoreUnsure; the next run then repeats what this one did.
        """
        with self._shift.until(ends) as run:
            if run is None:
                return Recounted(ran=False)
            done = self._walk(run.began, stop=ends - self._timing.settle_margin)
            run.failed = not done.ran
        self._journal.note("recounted", pages=done.pages, whole=done.whole)
        return done

    def _walk(self, now: datetime, *, stop: datetime) -> Recounted:
        account = self._book.load()
        walk = account.walk
        if walk is None or now - walk.seen_at > STALE:
            walk = begun(self._counted(now), self._tiers, now=now)
        round_, pages = _Round(walk), 0
        while not round_.walk.whole and pages < MOST_PAGES and self._clock.now() < stop:
            self._step(round_)
            pages += 1
        walk = round_.walk
        stock, left = (walk.stock, None) if walk.whole else (account.stock, walk)
        if not self._book.save(Account(stock, left, account.version)):
            self._journal.note("recounted_elsewhere")
            return Recounted(ran=False)
        return Recounted(True, pages, walk.whole)

    def _counted(self, now: datetime) -> list[Counts]:
        """Return all that consumers have counted by now: what is added up, and the minutes that are not yet."""
        series = self._metrics.series()
        if series is None:
            return [self._metrics.minute(now)]
        behind = (series.until + n * MINUTE for n in range(MOST_MINUTES))
        return [series.totals, *(self._metrics.minute(each) for each in behind if each <= now)]

    def _step(self, round_: _Round) -> None:
        """Read a page."""
        match PARTS[round_.walk.part]:
            case Ended() as part:
                self._count(round_, part)
            case Shard() as part:
                self._sight(round_, part)
            case never:
                assert_never(never)

    def _count(self, round_: _Round, part: Ended) -> None:
        after = round_.walk.after
        above = None if after is None else after.id
        count, last = self._book.count(part.partition, above=above, limit=COUNTED)
        place = None if last is None else Place(last)
        round_.walk = counted(round_.walk, part.state, count, place, now=self._clock.now())

    def _sight(self, round_: _Round, part: Shard) -> None:
        page = self._index.upcoming(part.number, part.tier, after=_upcoming(round_.walk.after), limit=PAGE)
        fresh = [each.id for each in page if each.id not in round_.met]
        found = self._book.sight(fresh, money=part.tier is Tier.MONEY) if fresh else []
        # The index lags behind the records: what has come to rest meanwhile is none of the open ones.
        standing = [each for each in found if each.state in OPEN]
        place = Place(page[-1].id, page[-1].next_look) if len(page) == PAGE else None
        round_.met = set() if place is None else round_.met | set(fresh)
        round_.walk = passed(round_.walk, standing, place, now=self._clock.now())


def _upcoming(place: Place | None) -> Upcoming | None:
    if place is None or place.next_look is None:
        return None
    return Upcoming(place.next_look, place.id)
