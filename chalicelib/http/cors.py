"""Calls from web pages: the origins of CORS_ORIGINS may read what the API answers, and no others.

Chalice's own CORS knows one origin. So this service answers the preflight itself, on every route, and puts the
headers on every answer that it makes. What API Gateway answers by itself (an unknown path, a request above its
own limits) carries none: a page then sees a network error.
"""

from collections.abc import Callable

from chalice.app import Chalice, Request, Response

from chalicelib.domain.errors import QueueServiceError
from chalicelib.wiring import service

ASKED = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
SENT = "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Batch-Id"
SHOWN = "ETag, Retry-After, X-Batch-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
KEPT_SECONDS = "7200"  # more than any browser keeps a preflight for


def cors(request: Request, get_response: Callable[[Request], Response]) -> Response:
    """Let pages of the allowed origins read an answer; a middleware, outside of what shapes it."""
    response = get_response(request)
    origins = _origins()
    if not origins:
        return response
    preflight = request.method == "OPTIONS"
    response.headers["Vary"] = ASKED if preflight else "Origin"
    origin = request.headers.get("Origin")
    if origin not in origins:
        return response
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = SHOWN
    if preflight:
        response.headers["Access-Control-Allow-Methods"] = response.headers["Allow"]
        response.headers["Access-Control-Allow-Headers"] = SENT
        response.headers["Access-Control-Max-Age"] = KEPT_SECONDS
    return response


def _origins() -> frozenset[str]:
    try:
        return service().settings.cors_origins
    except QueueServiceError:  # the service cannot start, and the answer in hand says so
        return frozenset()


def answer_preflights(app: Chalice) -> None:
    """Give every path that the app serves an OPTIONS method; call it after the last route is there."""
    for path, methods in list(app.routes.items()):
        app.route(path, methods=["OPTIONS"], content_types=[])(_options(", ".join([*methods, "OPTIONS"])))


def _options(allowed: str) -> Callable[..., Response]:
    def options(**_: str) -> Response:
        """Say what a path knows; nobody is asked for a token."""
        return Response("", headers={"Allow": allowed, "Cache-Control": "no-store"}, status_code=204)

    return options
