"""The figures as Prometheus reads them. The client library renders; it is imported by whoever asks for them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.job import State
from chalicelib.domain.policies import queue_name
from chalicelib.domain.stock import States
from chalicelib.domain.tally import BEYOND, BUCKETS, HTTP_BUCKETS, RESULTS, Measure, Name
from chalicelib.service.figures import RECOUNTED, Snapshot

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATUS = {"queued": "waiting", "running": "active"}  # our states, by what the queues count of them


@dataclass(frozen=True)
class Collector:
    """The figures as a registry of the client library is asked for them."""

    seen: Snapshot

    def collect(self) -> "Iterable[Metric]":
        """Return every metric."""
        yield self._depths()
        yield self._failed()
        yield self._ages()
        yield self._results()
        yield self._durations()
        yield self._alerts()
        yield from self._requests()
        yield from self._limits()
        yield self._runs()

    def _depths(self) -> "Metric":
        from prometheus_client.core import GaugeMetricFamily

        told = GaugeMetricFamily(
            "queue_depth",
            "Jobs of a queue by state: approximate. Queued and running are messages, as SQS counted them a "
            "minute ago; the others were counted minutes ago, and moved by what consumers have done since.",
            labels=["queue_name", "status"],
        )
        latest = self.seen.series.minutes.get(max(self.seen.series.minutes, default=self.seen.now), {})
        for tier, flow in latest.items():
            for status, counted in STATUS.items():
                if flow.depths is not None:
                    told.add_metric([queue_name(tier), status], getattr(flow.depths, counted))
        for tier, states in self._stock().items():
            for state in RECOUNTED:
                if state is not State.FAILED:
                    told.add_metric([queue_name(tier), state.value], states[state])
        return told

    def _failed(self) -> "Metric":
        from prometheus_client.core import GaugeMetricFamily

        told = GaugeMetricFamily(
            "failed_jobs",
            "Dead letters of a queue that are not retried yet: approximate, as the depth is.",
            labels=["queue_name"],
        )
        for tier, states in self._stock().items():
            told.add_metric([queue_name(tier)], states[State.FAILED])
        return told

    def _stock(self) -> States:
        return {} if self.seen.stock is None else self.seen.stock.states

    def _ages(self) -> "Metric":
        from prometheus_client.core import GaugeMetricFamily

        told = GaugeMetricFamily(
            "oldest_job_age_seconds",
            "How long the oldest open job has been due; 0 below five minutes.",
            labels=["queue_name"],
        )
        for tier, due in self.seen.oldest_due.items():
            age = timedelta(0) if due is None else max(self.seen.now - due, timedelta(0))
            told.add_metric([queue_name(tier)], age.total_seconds())
        return told

    def _results(self) -> "Metric":
        from prometheus_client.core import CounterMetricFamily

        told = CounterMetricFamily(
            "job_results",
            "Jobs that ended, by how; what operators ended by hand is not counted.",
            labels=["queue_name", "job_type", "result"],
        )
        totals = self.seen.series.totals
        counted = {name: count for name, count in totals.items() if name.measure in RESULTS}
        # Prometheus sees no increase from nothing to one, so there is a nought from the first.
        noughts = {Name(result, kind): 0 for kind in self.seen.tiers for result in RESULTS}
        for name, count in {**noughts, **counted}.items():
            told.add_metric([self._queue_of(name.subject), name.subject, name.measure.value], count)
        return told

    def _durations(self) -> "Metric":
        from prometheus_client.core import HistogramMetricFamily

        told = HistogramMetricFamily(
            "job_processing_duration_seconds",
            "Attempts, by how long each took from its claim to its end.",
            labels=["queue_name", "job_type"],
        )
        for kind, buckets, seconds in self._spreads(Measure.TOOK, Measure.MILLISECONDS, BUCKETS):
            told.add_metric([self._queue_of(kind), kind], buckets, seconds)
        return told

    def _requests(self) -> "Iterable[Metric]":
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        answered = CounterMetricFamily(
            "http_requests",
            "Requests that were answered: approximate, and some minutes old.",
            labels=["route", "method", "status"],
        )
        for name, count in self.seen.series.totals.items():
            if name.measure is Measure.ANSWERED and name.part is not None:
                answered.add_metric([*_asked(name.subject), name.part], count)
        took = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Requests, by how long each took in the function that answered it.",
            labels=["route", "method"],
        )
        for asked, buckets, seconds in self._spreads(Measure.ANSWERED_IN, Measure.ANSWERING, HTTP_BUCKETS):
            took.add_metric(_asked(asked), buckets, seconds)
        yield answered
        yield took

    def _spreads(
        self, within: Measure, took: Measure, bounds: Sequence[float]
    ) -> "Iterable[tuple[str, list[tuple[str, float]], float]]":
        """Return of each subject how many took no more than each bound, and the seconds of all of them."""
        counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
        totals = self.seen.series.totals
        for name, count in totals.items():
            if name.measure is within and name.part is not None:
                counts[name.subject][name.part] = count
        for subject, by_bucket in counts.items():
            yield subject, _cumulated(by_bucket, bounds), totals.get(Name(took, subject), 0) / 1000

    def _alerts(self) -> "Metric":
        from prometheus_client.core import CounterMetricFamily

        told = CounterMetricFamily(
            "alerts_sent", "Notices of alerts that were sent.", labels=["severity", "type", "channel"]
        )
        for name, count in self.seen.series.totals.items():
            if name.measure is Measure.ALERTED and name.part is not None:
                severity, channel = name.part.split("#")
                told.add_metric([severity, name.subject, channel], count)
        return told

    def _limits(self) -> "Iterable[Metric]":
        from prometheus_client.core import GaugeMetricFamily

        tokens = GaugeMetricFamily(
            "rate_limit_tokens", "Calls that a provider's bucket has room for.", labels=["provider"]
        )
        in_flight = GaugeMetricFamily(
            "rate_limit_in_flight", "Slots of a provider that are taken.", labels=["provider"]
        )
        for group, bucket in self.seen.buckets.items():
            tokens.add_metric([group], bucket.tokens(self.seen.now))
            in_flight.add_metric([group], bucket.in_flight(self.seen.now))
        yield tokens
        yield in_flight

    def _runs(self) -> "Metric":
        from prometheus_client.core import GaugeMetricFamily

        told = GaugeMetricFamily(
            "scheduled_function_last_run_timestamp_seconds",
            "When a run of a scheduled function last ended well.",
            labels=["function"],
        )
        for function, beat in self.seen.beats.items():
            if beat.last_run_at is not None:
                told.add_metric([function.value], beat.last_run_at.timestamp())
        return told

    def _queue_of(self, kind: str) -> str:
        tier = self.seen.tiers.get(kind)
        return "" if tier is None else queue_name(tier)


def rendered(seen: Snapshot) -> str:
    """Return the text that Prometheus scrapes."""
    from prometheus_client import generate_latest

    return generate_latest(Collector(seen)).decode()


def _asked(subject: str) -> list[str]:
    """Return route and method of what was asked for."""
    method, _, route = subject.partition(" ")
    return [route, method]


def _cumulated(by_bucket: Mapping[str, int], bounds: Sequence[float]) -> list[tuple[str, float]]:
    told: list[tuple[str, float]] = []
    total = 0
    for bound in bounds:
        total += by_bucket.get(f"{bound:g}", 0)
        told.append((f"{bound}", total))
    return [*told, ("+Inf", total + by_bucket.get(BEYOND, 0))]
