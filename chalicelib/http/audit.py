"""The audit log of the API. It is written by what is done, with it; no route changes or deletes an entry."""

from chalice.app import Blueprint, Response

from chalicelib.http.errors import reply
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
from chalicelib.http.paging import CURSOR, LIMIT, limit_of, mark_cursor, mark_of
from chalicelib.http.views import parameters_of, principal_of, view
from chalicelib.service.audit import FILTERS, USUAL, row
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/audit", methods=["GET"], content_types=[])
@view
def list_entries() -> Response:
    """List what operators did, the latest first."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, *FILTERS, "cursor", "limit")
    audit, limit = service().audit, limit_of(asked)
    page, mark = audit.page(asked, principal, after=mark_of(asked), limit=limit)
    return reply(200, {"entries": [row(entry) for entry in page], "cursor": mark_cursor(mark)})


ENTRY = record(
    {
        "id": TEXT,
        "at": MOMENT,
        "actor": {**TEXT, "description": "The `sub` of the token that it was done with."},
        "action": TEXT,
        "subject": {**TEXT, "description": "A job's id, or what else was acted on, such as queue/money."},
        "venueId": {**nullable(TEXT), "description": "None: it concerns the whole platform."},
        "reason": TEXT,
        "before": {**nullable(TEXT), "description": "The state, or what stood there."},
        "after": nullable(TEXT),
    }
)
SCHEMAS: Shapes = {
    "Entry": ENTRY,
    "Entries": record({"entries": listed(ref("Entry")), "cursor": nullable(TEXT)}),
}
ABOUT = {
    "from": f"Done at this moment or later. Without it and a subject: {USUAL.days} days back.",
    "to": "Done before this moment.",
    "actor": "Done by this one.",
    "subject": "Done to this.",
    "venueId": "Concerning this venue.",
}
OPERATIONS: Operations = {
    ("GET", "/v1/audit"): Operation(
        id="listAudit",
        tag="audit",
        summary="List what operators did",
        who="admin",
        about="The latest first: who did what to what, why, when, and what it made of it. A page may be short, "
        "or empty, and have a cursor all the same; the last one has none. Nothing changes or deletes an entry.",
        parameters=(
            *(Parameter(name, "query", FILTERS[name], about) for name, about in ABOUT.items()),
            CURSOR,
            LIMIT,
        ),
        answers={200: Answer("A page of entries.", ref("Entries"))},
        refusals=(403,),
    ),
}
