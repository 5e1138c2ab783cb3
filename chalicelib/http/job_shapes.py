"""The shapes of the answers about jobs, as `service/read.py` makes them."""

from collections.abc import Mapping

from chalicelib.domain.job import Reason, State
from chalicelib.domain.policies import ATTEMPTS, PRIORITIES, Tier
from chalicelib.http.operations import COUNT, MOMENT, TEXT, Shape, Shapes, listed, nullable, record, ref

QUEUE: Shape = {"type": "string", "enum": [tier.value for tier in Tier]}
STATE: Shape = {"type": "string", "enum": [state.value for state in State]}
REASON: Shape = {
    "type": "string",
    "enum": [reason.value for reason in Reason],
    "description": "Why a failed job failed: the provider said no, its attempts ended, or its window did.",
}
PRIORITY: Shape = {
    "type": "integer",
    "minimum": PRIORITIES[0],
    "maximum": PRIORITIES[-1],
    "description": "10 is most urgent.",
}
RESULT: Shape = {"type": "object", "description": "What the provider made of it; its keys are the job type's."}
ID: Shape = {"type": "string", "examples": ["job_01M86YH7Y9QZ8TYAHW9PZY7ZTZ"]}
FAILURE: Shape = record(
    {"code": TEXT, "message": TEXT},
    {"reference": {"type": "string", "description": "The provider's own id of the request."}},
)
ATTEMPT: Shape = record(
    {"attempt": COUNT, "startedAt": MOMENT, "endedAt": MOMENT, "outcome": TEXT},
    {"code": TEXT, "reference": TEXT},
)
RECEIPT: Shape = record(
    {
        "jobId": ID,
        "queue": QUEUE,
        "type": TEXT,
        "status": STATE,
        "deduplicated": {"type": "boolean", "description": "An earlier submission had made this job."},
        "options": record(
            {
                "priority": PRIORITY,
                "delay": {**COUNT, "description": "Milliseconds."},
                "attempts": {"type": "integer", "minimum": ATTEMPTS[0]},
            }
        ),
    },
    {"reason": REASON, "result": RESULT, "error": ref("Failure")},
)
ROW: Mapping[str, Shape] = {
    "id": ID,
    "queue": QUEUE,
    "type": TEXT,
    "venueId": TEXT,
    "state": STATE,
    "progress": {
        "type": "integer",
        "enum": [0, 50, 100],
        "description": "0 waiting, 50 begun, 100 completed.",
    },
    "attempts": COUNT,
    "maxAttempts": COUNT,
    "priority": PRIORITY,
    "createdAt": MOMENT,
    "processedAt": nullable(MOMENT),
    "finishedAt": nullable(MOMENT),
}
IF_ANY: Mapping[str, Shape] = {
    "amount": {**COUNT, "description": "Minor units of money, where it is about some; not of a large payload."},
    "currency": {**TEXT, "examples": ["EUR"]},
    "reason": REASON,
    "scheduledFor": MOMENT,
    "nextAttemptAt": MOMENT,
    "result": RESULT,
    "error": ref("Failure"),
    "providerObject": {
        "type": "string",
        "description": "What the provider calls it, also where it said no: pi_…, re_…, a message's id.",
    },
    "batchId": {**TEXT, "description": "The batch that it came in."},
    "batchIndex": {**COUNT, "description": "Its place there, from 0."},
    "callbackJobId": {**ID, "description": "The delivery that tells of its end to whom its caller named."},
    "erasedAt": {**MOMENT, "description": "Since when its data and result are blank: they were a person's."},
}
WHOLE: Mapping[str, Shape] = {
    **ROW,
    "data": {
        "type": "object",
        "description": 'The payload; values are "[redacted]" for a service\'s token.',
    },
    "history": listed(ref("Attempt")),
}
KEY: Shape = record(
    {
        "given": {"type": "boolean", "description": "By the caller; else it is derived from the data."},
        "since": MOMENT,
        "until": {**MOMENT, "description": "It stands until then at least, and while its job is open."},
        "stands": {"type": "boolean", "description": "False: the same submission makes a new job."},
        "ours": {"type": "boolean", "description": "False: a later job of the same work holds it."},
    }
)
SCHEMAS: Shapes = {
    "Attempt": ATTEMPT,
    "JobKey": record({"jobId": ID, "key": {**nullable(KEY), "description": "Null: it is forgotten."}}),
    "Failure": FAILURE,
    "Job": record(WHOLE, IF_ANY),
    "JobRow": record(ROW, IF_ANY),
    "Jobs": record({"jobs": listed(ref("JobRow")), "cursor": nullable(TEXT)}),
    "Receipt": RECEIPT,
}
