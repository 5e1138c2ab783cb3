"""Traces of jobs: what is put between the use cases and their adapters where `TRACES` asks for it.

Imported there and nowhere else, because OpenTelemetry is loaded with it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from chalicelib.adapters import Adapters
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.ports import JobStore
from chalicelib.service.fates import Executes, MakeExecute
from chalicelib.settings.tracing import TraceSettings
from chalicelib.tracing.consuming import TracedExecute
from chalicelib.tracing.ports import TracedQueue, TracedStore
from chalicelib.tracing.spans import Spans


class Tracing:
    """A container's traces; `adapters` are the given ones, those traced that accept and send."""

    def __init__(self, settings: TraceSettings, adapters: Adapters) -> None:
        self._spans = Spans(settings, clock=adapters.clock, journal=adapters.journal)
        self.adapters = replace(
            adapters,
            store=cast(JobStore, TracedStore(adapters.store, self._spans)),
            queue=TracedQueue(adapters.queue, self._spans),
        )

    def execute(self, make: MakeExecute, types: Mapping[str, JobType]) -> Executes:
        """Return the use case behind the consumers, traced; `make` makes it for a batch."""
        return TracedExecute(make, self.adapters.store, self.adapters.journal, types, self._spans)

    def flush(self) -> None:
        """Send what has been gathered."""
        self._spans.flush()

    def close(self) -> None:
        """Close the connection to the collector."""
        self._spans.close()
