"""Writing changes so that a lost reply is no lost claim."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from chalicelib.domain.errors import StoreError, StoreRefused
from chalicelib.domain.job import same_write
from chalicelib.domain.ports import Change, JobStore, Outdated, Release, Saved, SaveResult, Unsure

T = TypeVar("T")

TRIES = 3


def write(store: JobStore, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
    """Save each change, trying again those whose reply was lost; a write of ours that stands is Saved.

    What is to be given back with them is given back once: where that fails it runs out by itself.
    """
    results = _recognised(changes, store.save_many(changes, release))
    for _ in range(TRIES - 1):
        unsure = [index for index, result in enumerate(results) if isinstance(result, Unsure)]
        if not unsure:
            break
        again = [changes[index] for index in unsure]
        for index, result in zip(unsure, _recognised(again, store.save_many(again)), strict=True):
            results[index] = result
    return results


def insist(ask: Callable[[], T]) -> T:
    """Ask what may be asked twice until a table answers; raises the last StoreError."""
    error: StoreError = StoreRefused()
    for _ in range(TRIES):
        try:
            return ask()
        except StoreError as failed:
            error = failed
    raise error


def _recognised(changes: Sequence[Change], results: Sequence[SaveResult]) -> list[SaveResult]:
    return [
        Saved()
        if isinstance(result, Outdated) and result.current and same_write(change.after, result.current)
        else result
        for change, result in zip(changes, results, strict=True)
    ]
