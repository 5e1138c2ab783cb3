"""The API's description, OpenAPI 3.1: made from the schemas that validate and the rows next to the views."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.jobtype import JobType
from chalicelib.http.operations import Answer, Operation, Operations, Parameter, Shape, Shapes, record, ref
from chalicelib.service.intake import ENVELOPE

ABOUT = """Jobs that must happen later, reliably: submitted over HTTPS, kept in a durable record, done once.

Money is an integer in minor units. Moments are ISO 8601 in UTC. Unknown keys and parameters are refused. An
error is `{error, message, details?}`: `error` is stable, `message` is for a person, `details` names every field
that is wrong. A foreign id and an unknown id give the same 404."""
SECURITY = "bearer"
TAGS: Mapping[str, str] = {
    "jobs": "Submit jobs, read them, steer them.",
    "schedules": "Jobs that come round by the clock.",
    "endpoints": "Where a venue's webhooks go, and the secrets that sign them.",
    "control": "Stop and resume: queues, providers, venues, types, everything.",
    "suppressions": "Addresses that nothing is sent to.",
    "venues": "What is kept of venues.",
    "audit": "What operators did.",
    "alerts": "What is or was wrong, and who looks after it.",
    "metrics": "Rates, averages, failures.",
    "callbacks": "What vendors tell us, signed.",
    "operations": "Health, and this description.",
}
HEADERS: Mapping[str, tuple[Shape, str]] = {
    "Retry-After": ({"type": "integer", "minimum": 1}, "Seconds to wait before the request is repeated."),
    "X-RateLimit-Limit": ({"type": "integer"}, "Requests that the caller has in each window."),
    "X-RateLimit-Remaining": ({"type": "integer"}, "At most so many of them are left."),
    "X-RateLimit-Reset": ({"type": "integer"}, "When the next window begins, in seconds since 1970."),
    "WWW-Authenticate": ({"type": "string"}, "The scheme of the token that is asked for."),
    "ETag": ({"type": "string"}, "The version of what was answered; send it back as If-None-Match."),
}
LIMITS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
PROBLEM = record(
    {
        "field": {"type": "string", "description": "Its path in the body, or a header's or parameter's name."},
        "message": {"type": "string"},
    }
)
ERROR: Shape = record(
    {
        "error": {"type": "string", "description": "A stable code."},
        "message": {"type": "string", "description": "One sentence for a person."},
    },
    {
        "details": {"type": "array", "items": PROBLEM},
        "retryAfter": {"type": "integer", "minimum": 1, "description": "Seconds, as in Retry-After."},
    },
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that many operations share: its component, what it means, an example, its headers."""

    name: str
    about: str
    code: str
    message: str
    headers: tuple[str, ...] = ()


REFUSALS: Mapping[int, Refusal] = {
    400: Refusal("BadRequest", "The request is not valid.", "validation_failed", "The request is not valid."),
    401: Refusal(
        "Unauthenticated",
        "There is no token, or one that does not hold.",
        "unauthenticated",
        "A valid bearer token is required.",
        ("WWW-Authenticate",),
    ),
    403: Refusal("Forbidden", "The token's role may not do this.", "forbidden", "The token's role may not."),
    404: Refusal("NotFound", "Unknown, or somebody else's.", "not_found", "There is no such job."),
    409: Refusal(
        "Conflict",
        "It cannot be done as things stand; `details` says how they stand.",
        "idempotency_conflict",
        "The idempotency key is held by job job_1, which has another payload.",
    ),
    413: Refusal("TooLarge", "The body is above 256 KB.", "body_too_large", "The body is larger than 256 KB."),
    415: Refusal(
        "UnsupportedMediaType",
        "The body is not called JSON.",
        "unsupported_media_type",
        "Send the body as application/json, or what else this route takes.",
    ),
    429: Refusal(
        "TooManyRequests",
        "The caller has used up its requests of this window.",
        "rate_limited",
        "The limit of requests is reached.",
        ("Retry-After", *LIMITS),
    ),
    503: Refusal(
        "Unavailable",
        "Something that is needed does not answer. Repeat the request, with the same key.",
        "unavailable",
        "A table refused; nothing was written. Repeat the request.",
        ("Retry-After",),
    ),
}


