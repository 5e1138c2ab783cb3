"""An OTLP collector for tests: what it is sent is decoded by OpenTelemetry's own protocol definitions."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from local.standins.listener import Listener
from local.standins.wire import Answer, Request


@dataclass(frozen=True)
class Seen:
    """One span as it came; ids in hexadecimal digits."""

    name: str
    trace: str
    id: str
    parent: str
    facts: dict[str, Any]
    events: list[str]
    failed: bool
    text: str  # all of it, to be searched


class Collector:
    """Takes spans."""

    def __init__(self) -> None:
        self.asked = 0
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self.listener = Listener("127.0.0.1", 0, self._answer)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.listener.port}"

    def spans(self, name: str = "", job_id: str | None = None) -> list[Seen]:
        """Return the spans of this name and job, in the order in which they ended."""
        with self._lock:
            seen = list(self._seen)
        return [each for each in seen if name in ("", each.name) and job_id in (None, each.facts.get("job.id"))]

    def trace(self, trace: str) -> list[Seen]:
        """Return the spans of a trace."""
        return [each for each in self.spans() if each.trace == trace]

    def _answer(self, request: Request) -> Answer:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        with self._lock:
            self.asked += 1
        told = ExportTraceServiceRequest.FromString(request.body)
        with self._lock:
            for resource in told.resource_spans:
                for scope in resource.scope_spans:
                    self._seen += [_seen(span) for span in scope.spans]
        return Answer(200, b"", {"Content-Type": "application/x-protobuf"})


def _seen(span: Any) -> Seen:
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        facts={each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
        events=[event.name for event in span.events],
        failed=span.status.code == 2,  # STATUS_CODE_ERROR
        text=str(span),
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Give a collector that listens."""
    made = Collector()
    made.listener.start()
    try:
        yield made
    finally:
        made.listener.stop()
