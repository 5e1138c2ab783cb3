"""One table from errors to statuses, one shape of their answers, on every route."""

import json
from collections.abc import Mapping
from datetime import timedelta
from math import ceil
from typing import Any

from chalice.app import Response

from chalicelib.domain.errors import (
    AcceptanceUnknown,
    ActionRefused,
    CallerError,
    Forbidden,
    InvalidRequest,
    KeyConflict,
    NotConfigured,
    NotFound,
    Problem,
    QueueServiceError,
    RateLimited,
    StoreError,
    Unauthenticated,
)
from chalicelib.domain.ports import Journal
from chalicelib.http.body import BodyTooLarge

STATUS: Mapping[type[QueueServiceError], int] = {
    CallerError: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    KeyConflict: 409,
    ActionRefused: 409,
    BodyTooLarge: 413,
    RateLimited: 429,
    StoreError: 503,
    AcceptanceUnknown: 503,
    NotConfigured: 503,
}
HEADERS: Mapping[int, Mapping[str, str]] = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}

# Chalice answers some requests before any view runs; the same statuses in our words.
CHALICE: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request cannot be carried out as it stands."),
    405: ("method_not_allowed", "This route does not know this method; the Allow header lists those it knows."),
    415: ("unsupported_media_type", "Send the body as application/json, or what else this route takes."),
}
INTERNAL_ERROR = ("internal_error", "Something went wrong on our side.")


def reply(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer; no answer is to be kept by anybody on the way."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    fixed = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(text, headers={**fixed, **HEADERS.get(status, {}), **(headers or {})}, status_code=status)


def answer(error: Exception, journal: Journal) -> Response:
    """Return what a caller is told of an error; what nobody expected is logged, and the caller told nothing."""
    status = _status(error)
    if status is None or not isinstance(error, QueueServiceError):
        journal.alarm("request_failed", error=type(error).__name__)
        return _error(500, *INTERNAL_ERROR)
    if status >= 500:
        journal.alarm("request_unavailable", error=type(error).__name__)
    if isinstance(error, RateLimited):
        return _limited(error)
    return _error(status, error.code, error.message, details_of(error))


def _limited(error: RateLimited) -> Response:
    """Return the one answer that says in its body, too, when to come again."""
    wait = max(ceil(error.after / timedelta(seconds=1)), 1)
    body = {"error": error.code, "message": error.message, "retryAfter": wait}
    return reply(429, body, {"Retry-After": str(wait)})


def reshape(response: Response) -> Response:
    """Return an answer of Chalice's own in the shape of ours; ours pass as they are."""
    body = response.body
    if not (isinstance(body, dict) and body.keys() == {"Code", "Message"}):
        return response
    code, message = CHALICE.get(response.status_code, INTERNAL_ERROR)
    allow = response.headers.get("Allow")
    return _error(response.status_code, code, message, headers={"Allow": str(allow)} if allow else {})


def _status(error: Exception) -> int | None:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def details_of(error: QueueServiceError) -> tuple[Problem, ...]:
    """Return what an answer says of single fields, beside its message."""
    match error:
        case InvalidRequest():
            return error.problems
        case KeyConflict():
            return (Problem("jobId", error.job_id),)
        case ActionRefused():
            held_by = (Problem("jobId", error.held_by),) if error.held_by else ()
            return (Problem("state", error.state), *held_by)
    return ()


def _error(
    status: int,
    code: str,
    message: str,
    details: tuple[Problem, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {"error": code, "message": message}
    if details:
        body["details"] = [{"field": problem.field, "message": problem.message} for problem in details]
    return reply(status, body, headers)
