"""Recounting over the core and fakes: what stands is told, whatever has happened, and never half of it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import ClaimId, Job, JobId, Reason, State, run
from chalicelib.domain.outcome import Failure, Refused, Retry, Unknown
from chalicelib.domain.policies import EffectClass, Tier
from chalicelib.domain.search import Partition, Upcoming
from chalicelib.domain.stock import PARTS, Account, Stock, moved
from chalicelib.domain.tally import MINUTE, Measure, Name, Series, folded, minute_of
from chalicelib.service.recount import MOST_PAGES, PAGE, STALE, Recount, Recounted
from tests.factories import a_job, a_stock
from tests.fakes import START, ManualClock, MemoryLeases, MemoryStore
from tests.fakes_search import MemoryJobIndex
from tests.fakes_stock import MemoryStockBook
from tests.functional.house import DONE, House

SECOND = timedelta(seconds=1)
TIMEOUT = Failure("timeout", "There was no answer.")


class Book(MemoryStockBook):
    """A count takes a second; `loaded` is called once a run has read what is kept."""

    def __init__(self, store: MemoryStore, clock: ManualClock) -> None:
        super().__init__(store)
        self.loaded: Callable[[], object] = lambda: None
        self._clock = clock

    def load(self) -> Account:
        account = super().load()
        self.loaded()
        return account

    def count(self, partition: Partition, *, above: JobId | None, limit: int) -> tuple[int, JobId | None]:
        self._clock.advance(SECOND)
        return super().count(partition, above=above, limit=limit)


class Agenda(MemoryJobIndex):
    """A page takes a second."""

    def __init__(self, store: MemoryStore, clock: ManualClock) -> None:
        super().__init__(store)
        self._clock = clock

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        self._clock.advance(SECOND)
        return super().upcoming(shard, tier, after=after, limit=limit)


@dataclass
class Office:
    """A house whose jobs are recounted."""

    house: House = field(default_factory=House)
    leases: MemoryLeases = field(default_factory=MemoryLeases)

    def __post_init__(self) -> None:
        self.book = Book(self.house.store, self.house.clock)
        self.recount = self.made(Agenda(self.house.store, self.house.clock))

    def made(self, index: MemoryJobIndex) -> Recount:
        """Return a recount over this index."""
        return Recount(
            book=self.book,
            index=index,
            metrics=self.house.metrics,
            leases=self.leases,
            types=self.house.types,
            clock=self.house.clock,
            chance=self.house.chance,
            journal=self.house.journal,
        )

    def run(self, *, lasts: timedelta = MINUTE) -> Recounted:
        return self.recount.run(ends=self.house.clock.now() + lasts)

    def add_up(self) -> Series:
        """Do the monitor's part up to the minute that goes on."""
        series = self.house.metrics.kept or Series(until=minute_of(START))
        while series.until < minute_of(self.house.clock.now()):
            series = folded(series, self.house.metrics.minute(series.until), {}, self.tiers)
        assert self.house.metrics.save_series(series)
        return series

    @property
    def tiers(self) -> dict[str, Tier]:
        return {name: job_type.tier for name, job_type in self.house.types.items()}

    @property
    def stock(self) -> Stock:
        assert self.book.account.stock is not None
        return self.book.account.stock

    def told(self, tier: Tier = Tier.MONEY) -> dict[str, int]:
        """Return what is told now of a tier, but for what is none."""
        series = self.house.metrics.kept
        states = moved(self.stock, {} if series is None else series.totals, self.tiers).states[tier]
        return {state.value: count for state, count in states.items() if count}


@pytest.fixture
def office() -> Office:
    return Office()


def priced(amount: int, currency: str = "EUR") -> dict[str, object]:
    return {"order": f"order-{amount}-{currency}", "amount": amount, "currency": currency}


