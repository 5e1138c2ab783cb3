"""Whether the service can do its work: public, and bare of anything that is nobody's business."""

from chalice.app import Blueprint, Response

from chalicelib.http.errors import reply
from chalicelib.http.operations import MOMENT, TEXT, Answer, Operation, Operations, Shapes, record, ref
from chalicelib.http.views import view
from chalicelib.service.health import Report
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/health", methods=["GET"], content_types=[])
@view
def read_health() -> Response:
    """Ask every table, queue and secret: 200, or 503 if one does not answer that every job needs."""
    return _told(service().watch.health.check())


@routes.route("/ready", methods=["GET"], content_types=[])
@view
def read_ready() -> Response:
    """Answer as /health does, from a check that may be some seconds old."""
    return _told(service().watch.health.ready())


def _told(report: Report) -> Response:
    return reply(200 if report.available else 503, report.view())


SCHEMAS: Shapes = {
    "Health": record(
        {
            "status": {"type": "string", "enum": ["ok", "degraded", "unavailable"]},
            "checks": {
                "type": "object",
                "additionalProperties": TEXT,
                "description": "By name. up or down of each table/, queue/ and secret/; configured or "
                "not_configured of each provider/.",
            },
            "timestamp": MOMENT,
        }
    )
}
_ANSWERS = {
    200: Answer(
        "Jobs are accepted and run; degraded: something that not every job needs is down.", ref("Health")
    ),
    503: Answer("Something that every job needs does not answer.", ref("Health"), ("Retry-After",)),
}
OPERATIONS: Operations = {
    ("GET", "/health"): Operation(
        id="readHealth",
        tag="operations",
        summary="Ask every table, queue and secret",
        who="anyone",
        public=True,
        answers=_ANSWERS,
    ),
    ("GET", "/ready"): Operation(
        id="readReady",
        tag="operations",
        summary="The same, from a check that may be some seconds old",
        who="anyone",
        public=True,
        answers=_ANSWERS,
    ),
}
