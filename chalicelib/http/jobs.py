"""The jobs of the API: submit one, read one."""

from chalice.app import Blueprint, Response

from chalicelib.http.errors import reply
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
