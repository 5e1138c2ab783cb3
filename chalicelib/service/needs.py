"""The one place where the registry is asked what jobs need: of all that are in hand in one call."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from chalicelib.domain.standing import Need, Objection, Registry, objections

T = TypeVar("T")


def unmet(registry: Registry, needs: Mapping[T, Sequence[Need]]) -> dict[T, list[Objection]]:
    """Return what stands in the way of whom; nobody is asked where nothing is needed. Raises StoreRefused."""
    asked = [need for found in needs.values() for need in found]
    if not asked:
        return {}
    standing = registry.look_up(asked)
    found = {whose: objections(theirs, standing) for whose, theirs in needs.items()}
    return {whose: theirs for whose, theirs in found.items() if theirs}
