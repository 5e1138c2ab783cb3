"""The providers' limits: seen, set and reset."""

from chalice.app import Blueprint, Response

from chalicelib.http.errors import reply
from chalicelib.http.operations import (
    COUNT,
    TEXT,
    Answer,
    Operation,
    Operations,
    Parameter,
    Shapes,
    listed,
    record,
    ref,
)
from chalicelib.http.views import body_of, body_or_none_of, principal_of, view
from chalicelib.service.rate_limits import FIGURES, LIMIT
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/rate-limits", methods=["GET"], content_types=[])
@view
def list_rate_limits() -> Response:
    """Return every provider's limit."""
    principal = principal_of(routes.current_request)
    return reply(200, service().rate_limits.all(principal))


@routes.route("/rate-limits/{key}", methods=["GET"], content_types=[])
@view
def read_rate_limit(key: str) -> Response:
    """Return one provider's limit."""
    principal = principal_of(routes.current_request)
    return reply(200, service().rate_limits.one(key, principal))


@routes.route("/rate-limits/{key}", methods=["PUT"], content_types=["application/json"])
@view
def set_rate_limit(key: str) -> Response:
    """Set one provider's limit."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, service().rate_limits.change(key, body_of(request), principal))


@routes.route("/rate-limits/{key}/reset", methods=["POST"], content_types=["application/json"])
@view
def reset_rate_limit(key: str) -> Response:
    """Fill one provider's tokens up."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, service().rate_limits.reset(key, body_or_none_of(request) or {}, principal))


ADMIN = "admin"
KEY = Parameter("key", "path", {"type": "string", "minLength": 1}, "The provider's group, such as stripe.")
EXAMPLE = {"maxPerSecond": 5, "maxConcurrent": 4, "burstSize": 10, "cooldownMs": 2000, "reason": "Be gentle"}
SCHEMAS: Shapes = {
    "NewLimit": {**LIMIT, "examples": [EXAMPLE]},
    "RateLimit": record(
        {
            "key": TEXT,
            "limit": record(FIGURES),
            "tokens": {"type": "number", "minimum": 0, "description": "Calls that could start now."},
            "inFlight": COUNT,
            "stopped": {"type": "boolean", "description": "Whether the provider, or everything, is stopped."},
        }
    ),
    "RateLimits": record({"rateLimits": listed(ref("RateLimit")), "stops": listed(ref("Stop"))}),
}
STANDS = {200: Answer("How the limit stands now.", ref("RateLimit"))}
OPERATIONS: Operations = {
    ("GET", "/v1/rate-limits"): Operation(
        id="listRateLimits",
        tag="control",
        summary="List the providers' limits",
        who=ADMIN,
        answers={200: Answer("Every provider's limit, and all that is stopped or paused.", ref("RateLimits"))},
        refusals=(403, 404),
    ),
    ("GET", "/v1/rate-limits/{key}"): Operation(
        id="readRateLimit",
        tag="control",
        summary="Read a provider's limit",
        who=ADMIN,
        parameters=(KEY,),
        answers=STANDS,
        refusals=(403, 404),
    ),
    ("PUT", "/v1/rate-limits/{key}"): Operation(
        id="setRateLimit",
        tag="control",
        summary="Set a provider's limit, for all functions",
        who=ADMIN,
        body=ref("NewLimit"),
        parameters=(KEY,),
        answers=STANDS,
        refusals=(403, 404),
    ),
    ("POST", "/v1/rate-limits/{key}/reset"): Operation(
        id="resetRateLimit",
        tag="control",
        summary="Fill a provider's tokens up",
        who=ADMIN,
        about="What is in flight is never forgotten.",
        body=ref("Why"),
        body_required=False,
        parameters=(KEY,),
        answers=STANDS,
        refusals=(403, 404),
    ),
}
