"""POST /v1/callbacks/stripe: an event of Stripe's brings the job that its object names forward.

Signatures are Stripe's scheme v1 (https://docs.stripe.com/webhooks#verify-manually), checked here in a few
lines: the SDK does the same, and importing it would cost the API's containers more than all that they import
besides. `tests/contract/test_stripe_callbacks.py` holds these lines to the SDK's own.
"""

import hmac
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

from chalice.app import Blueprint, Response

from chalicelib.http.body import parse_object
from chalicelib.http.callbacks import described, received, signed_body_of
from chalicelib.http.operations import Operations, ref
from chalicelib.http.views import view
from chalicelib.wiring import service

routes = Blueprint(__name__)

HEADER = "Stripe-Signature"
TOLERANCE_SECONDS = 300  # between Stripe's clock and ours; an older event was overheard and sent again


@routes.route("/callbacks/stripe", methods=["POST"], content_types=["application/json"])
@view
def take_stripe_event() -> Response:
    """Bring forward the job that an event is about."""
    check = partial(is_signed, now=service().clock.now())
    body = signed_body_of(routes.current_request, "stripe", HEADER, check)
    job_id = job_of(parse_object(body))
    if job_id is not None:
        service().callbacks.bring_forward(job_id, "stripe")
    return received()


def is_signed(body: bytes, header: str, secret: str, *, now: datetime) -> bool:
    """Whether Stripe has signed a body with a secret, at most five minutes ago by our clock."""
    parts = [part.partition("=") for part in header.split(",")]
    moments = [value for name, _, value in parts if name == "t"]
    if any(name in ("t", "v1") and not sign for name, sign, _ in parts):
        return False
    if not (moments and moments[0].isascii() and moments[0].isdigit() and len(moments[0]) <= 12):
        return False
    signed = f"{moments[0]}.".encode() + body
    expected = hmac.new(secret.encode(), signed, sha256).hexdigest().encode()
    given = [value.encode("utf-8", "replace") for name, _, value in parts if name == "v1"]
    # While a secret is replaced there are two signatures.
    holds = any(hmac.compare_digest(expected, each) for each in given)
    return holds and now.timestamp() - int(moments[0]) <= TOLERANCE_SECONDS


def job_of(event: dict[str, Any]) -> str | None:
    """Return the job id in the metadata of the object that an event is about, if it has one."""
    found: Any = event
    for name in ("data", "object", "metadata", "job_id"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None


OPERATIONS: Operations = {
    ("POST", "/v1/callbacks/stripe"): described(
        "takeStripeEvent",
        "Stripe",
        HEADER,
        about="An event about an intent, a refund, a transfer or a payout.",
        body=ref("StripeEvent"),
    )
}
SCHEMAS = {
    "StripeEvent": {
        "type": "object",
        "description": "An event as Stripe sends it; of it only the job id in its object's metadata is read.",
        "examples": [
            {"type": "payment_intent.succeeded", "data": {"object": {"metadata": {"job_id": "job_1"}}}}
        ],
    }
}
