"""Pages over HTTP: the limit, and the cursor, which is opaque to callers and strict here.

A cursor says where a page ended and nothing else. Who may see what is decided anew with every request, so one
that was made up, or is somebody else's, shows no more than it would without.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from chalicelib.domain.errors import CallerError, InvalidRequest, Problem
from chalicelib.domain.job import JobId
from chalicelib.domain.search import Place
from chalicelib.domain.standing import read_address
from chalicelib.domain.suppression import Place as SuppressedPlace
from chalicelib.http.body import parse_object
from chalicelib.http.operations import Parameter
from chalicelib.service.audit import Mark
from chalicelib.service.intake import Schema

LIMITS, USUAL_LIMIT = range(1, 101), 25
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
LATEST = 253_402_300_799_999  # milliseconds; the last moment of the year 9999

CURSOR = Parameter("cursor", "query", {"type": "string"}, "The cursor of the page before; none for the first.")
LIMIT = Parameter(
    "limit",
    "query",
    {"type": "integer", "minimum": LIMITS[0], "maximum": LIMITS[-1], "default": USUAL_LIMIT},
    "The most that a page has.",
)

_ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_PLACE = Schema(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["id"],
        "properties": {"id": _ID, "look": {"type": "integer", "minimum": 0, "maximum": LATEST}},
    }
)
_MARK = Schema(
    {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "id": _ID,
            "day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        },
    }
)
_SUPPRESSED = Schema(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "since"],
        "properties": {
            "id": {"type": "string", "maxLength": 80},
            "since": {"type": "integer", "minimum": 0, "maximum": LATEST},
        },
    }
)
_NUMBER = re.compile(r"[0-9]{1,3}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,512}")


def limit_of(asked: Mapping[str, str], usual: int = USUAL_LIMIT) -> int:
    """Return how many a caller wants on a page. Raises InvalidRequest."""
    text = asked.get("limit", str(usual))
    if not _NUMBER.fullmatch(text) or int(text) not in LIMITS:
        raise InvalidRequest([Problem("limit", f"Send a number from {LIMITS[0]} to {LIMITS[-1]}.")])
    return int(text)


def place_of(asked: Mapping[str, str]) -> Place | None:
    """Return the place in a list of jobs that a cursor goes on after. Raises InvalidRequest."""
    told = _read(asked, _PLACE)
    if told is None:
        return None
    look = None if "look" not in told else EPOCH + told["look"] * MILLISECOND
    return Place(JobId(told["id"]), look)


def place_cursor(place: Place | None) -> str | None:
    """Return the cursor of a place in a list of jobs."""
    if place is None:
        return None
    look = {} if place.next_look is None else {"look": (place.next_look - EPOCH) // MILLISECOND}
    return _written({"id": place.id, **look})


def after_of(asked: Mapping[str, str]) -> str | None:
    """Return the id that a cursor of a list in the order of ids goes on after. Raises InvalidRequest."""
    told = _read(asked, _PLACE)
    return None if told is None else str(told["id"])


def after_cursor(last: str | None) -> str | None:
    """Return the cursor of the id that such a list goes on after."""
    return None if last is None else _written({"id": last})


def mark_of(asked: Mapping[str, str]) -> Mark | None:
    """Return the place in the audit log that a cursor goes on after. Raises InvalidRequest."""
    told = _read(asked, _MARK)
    if told is None:
        return None
    try:
        day = date.fromisoformat(told["day"]) if "day" in told else None
    except ValueError:  # the 30th of February
        raise _none_of_ours() from None
    return Mark(day, told.get("id"))


def mark_cursor(mark: Mark | None) -> str | None:
    """Return the cursor of a place in the audit log."""
    if mark is None:
        return None
    told = {"day": None if mark.day is None else mark.day.isoformat(), "id": mark.id}
    return _written({name: value for name, value in told.items() if value is not None})


def suppressed_of(asked: Mapping[str, str]) -> SuppressedPlace | None:
    """Return the place among suppressions that a cursor goes on after. Raises InvalidRequest."""
    told = _read(asked, _SUPPRESSED)
    if told is None:
        return None
    try:
        return SuppressedPlace(EPOCH + told["since"] * MILLISECOND, read_address(told["id"]))
    except ValueError:
        raise _none_of_ours() from None


def suppressed_cursor(place: SuppressedPlace | None) -> str | None:
    """Return the cursor of a place among suppressions."""
    if place is None:
        return None
    return _written({"id": place.address.id, "since": (place.since - EPOCH) // MILLISECOND})


def _read(asked: Mapping[str, str], schema: Schema) -> dict[str, Any] | None:
    """Return what a cursor says, None if there is none; one that we would not have written so is refused."""
    text = asked.get("cursor")
    if text is None:
        return None
    try:
        told = parse_object(
            urlsafe_b64decode(text + "=" * (-len(text) % 4)) if _BASE64URL.fullmatch(text) else b""
        )
    except (CallerError, ValueError):
        raise _none_of_ours() from None
    if schema.problems(told) or _written(told) != text:
        raise _none_of_ours()
    return told


def _written(told: Mapping[str, Any]) -> str:
    raw = json.dumps(told, separators=(",", ":"), sort_keys=True).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _none_of_ours() -> InvalidRequest:
    return InvalidRequest([Problem("cursor", "Send the cursor of an answer as it is, or none.")])
