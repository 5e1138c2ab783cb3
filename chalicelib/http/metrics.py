"""The service's figures: for Prometheus at /metrics, and as JSON for people at /v1/metrics."""

import hmac

from chalice.app import Blueprint, Request, Response

from chalicelib.domain.alerting import Severity
from chalicelib.domain.errors import StoreError
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.policies import Tier
from chalicelib.http.errors import reply
from chalicelib.http.figure_shapes import COUNTED_AT, MONEY_WAITING, STANDING
from chalicelib.http.operations import (
    COUNT,
    MOMENT,
    TEXT,
    Answer,
    Operation,
    Operations,
    Shape,
    Shapes,
    listed,
    nullable,
    record,
    ref,
)
from chalicelib.http.prometheus import CONTENT_TYPE, rendered
from chalicelib.http.views import only, principal_of, view
from chalicelib.service.figures import MOST_TYPES, Status, admit
from chalicelib.wiring import service

routes = Blueprint(__name__)
at_the_root = Blueprint(f"{__name__}.at_the_root")


@at_the_root.route("/metrics", methods=["GET"], content_types=[])
@view
def scrape() -> Response:
    """Return the metrics as Prometheus reads them; it may come with a token of its own."""
    request = at_the_root.current_request
    if not _is_scraper(request):
        admit(principal_of(request))
    return Response(rendered(service().watch.figures.snapshot()), headers={"Content-Type": CONTENT_TYPE})


def _is_scraper(request: Request) -> bool:
    """Whether a request bears the scraper's own token; one that cannot be read lets nobody in."""
    token = service().watch.metrics_token
    given = only(request, "Authorization")
    if token is None or given is None:
        return False
    try:
        wanted = f"Bearer {token()}"
    except StoreError:
        return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


@routes.route("/metrics/summary", methods=["GET"], content_types=[])
@view
def read_summary() -> Response:
    """Return the last hour, by queue."""
    return reply(200, service().watch.figures.summary(principal_of(routes.current_request)))


@routes.route("/metrics/throughput", methods=["GET"], content_types=[])
@view
def read_throughput() -> Response:
    """Return the last hour, minute by minute."""
    return reply(200, service().watch.figures.throughput(principal_of(routes.current_request)))


@routes.route("/metrics/failures", methods=["GET"], content_types=[])
@view
def read_failures() -> Response:
    """Return the last day, hour by hour, and the types that failed most."""
    return reply(200, service().watch.figures.failures(principal_of(routes.current_request)))


_RATE: Shape = {
    **nullable({"type": "number"}),
    "description": "Failed of completed and failed; refusals are left out.",
}
_SPREAD: Shape = record({"average": nullable({"type": "number"}), "highest": nullable(COUNT)})
_ENDED = {"completed": COUNT, "failed": COUNT, "refused": COUNT}
_UNTIL: Shape = {**MOMENT, "description": "What was counted before this moment is in it."}
COST = (
    "What a job has cost in tables and queues, indexes included where DynamoDB bills them, as the API and the "
    "consumers measured it since the counters began; dollars at us-east-1's prices. Lambda, the gateway and "
    "the scheduled functions are not in it. Null before anything was measured."
)
_COST = record(
    {
        "jobs": {**COUNT, "description": "That ended."},
        "callsPerJob": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
        "writeUnitsPerJob": {"type": "number", "minimum": 0},
        "readUnitsPerJob": {"type": "number", "minimum": 0},
        "dollarsPerMillion": {"type": "number", "minimum": 0},
    }
)
SCHEMAS: Shapes = {
    "MetricsSummary": record(
        {
            "until": _UNTIL,
            "queues": listed(
                record(
                    {
                        "queue": TEXT,
                        "waiting": ref("Spread"),
                        "active": ref("Spread"),
                        "failed": record({**_SPREAD["properties"], "total": COUNT}),
                        "refused": COUNT,
                        "completed": COUNT,
                        "retried": COUNT,
                        "parked": COUNT,
                        "standing": nullable(STANDING),
                    }
                )
            ),
            "money": MONEY_WAITING,
            "countedAt": COUNTED_AT,
            "alerts": {
                **record({severity.value: COUNT for severity in Severity}),
                "description": "Alerts that began within 24 hours, by severity; tests are left out.",
            },
            "cost": {**nullable(_COST), "description": COST},
            "functions": {
                **listed(
                    record(
                        {
                            "name": {"enum": [each.value for each in Function]},
                            "lastRunAt": nullable(MOMENT),
                            "status": {"enum": [each.value for each in Status]},
                        }
                    )
                ),
                "description": "The scheduled functions, and when a run of each last ended well.",
            },
        }
    ),
    "MetricsThroughput": record(
        {
            "until": _UNTIL,
            "minutes": listed(
                record(
                    {
                        "at": MOMENT,
                        "queues": record({tier.value: ref("MinuteOfQueue") for tier in Tier}),
                    }
                )
            ),
        }
    ),
    "MetricsFailures": record(
        {
            "until": _UNTIL,
            "hours": listed(record({"at": MOMENT, **_ENDED, "failureRate": _RATE})),
            "types": listed(record({"type": TEXT, "queue": nullable(TEXT), **_ENDED, "failureRate": _RATE})),
        }
    ),
    "MinuteOfQueue": record({"begun": COUNT, **_ENDED, "retried": COUNT}),
    "Spread": _SPREAD,
}
ABOUT = "Approximate, and up to two minutes old. What operators end by hand is not counted."
OPERATIONS: Operations = {
    ("GET", "/metrics"): Operation(
        id="scrapeMetrics",
        tag="metrics",
        summary="Read the metrics as Prometheus does",
        who="admin; whoever has METRICS_TOKEN",
        about=ABOUT,
        answers={200: Answer("Prometheus text, version 0.0.4.", {"type": "string"}, media="text/plain")},
        refusals=(403,),
    ),
    ("GET", "/v1/metrics/summary"): Operation(
        id="readMetricsSummary",
        tag="metrics",
        summary="See the last hour, by queue",
        who="admin",
        about=ABOUT,
        answers={200: Answer("The hour.", ref("MetricsSummary"))},
        refusals=(403,),
    ),
    ("GET", "/v1/metrics/throughput"): Operation(
        id="readMetricsThroughput",
        tag="metrics",
        summary="See the last hour, minute by minute",
        who="admin",
        about=ABOUT,
        answers={200: Answer("The minutes, oldest first.", ref("MetricsThroughput"))},
        refusals=(403,),
    ),
    ("GET", "/v1/metrics/failures"): Operation(
        id="readMetricsFailures",
        tag="metrics",
        summary=f"See the last day, hour by hour, and the {MOST_TYPES} types that failed most",
        who="admin",
        about=ABOUT,
        answers={200: Answer("The hours, oldest first.", ref("MetricsFailures"))},
        refusals=(403,),
    ),
}
