"""The schedules of the API: jobs that come round by the clock."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

from chalice.app import Blueprint, Response

from chalicelib.domain.errors import InvalidRequest, Problem
from chalicelib.http import schedule_shapes
from chalicelib.http.errors import reply
from chalicelib.http.operations import IDEMPOTENCY_KEY, Answer, Operation, Operations, Parameter, ref
from chalicelib.http.views import body_of, body_or_none_of, only, parameters_of, principal_of, view
from chalicelib.service.read import receipt
from chalicelib.service.schedules import row
from chalicelib.service.schedules import view as shown
from chalicelib.wiring import service

routes = Blueprint(__name__)

LIMITS, USUAL_LIMIT = range(1, 101), 25
_NUMBER = re.compile(r"[0-9]{1,3}")
_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")


@routes.route("/schedules", methods=["POST"], content_types=["application/json"])
@view
def create_schedule() -> Response:
    """Make a schedule: 201, or 200 with the first one if its key stands for it already."""
    request = routes.current_request
    principal = principal_of(request)
    key = only(request, "Idempotency-Key")
    created = service().schedules.create(body_of(request), principal, key)
    return reply(200 if created.repeated else 201, shown(created.schedule))


@routes.route("/schedules", methods=["GET"], content_types=[])
@view
def list_schedules() -> Response:
    """List schedules in the order of their ids."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, "cursor", "limit")
    page, last = service().schedules.page(principal, after=_after(asked), limit=_limit(asked))
    cursor = None if last is None else urlsafe_b64encode(last.encode()).decode()
    return reply(200, {"schedules": [row(each) for each in page], "cursor": cursor})


@routes.route("/schedules/{schedule_id}", methods=["GET"], content_types=[])
@view
def read_schedule(schedule_id: str) -> Response:
    """Return a schedule, whole, with its next five runs."""
    principal = principal_of(routes.current_request)
    return reply(200, shown(service().schedules.read(schedule_id, principal)))


@routes.route("/schedules/{schedule_id}", methods=["PUT"], content_types=["application/json"])
@view
def change_schedule(schedule_id: str) -> Response:
    """Replace what a schedule says, whole."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, shown(service().schedules.change(schedule_id, body_of(request), principal)))


@routes.route("/schedules/{schedule_id}", methods=["DELETE"], content_types=["application/json"])
@view
def delete_schedule(schedule_id: str) -> Response:
    """Delete a schedule; the jobs that it has made stay."""
    request = routes.current_request
    principal = principal_of(request)
    service().schedules.delete(schedule_id, body_or_none_of(request) or {}, principal)
    return reply(200, {"id": schedule_id, "deleted": True})


@routes.route("/schedules/{schedule_id}/run", methods=["POST"], content_types=["application/json"])
@view
def run_schedule(schedule_id: str) -> Response:
    """Run a schedule now, once: 201, or 200 with the first job if the key stands for it already."""
    request = routes.current_request
    principal = principal_of(request)
    key = only(request, "Idempotency-Key")
    accepted = service().schedules.run(schedule_id, body_or_none_of(request) or {}, principal, key)
    return reply(200 if accepted.deduplicated else 201, receipt(accepted))


def _after(asked: Mapping[str, str]) -> str | None:
    """Return the id that a cursor goes on after; whatever is none of ours is refused."""
    if "cursor" not in asked:
        return None
    try:
        last = urlsafe_b64decode(asked["cursor"].encode("ascii"))
    except ValueError:
        last = b""
    if not _ID.fullmatch(last):
        raise InvalidRequest([Problem("cursor", "Send the cursor of an answer as it is, or none.")])
    return last.decode()


def _limit(asked: Mapping[str, str]) -> int:
    text = asked.get("limit", str(USUAL_LIMIT))
    if not _NUMBER.fullmatch(text) or int(text) not in LIMITS:
        raise InvalidRequest([Problem("limit", f"Send a number from {LIMITS[0]} to {LIMITS[-1]}.")])
    return int(text)


SCHEMAS = schedule_shapes.SCHEMAS
ADMIN = "admin"
SCHEDULE_ID = Parameter("schedule_id", "path", {"type": "string", "minLength": 1}, "The schedule's id.")
CURSOR = Parameter("cursor", "query", {"type": "string"}, "The cursor of the page before; none for the first.")
LIMIT = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": LIMITS[0], "maximum": LIMITS[-1], "default": USUAL_LIMIT},
    "The most schedules on a page.",
)
OPERATIONS: Operations = {
    ("POST", "/v1/schedules"): Operation(
        id="createSchedule",
        tag="schedules",
        summary="Make a schedule",
        who=ADMIN,
        about="Its job is held to the rules of POST /v1/jobs. Moments of the past are not caught up.",
        body=ref("NewSchedule"),
        parameters=(IDEMPOTENCY_KEY,),
        answers={
            201: Answer("The schedule is made.", ref("Schedule")),
            200: Answer("An earlier request with this key had made it.", ref("Schedule")),
        },
        refusals=(403, 409),
    ),
    ("GET", "/v1/schedules"): Operation(
        id="listSchedules",
        tag="schedules",
        summary="List schedules",
        who=ADMIN,
        about="A page may be short and have a cursor all the same; the last one has none.",
        parameters=(CURSOR, LIMIT),
        answers={200: Answer("A page of schedules.", ref("Schedules"))},
        refusals=(403,),
    ),
    ("GET", "/v1/schedules/{schedule_id}"): Operation(
        id="readSchedule",
        tag="schedules",
        summary="Read a schedule and its next five runs",
        who=ADMIN,
        parameters=(SCHEDULE_ID,),
        answers={200: Answer("The schedule.", ref("Schedule"))},
        refusals=(403, 404),
    ),
    ("PUT", "/v1/schedules/{schedule_id}"): Operation(
        id="changeSchedule",
        tag="schedules",
        summary="Replace what a schedule says",
        who=ADMIN,
        about="Whole: what is left out has its default. With `version` only if it still is the one that was "
        "read. A due time that has not been run yet stays due, unless the expression, zone, type or venue "
        "is another.",
        body=ref("ChangedSchedule"),
        parameters=(SCHEDULE_ID,),
        answers={200: Answer("The schedule as it stands now.", ref("Schedule"))},
        refusals=(403, 404, 409),
    ),
    ("DELETE", "/v1/schedules/{schedule_id}"): Operation(
        id="deleteSchedule",
        tag="schedules",
        summary="Delete a schedule",
        who=ADMIN,
        about="The jobs that it has made stay. A run that has begun is not called back.",
        body=ref("Why"),
        body_required=False,
        parameters=(SCHEDULE_ID,),
        answers={200: Answer("It is deleted.", ref("DeletedSchedule"))},
        refusals=(403, 404),
    ),
    ("POST", "/v1/schedules/{schedule_id}/run"): Operation(
        id="runSchedule",
        tag="schedules",
        summary="Run a schedule now, once",
        who=ADMIN,
        about="Active or not; its due times stay as they are. If there is no answer, the run is made all the "
        "same: repeat with the same key to learn of its job.",
        body=ref("Why"),
        body_required=False,
        parameters=(SCHEDULE_ID, IDEMPOTENCY_KEY),
        answers={
            201: Answer("The job is accepted.", ref("Receipt")),
            200: Answer("An earlier request with this key had made the job.", ref("Receipt")),
        },
        refusals=(403, 404, 409),
    ),
}
