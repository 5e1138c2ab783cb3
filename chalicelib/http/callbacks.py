"""What the routes of vendors' callbacks share; each vendor's own is a file beside this one.

A callback is public, and signed: nothing of it is read before its signature holds, over the body as it was
sent. It then makes a job due sooner at the most. Every callback that is rightly signed answers 200, whatever
it is about: a vendor that hears anything else sends it again, and at last no more at all.
"""

from collections.abc import Callable

from chalice.app import Request, Response

from chalicelib.domain.errors import NotConfigured, NotSigned
from chalicelib.http.errors import reply
from chalicelib.http.operations import Answer, Operation, Parameter, Shape, record, ref
from chalicelib.http.views import only, raw_body_of
from chalicelib.service.callbacks import Seal
from chalicelib.wiring import service

SIGNERS = "whoever signs it"


def signed_body_of(
    request: Request, vendor: str, header: str, check: Callable[[bytes, str, str], bool]
) -> bytes:
    """Return a body of which `check(body, signature, secret)` says that the vendor has signed it.

    Raises NotConfigured, NotSigned, MalformedBody, BodyTooLarge, InvalidRequest (the header twice) or
    StoreRefused (the secret cannot be read).
    """
    seal = seal_of(vendor)
    signature = only(request, header)
    body = raw_body_of(request)
    if signature is None or not seal.holds(lambda secret: check(body, signature, secret)):
        raise NotSigned
    return body


def seal_of(vendor: str) -> Seal:
    """Return the secret that a vendor signs with; raises NotConfigured where the stage has none."""
    seal = service().seals.get(vendor)
    if seal is None:
        raise NotConfigured(f"This stage has no secret for the callbacks of {vendor}.")
    return seal


def received() -> Response:
    """Return the one answer to a callback that holds."""
    return reply(200, {"received": True})


SCHEMAS = {"Received": record({"received": {"type": "boolean", "const": True}})}


RECEIVED = Answer("It was received; whether there was anything to do is not said.", ref("Received"))


def described(
    name: str,
    vendor: str,
    header: str,
    *,
    about: str,
    body: Shape,
    media: str = "application/json",
    parameters: tuple[Parameter, ...] = (),
    answer: Answer = RECEIVED,
) -> Operation:
    """Return the row of a vendor's callback, whose signature stands in this header."""
    return Operation(
        id=name,
        tag="callbacks",
        summary=f"Take a callback of {vendor}",
        who=SIGNERS,
        about=f"{about} It never settles a job: one that waits for {vendor} asks it sooner. 400 "
        "`signature_invalid`, 503 `provider_not_configured` where the stage has no secret for it.",
        public=True,
        body=body,
        body_media=media,
        parameters=(
            Parameter(
                header, "header", {"type": "string"}, f"{vendor}'s signature of the body.", required=True
            ),
            *parameters,
        ),
        answers={200: answer},
        refusals=(503,),
    )
