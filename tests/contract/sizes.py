"""How large an item is and what its writes cost, by DynamoDB's published rules."""

from collections.abc import Mapping
from typing import Any


def size(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the bytes that an item is billed by: its names and its values."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def units(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the write units of writing an item once: one per started kilobyte."""
    return -(-size(item) // 1024)


def _value(value: Mapping[str, Any]) -> int:
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(str(content).encode())
        case "N":  # two digits to a byte, and one byte; trailing zeros are free
            return 1 + -(-len(str(content).rstrip("0")) // 2)
        case "BOOL" | "NULL":
            return 1
    raise ValueError(f"no rule for {kind}: our records hold none")
