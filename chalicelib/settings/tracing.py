"""Where the traces of jobs go, if they go anywhere."""

from dataclasses import dataclass

from chalicelib.settings.environment import Reader, one_of, url

TRACES = ("off", "otlp")
EXTENSION = (
    "http://localhost:4318"  # where a collector listens for OTLP over HTTP, that of Lambda's extension, too
)


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """The collector, by its base URL, and the stage that the traces are of."""

    endpoint: str
    stage: str


def read_traces(env: Reader, stage: str) -> TraceSettings | None:
    """Read what there is to know of traces; None: there are none."""
    on = env.optional("TRACES", one_of(TRACES)) == "otlp"
    base = url(("https", "http"), f"the base URL of a collector such as {EXTENSION}")
    endpoint = env.optional("OTEL_EXPORTER_OTLP_ENDPOINT", base) or EXTENSION
    return TraceSettings(endpoint.rstrip("/"), stage) if on else None
