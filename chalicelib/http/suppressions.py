"""The suppressed addresses: seen and lifted."""

from chalice.app import Blueprint, Response

from chalicelib.domain.suppression import Cause
from chalicelib.http.errors import reply
from chalicelib.http.job_shapes import ID
from chalicelib.http.operations import (
    MOMENT,
    TEXT,
    Answer,
    Operation,
    Operations,
    Parameter,
    Shapes,
    listed,
    nullable,
    record,
    ref,
)
from chalicelib.http.paging import CURSOR, LIMIT, limit_of, suppressed_cursor, suppressed_of
from chalicelib.http.views import body_or_none_of, parameters_of, principal_of, view
from chalicelib.service.suppressions import FILTERS, LIFT, row
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/suppressions", methods=["GET"], content_types=[])
@view
def list_suppressions() -> Response:
    """List the addresses that nothing is sent to."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, *FILTERS, "cursor", "limit")
    after, limit = suppressed_of(asked), limit_of(asked)
    page, place = service().suppressions.page(asked, principal, after=after, limit=limit)
    return reply(200, {"suppressions": [row(each) for each in page], "cursor": suppressed_cursor(place)})


@routes.route("/suppressions/{suppression_id}", methods=["DELETE"], content_types=["application/json"])
@view
def lift_suppression(suppression_id: str) -> Response:
    """Let things be sent to an address again."""
    request = routes.current_request
    principal = principal_of(request)
    lifted = service().suppressions.lift(suppression_id, body_or_none_of(request) or {}, principal)
    return reply(200, {**row(lifted), "lifted": True})


ADMIN = "admin"
SUPPRESSION = {
    "id": {**TEXT, "description": "Made of the address; nobody can tell the address from it."},
    "channel": FILTERS["channel"],
    "cause": {"enum": [cause.value for cause in Cause]},
    "since": MOMENT,
    "detail": {**nullable(TEXT), "description": "The vendor's word for it."},
    "jobId": {**nullable(ID), "description": "The job whose message brought it about."},
}
SCHEMAS: Shapes = {
    "Suppression": record(SUPPRESSION),
    "Suppressions": record({"suppressions": listed(ref("Suppression")), "cursor": nullable(TEXT)}),
    "Lift": {**LIFT, "examples": [{"reason": "The mailbox is there again"}]},
    "Lifted": record({**SUPPRESSION, "lifted": {"type": "boolean", "const": True}}),
}
ABOUT = {
    "channel": "How they are reached; without it and an address: email.",
    "address": "That address alone, if it is suppressed.",
}
OPERATIONS: Operations = {
    ("GET", "/v1/suppressions"): Operation(
        id="listSuppressions",
        tag="suppressions",
        summary="List the addresses that nothing is sent to",
        who=ADMIN,
        about="The latest first: mail that bounced for good or brought a complaint, numbers that wrote STOP. "
        "Jobs to them are refused, when they are submitted and when they run.",
        parameters=(
            *(Parameter(name, "query", FILTERS[name], about) for name, about in ABOUT.items()),
            CURSOR,
            LIMIT,
        ),
        answers={200: Answer("A page of suppressions.", ref("Suppressions"))},
        refusals=(403,),
    ),
    ("DELETE", "/v1/suppressions/{suppression_id}"): Operation(
        id="liftSuppression",
        tag="suppressions",
        summary="Let things be sent to an address again",
        who=ADMIN,
        about="Jobs that were refused meanwhile stay so: retry or clone them. The audit log says who did it.",
        body=ref("Lift"),
        parameters=(
            Parameter("suppression_id", "path", {"type": "string", "minLength": 1}, "Its id.", required=True),
        ),
        answers={200: Answer("It is lifted.", ref("Lifted"))},
        refusals=(403, 404),
    ),
}
