"""Adapters one call of which goes wrong, whichever it is: for tests that let each call fail in turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.ports import Message, Unsure
from tests.fakes import ManualClock, MemoryQueue, MemoryStore


class Crashed(BaseException):
    """The process is gone."""


class Trouble(StrEnum):
    """What becomes of the call."""

    REFUSED = "refused"  # not applied, and told so
    MUTE = "mute"  # not applied, and no reply
    LOST = "lost"  # applied, and no reply
    CRASH_BEFORE = "crash before"
    CRASH_HALFWAY = "crash half-way"  # of a call for many items the first half is applied
    CRASH_AFTER = "crash after"


@dataclass
class Fate:
    """Which call goes wrong, counted over all adapters that share this, and how; no `trouble`: none does."""

    skip: int = 0
    trouble: Trouble | None = None
    met: int = 0
    struck: str | None = None

    def strikes(self, name: str) -> Trouble | None:
        """Count a call and say what becomes of it."""
        self.met += 1
        if self.trouble is None or self.met != self.skip + 1:
            return None
        self.struck = name
        return self.trouble

    def over(self) -> None:
        """Let nothing go wrong any more."""
        self.trouble = None


READS = frozenset({"load", "load_key", "load_stage", "load_batch"})
# What a call for many items says of each when nobody answers.
UNANSWERED: Mapping[str, Any] = {"take_keys": False, "add_many": None, "save_many": Unsure(), "send": False}
CALLS = ("open_stage", "move_stage", "take_key", "add", *sorted(READS), "take_keys", "add_many", "save_many")


class ShakyStore(MemoryStore):
    """Records that share a fate."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.fate = fate


def meet(fate: Fate, name: str, carry_out: Callable[..., Any], items: Any, *rest: Any, **named: Any) -> Any:
    """Make a call as its fate will have it."""
    trouble = fate.strikes(name)
    if trouble is None:
        return carry_out(items, *rest, **named)
    many = name in UNANSWERED
    if trouble is Trouble.CRASH_HALFWAY and many:
        carry_out(items[: len(items) // 2])
    if trouble in (Trouble.LOST, Trouble.CRASH_AFTER):
        carry_out(items, *rest, **named)
    if trouble in (Trouble.CRASH_BEFORE, Trouble.CRASH_HALFWAY, Trouble.CRASH_AFTER):
        raise Crashed
    if many:
        return [UNANSWERED[name] for _ in items]
    raise StoreRefused if trouble is Trouble.REFUSED or name in READS else StoreUnsure


def _shaky(name: str) -> Callable[..., Any]:
    def call(self: ShakyStore, items: Any, *rest: Any, **named: Any) -> Any:
        carry_out = getattr(super(ShakyStore, self), name)
        return meet(self.fate, name, carry_out, items, *rest, **named)

    return call


for _name in CALLS:
    setattr(ShakyStore, _name, _shaky(_name))


class ShakyQueue(MemoryQueue):
    """Queues that share a fate."""

    def __init__(self, clock: ManualClock, fate: Fate) -> None:
        super().__init__(clock)
        self.fate = fate

    def send(self, messages: Sequence[Message]) -> list[bool]:
        sent: list[bool] = meet(self.fate, "send", super().send, messages)
        return sent