def describe(
    chapters: Sequence[tuple[Operations, Shapes]], types: Mapping[str, JobType], *, server: str | None
) -> dict[str, Any]:
    """Return the document of these operations; `server` is the URL that the paths are below."""
    operations = {place: each for rows, _ in chapters for place, each in rows.items()}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations.items():
        paths.setdefault(path, {})[method.lower()] = _operation(operation)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "queue-service", "version": "1", "description": ABOUT},
        **({"servers": [{"url": server}]} if server else {}),
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {SECURITY: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "headers": {
                name: {"schema": shape, "description": about} for name, (shape, about) in HEADERS.items()
            },
            "responses": {each.name: _refusal(each) for each in REFUSALS.values()},
            "schemas": {"Error": ERROR, **_submissions(types), **_all(shapes for _, shapes in chapters)},
        },
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def class_name(job_type: str) -> str:
    """Return what a generated client may call a job type: payment.process is PaymentProcess."""
    return "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]", job_type))


def _operation(row: Operation) -> dict[str, Any]:
    parameters = row.parameters
    about = f"{row.about}\n\nWho may: {row.who}." if row.about else f"Who may: {row.who}."
    answers = {str(status): _answer(each, limited=not row.public) for status, each in row.answers.items()}
    refused = sorted({*row.refusals, *_implied(row)} - row.answers.keys())
    described: dict[str, Any] = {
        "operationId": row.id,
        "tags": [row.tag],
        "summary": row.summary,
        "description": about,
        "security": [] if row.public else [{SECURITY: []}],
        "responses": answers | {str(status): _see("responses", REFUSALS[status].name) for status in refused},
    }
    if parameters:
        described["parameters"] = [_parameter(each) for each in parameters]
    if row.body is not None:
        content = {row.body_media: {"schema": row.body}}
        described["requestBody"] = {"required": row.body_required, "content": content}
    return described


def _implied(row: Operation) -> set[int]:
    """Return the refusals that follow from what an operation takes."""
    asks = set() if row.public else {400, 401, 429, 503}
    return asks | (set() if row.body is None else {400, 413, 415})


def _parameter(row: Parameter) -> dict[str, Any]:
    return {
        "name": row.name,
        "in": row.where,
        "required": row.required or row.where == "path",
        "schema": row.shape,
        "description": row.about,
    }


def _answer(row: Answer, *, limited: bool) -> dict[str, Any]:
    headers = (*row.headers, *(LIMITS if limited else ()))
    answer: dict[str, Any] = {"description": row.about}
    if headers:
        answer["headers"] = {name: _see("headers", name) for name in headers}
    if row.shape is not None:
        answer["content"] = {row.media: {"schema": row.shape}}
    return answer


def _refusal(row: Refusal) -> dict[str, Any]:
    example = {"error": row.code, "message": row.message}
    answer: dict[str, Any] = {
        "description": row.about,
        "content": {"application/json": {"schema": ref("Error"), "example": example}},
    }
    if row.headers:
        answer["headers"] = {name: _see("headers", name) for name in row.headers}
    return answer


def _submissions(types: Mapping[str, JobType]) -> dict[str, Any]:
    """Return the body of a submission: one of as many shapes as there are job types, told apart by `type`."""
    schemas: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for job_type in types.values():
        name = class_name(job_type.name)
        data = {key: value for key, value in job_type.schema.items() if key != "$schema"}
        schemas[f"{name}Data"] = {**data, "examples": [job_type.example]}
        schemas[f"Submit{name}"] = _submission(job_type, ref(f"{name}Data"))
        mapping[job_type.name] = f"#/components/schemas/Submit{name}"
    choices = [ref(f"Submit{class_name(job_type)}") for job_type in types]
    schemas["Submission"] = {
        "oneOf": choices,
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
    return schemas


def _submission(job_type: JobType, data: Shape) -> dict[str, Any]:
    tier = job_type.tier.value
    properties = {
        **ENVELOPE["properties"],
        "type": {"type": "string", "enum": [job_type.name], **_older_names(job_type)},
        "queue": {"type": "string", "enum": [tier], "description": "Checked if it is sent; the type decides."},
        "data": data,
    }
    example = {"type": job_type.name, "data": job_type.example}
    return {**ENVELOPE, "properties": properties, "examples": [example]}


def _older_names(job_type: JobType) -> dict[str, str]:
    """Return what is said of a type's older names: they are accepted, but nobody should learn them."""
    if not job_type.aliases:
        return {}
    return {"description": f"Older names are accepted too: {', '.join(job_type.aliases)}."}


def _see(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _all(mappings: Iterable[Shapes]) -> dict[str, Shape]:
    return {name: shape for shapes in mappings for name, shape in shapes.items()}


def _plain(value: Any) -> Any:
    """Return a value made of what JSON knows: read-only mappings and tuples made anew."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
