"""Spans of jobs, gathered while an invocation works and sent to a collector at its end (ADR 20).

A trace is a job's for ever: its id is made of the job's id, so nothing need be carried from where a job is
accepted to where it is consumed, tried again or redriven.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Clock, Journal
from chalicelib.settings.tracing import TraceSettings

SERVICE = "queue-service"
PATIENCE = timedelta(milliseconds=500)  # the longest that one call of a collector may hold up an invocation
LEFT_ALONE = timedelta(seconds=30)  # a collector that failed
MOST_SPANS = 2_000  # that wait to be sent; the oldest make room
NOWHERE = Context()

Fact = str | int | float | bool
Facts = Mapping[str, Fact | None]  # what is None is not told


def trace_id(job_id: JobId) -> int:
    """Return the id of a job's trace: the first 16 bytes of the SHA-256 of the job's id."""
    return int.from_bytes(sha256(job_id.encode()).digest()[:16], "big")


def first_id(job_id: JobId) -> int:
    """Return the id of the span that a job's trace begins with: the 8 bytes that come next."""
    return int.from_bytes(sha256(job_id.encode()).digest()[16:24], "big")


class Spans:
    """Starts spans, and keeps those that have ended until they are sent; many threads may use it."""

    def __init__(self, settings: TraceSettings, *, clock: Clock, journal: Journal) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what is not sent we tell ourselves
        endpoint = f"{settings.endpoint}/v1/traces"
        self._exporter: SpanExporter = OTLPSpanExporter(endpoint, timeout=PATIENCE.total_seconds())
        self._kept = _Kept()
        self._ids = _Ids()
        provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: SERVICE, "deployment.environment.name": settings.stage}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._kept)
        self._tracer = provider.get_tracer(SERVICE)
        self._clock = clock
        self._journal = journal
        self._sending = threading.Lock()
        self._left_alone_until: datetime | None = None

    def first(self, name: str, job_id: JobId, facts: Facts, *, began: int) -> None:
        """Add the span that a job's trace begins with; `began` is in nanoseconds of the epoch."""
        with self._ids.of_first(job_id):
            span = self._tracer.start_span(name, NOWHERE, start_time=began)
        tell(span, {"job.id": job_id, **facts})
        span.end()

    def below_first(self, name: str, job_id: JobId, facts: Facts, *, kind: SpanKind) -> Span:
        """Start a span below the first of a job, wherever that was made; who has it ends it."""
        flags = TraceFlags(TraceFlags.SAMPLED)
        first = SpanContext(trace_id(job_id), first_id(job_id), is_remote=True, trace_flags=flags)
        return self.below(NonRecordingSpan(first), name, {"job.id": job_id, **facts}, kind=kind)

    def below(self, above: Span, name: str, facts: Facts, *, kind: SpanKind) -> Span:
        """Start a span below another; who has it ends it."""
        span = self._tracer.start_span(name, set_span_in_context(above, NOWHERE), kind=kind)
        tell(span, facts)
        return span

    def flush(self) -> None:
        """Send what has ended, and wait no longer than PATIENCE for the collector.

        What it does not take by then is lost, and the log says how much; it is left alone for a while, and a
        thread that hangs has no second beside it.
        """
        now = self._clock.now()
        if not self._kept.spans or (self._left_alone_until is not None and now < self._left_alone_until):
            return
        if self._sending.acquire(timeout=PATIENCE.total_seconds()):
            spans = self._kept.take()
            if not spans or self._send(spans):
                return
            self._journal.note("spans_not_sent", spans=len(spans))
        self._left_alone_until = now + LEFT_ALONE

    def close(self) -> None:
        """Close the connection to the collector."""
        self._exporter.shutdown()

    def _send(self, spans: list[ReadableSpan]) -> bool:
        """Send spans in a thread, which gives the lock back; say whether it was done in time."""
        done: list[SpanExportResult] = []

        def send() -> None:
            try:
                done.append(self._exporter.export(spans))
            finally:
                self._sending.release()

        # requests bounds each of its waits, not their sum, and a name's resolution not at all.
        thread = threading.Thread(target=send, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are no threads left
            self._sending.release()
            return False
        thread.join(PATIENCE.total_seconds())
        return done == [SpanExportResult.SUCCESS]


def tell(span: Span, facts: Facts) -> None:
    """Put facts on a span. Never payloads, addresses, keys or tokens: who sees traces may not see those."""
    span.set_attributes({name: fact for name, fact in facts.items() if fact is not None})


class _Kept(SpanProcessor):
    """The spans that have ended and are not sent."""

    def __init__(self) -> None:
        self.spans: deque[ReadableSpan] = deque(maxlen=MOST_SPANS)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span."""
        self.spans.append(span)

    def take(self) -> list[ReadableSpan]:
        """Take all that there are; by one thread at a time."""
        return [self.spans.popleft() for _ in range(len(self.spans))]


class _Ids(RandomIdGenerator):
    """Ids by chance, but for the first span of a job's trace."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def of_first(self, job_id: JobId) -> Iterator[None]:
        """Have the span that this thread starts meanwhile be the first of a job's trace."""
        self._local.job_id = job_id
        try:
            yield
        finally:
            self._local.job_id = None

    def generate_trace_id(self) -> int:
        """Return the job's, or a new one."""
        job_id = getattr(self._local, "job_id", None)
        return super().generate_trace_id() if job_id is None else trace_id(job_id)

    def generate_span_id(self) -> int:
        """Return that of the job's first span, or a new one."""
        job_id = getattr(self._local, "job_id", None)
        return super().generate_span_id() if job_id is None else first_id(job_id)
