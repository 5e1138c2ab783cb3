"""Stop and resume: whole queues, or everything, a provider, a venue, a type."""

from typing import Any

from chalice.app import Blueprint, Response

from chalicelib.http import control_shapes
from chalicelib.http.errors import reply
from chalicelib.http.operations import Answer, Operation, Operations, Parameter, ref
from chalicelib.http.views import body_of, body_or_none_of, principal_of, view
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/queues/{tier}/pause", methods=["POST"], content_types=["application/json"])
@view
def pause_queue(tier: str) -> Response:
    """Pause a tier; a pause that stands gets this reason and end."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, _state(tier, service().stops.pause(tier, body_of(request), principal)))


@routes.route("/queues/{tier}/resume", methods=["POST"], content_types=["application/json"])
@view
def resume_queue(tier: str) -> Response:
    """End a tier's pause."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, _state(tier, service().stops.resume(tier, body_or_none_of(request) or {}, principal)))


@routes.route("/rate-limits/emergency-stop", methods=["POST"], content_types=["application/json"])
@view
def emergency_stop() -> Response:
    """Stop everything, a provider, a venue or a type."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, {"stops": service().stops.stop(body_of(request), principal)})


@routes.route("/rate-limits/resume", methods=["POST"], content_types=["application/json"])
@view
def end_stop() -> Response:
    """End a stop."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, {"stops": service().stops.lift(body_of(request), principal)})


def _state(tier: str, stops: list[dict[str, Any]]) -> dict[str, Any]:
    return {"queue": tier, "state": "paused" if stops else "open", "stops": stops}


SCHEMAS = control_shapes.SCHEMAS
ADMIN = "admin"
TIER = Parameter(
    "tier",
    "path",
    {"type": "string", "enum": ["money", "communication", "background"]},
    "The tier.",
    required=True,
)
OPERATIONS: Operations = {
    ("POST", "/v1/queues/{tier}/pause"): Operation(
        id="pauseQueue",
        tag="control",
        summary="Pause a queue",
        who=ADMIN,
        about="No job of it is begun from the next batch on; what runs ends. No attempt is charged, and no "
        "window runs on. Pausing what is paused replaces reason and end, and keeps its start.",
        body=ref("Pause"),
        parameters=(TIER,),
        answers={200: Answer("How the queue stands now.", ref("QueueState"))},
        refusals=(403, 409),
    ),
    ("POST", "/v1/queues/{tier}/resume"): Operation(
        id="resumeQueue",
        tag="control",
        summary="Resume a queue",
        who=ADMIN,
        about="Resuming what is not paused changes nothing. A stop of everything goes on holding the queue.",
        body=ref("Why"),
        body_required=False,
        parameters=(TIER,),
        answers={200: Answer("How the queue stands now.", ref("QueueState"))},
        refusals=(403,),
    ),
    ("POST", "/v1/rate-limits/emergency-stop"): Operation(
        id="emergencyStop",
        tag="control",
        summary="Stop everything, a provider, a venue or a type",
        who=ADMIN,
        about="Names exactly one. A provider's group stops its members: `stripe` also stops `stripe-charges`. "
        "Stopping what is stopped replaces reason and end, and keeps its start.",
        body=ref("EmergencyStop"),
        answers={200: Answer("All that is stopped or paused now.", ref("Stops"))},
        refusals=(403, 409),
    ),
    ("POST", "/v1/rate-limits/resume"): Operation(
        id="endStop",
        tag="control",
        summary="End a stop",
        who=ADMIN,
        about="Ends what was stopped by this very name; what is not stopped stays as it is.",
        body=ref("EndStop"),
        answers={200: Answer("All that is still stopped or paused.", ref("Stops"))},
        refusals=(403,),
    ),
}
