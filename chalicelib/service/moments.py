"""Moments as callers write them in queries: ISO 8601, always with an offset from UTC."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.errors import Problem

MOMENT: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})$",
    "description": "a moment in ISO 8601 with its offset, such as 2026-03-01T12:00:00Z",
}


def read_moment(asked: Mapping[str, str], name: str, problems: list[Problem]) -> datetime | None:
    """Return the moment that a parameter names, None if there is none; what is no moment is a problem more."""
    if name not in asked or any(problem.field == name for problem in problems):
        return None
    try:
        return datetime.fromisoformat(asked[name]).astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February
        problems.append(Problem(name, f"Send this: {MOMENT['description']}."))
        return None
