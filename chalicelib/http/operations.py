"""What the API's description says of a route: one row per method and path, written next to the view.

Each module of views has an OPERATIONS mapping, by method and whole path, and a SCHEMAS mapping of what it names
with `ref`; `openapi.CHAPTERS` lists both. What follows from a row (401 and 429 where a token is asked for, 413
and 415 where there is a body) is not repeated in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chalicelib.service.intake import KEY_PATTERN

Shape = Mapping[str, Any]  # a JSON Schema 2020-12


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value in the path, the query or a header."""

    name: str
    where: Literal["path", "query", "header"]
    shape: Shape
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What one status carries: a JSON body of a shape (None: no body), and headers of openapi.HEADERS."""

    about: str
    shape: Shape | None
    headers: tuple[str, ...] = ()
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `id` is what generated clients call it; `who` says whose tokens may."""

    id: str
    tag: str
    summary: str
    who: str
    answers: Mapping[int, Answer]
    about: str = ""
    body: Shape | None = None
    body_required: bool = True
    body_media: str = "application/json"
    parameters: tuple[Parameter, ...] = ()
    refusals: tuple[int, ...] = ()  # beside those that follow from the rest: 403, 404, 409
    public: bool = False


Operations = Mapping[tuple[str, str], Operation]
Shapes = Mapping[str, Shape]


def ref(name: str) -> Shape:
    """Return a reference to a shape of some SCHEMAS, or to one that openapi.py makes."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """Return the shape of an object that has these keys and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def listed(item: Shape) -> Shape:
    """Return the shape of a list of such items."""
    return {"type": "array", "items": item}


def nullable(shape: Shape) -> Shape:
    """Return a shape that may also be null."""
    return {"anyOf": [shape, {"type": "null"}]}


TEXT: Shape = {"type": "string"}
COUNT: Shape = {"type": "integer", "minimum": 0}
MOMENT: Shape = {
    "type": "string",
    "format": "date-time",
    "description": "ISO 8601 in UTC, to the millisecond",
    "examples": ["2026-03-01T12:00:00.000Z"],
}
JOB_ID = Parameter("job_id", "path", {"type": "string", "minLength": 1}, "The job's id.", required=True)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    {"type": "string", "pattern": KEY_PATTERN},
    "Makes a submission repeatable; wins over the job type's natural key. The same key with the same payload "
    "answers 200 with the first job, with another payload 409.",
)
