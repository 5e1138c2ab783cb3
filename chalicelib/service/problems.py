"""What is wrong with a value, field by field, in words that say what to do and never repeat the value."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jsonschema_rs

from chalicelib.domain.errors import InvalidRequest, Problem

MOST_PROBLEMS = 100  # a body may hold thousands; an answer names no more
SHOWN = 64  # characters of a caller's key that an answer repeats

Path = Sequence[str | int]

KINDS: Mapping[str, str] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
FORMATS: Mapping[str, str] = {
    "currency": "an ISO 4217 currency in upper case, such as EUR",
    "email": "an e-mail address, such as name@example.com",
    "hook-url": "an https URL of a public host by its name, on port 443 or 8443, "
    "without credentials or a fragment",
}
# By JSON Schema keyword: what to do, given the keyword's value.
ADVICE: Mapping[str, Callable[[Any], str]] = {
    "type": lambda kinds: f"Send {_any_of([KINDS.get(kind, kind) for kind in kinds])}.",
    "enum": lambda values: f"Send one of {', '.join(map(str, values))}.",
    "const": lambda value: f"Send {value}.",
    "format": lambda name: f"Send {FORMATS.get(name, f'a value of the format {name}')}.",
    "pattern": lambda pattern: f"Send a string that matches {pattern}.",
    "minimum": lambda least: f"Send at least {least}.",
    "maximum": lambda most: f"Send at most {most}.",
    "exclusiveMinimum": lambda least: f"Send more than {least}.",
    "exclusiveMaximum": lambda most: f"Send less than {most}.",
    "multipleOf": lambda step: f"Send a multiple of {step}.",
    "minLength": lambda least: f"Send at least {_count(least, 'character')}.",
    "maxLength": lambda most: f"Send at most {_count(most, 'character')}.",
    "minItems": lambda least: f"Send at least {_count(least, 'item')}.",
    "maxItems": lambda most: f"Send at most {_count(most, 'item')}.",
    "minProperties": lambda least: f"Send at least {_count(least, 'key')}.",
    "maxProperties": lambda most: f"Send at most {_count(most, 'key')}.",
    "uniqueItems": lambda _: "Send each item once.",
    "falseSchema": lambda _: "This cannot be sent along with the rest: see the schema of the job type.",
    "propertyNames": lambda _: "A key in it is not allowed: see the schema of the job type.",
}
SAID_BY_THE_SCHEMA = frozenset({"pattern", "oneOf"})  # by the description beside the keyword, if there is one
REMOVE = "This key is not known here: remove it."
OTHERWISE = "The value is not allowed here: see the schema of the job type."


def refuse(problems: Sequence[Problem]) -> None:
    """Raise InvalidRequest with every problem, if there is any."""
    if problems:
        raise InvalidRequest(problems)


def problems_of(
    errors: Iterable[jsonschema_rs.ValidationError], schema: Mapping[str, Any], *, under: Path = ()
) -> list[Problem]:
    """Return the problems that a schema has found in a value which sits `under` a path of the body."""
    found: dict[tuple[str, str], Problem] = {}
    for error in errors:
        for problem in _problems(error, schema, [*under, *error.instance_path]):
            found.setdefault((problem.field, problem.message), problem)
            if len(found) == MOST_PROBLEMS:
                return list(found.values())
    return list(found.values())


def _problems(error: jsonschema_rs.ValidationError, schema: Mapping[str, Any], path: Path) -> list[Problem]:
    keyword, value = error.kind.name, error.kind.value
    if keyword == "required":
        return [Problem(field_of([*path, value]), "This is required: send it.")]
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        return [Problem(field_of([*path, key]), REMOVE) for key in value]
    if keyword in SAID_BY_THE_SCHEMA and (wanted := _description(schema, error.schema_path)):
        return [Problem(field_of(path), f"Send this: {wanted.rstrip('.')}.")]
    advice = ADVICE.get(keyword)
    return [Problem(field_of(path) or "body", advice(value) if advice else OTHERWISE)]


def _description(schema: Mapping[str, Any], keyword_path: Path) -> str | None:
    """Return how a schema itself describes the value that one of its keywords has refused."""
    node: Any = schema
    for step in keyword_path[:-1]:
        node = node[step]
    description = node.get("description")
    return description if isinstance(description, str) else None


def field_of(path: Path) -> str:
    """Return a path as callers read it, such as `data.metadata.name`; long keys are cut."""
    return ".".join(str(step)[:SHOWN].encode("ascii", "backslashreplace").decode() for step in path)


def _any_of(words: Sequence[str]) -> str:
    return " or ".join(words)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