def test_every_state_is_counted_as_it_stands_after_a_mixed_life(office: Office) -> None:
    house, keyed = office.house, office.house.scripts[EffectClass.KEYED]
    keyed.steps += [DONE, Refused(TIMEOUT), Retry(TIMEOUT), Retry(TIMEOUT)]
    house.accept(data=priced(1))  # completes
    house.accept(data=priced(2))  # is refused
    house.accept(data=priced(4), attempts=1)  # is exhausted
    house.accept(data=priced(8))  # is retrying
    house.consume()
    house.scripts[EffectClass.BLIND].steps.append(Unknown(TIMEOUT))
    house.accept(EffectClass.BLIND)  # is parked
    house.consume(Tier.COMMUNICATION)
    house.accept(data=priced(16, "USD"), delay=timedelta(days=300))
    running = house.accept(data=priced(32))
    house.change(running, claimed)
    for amount in (64, 128):
        house.accept(data=priced(amount))
    house.accept(EffectClass.RECEIVER_DEDUPS)
    assert office.run() == Recounted(ran=True, pages=len(PARTS), whole=True)
    assert office.told() == {"queued": 2, "running": 1, "retrying": 1, "scheduled": 1, "failed": 1}
    assert office.told(Tier.COMMUNICATION) == {"parked": 1}
    assert office.told(Tier.BACKGROUND) == {"queued": 1}
    assert office.stock.money == {"EUR": 8 + 32 + 64 + 128, "USD": 16}
    assert office.stock.counted_at == START


def claimed(job: Job) -> Job:
    return run(job, claim_id=ClaimId("claim_1"), lease_until=START + MINUTE, now=START)


def test_a_dead_letter_counts_whatever_it_died_of_and_what_was_refused_does_not(office: Office) -> None:
    for number, reason in enumerate(Reason):
        dead = replace(a_job(f"job_{number}"), state=State.FAILED, reason=reason, next_look=None)
        office.house.store.add(dead)
    office.run()
    assert office.told() == {"failed": 2}


def test_a_walk_that_is_interrupted_goes_on_and_is_told_only_once_it_is_whole(office: Office) -> None:
    office.house.accept_many(40)
    office.run()
    office.house.accept(data=priced(1), delay=timedelta(hours=1))
    first, lasts = office.stock, timedelta(seconds=8)  # three of which are the margin
    runs: list[Recounted] = []
    for _ in range(5):
        assert office.stock == first
        runs.append(office.run(lasts=lasts))
    assert [each.whole for each in runs] == [False] * 4 + [True]
    assert [each.pages for each in runs] == [5, 5, 5, 5, 1], "no page is read again"
    assert office.told() == {"queued": 40, "scheduled": 1}
    assert office.book.account.walk is None


class Endless(MemoryJobIndex):
    """An agenda that never ends, of jobs that nobody finds."""

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        return [Upcoming(START, JobId(f"job_{number}")) for number in range(limit)]


def test_a_run_reads_a_bounded_number_of_pages(office: Office) -> None:
    office.recount = office.made(Endless(office.house.store))
    assert office.run() == Recounted(ran=True, pages=MOST_PAGES, whole=False)


class Moving(MemoryJobIndex):
    """Between two pages, `dispatch` moves the look of the first job behind all others."""

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        found = super().upcoming(shard, tier, after=after, limit=limit)
        if after is None and found:
            job = self._store.jobs[found[0].id]
            self._store.jobs[job.id] = replace(job, next_look=START + timedelta(days=1))
        return found


def test_a_job_whose_look_moves_meanwhile_is_counted_once(office: Office) -> None:
    office.house.accept_many(5 * PAGE)
    office.recount = office.made(Moving(office.house.store))
    office.run()
    assert office.told() == {"queued": 5 * PAGE}


class Lagging(MemoryJobIndex):
    """An index that still has what came to rest a moment ago."""

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        return [Upcoming(START, job.id) for job in self._store.jobs.values() if job.tier is tier and not shard]


def test_what_an_index_still_has_and_is_at_rest_is_not_open(office: Office) -> None:
    office.house.accept(data=priced(1))
    office.house.consume()
    office.recount = office.made(Lagging(office.house.store))
    office.run()
    assert (office.told(), office.stock.money) == ({}, {})


