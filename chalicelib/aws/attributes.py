"""DynamoDB's attribute values, written and read: strings, whole numbers, moments and JSON documents."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Value = Mapping[str, Any]  # an attribute, as DynamoDB writes it: {"S": "money"}
Item = Mapping[str, Value]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def millis(value: datetime) -> int:
    """Return a moment as whole milliseconds since 1970."""
    return (value - EPOCH) // MILLISECOND


def at(value: int) -> datetime:
    """Return the moment of milliseconds since 1970."""
    return EPOCH + value * MILLISECOND


def text(value: str) -> Value:
    """Return a string, or an enum of strings, as an attribute."""
    return {"S": str(value)}


def number(value: int) -> Value:
    """Return a whole number as an attribute."""
    return {"N": str(value)}


def moment(value: datetime) -> Value:
    """Return a moment as an attribute: milliseconds since 1970."""
    return {"N": str(millis(value))}


def seconds(value: datetime) -> Value:
    """Return a moment as TTL wants it: seconds since 1970, never earlier."""
    return {"N": str(-((EPOCH - value) // timedelta(seconds=1)))}


def document(value: Any) -> Value:
    """Return a JSON value as an attribute: one compact string."""
    return {"S": json.dumps(value, separators=(",", ":"), ensure_ascii=False)}


def read_moment(value: Value) -> datetime:
    """Return the moment of an attribute."""
    return at(int(value["N"]))


def read_text(value: Value) -> str:
    """Return the string of an attribute."""
    read: str = value["S"]
    return read


def read_number(value: Value) -> int:
    """Return the whole number of an attribute."""
    return int(value["N"])


def read_document(value: Value) -> Any:
    """Return the JSON value of an attribute."""
    return json.loads(value["S"])
