"""What is kept of venues: the hours in which no texts go out."""

from chalice.app import Blueprint, Response

from chalicelib.http.errors import reply
from chalicelib.http.operations import (
    TEXT,
    Answer,
    Operation,
    Operations,
    Parameter,
    Shapes,
    nullable,
    record,
    ref,
)
from chalicelib.http.views import body_of, body_or_none_of, principal_of, view
from chalicelib.service.quiet_hours import QUIET_HOURS, USUAL
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/venues/{venue_id}/quiet-hours", methods=["GET"], content_types=[])
@view
def read_quiet_hours(venue_id: str) -> Response:
    """Return a venue's quiet hours."""
    principal = principal_of(routes.current_request)
    return reply(200, service().quiet_hours.of(venue_id, principal))


@routes.route("/venues/{venue_id}/quiet-hours", methods=["PUT"], content_types=["application/json"])
@view
def set_quiet_hours(venue_id: str) -> Response:
    """Set a venue's quiet hours."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, service().quiet_hours.change(venue_id, body_of(request), principal))


@routes.route("/venues/{venue_id}/quiet-hours", methods=["DELETE"], content_types=["application/json"])
@view
def end_quiet_hours(venue_id: str) -> Response:
    """Let a venue have no quiet hours."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, service().quiet_hours.end(venue_id, body_or_none_of(request) or {}, principal))


WHO = "venue_admin (its own), admin"
VENUE = Parameter("venue_id", "path", {"type": "string", "minLength": 1}, "The venue's id.", required=True)
ANSWERS = {200: Answer("The quiet hours as they stand; null: there are none.", ref("VenueQuietHours"))}
SCHEMAS: Shapes = {
    "QuietHours": {
        **QUIET_HOURS,
        "examples": [{"timeZone": "Europe/Berlin", **USUAL, "reason": "Our guests sleep"}],
    },
    "VenueQuietHours": record(
        {"venueId": TEXT, "quietHours": nullable(record({"timeZone": TEXT, "from": TEXT, "to": TEXT}))}
    ),
}
OPERATIONS: Operations = {
    ("GET", "/v1/venues/{venue_id}/quiet-hours"): Operation(
        id="readQuietHours",
        tag="venues",
        summary="Read a venue's quiet hours",
        who=WHO,
        about="A venue's texts wait while they hold, but for urgent ones. A venue that has set none has none.",
        parameters=(VENUE,),
        answers=ANSWERS,
        refusals=(403, 404),
    ),
    ("PUT", "/v1/venues/{venue_id}/quiet-hours"): Operation(
        id="setQuietHours",
        tag="venues",
        summary="Set a venue's quiet hours",
        who=WHO,
        about="By the clocks of its time zone, over midnight where `to` is the earlier. Texts that wait "
        "already go out when the hours end that held when they were put off.",
        body=ref("QuietHours"),
        parameters=(VENUE,),
        answers=ANSWERS,
        refusals=(403, 404),
    ),
    ("DELETE", "/v1/venues/{venue_id}/quiet-hours"): Operation(
        id="endQuietHours",
        tag="venues",
        summary="Let a venue have no quiet hours",
        who=WHO,
        about="Texts that wait already can be promoted.",
        body=ref("Why"),
        body_required=False,
        parameters=(VENUE,),
        answers=ANSWERS,
        refusals=(403, 404),
    ),
}
