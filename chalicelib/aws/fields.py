"""The kinds of field that a record has, and how each is written and read. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib.aws.attributes import (
    MILLISECOND,
    Value,
    at,
    document,
    millis,
    moment,
    number,
    read_document,
    read_moment,
    read_number,
    read_text,
    text,
)
from chalicelib.domain.job import Attempt
from chalicelib.domain.outcome import Failure


def _failure(value: Failure) -> Value:
    return document(_trimmed([value.code, value.message, value.reference]))


def _history(attempts: tuple[Attempt, ...]) -> Value:
    rows = [
        [
            each.number,
            millis(each.started_at),
            (each.ended_at - each.started_at) // MILLISECOND,
            each.outcome,
            each.code,
            each.reference,
        ]
        for each in attempts
    ]
    return document([_trimmed(row) for row in rows])


def _attempt(
    index: int, started: int, took: int, outcome: str, code: str | None = None, reference: str | None = None
) -> Attempt:
    return Attempt(index, at(started), at(started + took), outcome, code, reference)


def _trimmed(row: list[Any]) -> list[Any]:
    while row and row[-1] is None:
        row.pop()
    return row


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of field is written and read; `usual` is the value that is left out."""

    write: Callable[[Any], Value]
    read: Callable[[Value], Any]
    usual: Any = None


TEXT = Kind(text, read_text)
COUNT = Kind(number, read_number)
FROM_ZERO = Kind(number, read_number, 0)
MOMENT = Kind(moment, read_moment)
FLAG = Kind(lambda value: {"BOOL": value}, lambda value: value["BOOL"], False)
JSON = Kind(document, read_document)
FAILURE = Kind(_failure, lambda value: Failure(*read_document(value)[:3]))
HISTORY = Kind(_history, lambda value: tuple(_attempt(*row[:6]) for row in read_document(value)), ())


def enum(of: Callable[[str], Any]) -> Kind:
    """Return the kind of a field that holds one of some words."""
    return Kind(text, lambda value: of(value["S"]))
