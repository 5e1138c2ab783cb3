"""Batches of the API: up to a hundred jobs in one request."""

from typing import Any

from chalice.app import Blueprint, Response

from chalicelib.domain.errors import InvalidRequest, Problem, QueueServiceError
from chalicelib.http.errors import details_of, reply
from chalicelib.http.job_shapes import ID, QUEUE, STATE
from chalicelib.http.operations import (
    COUNT,
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
from chalicelib.http.views import body_of, count, only, principal_of, view
from chalicelib.service.batch import BATCH, BATCH_ID, Done
from chalicelib.service.problems import SHOWN
from chalicelib.service.submit import Accepted
from chalicelib.wiring import service

routes = Blueprint(__name__)

NONE_ACCEPTED = ("batch_failed", "None of the jobs was accepted; see errors.")
NOT_NOW = ("unavailable", "None of the jobs was accepted. Repeat the request, with the same keys.")


@routes.route("/jobs/batch", methods=["POST"], content_types=["application/json"])
@view
def create_jobs() -> Response:
    """Accept many jobs: 201, or 207 if only some were; with stopOnError all of them or none."""
    request = routes.current_request
    principal = principal_of(request)
    if only(request, "Idempotency-Key") is not None:
        raise InvalidRequest([Problem("Idempotency-Key", "Send an idempotencyKey with each job instead.")])
    made = service().batch
    order = made.read(body_of(request), principal, batch_id=only(request, "X-Batch-Id"))
    if len(order.jobs) > 1:
        count(request, principal, len(order.jobs) - 1)
    done = made.carry_out(order, principal)
    return reply(_status(done), _answer(done))


def _status(done: Done) -> int:
    if done.accepted:
        return 207 if done.failed else 201
    return 503 if done.may_be_repeated else 400


def _answer(done: Done) -> dict[str, Any]:
    total = len(done.order.jobs)
    code, message = NOT_NOW if done.may_be_repeated else NONE_ACCEPTED
    return {
        **({} if done.accepted else {"error": code, "message": message}),
        "batchId": done.order.id,
        "queue": _queue(done),
        "total": total,
        "successful": len(done.accepted),
        "failed": total - len(done.accepted),
        "jobs": [_accepted(place, each) for place, each in sorted(done.accepted.items())],
        "errors": [_failed(place, done, error) for place, error in sorted(done.failed.items())],
        **({} if done.failed_at is None else {"failedAt": done.failed_at}),
    }


def _queue(done: Done) -> str | None:
    """Return the queue that the caller named, or the one that all its jobs went to, if it is one."""
    queues = {accepted.job.tier.value for accepted in done.accepted.values()}
    return done.order.queue or (queues.pop() if len(queues) == 1 else None)


def _accepted(place: int, accepted: Accepted) -> dict[str, Any]:
    job = accepted.job
    return {
        "index": place,
        "jobId": job.id,
        "type": job.type,
        "status": job.state,
        "deduplicated": accepted.deduplicated,
    }


def _failed(place: int, done: Done, error: QueueServiceError) -> dict[str, Any]:
    named = done.order.jobs[place].get("type")
    details = [{"field": each.field, "message": each.message} for each in details_of(error)]
    return {
        "index": place,
        "type": named[:SHOWN] if isinstance(named, str) else None,
        "error": error.code,
        "message": error.message,
        **({"details": details} if details else {}),
    }


FAILED: Shape = record(
    {"index": COUNT, "type": nullable(TEXT), "error": TEXT, "message": TEXT},
    {"details": listed(ref("Problem"))},
)
ACCEPTED: Shape = record(
    {"index": COUNT, "jobId": ID, "type": TEXT, "status": STATE, "deduplicated": {"type": "boolean"}}
)
COUNTED: dict[str, Shape] = {
    "batchId": TEXT,
    "queue": {**nullable(QUEUE), "description": "Null when the jobs went to several."},
    "total": COUNT,
    "successful": COUNT,
    "failed": {**COUNT, "description": "How many are not accepted."},
    "jobs": {**listed(ref("BatchAccepted")), "description": "Those accepted, in the order asked."},
    "errors": {**listed(ref("BatchError")), "description": "What kept the others out, in the order asked."},
}
FAILED_AT: dict[str, Shape] = {
    "failedAt": {**COUNT, "description": "With stopOnError: the job that stopped it."}
}
SCHEMAS: Shapes = {
    "Problem": record({"field": TEXT, "message": TEXT}),
    "Batch": {
        **BATCH,
        "properties": {
            **BATCH["properties"],
            "jobs": {**BATCH["properties"]["jobs"], "items": ref("Submission")},
        },
    },
    "BatchAccepted": ACCEPTED,
    "BatchError": FAILED,
    "BatchReceipt": record(COUNTED),
    "BatchRefusal": record({"error": TEXT, "message": TEXT, **COUNTED}, FAILED_AT),
}
WHOLE = ref("Error")
OPERATIONS: Operations = {
    ("POST", "/v1/jobs/batch"): Operation(
        id="submitJobs",
        tag="jobs",
        summary="Submit up to a hundred jobs",
        who="service and admin; venue_admin for its own venue; each job's type must be open to the caller",
        about="Each job stands by itself and is answered in the order asked; the same key twice in a batch is "
        "one job. With `options.stopOnError` the batch is all or nothing, also when something fails half-way: "
        "then the keys of its jobs answer 503 `batch_pending` until it is decided, within two minutes. A batch "
        "of N counts N of the caller's requests.",
        body=ref("Batch"),
        parameters=(
            Parameter("X-Batch-Id", "header", BATCH_ID, "Its name on the jobs; made if it is not sent."),
        ),
        answers={
            201: Answer("Every job is accepted.", ref("BatchReceipt")),
            207: Answer("Some jobs are accepted; errors says what kept out the others.", ref("BatchReceipt")),
            400: Answer(
                "No job is accepted, or the batch itself is not valid.",
                {"anyOf": [ref("BatchRefusal"), WHOLE]},
            ),
            503: Answer(
                "No job is accepted, or nobody can tell. Repeat the request, with the same keys.",
                {"anyOf": [ref("BatchRefusal"), WHOLE]},
                ("Retry-After",),
            ),
        },
        refusals=(403,),
    ),
}
