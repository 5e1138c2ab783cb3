"""The counters in DynamoDB: a minute in a few records, added to without reading, and one record of all time."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pynamodb.expressions.operand import Path

from chalicelib.aws.attributes import (
    Item,
    Value,
    at,
    document,
    millis,
    moment,
    number,
    read_document,
    read_moment,
    read_number,
    seconds,
)
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.tables import MetricRecord, Tables, connect
from chalicelib.domain.errors import StoreError
from chalicelib.domain.policies import Tier
from chalicelib.domain.tally import Counts, Depths, Flow, Name, Results, Series, minute_of

SHARDS = 8  # of a minute: spreads an on-sale's writes over records
KEPT_FOR = timedelta(days=30)
SERIES = ("series", "all")
COUNTED = "c#"  # before a counter's name, where it is an attribute's


class DynamoMetrics:
    """The counters behind `tally.Metrics`; the client must not retry by itself."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._table = connect(MetricRecord, tables.queue_metrics, client)

    def add(self, counts: Counts, *, at: datetime, spread: float) -> bool:
        """Add to the counters of a minute, in one write."""
        adds = [Path([COUNTED + str(name)]).add(number(count)) for name, count in counts.items()]
        actions = [*adds, Path("expires_at").set(seconds(at + KEPT_FOR))]
        try:
            write(self._table.update_item, _minute(at), str(int(spread * SHARDS)), actions=actions)
        except StoreError:
            return False
        return True

    def minute(self, at: datetime) -> Counts:
        """Return what has been counted in a minute, in one query: its records are a few kilobytes."""
        total: Counter[Name] = Counter()
        for item in read(self._table.query, _minute(at), consistent_read=True)["Items"]:
            for name, value in item.items():
                if name.startswith(COUNTED):
                    total[Name.of(name.removeprefix(COUNTED))] += read_number(value)
        return total

    def series(self) -> Series | None:
        """Return the counters over time."""
        item = read(self._table.get_item, *SERIES, consistent_read=True).get("Item")
        return None if item is None else _series(item)

    def save_series(self, series: Series) -> bool:
        """Replace the series that has this one's version by one of the next; say whether it was done."""
        stands = Path("vn") == number(series.version) if series.version else Path("pk").does_not_exist()
        try:
            write(self._table.put_item, *SERIES, attributes=_item(series), condition=stands)
        except ConditionRefused:
            return False
        return True


def _minute(moment_in_it: datetime) -> str:
    return f"minute#{minute_of(moment_in_it).isoformat(timespec='minutes')}"


def _item(series: Series) -> dict[str, Value]:
    minutes = {
        millis(start): {tier: _flow_row(flow) for tier, flow in flows.items()}
        for start, flows in series.minutes.items()
    }
    hours = {
        millis(start): {kind: [each.success, each.failure, each.refused] for kind, each in results.items()}
        for start, results in series.hours.items()
    }
    return {
        "un": moment(series.until),
        "to": document({str(name): count for name, count in series.totals.items()}),
        "mi": document(minutes),
        "ho": document(hours),
        "vn": number(series.version + 1),
    }


def _series(item: Item) -> Series:
    return Series(
        until=read_moment(item["un"]),
        totals={Name.of(name): count for name, count in read_document(item["to"]).items()},
        minutes={
            at(int(start)): {Tier(tier): _flow(row) for tier, row in flows.items()}
            for start, flows in read_document(item["mi"]).items()
        },
        hours={
            at(int(start)): {kind: Results(*row) for kind, row in results.items()}
            for start, results in read_document(item["ho"]).items()
        },
        version=read_number(item["vn"]),
    )


def _flow_row(flow: Flow) -> Sequence[Any]:
    row = [flow.begun, flow.success, flow.failure, flow.refused, flow.retried, flow.parked, flow.took]
    return row if flow.depths is None else [*row, flow.depths.waiting, flow.depths.active]


def _flow(row: Sequence[Any]) -> Flow:
    begun, success, failure, refused, retried, parked, took, *depths = row
    measured = Depths(*depths) if depths else None
    return Flow(begun, success, failure, refused, retried, parked, measured, tuple(took))