def test_of_two_runs_at_once_one_counts(office: Office) -> None:
    office.house.accept_many(30)
    done: list[Recounted] = []

    def run_another() -> None:
        done.append(office.run())

    office.book.loaded = run_another
    assert office.run().whole
    assert done == [Recounted(ran=False)]
    assert office.told() == {"queued": 30}


class FreeLeases(MemoryLeases):
    """Leases that everybody gets, as after a clock has gone wrong."""

    def take(self, name: str, owner: str, *, now: datetime, until: datetime) -> bool:
        return True


def test_of_two_runs_that_both_have_the_lease_one_is_kept() -> None:
    office = Office(leases=FreeLeases())
    office.house.accept_many(30)
    runs: list[Recounted] = []
    office.book.loaded = threading.Barrier(2).wait
    threads = [threading.Thread(target=lambda: runs.append(office.run())) for _ in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.ran for each in runs) == [False, True]
    assert (office.told(), office.book.account.version) == ({"queued": 30}, 1)


@pytest.mark.parametrize("good_for", [0, 1, 12, 14])
def test_a_store_that_does_not_answer_leaves_the_last_figures(office: Office, good_for: int) -> None:
    office.house.accept_many(30)
    office.run()
    before = office.book.account
    office.house.accept(data=priced(1), delay=timedelta(hours=1))
    office.book.calls, office.book.good_for, office.book.fails = 0, good_for, StoreRefused()
    with pytest.raises(StoreRefused):
        office.run()  # it reads what is kept, nine counts, four shards with jobs in them, and saves
    assert office.book.account == before
    office.book.fails = None
    assert office.run().whole, "and the lease is free"
    assert office.told() == {"queued": 30, "scheduled": 1}


def test_a_walk_that_has_lain_for_long_is_begun_anew(office: Office) -> None:
    office.house.accept_many(30)
    office.run(lasts=timedelta(seconds=20))
    assert office.book.account.walk is not None
    office.house.clock.advance(STALE + SECOND)
    office.run()
    assert office.told() == {"queued": 30}
    assert office.stock.counted_at > START + STALE


class TestBetweenTwoWalks:
    """What consumers count moves the figures."""

    def test_what_retries_parks_and_dies_is_told_within_minutes(self, office: Office) -> None:
        house = office.house
        house.scripts[EffectClass.KEYED].steps.append(Retry(TIMEOUT))
        house.accept()
        house.consume()
        office.run()
        assert office.told() == {"retrying": 1}
        house.clock.advance(2 * MINUTE)
        office.add_up()
        assert office.told() == {"retrying": 1}, "it was counted by the walk"
        house.scripts[EffectClass.KEYED].steps += [DONE, Retry(TIMEOUT), Retry(TIMEOUT), Retry(TIMEOUT)]
        house.consume()
        for order in range(3):
            house.accept(data=priced(order), attempts=1 + (order > 0))
        house.consume()
        house.scripts[EffectClass.BLIND].steps.append(Unknown(TIMEOUT))
        house.accept(EffectClass.BLIND)
        house.consume(Tier.COMMUNICATION)
        house.clock.advance(MINUTE)
        office.add_up()
        assert office.told() == {"retrying": 2, "failed": 1}
        assert office.told(Tier.COMMUNICATION) == {"parked": 1}

    def test_what_is_not_added_up_yet_when_a_walk_begins_is_not_told_twice(self, office: Office) -> None:
        house = office.house
        house.clock.advance(3 * MINUTE)
        office.add_up()
        house.scripts[EffectClass.BLIND].steps.append(Unknown(TIMEOUT))
        house.accept(EffectClass.BLIND)
        house.consume(Tier.COMMUNICATION)
        office.run()
        assert office.told(Tier.COMMUNICATION) == {"parked": 1}
        house.clock.advance(MINUTE)
        office.add_up()
        assert office.told(Tier.COMMUNICATION) == {"parked": 1}

    def test_no_figure_is_ever_below_nothing(self, office: Office) -> None:
        kind = next(name for name, tier in office.tiers.items() if tier is Tier.MONEY)
        stock = a_stock(states={})
        told = moved(stock, {Name(Measure.RESUMED, kind): 9}, office.tiers).states
        assert {count for states in told.values() for count in states.values()} == {0}
