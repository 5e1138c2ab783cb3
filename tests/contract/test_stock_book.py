"""The contract of stock.StockBook, on the fake and on every real backend."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.aws.stock_book import DynamoStockBook
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, State
from chalicelib.domain.policies import Tier
from chalicelib.domain.search import DEAD, PARKED, Place, ended
from chalicelib.domain.stock import Account, Sighted, StockBook, Walk
from chalicelib.domain.tally import Measure
from chalicelib.jobtypes import discover
from chalicelib.service.recount import Recount, Recounted
from tests.contract.backends import DynamoRecords, Faults, MemoryRecords, Records
from tests.contract.lives import added, claimed, moved
from tests.contract.test_search import exhausted, parked, refused
from tests.factories import PAYMENT, a_job, a_stock
from tests.fakes import START, ListJournal, ManualClock, SeededChance
from tests.fakes_metrics import MemoryMetrics
from tests.fakes_stock import MemoryStockBook

MINUTE = timedelta(minutes=1)
EUROS = ("EUR", PAYMENT["amount"])


@pytest.fixture
def book(records: Records) -> StockBook:
    if isinstance(records, MemoryRecords):
        return MemoryStockBook(records.store)
    assert isinstance(records, DynamoRecords)
    return DynamoStockBook(records.client, records.tables)


def test_an_account_is_read_as_it_was_kept(book: StockBook) -> None:
    base = {Tier.MONEY: {Measure.RETRIED: 7, Measure.RESUMED: 6}}
    walk = Walk(a_stock(base=base), seen_at=START + MINUTE, part=3, after=Place(JobId("job_1"), START))
    kept = Account()
    assert book.load() == kept
    for after in (walk, replace(walk, after=Place(JobId("job_2"))), replace(walk, after=None), None):
        kept = replace(kept, stock=a_stock(money={"EUR": 1, "JPY": 2}), walk=after)
        assert book.save(kept)
        kept = replace(kept, version=kept.version + 1)
        assert book.load() == kept


def test_of_two_that_go_on_from_one_account_one_is_kept(book: StockBook) -> None:
    assert book.save(Account(a_stock()))
    assert not book.save(Account(a_stock(money={})))
    read = book.load()
    assert book.save(replace(read, stock=None))
    assert not book.save(read)
    assert book.load() == Account(version=2)


def test_jobs_are_sighted_as_they_stand_and_those_that_are_not_there_are_left_out(
    records: Records, book: StockBook
) -> None:
    added(records.store, a_job("job_1"))
    running = added(records.store, a_job("job_2", payload={"orderId": "o-1"}))
    moved(records.store, running, claimed(running))
    added(records.store, a_job("job_3", payload={**PAYMENT, "description": "x" * 1024}))
    ids = [JobId(f"job_{number}") for number in range(1, 5)]
    seen = book.sight(ids, money=True)
    assert sorted(seen, key=str) == [
        Sighted(State.QUEUED, EUROS),
        Sighted(State.QUEUED, None),  # its payload is kept apart
        Sighted(State.RUNNING, None),
    ]
    assert {each.money for each in book.sight(ids, money=False)} == {None}


def test_a_partition_is_counted_part_by_part(records: Records, book: StockBook) -> None:
    for number in range(5):
        exhausted(records, f"job_{number}")
    refused(records, "job_5")
    parked(records, "job_6")
    dead = ended(Tier.MONEY, DEAD[0])
    count, above = book.count(dead, above=None, limit=2)
    counts = [count]
    while above is not None:
        count, above = book.count(dead, above=above, limit=2)
        counts.append(count)
    assert (counts[:3], sum(counts)) == ([2, 2, 1], 5)
    assert book.count(ended(Tier.MONEY, PARKED), above=None, limit=100) == (1, None)
    assert book.count(ended(Tier.BACKGROUND, PARKED), above=None, limit=100) == (0, None)


def test_a_table_that_does_not_answer_has_no_figures(dynamo: DynamoRecords, wire: Faults) -> None:
    book = DynamoStockBook(dynamo.client, dynamo.tables)
    asks: dict[str, Callable[[], object]] = {
        "GetItem": book.load,
        "BatchGetItem": lambda: book.sight([JobId("job_1")], money=True),
        "Query": lambda: book.count(ended(Tier.MONEY, PARKED), above=None, limit=9),
    }
    for operation, ask in asks.items():
        wire.order(operation, *[wire.throttle] * 3)
        with pytest.raises(StoreRefused):
            ask()


def test_a_walk_over_tables_finds_what_there_is_with_few_calls(dynamo: DynamoRecords, wire: Faults) -> None:
    book, clock = DynamoStockBook(dynamo.client, dynamo.tables), ManualClock()
    for number in range(12):
        added(dynamo.store, a_job(f"job_{number}"))
    exhausted(dynamo, "job_x")
    parked(dynamo, "job_y")
    recount = Recount(
        book=book,
        index=dynamo.index,
        metrics=MemoryMetrics(),
        leases=dynamo.leases,
        types=discover(),
        clock=clock,
        chance=SeededChance(),
        journal=ListJournal(),
    )
    wire.calls.clear()
    assert recount.run(ends=clock.now() + MINUTE) == Recounted(ran=True, pages=21, whole=True)
    queries, reads = 9 + 12, 4  # of what ended and of the agenda; of the shards of the tier that has jobs
    own = ["UpdateItem", "GetItem", "PutItem", "UpdateItem"]  # the lease and the account
    assert sorted(wire.calls) == sorted(["Query"] * queries + ["BatchGetItem"] * reads + own)
    stock = book.load().stock
    assert stock is not None
    assert stock.money == {"EUR": 12 * PAYMENT["amount"]}
    told = {state: count for state, count in stock.states[Tier.MONEY].items() if count}
    assert told == {State.QUEUED: 12, State.FAILED: 1, State.PARKED: 1}
