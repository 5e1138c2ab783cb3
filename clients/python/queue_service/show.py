"""Answers as text for a terminal: aligned, and with nothing in them that a terminal would obey."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

WIDEST = 60  # characters of a column, but for the last one
NOTHING = "-"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows under the names of their columns."""
    if not rows:
        return "Nothing."
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    lines = [list(columns), *cells]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def fields(thing: Mapping[str, Any]) -> str:
    """Return one thing, a line per key."""
    width = max((len(key) for key in thing), default=0)
    return "\n".join(f"{_plain(key):<{width}}  {_value(value)}" for key, value in thing.items())


def _cell(value: Any) -> str:
    text = _value(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _value(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _plain(text: str) -> str:
    """Return a text without control characters: what a caller wrote must not move an operator's cursor."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
