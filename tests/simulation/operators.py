"""The operators of one schedule: they steer jobs and hold things back, by the real services."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chalicelib.domain.controls import Control, Scope
from chalicelib.domain.errors import ActionRefused, QueueServiceError
from chalicelib.domain.job import Job, State, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import TIMING, Role
from chalicelib.domain.ratelimit import group_of
from chalicelib.domain.steer import Resolution
from chalicelib.service.control import Stops
from chalicelib.service.listing import Listing
from chalicelib.service.manage import Manage, Order
from chalicelib.service.operations import Operations
from chalicelib.service.principal import Principal
from chalicelib.service.read import moment
from chalicelib.service.run_operations import RunOperations
from chalicelib.service.sources import Sources
from tests.fakes import MemoryLeases
from tests.fakes_operations import MemoryOperationStore
from tests.fakes_search import MemoryJobIndex
from tests.simulation.adapters import SimIndex, SimLeases, SimOperations, SimQueue, SimQueues, SimStore
from tests.simulation.invariants import Watch, WatchedStore
from tests.simulation.world import HOUR, MINUTE, SECOND, Process, World

ADMIN = Principal("operator-1", Role.ADMIN)
REQUEST = 29  # seconds: who asks over HTTP is cut off, so a stop is placed within them or never
LENGTHS = (30 * SECOND, 2 * MINUTE, 10 * MINUTE, 10 * MINUTE, 2 * HOUR, 25 * HOUR)
ONE = ("cancel", "retry", "resolve")
MANY = ("retry", "cancel", "redrive", "redrive")


@dataclass
class Operators:
    """What the operators do, and what they need for it."""

    world: World
    types: Mapping[str, JobType]
    job_type: JobType
    venue_id: VenueId
    store: WatchedStore
    queues: SimQueues
    leases: MemoryLeases
    watch: Watch

    def __post_init__(self) -> None:
        self.operations = MemoryOperationStore(self.store.audit)
        self._index = MemoryJobIndex(self.store)
        self._made = 0
        self._stops = False  # whether there may be something to lift
        self._ticking = False

    def prepare(self, *, often: bool) -> None:
        """Choose what they will do, and when."""
        chance = self.world.chance
        for _ in range(chance.choice((1, 2, 3) if often else (0, 0, 1, 3))):
            when = chance.choice((500, 20 * SECOND, 2 * MINUTE, 12 * MINUTE, 7 * HOUR, 26 * HOUR))
            when += chance.randrange(3 * SECOND)
            what = chance.choice((*ONE, "stop", "stop", "many", "many") if often else (*ONE, "stop", "stop"))
            self.world.at(when, {"stop": self.stop, "many": self._many}.get(what, self._one(what)))

    def _process(self, *, seconds: int = 60, zombie: int = 10 * MINUTE) -> Process:
        self._made += 1
        return Process(self.world, f"operator-{self._made}", seconds, zombie)

    def _try(self, process: Process, what: str, act: Callable[[], object]) -> None:
        def acting() -> None:
            try:
                act()
            except ActionRefused as refused:
                self.world.note(process.name, f"{what}: 409 {refused.code}")
            except QueueServiceError as error:
                self.world.note(process.name, f"{what} fails: {error.code}")

        process.start(acting)

    # --- one job

    def _one(self, what: str) -> Callable[[], None]:
        def operate() -> None:
            if self.store.jobs:
                job = self.world.chance.choice(list(self.store.jobs.values()))
                process = self._process()
                self._try(process, f"{what} of {job.id}", lambda: self._act(process, what, job))

        return operate

    def resolve_parked(self) -> None:
        """Resolve what is parked at this moment, each job by itself."""
        for job in [each for each in self.store.jobs.values() if each.state is State.PARKED]:
            process = self._process()
            self._try(process, f"resolve of {job.id}", lambda p=process, job=job: self._act(p, "resolve", job))  # type: ignore[misc]  # defaults bind

    def _act(self, process: Process, what: str, job: Job) -> None:
        manage = self._manage(process, SimStore(process, self.store))
        order = Order(job.id, self.venue_id, "operator-1", "simulation")
        if what == "cancel":
            manage.cancel(order)
            self.watch.cancelled(job.id, self.store)
        elif what == "retry":
            manage.retry(order)
        else:
            self._resolve(manage, order, job)

    def _manage(self, process: Process, store: SimStore) -> Manage:
        return Manage(
            store=store,
            queue=SimQueue(process, self.queues),
            types=self.types,
            clock=process,
            chance=process,
            journal=process,
        )

    def _resolve(self, manage: Manage, order: Order, job: Job) -> None:
        """Resolve by the truth: what the operator finds at the provider, once nothing can happen any more."""
        provided = self.watch.provided
        if provided.may_still_happen(job.id) or self.store.jobs[job.id].state is not State.PARKED:
            return
        if provided.effects.get(job.id):
            self.watch.vouched.add(job.id)
            resolution = Resolution.COMPLETED
        else:
            provided.certain(job.id)
            resolution = self.world.chance.choice((Resolution.FAILED, Resolution.RETRY))
        manage.resolve(order, resolution)

    # --- stops and pauses

    def stop(self, *, whole: bool = False) -> None:
        """Stop or pause something for a while, sometimes with the end known beforehand; not after the storm."""
        chance = self.world.chance
        if self.world.now >= self.world.storm_ends:
            return
        length = 24 * HOUR if whole else chance.choice(LENGTHS)
        scope, value = (Scope.ALL, "") if whole else chance.choice(self._scopes())
        process = self._process(seconds=REQUEST, zombie=0)
        body: dict[str, Any] = {"reason": "simulation"}
        if chance.random() < 0.5:
            body["until"] = moment(process.now() + timedelta(milliseconds=length))
        self._stops = True
        self._try(process, f"stop of {scope} {value}", lambda: self._place(process, scope, value, body))
        lifted = min(self.world.now + length, self.world.storm_ends)
        self.world.at(lifted, lambda: self._lift(scope, value))

    def _scopes(self) -> tuple[tuple[Scope, str], ...]:
        provider, tier = self.job_type.provider, self.job_type.tier.value
        return (
            (Scope.TIER, tier),
            (Scope.TIER, tier),
            (Scope.ALL, ""),
            (Scope.PROVIDER, provider),
            (Scope.PROVIDER, group_of(provider)),
            (Scope.VENUE, self.venue_id),
            (Scope.VENUE, "venue-of-another"),
            (Scope.TYPE, self.job_type.name),
        )

    def _place(self, process: Process, scope: Scope, value: str, body: Mapping[str, Any]) -> None:
        stops = self._stops_of(process)
        if scope is Scope.TIER:
            stops.pause(value, body, ADMIN)
        else:
            stops.stop({**_named(scope, value), **body}, ADMIN)

    def _stops_of(self, process: Process) -> Stops:
        store = SimStore(process, self.store)
        return Stops(
            store=store,
            types=self.types,
            clock=process,
            chance=process,
            journal=process,
            sources=Sources(store=store, sources=None, clock=process, journal=process),
        )

    def _lift(self, scope: Scope, value: str) -> None:
        process = self._process(seconds=REQUEST, zombie=0)

        def lift() -> None:
            stops = self._stops_of(process)
            if scope is Scope.TIER:
                stops.resume(value, {}, ADMIN)
            else:
                stops.lift({**_named(scope, value), "reason": "simulation"}, ADMIN)

        self._try(process, f"resumption of {scope} {value}", lift)

    def lift_all(self, then: Callable[[], None]) -> None:
        """Resume whatever is stopped until nothing is, also what a request places that is still under way."""
        if not self._stops:
            then()
            return

        def again() -> None:
            now = self.world.moment(-5_000)  # by the slowest clock
            left = [each for each in self.store.controls.entries if not each.ended(now)]
            for each in left:
                self._lift(each.scope, each.value)
            if left:
                self.world.at(self.world.now + 10 * SECOND, again)
            else:
                then()

        for each in self._in_force():
            self._lift(each.scope, each.value)
        self.world.at(self.world.now + (REQUEST + 1) * SECOND, again)

    def _in_force(self) -> tuple[Control, ...]:
        return self.store.controls.in_force(self.world.moment())

    # --- many jobs at once

    def _many(self) -> None:
        self.begin(self.world.chance.choice(MANY))

    def begin(self, what: str) -> None:
        """Begin a bulk action or a redrive, and sometimes stop it again."""
        chance = self.world.chance
        body: dict[str, Any] = {"mode": "start", "reason": "simulation"}
        if what == "redrive":
            body |= chance.choice(({}, {"limit": 2}, {"ratePerSecond": 1}))
        else:
            state = "failed" if what == "retry" else chance.choice(("queued", "retrying"))
            by_venue = {"venueId": self.venue_id} if chance.random() < 0.5 else {}
            body |= {"action": what, "filter": {"state": state, **by_venue}}
        if chance.random() < 0.1:
            body["mode"] = "preview"
        process = self._process(seconds=REQUEST)
        self._try(process, what, lambda: self._begin(process, what, body))
        if chance.random() < 0.15:
            when = self.world.now + chance.choice((200, 50 * SECOND, 4 * MINUTE))
            self.world.at(when, self._stop_one)

    def _begin(self, process: Process, what: str, body: Mapping[str, Any]) -> None:
        try:
            operations = self._asked(process)
            if what == "redrive":
                operations.redrive(self.job_type.tier.value, body, ADMIN)
            else:
                operations.bulk(body, ADMIN)
        finally:
            self._tick_later()

    def _stop_one(self) -> None:
        if self.operations.operations:
            operation_id = self.world.chance.choice(list(self.operations.operations))
            process = self._process(seconds=REQUEST)
            self._try(process, "stop", lambda: self._asked(process).stop(operation_id, {}, ADMIN))

    def _asked(self, process: Process) -> Operations:
        runs, operations, listing = self._runs(process)
        return Operations(
            operations=operations, runs=runs, listing=listing, clock=process, chance=process, journal=process
        )

    def _runs(self, process: Process) -> tuple[RunOperations, SimOperations, Listing]:
        operations = SimOperations(process, self.operations)
        store = SimStore(process, self.store)
        index = SimIndex(process, self._index)
        listing = Listing(store=store, index=index, types=self.types, timing=TIMING)
        runs = RunOperations(
            operations=operations,
            store=store,
            index=index,
            listing=listing,
            manage=self._manage(process, store),
            types=self.types,
            leases=SimLeases(process, self.leases),
            clock=process,
            chance=process,
            crew=process,
            journal=process,
        )
        return runs, operations, listing

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            self.world.at(self.world.now + MINUTE, self._tick)

    def _tick(self) -> None:
        """Let the scheduled function run, once a minute while an operation waits for it."""
        self._ticking = False
        if all(each.wakes_at is None for each in self.operations.operations.values()):
            return
        for _ in range(2 if self.world.strikes("duplicate") else 1):
            process = self._process()
            runs, _, _ = self._runs(process)
            self._try(process, "operations", lambda runs=runs, process=process: runs.run(ends=process.ends))  # type: ignore[misc]  # defaults bind
        self._tick_later()


def _named(scope: Scope, value: str) -> dict[str, str]:
    names = {Scope.PROVIDER: "provider", Scope.VENUE: "venueId", Scope.TYPE: "type"}
    return {"scope": "all"} if scope is Scope.ALL else {names[scope]: value}
