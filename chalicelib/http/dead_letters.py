"""The dead letters of the API: jobs that failed for good and that nobody had refused."""

from chalice.app import Blueprint, Response

from chalicelib.http.control import TIER
from chalicelib.http.errors import reply
from chalicelib.http.job_shapes import ID, QUEUE
from chalicelib.http.operations import (
    COUNT,
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
from chalicelib.http.paging import CURSOR, LIMIT, limit_of, place_cursor, place_of
from chalicelib.http.views import parameters_of, principal_of, view
from chalicelib.service.dead_letters import MOST_GROUPED, shown
from chalicelib.service.listing import FILTERS
from chalicelib.service.read import row
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/queues/{tier}/dead-letters", methods=["GET"], content_types=[])
@view
def list_dead_letters(tier: str) -> Response:
    """List a queue's dead letters in groups, or, of one fingerprint, by themselves."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, "fingerprint", "cursor", "limit")
    dead_letters, limit, after = service().dead_letters, limit_of(asked), place_of(asked)
    if "fingerprint" in asked:
        kind = asked["fingerprint"]
        jobs, place = dead_letters.jobs(tier, kind, principal, after=after, limit=limit)
        return reply(200, {"jobs": [row(job, money=True) for job in jobs], "cursor": place_cursor(place)})
    groups, read, place = dead_letters.groups(tier, principal, after=after)
    told = {
        "queue": tier,
        "groups": [shown(group) for group in groups],
        "read": read,
        "more": place is not None,
    }
    return reply(200, {**told, "cursor": place_cursor(place)})


GROUP = record(
    {
        "fingerprint": {**TEXT, "description": "The job type and the code of the error."},
        "type": TEXT,
        "count": COUNT,
        "firstSeen": {**MOMENT, "description": "When the first of them failed for good."},
        "lastSeen": MOMENT,
        "exampleId": ID,
        "error": {
            **nullable(ref("Failure")),
            "description": "The example's; null if it has been retried since.",
        },
    }
)
SCHEMAS: Shapes = {
    "DeadLetterGroup": GROUP,
    "DeadLetters": record(
        {
            "queue": QUEUE,
            "groups": listed(ref("DeadLetterGroup")),
            "read": {**COUNT, "description": "How many dead letters these groups are made of."},
            "more": {"type": "boolean", "description": "There are more: the counts go on behind the cursor."},
            "cursor": nullable(TEXT),
        }
    ),
}
OPERATIONS: Operations = {
    ("GET", "/v1/queues/{tier}/dead-letters"): Operation(
        id="listDeadLetters",
        tag="control",
        summary="List a queue's dead letters",
        who="admin",
        about="Jobs that failed because their attempts or their window ended; what a provider refused is none. "
        f"Grouped by fingerprint, {MOST_GROUPED} dead letters to an answer, the largest group first; with a "
        "`fingerprint` its jobs, the latest accepted first, `limit` to a page.",
        parameters=(
            TIER,
            Parameter("fingerprint", "query", FILTERS["fingerprint"], "List the jobs of this group."),
            CURSOR,
            LIMIT,
        ),
        answers={
            200: Answer("Groups, or jobs.", {"anyOf": [ref("DeadLetters"), ref("Jobs")]}),
        },
        refusals=(403,),
    ),
}
