"""What every view shares: who asks, the body, and one shape for whatever goes wrong."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

from chalice.app import Request, Response

from chalicelib.domain.errors import InvalidRequest, Problem
from chalicelib.http.auth import authenticate
from chalicelib.http.body import MalformedBody, parse_object
from chalicelib.http.errors import answer, reshape
from chalicelib.service.principal import Principal
from chalicelib.wiring import service

P = ParamSpec("P")


def view(function: Callable[P, Response]) -> Callable[P, Response]:
    """Answer whatever a view raises: Chalice would make a 500 of it before any middleware saw it."""

    @wraps(function)
    def answered(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the edge: what is not in the table is a 500, and logged
            return answer(error, service().journal)

    return answered


def one_shape(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Give Chalice's own answers (405, 415) the shape of ours; a middleware."""
    return reshape(get_response(request))


def principal_of(request: Request) -> Principal:
    """Return who sent a request; raises Unauthenticated."""
    made = service()
    return authenticate(
        only(request, "Authorization"),
        keys=made.token_keys,
        tokens=made.settings.tokens,
        now=made.clock.now(),
    )


def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request's body; raises MalformedBody, BodyTooLarge or InvalidRequest."""
    try:
        raw = request.raw_body
        raw = raw.encode() if isinstance(raw, str) else raw
    except ValueError:  # not base64, though the gateway says so, or half of a surrogate pair
        raise MalformedBody("The body could not be decoded.") from None
    return parse_object(raw)


def only(request: Request, header: str) -> str | None:
    """Return the one value of a header; raises InvalidRequest if it was sent several times."""
    # The gateway keeps the last of several values; `multiValueHeaders` has them all.
    every: Mapping[str, list[str]] = request.to_original_event().get("multiValueHeaders") or {}
    values = next((values for name, values in every.items() if name.lower() == header.lower()), [])
    if len(values) > 1:
        raise InvalidRequest([Problem(header, "Send this header once.")])
    value: str | None = request.headers.get(header)
    return value


def query_of(request: Request, name: str) -> str | None:
    """Return the one value of a query parameter; raises InvalidRequest if it was sent several times."""
    if request.query_params is None or name not in request.query_params:
        return None
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise InvalidRequest([Problem(name, "Send this parameter once.")])
    return str(values[0])
