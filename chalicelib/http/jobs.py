"""The jobs of the API: submit one, read one."""

from chalice.app import Blueprint, Response

from chalicelib.http import job_shapes
from chalicelib.http.errors import reply
from chalicelib.http.operations import IDEMPOTENCY_KEY, JOB_ID, Answer, Operation, Operations, Parameter, ref
from chalicelib.http.views import body_of, only, principal_of, query_of, view
from chalicelib.service.read import receipt
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


@routes.route("/jobs/{job_id}", methods=["GET"], content_types=[])
@view
def read_job(job_id: str) -> Response:
    """Return a job to whoever may see it."""
    request = routes.current_request
    principal = principal_of(request)
    return reply(200, service().read.job(job_id, principal, queue=query_of(request, "queue")))


SCHEMAS = job_shapes.SCHEMAS
QUEUE = Parameter("queue", "query", job_shapes.QUEUE, "The job's queue; checked if it is sent.")
OPERATIONS: Operations = {
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
}
