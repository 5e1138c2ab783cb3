"""The contract of tally.Metrics, on the fake and on every real backend."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.aws.metrics_store import SHARDS, DynamoMetrics
from chalicelib.domain.policies import Tier
from chalicelib.domain.tally import Depths, Flow, Measure, Metrics, Name, Results, Series
from chalicelib.service.traffic import MOST_NAMES
from tests.contract.backends import DynamoRecords, Faults
from tests.contract.conftest import REAL
from tests.fakes import START
from tests.fakes_metrics import MemoryMetrics

PAID = Name(Measure.SUCCESS, "payment.process")
TOOK = Name(Measure.TOOK, "payment.process", "0.5")
LAST = timedelta(seconds=59, milliseconds=999)


@pytest.fixture(params=["memory", *REAL])
def metrics(request: pytest.FixtureRequest) -> Metrics:
    if request.param == "memory":
        return MemoryMetrics()
    made: DynamoRecords = request.getfixturevalue(request.param)
    return DynamoMetrics(made.client, made.tables)


def test_what_is_counted_in_a_minute_adds_up_and_in_another_does_not(metrics: Metrics) -> None:
    assert metrics.add({PAID: 2, TOOK: 2}, at=START, spread=0.0)
    assert metrics.add({PAID: 3}, at=START + LAST, spread=0.999)
    assert metrics.add({PAID: 7}, at=START + LAST + timedelta(milliseconds=1), spread=0.0)
    assert metrics.minute(START) == {PAID: 5, TOOK: 2}
    assert metrics.minute(START + timedelta(minutes=2)) == {}


def test_what_is_counted_expires_after_thirty_days_and_the_series_never(dynamo: DynamoRecords) -> None:
    metrics = DynamoMetrics(dynamo.client, dynamo.tables)
    assert metrics.add({PAID: 2}, at=START, spread=0.0)
    assert metrics.save_series(Series(until=START))
    items = dynamo.client.scan(TableName=dynamo.tables.queue_metrics)["Items"]
    ends = {item["pk"]["S"]: item.get("expires_at") for item in items}
    counted, series = sorted(ends)
    assert ends[counted] == {"N": str(int((START + timedelta(days=30)).timestamp()))}
    assert ends[series] is None


def test_many_consumers_at_once_lose_no_count(metrics: Metrics) -> None:
    threads = [
        threading.Thread(target=metrics.add, args=({PAID: 1},), kwargs={"at": START, "spread": n / 40})
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.minute(START) == {PAID: 40}


def test_as_many_routes_as_the_api_writes_at_once_are_taken_in_one_write(metrics: Metrics) -> None:
    routes = [f"POST /v1/endpoints/{{endpoint_id}}/rotate-secret/{n}" for n in range(MOST_NAMES)]
    counts = {Name(Measure.ANSWERED, route, "201"): 1 for route in routes}
    assert metrics.add(counts, at=START, spread=0.5)
    assert metrics.minute(START) == counts


def test_there_is_no_series_until_one_is_saved_and_then_it_is_read_as_it_was(metrics: Metrics) -> None:
    series = Series(
        until=START,
        totals={PAID: 12, TOOK: 3},
        minutes={
            START: {
                Tier.MONEY: Flow(1, 2, 3, 4, 5, 6, Depths(7, 8)),
                Tier.BACKGROUND: Flow(9, took=(1, 0, 2, 0, 0, 0, 0, 0, 3)),
            }
        },
        hours={START: {"payment.process": Results(1, 2, 3)}},
    )
    assert metrics.series() is None
    assert metrics.save_series(series)
    assert metrics.series() == replace(series, version=1)


def test_of_two_that_go_on_from_one_series_one_is_kept(metrics: Metrics) -> None:
    assert metrics.save_series(Series(until=START))
    read = metrics.series()
    assert read is not None
    assert metrics.save_series(replace(read, until=START + timedelta(minutes=1)))
    assert not metrics.save_series(replace(read, until=START + timedelta(minutes=2)))
    assert not metrics.save_series(Series(until=START))
    kept = metrics.series()
    assert kept is not None
    assert kept.until == START + timedelta(minutes=1)


def test_a_count_is_one_write_and_a_minute_one_read(dynamo: DynamoRecords, wire: Faults) -> None:
    metrics = DynamoMetrics(dynamo.client, dynamo.tables)
    before = len(wire.calls)
    for shard in range(SHARDS):
        metrics.add({PAID: 1}, at=START, spread=shard / SHARDS)
    metrics.minute(START)
    assert wire.calls[before:] == ["UpdateItem"] * SHARDS + ["Query"]
