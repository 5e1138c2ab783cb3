"""The alerts: what is or was wrong, who looks after it, and whether anybody would be told."""

from chalice.app import Blueprint, Response

from chalicelib.domain.alerting import AlertType, Channel
from chalicelib.domain.policies import Tier
from chalicelib.http.errors import reply
from chalicelib.http.operations import (
    MOMENT,
    TEXT,
    Answer,
    Operation,
    Operations,
    Parameter,
    Shape,
    Shapes,
    listed,
    nullable,
    record,
    ref,
)
from chalicelib.http.paging import LIMIT, limit_of
from chalicelib.http.views import body_of, body_or_none_of, parameters_of, principal_of, view
from chalicelib.service.alerts import SEVERITY, TEST_BODY
from chalicelib.wiring import service

USUAL_LIMIT = 50
routes = Blueprint(__name__)


@routes.route("/alerts", methods=["GET"], content_types=[])
@view
def list_alerts() -> Response:
    """List the alerts of 24 hours and all that nobody has acknowledged."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, "severity", "limit")
    limit = limit_of(asked, USUAL_LIMIT)
    return reply(200, {"alerts": service().watch.alerts.all(asked, principal, limit=limit)})


@routes.route("/alerts/{alert_id}/acknowledge", methods=["POST"], content_types=["application/json"])
@view
def acknowledge_alert(alert_id: str) -> Response:
    """Have an alert be somebody's who looks after it."""
    request = routes.current_request
    principal = principal_of(request)
    body = body_or_none_of(request) or {}
    return reply(200, service().watch.alerts.acknowledge(alert_id, body, principal))


@routes.route("/alerts/test", methods=["POST"], content_types=["application/json"])
@view
def test_alert() -> Response:
    """Send a test, and say of each channel what became of it."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, service().watch.alerts.test(body_of(request), principal))


CHANNEL: Shape = {"enum": [each.value for each in Channel]}
NUMBER: Shape = {
    "type": "number",
    "description": "A count; seconds of `queue_age`, per cent of `failure_rate`.",
}
SCHEMAS: Shapes = {
    "Alert": record(
        {
            "id": TEXT,
            "alertType": {"enum": [each.value for each in AlertType]},
            "severity": SEVERITY,
            "queue": {"enum": [tier.value for tier in Tier]},
            "message": TEXT,
            "venueId": {**nullable(TEXT), "description": "Null: it concerns the platform, or several venues."},
            "metricValue": NUMBER,
            "thresholdValue": NUMBER,
            "createdAt": MOMENT,
            "acknowledged": {"type": "boolean"},
            "acknowledgedBy": nullable(TEXT),
            "acknowledgedAt": nullable(MOMENT),
            "resolvedAt": {**nullable(MOMENT), "description": "When it had been well for a cooldown."},
            "toldAt": {
                **record({channel.value: nullable(MOMENT) for channel in Channel}),
                "description": "When it was last told on each channel; null: it was not.",
            },
        }
    ),
    "Alerts": record({"alerts": listed(ref("Alert"))}),
    "AlertTest": {**TEST_BODY, "examples": [{"severity": "warning", "channel": "sms"}]},
    "AlertTested": record(
        {
            "alertId": TEXT,
            "results": listed(
                record(
                    {
                        "channel": CHANNEL,
                        "sent": {"type": "boolean"},
                        "error": nullable(record({"code": TEXT, "message": TEXT})),
                    }
                )
            ),
        }
    ),
}
ALERT_ID = Parameter("alert_id", "path", {"type": "string", "minLength": 1}, "The alert's id.", required=True)
OPERATIONS: Operations = {
    ("GET", "/v1/alerts"): Operation(
        id="listAlerts",
        tag="alerts",
        summary="List the alerts of 24 hours and all that nobody has acknowledged",
        who="admin; venue_admin (its own)",
        about="The latest first. One about parked jobs of one venue alone is that venue's; "
        "others are the platform's.",
        parameters=(
            Parameter("severity", "query", SEVERITY, "Those alone."),
            Parameter("limit", "query", {**LIMIT.shape, "default": USUAL_LIMIT}, LIMIT.about),
        ),
        answers={200: Answer("The alerts.", ref("Alerts"))},
        refusals=(403,),
    ),
    ("POST", "/v1/alerts/{alert_id}/acknowledge"): Operation(
        id="acknowledgeAlert",
        tag="alerts",
        summary="Acknowledge an alert",
        who="admin",
        about="It is told no more until it is over. Another parked job or poison message is another alert.",
        body=ref("Why"),
        body_required=False,
        parameters=(ALERT_ID,),
        answers={200: Answer("It is acknowledged.", ref("Alert"))},
        refusals=(403, 404, 409),
    ),
    ("POST", "/v1/alerts/test"): Operation(
        id="testAlert",
        tag="alerts",
        summary="Test the channels of alerts",
        who="admin",
        about="Really sends: on one channel, or on all that a severity is told on. The answer is 200 whatever "
        "became of it: read each result.",
        body=ref("AlertTest"),
        answers={200: Answer("What became of it on each channel.", ref("AlertTested"))},
        refusals=(403,),
    ),
}
