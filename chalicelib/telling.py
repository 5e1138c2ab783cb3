"""What is put between the use cases and their adapters to tell of the work: CloudWatch, a collector of traces.

Where nobody is told, nothing is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chalicelib.adapters import Adapters
from chalicelib.domain.jobtype import JobType
from chalicelib.service.emission import Emission, EmittingMetrics
from chalicelib.service.fates import Executes, MakeExecute
from chalicelib.settings import Settings, SettingsError
from chalicelib.settings.tracing import TraceSettings

if TYPE_CHECKING:
    from chalicelib.tracing import Tracing


@dataclass(frozen=True)
class Teller:
    """Who is told; `adapters` are those that the use cases are to be made over."""

    adapters: Adapters
    emission: Emission
    traces: "Tracing | None"

    def consuming(self, make: MakeExecute, types: Mapping[str, JobType]) -> Executes:
        """Return the use case behind the consumers."""
        if self.traces is not None:
            return self.traces.execute(make, types)
        return make(self.adapters.store, self.adapters.journal, types)


def tell_of(settings: Settings, adapters: Adapters, types: Mapping[str, JobType]) -> Teller:
    """Put between what the settings want; raises SettingsError."""
    emission = Emission(adapters.emitter, adapters.journal)
    if emission.on:
        tiers = {name: job_type.tier for name, job_type in types.items()}
        adapters = replace(adapters, metrics=EmittingMetrics(adapters.metrics, emission, tiers))
    if settings.traces is None:
        return Teller(adapters, emission, None)
    traces = _tracing(settings.traces, adapters)
    return Teller(traces.adapters, emission, traces)


def _tracing(settings: TraceSettings, adapters: Adapters) -> "Tracing":
    """Load what traces are made with."""
    try:
        from chalicelib.tracing import Tracing
    except ModuleNotFoundError as error:
        raise SettingsError(["TRACES is otlp, but what requirements-traces.txt names is not there."]) from error
    return Tracing(settings, adapters)
