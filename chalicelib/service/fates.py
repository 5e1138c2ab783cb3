"""What a delivery is to come to: the fate of its message, and the writes that must stand first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.job import JobId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.ports import Change, JobStore, Journal


@dataclass(frozen=True, slots=True)
class Done:
    """The record says all there is to say: the message may go."""


@dataclass(frozen=True, slots=True)
class Later:
    """The message comes back after this long."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Left:
    """Nothing is certain: the message comes back when its queue's own visibility ends."""


@dataclass(frozen=True, slots=True)
class Stray:
    """There is no such job: the message is poison."""


Fate = Done | Later | Left | Stray
Tell = Callable[[Mapping[JobId, Fate]], None]
DONE, LEFT, STRAY = Done(), Left(), Stray()


class Executes(Protocol):
    """What does a batch; `Execute` says how."""

    def execute(self, receives: Mapping[JobId, int], *, ends: datetime, told: Tell = ...) -> dict[JobId, Fate]:
        """Do what is due of these jobs before the invocation ends, and say what their messages deserve."""
        ...


MakeExecute = Callable[[JobStore, Journal, Mapping[str, JobType]], Executes]


@dataclass(frozen=True, slots=True)
class Step:
    """A write that was decided; once it stands, `fate` is the message's, or the job runs if that is None."""

    change: Change
    fate: Fate | None


@dataclass(frozen=True, slots=True)
class Look:
    """A look that is to move, and nothing else; the message's fate once it has, and if that is not certain."""

    change: Change
    fate: Fate
    otherwise: Fate
