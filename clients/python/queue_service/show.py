"""Answers as text for a terminal: aligned, and with nothing in them that a terminal would obey."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

WIDEST = 60  # characters of a column, but for the last one
NOTHING = "-"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows under the titles of their columns; a column is a key, or `title=path.to.key`."""
    if not rows:
        return "Nothing."
    lines = [heads(columns), *([_cell(_at(row, column)) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(_line(line, widths) for line in lines)


def heads(columns: Sequence[str]) -> list[str]:
    """Return the titles of columns."""
    return [column.partition("=")[0] for column in columns]


def line(row: Mapping[str, Any], columns: Mapping[str, int]) -> str:
    """Return one row in columns of a fixed width."""
    return _line([_cell(_at(row, column)) for column in columns], list(columns.values()))


def head(columns: Mapping[str, int]) -> str:
    """Return the titles over such rows."""
    return _line(heads(list(columns)), list(columns.values()))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, cells, widths)).rstrip()


def _at(row: Mapping[str, Any], column: str) -> Any:
    """Return what a row has in a column, None if it has nothing there."""
    title, _, path = column.partition("=")
    found: Any = row
    for name in (path or title).split("."):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


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
