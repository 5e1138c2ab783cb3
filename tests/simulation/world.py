"""The simulated world: virtual time, seeded interleaving, processes that crash, stall and lose replies.

Every process runs the project's own code in greenlets. A port call sleeps for a while of virtual time, so
that the others run in between; which goes first is the seed's choice. Nothing here knows what a job is.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn, TypeVar

from greenlet import getcurrent, greenlet

from chalicelib.domain.job import ClaimId, JobId
from tests.fakes import START

T = TypeVar("T")
R = TypeVar("R")

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000  # virtual milliseconds
STALLS = (5 * SECOND, 40 * SECOND, 62 * SECOND, 75 * SECOND, 8 * MINUTE)
MOST_EVENTS = 150_000  # a schedule that takes more does not end; a long stop alone takes 60,000


class Crashed(BaseException):
    """The process is gone: nothing of it runs on, and nobody catches this."""


class Endless(Exception):
    """The schedule does not come to an end."""


FAULTS = (
    "crash",  # the process dies
    "refuse",  # not applied, and told so
    "mute",  # not applied, and no reply
    "lose",  # applied, and no reply
    "stall",  # the process stands still, often past its lease
    "duplicate",  # delivered twice, deleted in vain, run twice
    "provider",  # trouble at the provider
    "hang",  # the process dies while the provider does not answer
    "stale",  # the index lags behind
)
RATES = (0.0, 0.0, 0.0, 0.02, 0.06, 0.15, 0.3, 0.5)


@dataclass(frozen=True)
class Aim:
    """One fault instead of a storm: the first `skip` opportunities for it pass, the next is taken.

    `trouble` is the one that a provider is in, which is drawn where it is None. With `smooth` a provider
    that is in no trouble does at once what it is asked to.
    """

    fault: str
    skip: int
    trouble: str | None = None
    smooth: bool = False


@dataclass
class World:
    """One schedule: its clock, its events to come, its faults and its trace.

    How often each thing goes wrong is drawn anew for every schedule: most have a few kinds of trouble, and
    extremes occur.
    """

    seed: str
    tracing: bool = False
    aim: Aim | None = None
    now: int = 0
    events: int = 0
    storm_ends: int = 0
    faults_left: int = 0
    trace: list[str] = field(default_factory=list)
    point: str = ""  # the I/O that somebody is at
    struck_at: str | None = None  # the I/O at which the fault that was aimed struck

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.weather = {fault: self.chance.choice(RATES) for fault in FAULTS}
        self._opportunities = 0
        self._heap: list[tuple[int, int, Callable[[], object], Process | None]] = []
        self._made = 0
        self._hub = getcurrent()

    def at(self, when: int, what: Callable[[], object], process: "Process | None" = None) -> None:
        """Have something happen at a moment, unless its process has died by then."""
        self._made += 1
        heapq.heappush(self._heap, (when, self._made, what, process))

    def run(self) -> None:
        """Let everything happen, in the order of time."""
        while self._heap:
            when, _, what, process = heapq.heappop(self._heap)
            if process is not None and process.dead:
                continue
            self.events += 1
            if self.events > MOST_EVENTS:
                raise Endless
            self.now = max(self.now, when)
            what()

    def moment(self, skew: int = 0) -> datetime:
        """Return the present as a clock shows it that is `skew` milliseconds off."""
        return START + timedelta(milliseconds=self.now + skew)

    def strikes(self, fault: str) -> bool:
        """Say whether this fault strikes now; there are only so many, and none after the storm."""
        if self.aim is not None:
            return self._is_aimed_at(self.aim, fault)
        rate = self.weather[fault]
        if rate == 0.0 or self.now >= self.storm_ends or self.faults_left == 0:
            return False
        if self.chance.random() >= rate:
            return False
        self.faults_left -= 1
        return True

    def _is_aimed_at(self, aim: Aim, fault: str) -> bool:
        if fault != aim.fault:
            return False
        self._opportunities += 1
        if self._opportunities != aim.skip + 1:
            return False
        self.struck_at = self.point
        return True

    def fate(self) -> float:
        """Draw what a provider makes of a request, in [0, 1): most of that is what was asked for."""
        return 0.999 if self.aim and self.aim.smooth else self.chance.random()

    @property
    def struck(self) -> bool:
        """Say whether there was an opportunity for the fault that was aimed."""
        return self.aim is not None and self._opportunities > self.aim.skip

    def wait(self, process: "Process", milliseconds: int) -> None:
        """Let the others run for so long."""
        self.at(self.now + milliseconds, getcurrent().switch, process)
        self._hub.switch()

    def block(self) -> None:
        """Let the others run until somebody switches back."""
        self._hub.switch()

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace, if there is one."""
        if self.tracing:
            self.trace.append(f"{self.now / 1000:12.3f}  {who:14} {what}")


