"""What the service depends on, and how it is asked whether that answers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to the world that changes nothing there: which of `names` answer.

    `ask` tells of one name after another, with a code of what is wrong with it, None: nothing. Whatever it
    has not told of when it raises, or when nobody waits any more, does not answer. Where all of them do, that
    stands for `stands`, and is not asked for anew meanwhile.
    """

    names: tuple[str, ...]
    ask: Callable[[], Iterable[tuple[str, str | None]]]
    stands: timedelta = timedelta(0)
