"""What operators do to many jobs at once: retry or cancel by filter, redrive, and how far that is."""

from chalice.app import Blueprint, Response

from chalicelib.domain.operation import Action, Mode, Status
from chalicelib.http.control import TIER
from chalicelib.http.errors import reply
from chalicelib.http.operations import (
    COUNT,
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
from chalicelib.http.paging import CURSOR, LIMIT, limit_of, mark_cursor, mark_of
from chalicelib.http.views import body_of, body_or_none_of, parameters_of, principal_of, view
from chalicelib.service.audit import Mark
from chalicelib.service.operations import BULK, ERASURE, REDRIVE, WHY_STOP, shown
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/jobs/bulk", methods=["POST"], content_types=["application/json"])
@view
def steer_jobs() -> Response:
    """Retry or cancel all jobs of a filter."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(202, shown(service().operations.bulk(body_of(request), principal)))


@routes.route("/queues/{tier}/redrive", methods=["POST"], content_types=["application/json"])
@view
def redrive_dead_letters(tier: str) -> Response:
    """Put a queue's dead letters back."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(202, shown(service().operations.redrive(tier, body_of(request), principal)))


@routes.route("/erasures", methods=["POST"], content_types=["application/json"])
@view
def erase_person() -> Response:
    """Erase a person's data."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(202, shown(service().operations.erase(body_of(request), principal)))


@routes.route("/operations", methods=["GET"], content_types=[])
@view
def list_operations() -> Response:
    """List the operations of the caller; an administrator's list has everybody's."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, "cursor", "limit")
    limit, mark = limit_of(asked), mark_of(asked)
    found, below = service().operations.page(principal, below=None if mark is None else mark.id, limit=limit)
    cursor = mark_cursor(None if below is None else Mark(None, below))
    return reply(200, {"operations": [shown(each) for each in found], "cursor": cursor})


@routes.route("/operations/{operation_id}", methods=["GET"], content_types=[])
@view
def read_operation(operation_id: str) -> Response:
    """Return how far an operation is."""
    principal = principal_of(routes.current_request)
    return reply(200, shown(service().operations.read(operation_id, principal)))


@routes.route("/operations/{operation_id}/stop", methods=["POST"], content_types=["application/json"])
@view
def stop_operation(operation_id: str) -> Response:
    """Stop an operation."""
    request = routes.current_request
    principal = principal_of(request)
    body = body_or_none_of(request) or {}
    return reply(200, shown(service().operations.stop(operation_id, body, principal)))


COUNTS: Shape = {"type": "object", "additionalProperties": COUNT}
STATE: Shape = record(
    {
        "operationId": TEXT,
        "action": {"enum": [action.value for action in Action]},
        "mode": {"enum": [mode.value for mode in Mode]},
        "status": {"enum": [status.value for status in Status]},
        "message": {**TEXT, "description": "How far it is, in a sentence."},
        "filter": {"type": "object", "additionalProperties": TEXT},
        "reason": TEXT,
        "startedBy": TEXT,
        "createdAt": MOMENT,
        "updatedAt": MOMENT,
        "finishedAt": nullable(MOMENT),
        "progress": record(
            {
                "matched": {**COUNT, "description": "Jobs found so far."},
                "done": {**COUNT, "description": "Of them, so many were acted on; in a preview, would be."},
                "skipped": {**COUNTS, "description": "The others, by a stable code that says why not."},
                "types": {**COUNTS, "description": "The matched, by job type."},
            }
        ),
        "money": {**COUNTS, "description": "What was, or would be, run or cancelled: minor units by currency."},
    },
    {
        "keysPastWindow": {
            **COUNT,
            "description": "Jobs whose provider may have forgotten the key that they were last tried with.",
        },
        "alreadySucceeded": {
            **COUNT,
            "description": "Left alone: the same work, submitted anew, is done.",
        },
        "conflicts": {**COUNT, "description": "Left alone: another job holds the idempotency key."},
        "ratePerSecond": COUNT,
        "watched": record(
            {"well": COUNT, "failing": COUNT, "open": COUNT},
        ),
        "stopped": record({"by": {**nullable(TEXT), "description": "Null: it stopped itself."}, "why": TEXT}),
    },
)
SCHEMAS: Shapes = {
    "Bulk": {
        **BULK,
        "examples": [
            {
                "mode": "preview",
                "action": "retry",
                "filter": {"fingerprint": "payment.process:timeout", "from": "2026-03-01T12:00:00Z"},
            }
        ],
    },
    "Redrive": {**REDRIVE, "examples": [{"mode": "preview"}, {"mode": "start", "reason": "The bank is back"}]},
    "Erasure": {
        **ERASURE,
        "examples": [{"mode": "start", "userId": "user-7", "reason": "Asked for by letter"}],
    },
    "StopOperation": WHY_STOP,
    "Operation": STATE,
    "Operations": record({"operations": listed(ref("Operation")), "cursor": nullable(TEXT)}),
}
OPERATION_ID = Parameter(
    "operation_id", "path", {"type": "string", "minLength": 1}, "The operation's id.", required=True
)
STARTER = "its starter, admin"
OPERATIONS: Operations = {
    ("POST", "/v1/jobs/bulk"): Operation(
        id="steerJobs",
        tag="jobs",
        summary="Retry or cancel all jobs of a filter",
        who="venue_admin for its own venue, admin",
        about="Preview first: it counts and changes nothing. A start goes on in the background, after a crash "
        "too, until every job that matched when it was asked for has been looked at; `reason` is required "
        "then. Each job has its own audit entry. A small operation has ended when it is answered.",
        body=ref("Bulk"),
        answers={202: Answer("The operation.", ref("Operation"))},
        refusals=(403,),
    ),
    ("POST", "/v1/queues/{tier}/redrive"): Operation(
        id="redriveDeadLetters",
        tag="control",
        summary="Put a queue's dead letters back",
        who="admin",
        about="Preview first. A start lets go one job, the latest accepted, as its canary; once it has ended "
        "well ten more, then up to ten times what went before in each minute, never above `ratePerSecond`. "
        "If the canary or three and a third of the last fifty fail again, it stops itself.",
        body=ref("Redrive"),
        parameters=(TIER,),
        answers={202: Answer("The operation.", ref("Operation"))},
        refusals=(403,),
    ),
    ("POST", "/v1/erasures"): Operation(
        id="erasePerson",
        tag="jobs",
        summary="Erase a person's data",
        who="admin",
        about="Payload, result and callback URL of every job that has ended are blanked; the rest of the "
        "record stays, and such a job cannot be retried or cloned. Jobs that are open or parked still need "
        "their data: they are counted as `still_open`, so ask again once they have ended. The address is "
        "kept nowhere.",
        body=ref("Erasure"),
        answers={202: Answer("The operation.", ref("Operation"))},
        refusals=(403,),
    ),
    ("GET", "/v1/operations"): Operation(
        id="listOperations",
        tag="control",
        summary="List operations",
        who="their starters, admin",
        about="The latest first. A page may be short, and has a cursor then.",
        parameters=(CURSOR, LIMIT),
        answers={200: Answer("The operations.", ref("Operations"))},
    ),
    ("GET", "/v1/operations/{operation_id}"): Operation(
        id="readOperation",
        tag="control",
        summary="See how far an operation is",
        who=STARTER,
        parameters=(OPERATION_ID,),
        answers={200: Answer("The operation.", ref("Operation"))},
        refusals=(404,),
    ),
    ("POST", "/v1/operations/{operation_id}/stop"): Operation(
        id="stopOperation",
        tag="control",
        summary="Stop an operation",
        who=STARTER,
        about="What it has done stays done; a page of jobs that is in hand is finished.",
        body=ref("StopOperation"),
        body_required=False,
        parameters=(OPERATION_ID,),
        answers={200: Answer("The operation.", ref("Operation"))},
        refusals=(404, 409),
    ),
}