class Process:
    """One invocation: a clock of its own, and threads that die together.

    After its time-out it goes on for up to `zombie` milliseconds, which is more than Lambda would let it.
    """

    def __init__(self, world: World, name: str, seconds: int = 60, zombie: int = 10 * MINUTE) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.skew = world.chance.randint(-2_500, 2_500)
        self.ends = self.now() + timedelta(seconds=seconds)
        self._dies_at = world.now + seconds * SECOND + zombie
        self._threads: list[greenlet] = []

    # --- the ports of time, randomness and concurrency

    def now(self) -> datetime:
        return self.world.moment(self.skew)

    def fraction(self) -> float:
        return self.world.chance.random()

    def job_id(self) -> JobId:
        return JobId(self._identity("job"))

    def claim_id(self) -> ClaimId:
        return ClaimId(self._identity("claim"))

    def entry_id(self) -> str:
        return self._identity("entry")

    def _identity(self, kind: str) -> str:
        self.world._made += 1
        return f"{kind}_{self.world._made:08d}"

    def run_all(self, task: Callable[[T], R], items: Sequence[T]) -> list[R]:
        if len(items) < 2:
            return [task(item) for item in items]
        parent = getcurrent()
        results: dict[int, R] = {}
        failures: list[BaseException] = []
        left = len(items)

        def one(index: int, item: T) -> None:
            nonlocal left
            try:
                results[index] = task(item)
            except Exception as error:  # noqa: BLE001 - raised by the parent once all have ended
                failures.append(error)
            left -= 1
            if left == 0:
                self.world.at(self.world.now, parent.switch, self)

        for index, item in enumerate(items):
            self._thread(lambda index=index, item=item: one(index, item))  # type: ignore[misc]  # defaults bind
        self.world.block()
        if failures:
            raise failures[0]
        return [results[index] for index in range(len(items))]

    def note(self, action: str, **facts: str | int | float | None) -> None:
        if self.world.tracing:
            told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
            self.world.note(self.name, f"* {action} {told}")

    alarm = note

    # --- life and death

    def start(self, body: Callable[[], object]) -> None:
        """Begin to run."""
        self._thread(body)

    def _thread(self, body: Callable[[], object]) -> None:
        def guarded() -> None:
            with suppress(Crashed):
                body()

        thread = greenlet(guarded, parent=self.world._hub)
        self._threads.append(thread)
        self.world.at(self.world.now, thread.switch, self)

    def crash(self, where: str) -> NoReturn:
        """Die here and now, with all threads."""
        self.world.note(self.name, f"✗ crashes {where}")
        self.dead = True
        self.world.at(self.world.now, self._reap)
        raise Crashed

    def _reap(self) -> None:
        for thread in self._threads:
            if not thread.dead:
                thread.throw(Crashed)

    def before(self, label: str) -> None:
        """Begin an I/O: others run meanwhile; the process may die before it takes place, or stall."""
        if self.dead:
            raise Crashed
        world = self.world
        world.wait(self, world.chance.randrange(1, 40))
        world.point = f"before {label}"
        if world.strikes("crash"):
            self.crash(f"before {label}")
        self._stall(label)

    def after(self, label: str) -> None:
        """End an I/O that took place: the process may die or stall before it learns of it."""
        world = self.world
        world.point = f"after {label}"
        if world.strikes("crash"):
            self.crash(f"after {label}")
        self._stall(label)

    def _stall(self, label: str) -> None:
        """Stand still, often until past the end of the invocation and of its leases: a zombie."""
        world = self.world
        if not world.strikes("stall"):
            return
        length = 75 * SECOND if world.aim else world.chance.choice(STALLS)
        world.note(self.name, f"~ stalls {length / 1000:.0f} s at {label}")
        world.wait(self, length)
        if world.now > self._dies_at:
            self.crash("long after its time-out")
