"""What every view shares: who asks, the body, and one shape for whatever goes wrong."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from math import ceil
from typing import Any, ParamSpec

from chalice.app import Request, Response

from chalicelib.domain.errors import InvalidRequest, Problem, RateLimited
from chalicelib.domain.quota import Standing
from chalicelib.http.auth import authenticate
from chalicelib.http.body import MOST_BYTES, BodyTooLarge, MalformedBody, parse_object
from chalicelib.http.errors import answer, reshape
from chalicelib.service.principal import Principal
from chalicelib.service.problems import field_of
from chalicelib.wiring import service

P = ParamSpec("P")

# Routes that may start an effect. Cancelling, pausing and reading must work while a count does not.
MAY_MOVE_MONEY = frozenset(
    {
        ("POST", "/v1/jobs"),
        ("POST", "/v1/jobs/batch"),
        ("POST", "/v1/jobs/{job_id}/retry"),
        ("POST", "/v1/jobs/{job_id}/promote"),
        ("POST", "/v1/jobs/{job_id}/resolve"),
        ("POST", "/v1/jobs/{job_id}/clone"),
        ("POST", "/v1/schedules/{schedule_id}/run"),
        ("POST", "/v1/jobs/bulk"),
        ("POST", "/v1/queues/{tier}/redrive"),
    }
)

# How the caller of the request in hand stands; each request is answered in one thread.
_standing: ContextVar[Standing | None] = ContextVar("standing", default=None)


def view(function: Callable[P, Response]) -> Callable[P, Response]:
    """Answer whatever a view raises: Chalice would make a 500 of it before any middleware saw it."""

    @wraps(function)
    def answered(*args: P.args, **kwargs: P.kwargs) -> Response:
        _standing.set(None)
        try:
            response = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the edge: what is not in the table is a 500, and logged
            response = answer(error, service().journal)
        response.headers.update(_told(_standing.get()))
        return response

    return answered


def one_shape(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Give Chalice's own answers (405, 415) the shape of ours; a middleware."""
    return reshape(get_response(request))


def principal_of(request: Request) -> Principal:
    """Return who sent a request, which counts for one of its limit; raises Unauthenticated or RateLimited."""
    made = service()
    principal = authenticate(
        only(request, "Authorization"),
        keys=made.token_keys,
        tokens=made.settings.tokens,
        now=made.clock.now(),
    )
    count(request, principal, 1)
    return principal


def count(request: Request, principal: Principal, cost: int) -> None:
    """Count requests of a caller: one that carries N jobs counts N - 1 beside its own. Raises RateLimited.

    Where the count does not answer, what may move money raises StoreRefused; all else goes on.
    """
    closed = (request.method, request.path) in MAY_MOVE_MONEY
    try:
        _standing.set(service().limits.spend(principal, cost, closed=closed))
    except RateLimited as error:
        _standing.set(error.standing)
        raise


def _told(standing: Standing | None) -> dict[str, str]:
    """Return the headers that say how a caller stands."""
    if standing is None:
        return {}
    return {
        "X-RateLimit-Limit": str(standing.limit),
        "X-RateLimit-Remaining": str(standing.remaining),
        "X-RateLimit-Reset": str(ceil(standing.resets.timestamp())),
    }


def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request's body; raises MalformedBody, BodyTooLarge or InvalidRequest."""
    return parse_object(raw_body_of(request))


def raw_body_of(request: Request) -> bytes:
    """Return a request's body as it was sent; raises MalformedBody or BodyTooLarge."""
    try:
        raw = request.raw_body
        raw = raw.encode() if isinstance(raw, str) else raw
    except ValueError:  # not base64, though the gateway says so, or half of a surrogate pair
        raise MalformedBody("The body could not be decoded.") from None
    if len(raw) > MOST_BYTES:
        raise BodyTooLarge
    return raw


def body_or_none_of(request: Request) -> dict[str, Any] | None:
    """Return the JSON object of a body that may be left out; raises as `body_of` does."""
    return body_of(request) if request.to_original_event().get("body") else None


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


def parameters_of(request: Request, *known: str) -> dict[str, str]:
    """Return the query parameters that were sent; raises InvalidRequest for one unknown or sent twice."""
    unknown = sorted(set(request.query_params or ()) - set(known))
    if unknown:
        advice = f"This parameter is not known here: use {', '.join(known)}."
        raise InvalidRequest([Problem(field_of([name]), advice) for name in unknown])
    sent = {name: query_of(request, name) for name in known}
    return {name: value for name, value in sent.items() if value is not None}
