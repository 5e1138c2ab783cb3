"""What functions tell CloudWatch of, made of what is counted anyway. Pure.

A figure's labels are dimensions there. Every name with its labels is a metric that costs money for each hour in
which it is told of, so there are fewer labels than at GET /metrics, and no histograms: of durations how many
there were and the seconds of all of them, which give an exact average.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

from chalicelib.domain.policies import Tier, queue_name
from chalicelib.domain.tally import Counts, Measure, Name

ATTEMPTS = "job_processing_duration_seconds"
REQUESTS = "http_request_duration_seconds"
NOBODYS = "unknown"  # the queue of a job type that is no more


@dataclass(frozen=True, slots=True)
class Figure:
    """What a value is of: a name, and values for its labels. Never anything that a caller has sent."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


Figures = Mapping[Figure, float]


def figure(name: str, **labels: str) -> Figure:
    """Return a figure by its labels."""
    return Figure(name, tuple(labels.items()))


class Emitter(Protocol):
    """The port of what is told to CloudWatch."""

    def emit(self, figures: Figures) -> None:
        """Tell of figures as they are now; counts are what came since they were told of last."""
        ...


def figures_of(counts: Counts, tiers: Mapping[str, Tier]) -> Figures:
    """Return what counts come to; `tiers` is the tier of each job type."""
    sums: defaultdict[Figure, float] = defaultdict(float)
    for name, count in counts.items():
        told = _figure_of(name, tiers)
        if told is not None:
            sums[told] += count / 1000 if name.measure in (Measure.MILLISECONDS, Measure.ANSWERING) else count
    return sums


def _figure_of(name: Name, tiers: Mapping[str, Tier]) -> Figure | None:
    """Return what a counter is told as; None for those that only the series need."""
    tier, part = tiers.get(name.subject), name.part or ""
    queue = NOBODYS if tier is None else queue_name(tier)
    match name.measure:
        case Measure.SUCCESS | Measure.FAILURE | Measure.REFUSED as result:
            return figure("job_results_total", queue_name=queue, job_type=name.subject, result=result)
        case Measure.TOOK:
            return figure(f"{ATTEMPTS}_count", queue_name=queue)
        case Measure.MILLISECONDS:
            return figure(f"{ATTEMPTS}_sum", queue_name=queue)
        case Measure.ALERTED:
            severity, _, channel = part.partition("#")
            return figure("alerts_sent_total", severity=severity, type=name.subject, channel=channel)
        case Measure.ANSWERED:
            return figure("http_requests_total", status=part)
        case Measure.ANSWERED_IN:
            return figure(f"{REQUESTS}_count")
        case Measure.ANSWERING:
            return figure(f"{REQUESTS}_sum")
        case Measure.CALLS | Measure.WRITE_UNITS | Measure.READ_UNITS:
            return None  # CloudWatch has them from AWS itself
        case Measure.BEGUN | Measure.RETRIED | Measure.RESUMED | Measure.PARKED:
            return None
        case never:
            assert_never(never)
