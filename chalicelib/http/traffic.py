"""The front's own figures: every answer that leaves the API is counted, by route, method and status."""

from collections.abc import Callable
from datetime import timedelta

from chalice.app import Request, Response

from chalicelib.domain.errors import QueueServiceError
from chalicelib.http.docs import CHAPTERS
from chalicelib.wiring import service

PREFLIGHT = "preflight"  # one for all routes: each would double what is counted
UNMATCHED = "unmatched"
OTHER = "other"  # a method that no route knows
ROUTES = {route for operations, _ in CHAPTERS for _, route in operations}
METHODS = {method for operations, _ in CHAPTERS for method, _ in operations}
BROKEN = 500  # what Chalice makes of whatever breaks below this
# They must answer within a second whatever the tables do, so they wait for no write.
IN_A_HURRY = frozenset({"/health", "/ready"})


def counted(request: Request | None, get_response: Callable[[Request | None], Response]) -> Response:
    """Count an answer; a middleware, and the outermost one, so that it sees what the others make of it.

    What was traced of the request is sent then.
    """
    try:
        made = service()
    except QueueServiceError:  # the service cannot start, and the answer will say so
        return get_response(request)
    began, status = made.clock.now(), BROKEN
    try:
        response = get_response(request)
        status = response.status_code
        return response
    finally:
        method, route = _asked(request)
        took = max(made.clock.now() - began, timedelta(0))
        made.watch.traffic.count(method, route, status, took, may_write=route not in IN_A_HURRY)
        made.watch.emission.flush()
        if made.traces is not None and route not in IN_A_HURRY:
            made.traces.flush()


def _asked(request: Request | None) -> tuple[str, str]:
    """Return method and route, both of a known few; a path would be a counter for each job."""
    if request is None:
        return OTHER, UNMATCHED
    if request.method == "OPTIONS":
        return request.method, PREFLIGHT
    return (
        request.method if request.method in METHODS else OTHER,
        request.path if request.path in ROUTES else UNMATCHED,
    )
