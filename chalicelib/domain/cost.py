"""What a job costs in tables and queues, of what was measured. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chalicelib.domain.tally import RESULTS, Counts, Measure, Name

# Dollars per million, on demand, in us-east-1, as AWS lists them (November 2026); other regions cost more.
PRICES: Mapping[str, float] = MappingProxyType({"write_units": 0.625, "read_units": 0.125, "sqs": 0.40})


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured for each job that ended; `dollars_per_million` is of tables and queues alone."""

    jobs: int
    calls: Mapping[str, float]  # by service
    write_units: float
    read_units: float
    dollars_per_million: float


def cost(totals: Counts) -> Cost | None:
    """Return the cost of a job over all that was counted; None before a job ended or a call was measured."""
    jobs = sum(count for name, count in totals.items() if name.measure in RESULTS)
    calls = {name.subject: count for name, count in totals.items() if name.measure is Measure.CALLS}
    if not jobs or not calls:
        return None
    writes, reads = (
        totals.get(Name(measure, "dynamodb"), 0) / jobs for measure in (Measure.WRITE_UNITS, Measure.READ_UNITS)
    )
    by_service = {service: count / jobs for service, count in sorted(calls.items())}
    dollars = (
        writes * PRICES["write_units"]
        + reads * PRICES["read_units"]
        + by_service.get("sqs", 0.0) * PRICES["sqs"]
    )
    return Cost(jobs, by_service, writes, reads, dollars)
