"""What operators do to one job: cancel, retry, promote, resolve, clone."""

from chalice.app import Blueprint, Response

from chalicelib.http.errors import reply
from chalicelib.http.job_shapes import ID, STATE
from chalicelib.http.operations import (
    IDEMPOTENCY_KEY,
    JOB_ID,
    TEXT,
    Answer,
    Operation,
    Operations,
    Parameter,
    Shapes,
    record,
    ref,
)
from chalicelib.http.views import body_of, body_or_none_of, only, principal_of, view
from chalicelib.service.steering import CLONE, RESOLVE, STEER, Steered
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/jobs/{job_id}", methods=["DELETE"], content_types=["application/json"])
@view
def cancel_job(job_id: str) -> Response:
    """Cancel a job; its record stays."""
    request = routes.current_request
    principal = principal_of(request)
    return _steered(service().steering.cancel(job_id, body_or_none_of(request) or {}, principal))


@routes.route("/jobs/{job_id}/retry", methods=["POST"], content_types=["application/json"])
@view
def retry_job(job_id: str) -> Response:
    """Let a failed or cancelled job start anew."""
    request = routes.current_request
    principal = principal_of(request)
    return _steered(service().steering.retry(job_id, body_or_none_of(request) or {}, principal))


@routes.route("/jobs/{job_id}/promote", methods=["POST"], content_types=["application/json"])
@view
def promote_job(job_id: str) -> Response:
    """Let a waiting job run now."""
    request = routes.current_request
    principal = principal_of(request)
    return _steered(service().steering.promote(job_id, body_or_none_of(request) or {}, principal))


@routes.route("/jobs/{job_id}/resolve", methods=["POST"], content_types=["application/json"])
@view
def resolve_job(job_id: str) -> Response:
    """End the doubt about a parked job."""
    request = routes.current_request
    principal = principal_of(request)
    return _steered(service().steering.resolve(job_id, body_of(request), principal))


@routes.route("/jobs/{job_id}/clone", methods=["POST"], content_types=["application/json"])
@view
def clone_job(job_id: str) -> Response:
    """Make a new job of an old one."""
    request = routes.current_request
    principal = principal_of(request)
    key = only(request, "Idempotency-Key")
    return _steered(service().steering.clone(job_id, body_or_none_of(request) or {}, principal, key))


def _steered(made: Steered) -> Response:
    return reply(200, {"jobId": made.job.id, "status": made.job.state, "message": made.message})


SCHEMAS: Shapes = {
    "Clone": CLONE,
    "Steer": STEER,
    "Resolve": RESOLVE,
    "Steered": record({"jobId": ID, "status": STATE, "message": TEXT}),
}
WHO = "venue_admin for its own venue, admin"


def _operation(
    name: str,
    summary: str,
    about: str,
    done: str,
    *,
    body: str = "Steer",
    more: tuple[Parameter, ...] = (),
) -> Operation:
    return Operation(
        id=name,
        tag="jobs",
        summary=summary,
        who=WHO,
        about=f"{about} The audit log says who did it.",
        body=ref(body),
        body_required=body == "Resolve",
        parameters=(JOB_ID, *more),
        answers={200: Answer(done, ref("Steered"))},
        refusals=(403, 404, 409),
    )


OPERATIONS: Operations = {
    ("DELETE", "/v1/jobs/{job_id}"): _operation(
        "cancelJob",
        "Cancel a job",
        "Once it is answered with 200, no provider call starts for the job. A job that runs, or of which "
        "something may have happened, answers 409. The record stays.",
        "The job is cancelled.",
    ),
    ("POST", "/v1/jobs/{job_id}/retry"): _operation(
        "retryJob",
        "Retry a failed or cancelled job",
        "It is due now and has as many attempts more as its type gives. A parked job answers 409 "
        "`outcome_unknown`: resolve it. 409 `key_taken` names the job that holds its key by now.",
        "The job is queued.",
    ),
    ("POST", "/v1/jobs/{job_id}/promote"): _operation(
        "promoteJob",
        "Let a waiting job run now",
        "Whatever its delay or backoff. What an operator has paused or stopped stays held back.",
        "The job is due now.",
    ),
    ("POST", "/v1/jobs/{job_id}/resolve"): _operation(
        "resolveJob",
        "Resolve a parked job",
        "Say what was found out at the provider: `completed`, or, where nothing happened, `failed` or `retry`.",
        "The job stands as resolved.",
        body="Resolve",
    ),
    ("POST", "/v1/jobs/{job_id}/clone"): _operation(
        "cloneJob",
        "Clone a job",
        "A new job with the payload of this one, in which `data` replaces whole keys, held to the rules of "
        "POST /v1/jobs as they are today. Without a key each request makes one more. 409 `outcome_unknown`: an "
        "effect of this one may have happened; resolve it first.",
        "The new job, or the one that the key stands for already.",
        body="Clone",
        more=(IDEMPOTENCY_KEY,),
    ),
}
