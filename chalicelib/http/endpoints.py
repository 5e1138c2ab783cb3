"""Webhook endpoints: where a venue's events are posted, and the secrets that sign them."""

from chalice.app import Blueprint, Response

from chalicelib.domain.endpoint import Disabled
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
from chalicelib.http.paging import CURSOR, LIMIT, after_cursor, after_of, limit_of
from chalicelib.http.views import body_of, body_or_none_of, parameters_of, principal_of, view
from chalicelib.service.endpoints import ENDPOINT, row, with_secret
from chalicelib.service.intake import IDENTITY
from chalicelib.service.read import receipt
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/endpoints", methods=["POST"], content_types=["application/json"])
@view
def create_endpoint() -> Response:
    """Make an endpoint; its secret is shown this once."""
    request = routes.current_request
    principal = principal_of(request)
    venue = parameters_of(request, "venueId").get("venueId")
    return reply(201, with_secret(service().endpoints.create(body_of(request), venue, principal)))


@routes.route("/endpoints", methods=["GET"], content_types=[])
@view
def list_endpoints() -> Response:
    """List a venue's endpoints."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, "venueId", "cursor", "limit")
    after, limit = after_of(asked), limit_of(asked)
    page, last = service().endpoints.page(asked.get("venueId"), principal, after=after, limit=limit)
    return reply(200, {"endpoints": [row(each) for each in page], "cursor": after_cursor(last)})


@routes.route("/endpoints/{endpoint_id}", methods=["GET"], content_types=[])
@view
def read_endpoint(endpoint_id: str) -> Response:
    """Return an endpoint, without its secrets."""
    request = routes.current_request
    principal = principal_of(request)
    venue = parameters_of(request, "venueId").get("venueId")
    return reply(200, row(service().endpoints.read(endpoint_id, venue, principal)))


@routes.route("/endpoints/{endpoint_id}", methods=["PUT"], content_types=["application/json"])
@view
def change_endpoint(endpoint_id: str) -> Response:
    """Replace what is said of an endpoint."""
    request = routes.current_request
    principal = principal_of(request)
    venue = parameters_of(request, "venueId").get("venueId")
    return reply(200, row(service().endpoints.change(endpoint_id, body_of(request), venue, principal)))


@routes.route("/endpoints/{endpoint_id}", methods=["DELETE"], content_types=["application/json"])
@view
def delete_endpoint(endpoint_id: str) -> Response:
    """Delete an endpoint."""
    request = routes.current_request
    principal = principal_of(request)
    venue = parameters_of(request, "venueId").get("venueId")
    service().endpoints.delete(endpoint_id, body_or_none_of(request) or {}, venue, principal)
    return reply(200, {"id": endpoint_id, "deleted": True})


@routes.route("/endpoints/{endpoint_id}/rotate-secret", methods=["POST"], content_types=["application/json"])
@view
def rotate_secret(endpoint_id: str) -> Response:
    """Give an endpoint another secret, which is shown this once."""
    request = routes.current_request
    principal = principal_of(request)
    venue = parameters_of(request, "venueId").get("venueId")
    body = body_or_none_of(request) or {}
    return reply(200, with_secret(service().endpoints.rotate(endpoint_id, body, venue, principal)))


@routes.route("/endpoints/{endpoint_id}/test", methods=["POST"], content_types=["application/json"])
@view
def test_endpoint(endpoint_id: str) -> Response:
    """Post a test event to an endpoint, by a job like any other."""
    request = routes.current_request
    principal = principal_of(request)
    venue = parameters_of(request, "venueId").get("venueId")
    made = service()
    event = made.endpoints.test_event(endpoint_id, venue, principal)
    submission = made.intake.read(event, principal, None)
    return reply(201, receipt(made.submit.submit(submission)))


WHO = "venue_admin of the venue, admin"
ENDPOINT_ID = Parameter(
    "endpoint_id",
    "path",
    {"type": "string", "minLength": 1},
    "The endpoint's id; `default` is the one whose secret signs what goes to a URL of its own.",
    required=True,
)
VENUE = Parameter("venueId", "query", IDENTITY, "An administrator's: whose endpoints; else the token's venue.")
SHOWN: dict[str, Shape] = {
    "id": TEXT,
    "venueId": TEXT,
    "url": {**nullable(TEXT), "description": "Null for `default` alone."},
    "description": TEXT,
    "active": {"type": "boolean"},
    "disabled": {
        **nullable({"enum": [each.value for each in Disabled]}),
        "description": "Why nothing is posted to it: by hand, it answered 410, or it failed for five days.",
    },
    "failingSince": {**nullable(MOMENT), "description": "The first failure after the last success."},
    "oldSecretUntil": {**nullable(MOMENT), "description": "Until when the secret before signs, too."},
    "createdAt": MOMENT,
    "createdBy": TEXT,
    "updatedAt": MOMENT,
    "updatedBy": TEXT,
}
SECRET: Shape = {**TEXT, "description": "whsec_…: shown this once."}
EXAMPLE = {"url": "https://shop.example/hooks", "description": "The shop's back end"}
SCHEMAS: Shapes = {
    "EndpointBody": {**ENDPOINT, "examples": [EXAMPLE]},
    "Endpoint": record(SHOWN),
    "EndpointWithSecret": record({**SHOWN, "secret": SECRET}),
    "Endpoints": record({"endpoints": listed(ref("Endpoint")), "cursor": nullable(TEXT)}),
    "DeletedEndpoint": record({"id": TEXT, "deleted": {"type": "boolean", "const": True}}),
}
OPERATIONS: Operations = {
    ("POST", "/v1/endpoints"): Operation(
        id="createEndpoint",
        tag="endpoints",
        summary="Make a webhook endpoint",
        who=WHO,
        about="Jobs of `webhook.deliver` name it as `endpointId`. Events are signed as Standard Webhooks says.",
        body=ref("EndpointBody"),
        parameters=(VENUE,),
        answers={201: Answer("It is made; its secret is shown this once.", ref("EndpointWithSecret"))},
        refusals=(403,),
    ),
    ("GET", "/v1/endpoints"): Operation(
        id="listEndpoints",
        tag="endpoints",
        summary="List a venue's webhook endpoints",
        who=WHO,
        parameters=(VENUE, CURSOR, LIMIT),
        answers={200: Answer("A page of endpoints.", ref("Endpoints"))},
        refusals=(403,),
    ),
    ("GET", "/v1/endpoints/{endpoint_id}"): Operation(
        id="readEndpoint",
        tag="endpoints",
        summary="Read a webhook endpoint",
        who=WHO,
        parameters=(ENDPOINT_ID, VENUE),
        answers={200: Answer("The endpoint; never its secret.", ref("Endpoint"))},
        refusals=(403, 404),
    ),
    ("PUT", "/v1/endpoints/{endpoint_id}"): Operation(
        id="changeEndpoint",
        tag="endpoints",
        summary="Replace what is said of a webhook endpoint",
        who=WHO,
        about="Whole: what is left out has its default, so it enables one that was disabled unless `active` is "
        "false. Jobs that were refused meanwhile stay so: retry them.",
        body=ref("EndpointBody"),
        parameters=(ENDPOINT_ID, VENUE),
        answers={200: Answer("The endpoint as it stands now.", ref("Endpoint"))},
        refusals=(403, 404, 409),
    ),
    ("DELETE", "/v1/endpoints/{endpoint_id}"): Operation(
        id="deleteEndpoint",
        tag="endpoints",
        summary="Delete a webhook endpoint",
        who=WHO,
        about="What is on its way to it is refused when it runs.",
        body=ref("Why"),
        body_required=False,
        parameters=(ENDPOINT_ID, VENUE),
        answers={200: Answer("It is deleted.", ref("DeletedEndpoint"))},
        refusals=(403, 404, 409),
    ),
    ("POST", "/v1/endpoints/{endpoint_id}/rotate-secret"): Operation(
        id="rotateSecret",
        tag="endpoints",
        summary="Change a webhook endpoint's secret",
        who=WHO,
        about="For 24 hours the secret before signs as well. That of `default` is made if there is none yet: "
        "this is how a venue learns what signs events to URLs of their own.",
        body=ref("Why"),
        body_required=False,
        parameters=(ENDPOINT_ID, VENUE),
        answers={200: Answer("The new secret, shown this once.", ref("EndpointWithSecret"))},
        refusals=(403, 404),
    ),
    ("POST", "/v1/endpoints/{endpoint_id}/test"): Operation(
        id="testEndpoint",
        tag="endpoints",
        summary="Post a test event to a webhook endpoint",
        who=WHO,
        about="By a job of `webhook.deliver` with the event `endpoint.test`, which shows what came of it.",
        parameters=(ENDPOINT_ID, VENUE),
        answers={201: Answer("The job is accepted.", ref("Receipt"))},
        refusals=(403, 404, 409),
    ),
}
