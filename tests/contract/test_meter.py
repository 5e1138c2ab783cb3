"""The meter of calls and capacity, over real tables: what DynamoDB says is what is told."""

from typing import Any

import pytest

from chalicelib.aws.leases import DynamoLeases
from chalicelib.aws.meter import Meter, MeteredMetrics
from chalicelib.aws.metrics_store import DynamoMetrics
from chalicelib.domain.tally import Measure, Name
from tests.contract.backends import DynamoRecords
from tests.contract.conftest import REAL
from tests.fakes import START
from tests.fakes_metrics import MemoryMetrics

CALLS = Name(Measure.CALLS, "dynamodb")
WRITES, READS = Name(Measure.WRITE_UNITS, "dynamodb"), Name(Measure.READ_UNITS, "dynamodb")
PAID = Name(Measure.SUCCESS, "payment.process")


@pytest.fixture(params=REAL)
def records(request: pytest.FixtureRequest) -> DynamoRecords:
    made: DynamoRecords = request.getfixturevalue(request.param)
    return made


class Deaf:
    """Counters that nothing can be added to."""

    def add(self, *_: Any, **__: Any) -> bool:
        return False


def test_calls_and_units_go_with_the_next_count_and_are_told_once(records: DynamoRecords) -> None:
    meter, counters = Meter(), MemoryMetrics()
    meter.watch(records.client)
    leases = DynamoLeases(records.client, records.tables.queue_controls)
    for owner in ("a", "b"):  # the second is refused by its condition, and is a call all the same
        leases.take("metered", owner, now=START, until=START.replace(hour=23))
    metrics = MeteredMetrics(counters, meter)
    assert metrics.add({PAID: 1}, at=START, spread=0.0)
    told = counters.minute(START)
    assert (told[PAID], told[CALLS]) == (1, 2)
    assert 1 <= told[WRITES] <= 2  # DynamoDB bills what is refused, too; it does not say so in its answer
    assert metrics.add({PAID: 1}, at=START, spread=0.0)
    assert counters.minute(START)[CALLS] == 2


def test_halves_of_a_unit_are_kept_until_they_are_whole(records: DynamoRecords) -> None:
    meter = Meter()
    meter.watch(records.client)
    for _ in range(2):
        records.client.get_item(
            TableName=records.tables.queue_controls, Key={"id": {"S": "nobody"}}, ConsistentRead=False
        )
        counts = meter.take()
    assert counts == {CALLS: 1, READS: 1}


def test_what_could_not_be_added_is_counted_again(records: DynamoRecords) -> None:
    meter = Meter()
    meter.watch(records.client)
    series = DynamoMetrics(records.client, records.tables)
    series.minute(START)
    assert not MeteredMetrics(Deaf(), meter).add({PAID: 1}, at=START, spread=0.0)  # type: ignore[arg-type] # that
    assert meter.take()[CALLS] == 1
