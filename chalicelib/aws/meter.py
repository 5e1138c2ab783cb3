"""What the service costs, as it runs: its calls of tables and queues, and what DynamoDB says they consumed.

A container counts its own calls in memory; whatever it adds next to the shared counters takes them along, so
the measuring itself costs no call. What it had not yet written when it was recycled is lost.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.domain.tally import Counts, Measure, Metrics, Name, Series

READS = frozenset({"GetItem", "Query", "BatchGetItem", "TransactGetItems"})
WRITES = frozenset(
    {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem", "BatchExecuteStatement"}
)


class Meter:
    """Counts what clients do, in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._units = {Measure.WRITE_UNITS: 0.0, Measure.READ_UNITS: 0.0}  # reads consume halves

    def watch(self, client: Any) -> None:
        """Count the calls of a botocore client from now on; DynamoDB is asked what each consumed."""
        service, events = client.meta.service_model.service_name, client.meta.events
        if service == "dynamodb":
            events.register("provide-client-params.dynamodb", _ask_for_capacity)
        events.register(f"after-call.{service}", self._count)

    def take(self) -> Counts:
        """Return what was counted since the last time, whole units only; what is left of one is kept."""
        with self._lock:
            counts = {Name(Measure.CALLS, service): count for service, count in self._calls.items()}
            self._calls.clear()
            for measure, units in self._units.items():
                whole = int(units)
                self._units[measure] -= whole
                counts[Name(measure, "dynamodb")] = whole
        return {name: count for name, count in counts.items() if count}

    def give_back(self, counts: Counts) -> None:
        """Count again what could not be written."""
        with self._lock:
            for name, count in counts.items():
                if name.measure is Measure.CALLS:
                    self._calls[name.subject] += count
                else:
                    self._units[name.measure] += count

    def _count(self, model: Any, parsed: Mapping[str, Any], **_: Any) -> None:
        measure = _measure(model.name)
        units = _units(parsed.get("ConsumedCapacity")) if measure is not None else 0.0
        with self._lock:
            self._calls[model.service_model.service_name] += 1
            if measure is not None:
                self._units[measure] += units


class MeteredMetrics:
    """The counters behind `tally.Metrics`, to which a container's meter is added with whatever else is."""

    def __init__(self, counters: Metrics, meter: Meter) -> None:
        self._counters = counters
        self._meter = meter

    def add(self, counts: Counts, *, at: datetime, spread: float) -> bool:
        """Add to the counters of a minute, in the same one write."""
        metered = self._meter.take()
        done = self._counters.add({**counts, **metered}, at=at, spread=spread)
        if not done:
            self._meter.give_back(metered)
        return done

    def minute(self, at: datetime) -> Counts:
        """Return what has been counted in a minute."""
        return self._counters.minute(at)

    def series(self) -> Series | None:
        """Return the counters over time."""
        return self._counters.series()

    def save_series(self, series: Series) -> bool:
        """Replace the series."""
        return self._counters.save_series(series)


def _ask_for_capacity(params: Mapping[str, Any], model: Any, **_: Any) -> Mapping[str, Any] | None:
    return None if _measure(model.name) is None else {**params, "ReturnConsumedCapacity": "TOTAL"}


def _measure(operation: str) -> Measure | None:
    if operation in WRITES:
        return Measure.WRITE_UNITS
    return Measure.READ_UNITS if operation in READS else None


def _units(consumed: Mapping[str, Any] | list[Mapping[str, Any]] | None) -> float:
    every = consumed if isinstance(consumed, list) else [consumed or {}]
    return sum(float(each.get("CapacityUnits", 0)) for each in every)
