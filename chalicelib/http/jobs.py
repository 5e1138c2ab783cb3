"""The jobs of the API: submit one, list them, read one."""

from chalice.app import Blueprint, Response

from chalicelib.http import job_shapes
from chalicelib.http.errors import reply
from chalicelib.http.operations import IDEMPOTENCY_KEY, JOB_ID, Answer, Operation, Operations, Parameter, ref
from chalicelib.http.paging import CURSOR, LIMIT, limit_of, place_cursor, place_of
from chalicelib.http.views import body_of, only, parameters_of, principal_of, query_of, view
from chalicelib.service.listing import FILTERS
from chalicelib.service.read import OPERATORS, receipt, row
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/jobs", methods=["POST"], content_types=["application/json"])
@view
def create_job() -> Response:
    """Accept a job: 201, or 200 with the first one if its key stands for it already."""
    request = routes.current_request
    principal = principal_of(request)
    key = only(request, "Idempotency-Key")
    submission = service().intake.read(body_of(request), principal, key)
    accepted = service().submit.submit(submission)
    return reply(200 if accepted.deduplicated else 201, receipt(accepted))


@routes.route("/jobs", methods=["GET"], content_types=[])
@view
def list_jobs() -> Response:
    """List the jobs that a caller may see."""
    request = routes.current_request
    principal = principal_of(request)
    asked = parameters_of(request, *FILTERS, "cursor", "limit")
    listing, limit = service().listing, limit_of(asked)
    page, place = listing.page(asked, principal, after=place_of(asked), limit=limit)
    money = principal.role in OPERATORS
    return reply(200, {"jobs": [row(job, money=money) for job in page], "cursor": place_cursor(place)})


@routes.route("/jobs/{job_id}", methods=["GET"], content_types=[])
@view
def read_job(job_id: str) -> Response:
    """Return a job to whoever may see it."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, service().read.job(job_id, principal, queue=query_of(request, "queue")))


@routes.route("/jobs/{job_id}/idempotency", methods=["GET"], content_types=[])
@view
def read_key(job_id: str) -> Response:
    """Return what a job's idempotency key stands for."""
    return reply(200, service().read.key(job_id, principal_of(routes.current_request)))


SCHEMAS = job_shapes.SCHEMAS
QUEUE = Parameter("queue", "query", job_shapes.QUEUE, "The job's queue; checked if it is sent.")
ABOUT = {
    "queue": "Of this queue.",
    "state": "In this state.",
    "type": "Of this job type; older names are accepted.",
    "venueId": "Of this venue. A service must name one; a venue's token has its own.",
    "batchId": "Of this batch of the venue.",
    "from": "Accepted at this moment or later.",
    "to": "Accepted before this moment.",
    "fingerprint": "Dead letters and parked jobs of this type and error code.",
    "key": "The job that this idempotency key of a caller stands for; venue and type must be named, too.",
}
OPERATIONS: Operations = {
    ("GET", "/v1/jobs"): Operation(
        id="listJobs",
        tag="jobs",
        summary="List jobs",
        who="user for jobs made on its behalf, venue_admin for its own venue, service for the venue that it "
        "names, admin",
        about="The latest accepted first; open jobs of all venues, which only an administrator sees, in the "
        "order in which they will be looked at. Of all venues at once only what failed, is parked or open can "
        "be listed. A page reads a bounded number of records: it may be short, or empty, and have a cursor all "
        "the same; the last one has none. A job may take a second to appear. Data and history are left out.",
        parameters=(
            *(Parameter(name, "query", FILTERS[name], about) for name, about in ABOUT.items()),
            CURSOR,
            LIMIT,
        ),
        answers={200: Answer("A page of jobs.", ref("Jobs"))},
        refusals=(403,),
    ),
    ("POST", "/v1/jobs"): Operation(
        id="submitJob",
        tag="jobs",
        summary="Submit a job",
        who="service and admin; venue_admin for its own venue, unless the type is the platform's alone",
        about="Accepted means durable: the job runs even if this answer is lost. Repeat with the same key "
        "until there is an answer; 503 `acceptance_unknown` says the same.",
        body=ref("Submission"),
        parameters=(IDEMPOTENCY_KEY,),
        answers={
            201: Answer("The job is accepted.", ref("Receipt")),
            200: Answer("An earlier submission with this key had made the job.", ref("Receipt")),
        },
        refusals=(403, 409),
    ),
    ("GET", "/v1/jobs/{job_id}"): Operation(
        id="readJob",
        tag="jobs",
        summary="Read a job",
        who="user for jobs made on its behalf, venue_admin for its own venue, service, admin",
        parameters=(JOB_ID, QUEUE),
        answers={200: Answer("The job.", ref("Job"))},
        refusals=(404,),
    ),
    ("GET", "/v1/jobs/{job_id}/idempotency"): Operation(
        id="readKey",
        tag="jobs",
        summary="Read what a job's idempotency key stands for now",
        who="user for jobs made on its behalf, venue_admin for its own venue, service, admin",
        about="While it stands and is this job's, the same submission is answered with this job.",
        parameters=(JOB_ID,),
        answers={200: Answer("The key.", ref("JobKey"))},
        refusals=(404,),
    ),
}
