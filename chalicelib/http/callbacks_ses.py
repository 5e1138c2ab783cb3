"""POST /v1/callbacks/ses: bulletins of the SNS topic on which SES publishes what becomes of mails.

A bulletin carries its signature in itself, so its envelope is parsed before that is checked; nothing in it is
believed before. SNS says that it sends plain text.
"""

from chalice.app import Blueprint, Response

from chalicelib.http.body import parse_object
from chalicelib.http.callbacks import SIGNERS, received
from chalicelib.http.operations import TEXT, Answer, Operation, Operations, Shapes, ref
from chalicelib.http.views import raw_body_of, view
from chalicelib.wiring import service

routes = Blueprint(__name__)

SNS_SENDS = "text/plain"


@routes.route("/callbacks/ses", methods=["POST"], content_types=[SNS_SENDS, "application/json"])
@view
def take_mail_event() -> Response:
    """Suppress addresses that mail cannot reach, or whose readers complain; name a parked job its mail."""
    event = service().mail_events.take(parse_object(raw_body_of(routes.current_request)))
    if event is not None and event.job_id is not None and event.message_id is not None:
        service().callbacks.name_object(event.job_id, event.message_id, "ses")
    return received()


BULLETIN = (
    "Type",
    "MessageId",
    "TopicArn",
    "Message",
    "Timestamp",
    "SignatureVersion",
    "Signature",
    "SigningCertURL",
)
SCHEMAS: Shapes = {
    "SnsBulletin": {
        "type": "object",
        "description": "A bulletin as SNS sends it, by whichever of its two signatures.",
        "required": list(BULLETIN),
        "properties": dict.fromkeys(BULLETIN, TEXT),
    }
}
OPERATIONS: Operations = {
    ("POST", "/v1/callbacks/ses"): Operation(
        id="takeMailEvent",
        tag="callbacks",
        summary="Take a callback of SES",
        who=SIGNERS,
        about="What became of a mail, from the topic that SES publishes it on. An address that bounced for "
        "good, or whose reader complained, is suppressed; what else there is goes to the log. A parked job "
        "gets SES's id of its mail, which proves that SES has it. The topic's subscription is confirmed. 400 "
        "`signature_invalid`, 503 `provider_not_configured` where the stage has no topic.",
        public=True,
        body=ref("SnsBulletin"),
        answers={
            200: Answer("It was received; whether there was anything to do is not said.", ref("Received"))
        },
        refusals=(503,),
    )
}
