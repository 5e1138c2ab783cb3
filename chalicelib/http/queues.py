"""The queues: what waits in each, since when, and what holds it back."""

from chalice.app import Blueprint, Response

from chalicelib.domain.policies import Lane
from chalicelib.http.control import TIER
from chalicelib.http.control_shapes import STATE
from chalicelib.http.errors import reply
from chalicelib.http.figure_shapes import COUNTED_AT, MONEY_WAITING, STANDING
from chalicelib.http.operations import (
    COUNT,
    TEXT,
    Answer,
    Operation,
    Operations,
    Shape,
    Shapes,
    listed,
    nullable,
    record,
    ref,
)
from chalicelib.http.views import principal_of, view
from chalicelib.wiring import service

routes = Blueprint(__name__)


@routes.route("/queues", methods=["GET"], content_types=[])
@view
def list_queues() -> Response:
    """Return every queue."""
    principal = principal_of(routes.current_request)
    return reply(200, {"queues": service().watch.queues.all(principal)})


@routes.route("/queues/{tier}", methods=["GET"], content_types=[])
@view
def read_queue(tier: str) -> Response:
    """Return one queue."""
    principal = principal_of(routes.current_request)
    return reply(200, service().watch.queues.one(tier, principal))


RATE: Shape = {"type": "number", "minimum": 0}
DEPTH: Shape = record(
    {
        "waiting": {**COUNT, "description": "Messages that a consumer would be given now."},
        "inFlight": {**COUNT, "description": "With a consumer, or put off for a while."},
        "delayed": {**COUNT, "description": "Sent ahead of their time."},
    }
)
SCHEMAS: Shapes = {
    "QueueDetail": record(
        {
            **STATE,
            "lanes": record({lane.value: ref("Depth") for lane in Lane}),
            "poison": {
                **COUNT,
                "description": "Messages in the dead-letter queue: no job can be made of them.",
            },
            "oldestAgeSeconds": {
                **nullable(COUNT),
                "description": "How long the oldest open job has been due; null below 5 minutes.",
            },
            "oldestAge": {**TEXT, "examples": ["< 5 min", "2 h 5 min"]},
            "begunPerMinute": {
                **RATE,
                "description": "Jobs claimed for the first time; of ten minutes.",
            },
            "endedPerMinute": {**RATE, "description": "Jobs that came to an end; of ten minutes."},
            "drainSeconds": {
                **nullable(COUNT),
                "description": "How long what waits takes at this rate; null where nothing ends.",
            },
            "p95Seconds": {
                **nullable({"type": "number"}),
                "description": "What 95 % of the attempts of an hour took at most; null for none, or longer.",
            },
            "p95": {**TEXT, "examples": ["≤ 0.5 s", "> 60 s", "none yet"]},
            "counts": record(
                {
                    "queued": {**COUNT, "description": "Messages that a consumer would be given now."},
                    "running": {**COUNT, "description": "Messages with a consumer, or put off for a while."},
                    **STANDING["properties"],
                }
            ),
            "countedAt": COUNTED_AT,
        },
        {"money": MONEY_WAITING},
    ),
    "Queues": record({"queues": listed(ref("QueueDetail"))}),
    "Depth": DEPTH,
}
WHO = "admin; venue_admin"
ABOUT = (
    "Messages are counted by SQS, approximately; a job that is due in more than 15 minutes has none yet. "
    "Rates are counted by consumers, and up to two minutes old. The counts of other states and the money are "
    "approximate: counted anew every five minutes, a large backlog over several times five."
)
OPERATIONS: Operations = {
    ("GET", "/v1/queues"): Operation(
        id="listQueues",
        tag="control",
        summary="See every queue",
        who=WHO,
        about=ABOUT,
        answers={200: Answer("The queues.", ref("Queues"))},
        refusals=(403,),
    ),
    ("GET", "/v1/queues/{tier}"): Operation(
        id="readQueue",
        tag="control",
        summary="See a queue",
        who=WHO,
        about=ABOUT,
        parameters=(TIER,),
        answers={200: Answer("The queue.", ref("QueueDetail"))},
        refusals=(403,),
    ),
}
