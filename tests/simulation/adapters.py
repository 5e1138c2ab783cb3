"""The ports over the in-memory adapters, with the storm in between: refused, reply lost, crashed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from chalicelib.domain.batch import Stage
from chalicelib.domain.controls import Controls
from chalicelib.domain.endpoint import Endpoint, EndpointId
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import Job, JobId, KeyId, Reason, StageId, State, VenueId
from chalicelib.domain.keys import Key
from chalicelib.domain.message import Hint, encode
from chalicelib.domain.operation import Operation, OperationId
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Change, Entry, KeyTaken, Message, Received, Release, SaveResult, Unsure
from chalicelib.domain.ratelimit import Admission, Ask, Bucket
from chalicelib.domain.search import DeadLetter, Partition, Upcoming
from chalicelib.domain.standing import Need, Standing
from tests.fakes import MemoryLeases, MemoryStore
from tests.fakes_endpoints import MemoryEndpointStore
from tests.fakes_limiter import MemoryLimiter
from tests.fakes_operations import MemoryOperationStore
from tests.fakes_registry import MemoryRegistry
from tests.fakes_search import MemoryJobIndex
from tests.simulation.invariants import WatchedStore
from tests.simulation.world import MINUTE, Process, World

T = TypeVar("T")
R = TypeVar("R")

VISIBILITY = 6 * MINUTE


class Stormy:
    """Records as one process sees them: what it asks may be refused, and what it is told may be lost."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    def _single(self, label: str, apply: Callable[[], T]) -> T:
        process, world = self._process, self._world
        process.before(label)
        if world.strikes("refuse"):
            world.note(process.name, f"! {label} refused")
            raise StoreRefused
        if world.strikes("mute"):
            world.note(process.name, f"! {label} not applied, unanswered")
            raise StoreUnsure
        result = apply()
        process.after(label)
        if world.strikes("lose"):
            world.note(process.name, f"! {label} applied, reply lost")
            raise StoreUnsure
        if world.tracing:
            world.note(process.name, f"{label} → {_short(result)}")
        return result

    def _read(self, label: str, apply: Callable[[], T]) -> T:
        process, world = self._process, self._world
        process.before(label)
        if world.strikes("refuse"):
            world.note(process.name, f"! {label} refused")
            raise StoreRefused
        return apply()


class SimStore(Stormy):
    """The store as one process sees it."""

    def __init__(self, process: Process, memory: MemoryStore) -> None:
        super().__init__(process)
        self._memory = memory
        self._read_controls = (Controls(), process.now())  # what the batch in hand was read with, and when
        self.opened: list[StageId] = []

    def _each(self, label: str, items: Sequence[T], apply: Callable[[T], R], unsure: R) -> list[R]:
        """Apply, refuse or lose each item by itself; a crash may come between any two."""
        process, world = self._process, self._world
        process.before(label)
        results: list[R] = []
        for item in items:
            if world.strikes("mute"):
                results.append(unsure)
            else:
                result = apply(item)
                results.append(unsure if world.strikes("lose") else result)
            if world.tracing:
                world.note(process.name, f"{label} {_told(item)} → {_short(results[-1])}")
            if len(items) > 1 and world.strikes("crash"):
                process.crash(f"in the middle of {label}")
        process.after(label)
        return results

    def take_key(self, key: Key, *, instead_of: Key | None = None) -> Key | None:
        return self._single("take_key", lambda: self._memory.take_key(key, instead_of=instead_of))

    def load_key(self, key_id: KeyId) -> Key | None:
        return self._read("load_key", lambda: self._memory.load_key(key_id))

    def add(self, job: Job) -> bool:
        return self._single(f"add {job.id}", lambda: self._memory.add(job))

    def add_audited(self, job: Job, entry: Entry) -> bool:
        return self._single(f"add {job.id} audited", lambda: self._memory.add_audited(job, entry))

    def take_keys(self, keys: Sequence[Key]) -> list[bool]:
        return self._each("take key", keys, self._memory.take_free, False)

    def add_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        return self._each("add", jobs, self._memory.add_free, None)

    def open_stage(self, stage: Stage) -> None:
        self.opened.append(stage.id)
        self._single(f"open stage {stage.id}", lambda: self._memory.open_stage(stage))

    def load_stage(self, stage_id: StageId) -> Stage | None:
        return self._read("load_stage", lambda: self._memory.load_stage(stage_id))

    def move_stage(self, before: Stage, after: Stage) -> Stage | None:
        label = f"stage {before.id} {before.state} → {after.state}"
        return self._single(label, lambda: self._memory.move_stage(before, after))

    def due_stages(self, *, until: datetime, limit: int) -> list[StageId]:
        found = self._memory.due_stages(until=until, limit=limit)
        return found[1:] if found and self._world.strikes("stale") else found

    def clear_stage(self, stage: Stage) -> bool:
        parts = [replace(stage, job_ids=(job_id,)) for job_id in stage.job_ids]
        return all(self._each("clear", parts, self._memory.clear_stage, False))

    def load(self, job_id: JobId, venue_id: VenueId | None) -> Job | None:
        return self._read("load", lambda: self._memory.load(job_id, venue_id))

    def load_batch(self, job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], Controls]:
        found = self._read("load_batch", lambda: self._memory.load_batch(job_ids))
        self._read_controls = (found[1], self._process.now())
        return found

    def load_payloads(self, jobs: Sequence[Job]) -> Mapping[JobId, Mapping[str, Any]]:
        return self._read("load_payloads", lambda: self._memory.load_payloads(jobs))

    def save_many(self, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        if isinstance(self._memory, WatchedStore):
            for change in changes:
                self._memory.watch.claims(change, *self._read_controls)
        label = _step(changes[0]) if self._world.aim and changes else "save"
        results: list[SaveResult] = self._each(label, changes, self._memory.save_one, Unsure())
        if release is not None and self._memory.limiter is not None and not self._world.strikes("refuse"):
            self._memory.limiter.give_back(release)
        return results

    def save_audited(
        self,
        change: Change,
        entry: Entry,
        *,
        take_back: Key | None = None,
        instead_of: Key | None = None,
    ) -> SaveResult | KeyTaken:
        memory = self._memory
        try:
            return self._single(
                f"audited {_moved(change)}",
                lambda: memory.save_audited(change, entry, take_back=take_back, instead_of=instead_of),
            )
        except StoreUnsure:
            return Unsure()

    def agenda(self, shard: int, tier: Tier, *, until: datetime, limit: int) -> list[JobId]:
        found = self._memory.agenda(shard, tier, until=until, limit=limit)
        if not self._memory.jobs or self._world.weather["stale"] == 0.0:
            return found
        # The index lags behind: it may miss an entry, and may still have one that has moved.
        if found and self._world.strikes("stale"):
            return found[1:]
        return found

    def save_looks(self, looks: Sequence[Change]) -> list[SaveResult]:
        return self._each("look", looks, self._memory.save_look, Unsure())

    def load_controls(self) -> Controls:
        return self._read("load_controls", self._memory.load_controls)

    def save_controls(self, controls: Controls, entry: Entry) -> bool:
        return self._single("save_controls", lambda: self._memory.save_controls(controls, entry))


class SimIndex:
    """The indexes over the jobs as one process sees them: they lag behind the records."""

    def __init__(self, process: Process, memory: MemoryJobIndex) -> None:
        self._process = process
        self._memory = memory

    def newest(self, partition: Partition, *, below: str | None, floor: str | None, limit: int) -> list[JobId]:
        return self._lagging(
            lambda: self._memory.newest(partition, below=below, floor=floor, limit=limit), "newest"
        )

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        # Every shard is one query; that each takes its time shows nothing that one of them does not.
        return self._memory.upcoming(shard, tier, after=after, limit=limit)

    def dead_letters(self, tier: Tier, reason: Reason, *, below: str | None, limit: int) -> list[DeadLetter]:
        return self._lagging(
            lambda: self._memory.dead_letters(tier, reason, below=below, limit=limit), "dead letters"
        )

    def _lagging(self, find: Callable[[], list[T]], label: str) -> list[T]:
        self._process.before(label)
        if self._process.world.strikes("refuse"):
            raise StoreRefused
        found = find()
        return found[1:] if found and self._process.world.strikes("stale") else found


class SimOperations:
    """The operations as one process sees them."""

    def __init__(self, process: Process, memory: MemoryOperationStore) -> None:
        self._process = process
        self._memory = memory

    def add(self, operation: Operation, entry: Entry) -> bool:
        return self._written(f"add {operation.id}", lambda: self._memory.add(operation, entry))

    def load(self, operation_id: OperationId) -> Operation | None:
        self._process.before("load operation")
        if self._process.world.strikes("refuse"):
            raise StoreRefused
        return self._memory.load(operation_id)

    def swap(self, before: Operation, after: Operation, entry: Entry | None = None) -> bool:
        label = f"{after.id} {after.status} done {after.tally.done} of {after.tally.matched}"
        return self._written(label, lambda: self._memory.swap(before, after, entry))

    def page(self, *, below: OperationId | None, limit: int) -> tuple[list[Operation], OperationId | None]:
        return self._memory.page(below=below, limit=limit)

    def due(self, *, until: datetime, limit: int) -> list[OperationId]:
        self._process.before("due operations")
        if self._process.world.strikes("refuse"):
            raise StoreRefused
        return self._memory.due(until=until, limit=limit)

    def _written(self, label: str, write: Callable[[], bool]) -> bool:
        process, world = self._process, self._process.world
        process.before(label)
        if world.strikes("mute"):
            world.note(process.name, f"! {label} not applied, unanswered")
            raise StoreUnsure
        done = write()
        process.after(label)
        if world.strikes("lose"):
            world.note(process.name, f"! {label} applied, reply lost")
            raise StoreUnsure
        world.note(process.name, f"{label} → {done}")
        return done


class SimLimiter:
    """The limiter as one process sees it."""

    def __init__(self, process: Process, memory: MemoryLimiter) -> None:
        self._process = process
        self._memory = memory

    def reserve(
        self, group: str, asks: Sequence[Ask], *, owner: str, until: datetime, now: datetime
    ) -> Admission:
        process, world = self._process, self._process.world
        process.before("reserve")
        if world.strikes("refuse"):
            raise StoreRefused
        admission = self._memory.reserve(group, asks, owner=owner, until=until, now=now)
        process.after("reserve")
        if world.strikes("lose"):
            world.note(process.name, "! reserve applied, reply lost")
            raise StoreUnsure
        if admission.denied:
            world.note(process.name, f"reserve: {len(admission.denied)} of {len(asks)} denied")
        return admission

    def give_back(self, release: Release) -> None:
        self._process.before("give back")
        if not self._process.world.strikes("refuse"):
            self._memory.give_back(release)

    def given_back(self, release: Release) -> None:
        pass

    def buckets(self) -> Mapping[str, Bucket]:
        return self._memory.buckets()

    def save(self, group: str, bucket: Bucket, entry: Entry) -> bool:
        return self._memory.save(group, bucket, entry)


class SimLeases:
    """Run leases; a lost reply is a lease not taken, as the port says."""

    def __init__(self, process: Process, memory: MemoryLeases) -> None:
        self._process = process
        self._memory = memory

    def take(self, name: str, owner: str, *, now: datetime, until: datetime) -> bool:
        self._process.before("take lease")
        world = self._process.world
        taken = self._memory.take(name, owner, now=now, until=until)
        return taken and not world.strikes("lose")

    def give_back(self, name: str, owner: str) -> None:
        self._process.before("give back lease")
        self._memory.give_back(name, owner)

    def end_run(self, name: str, owner: str, *, well_at: datetime | None) -> None:
        self._process.before("give back lease")
        self._memory.end_run(name, owner, well_at=well_at)


class Queued:
    """A message, and from when it can be seen."""

    __slots__ = ("body", "id", "receives", "visible_at")

    def __init__(self, message_id: str, body: str, visible_at: int) -> None:
        self.id = message_id
        self.body = body
        self.visible_at = visible_at
        self.receives = 0


class SimQueues:
    """The queues as AWS keeps them: at least once, in no order, each delivery an invocation."""

    def __init__(self, world: World, invoke: Callable[[Tier, Lane, list[Received]], None]) -> None:
        self._world = world
        self._invoke = invoke
        self._made = 0
        self.queues: dict[tuple[Tier, Lane], dict[str, Queued]] = {}
        self.dead: list[str] = []

    def put(self, tier: Tier, lane: Lane, body: str, delay: int = 0) -> None:
        """Put a body in a queue."""
        self._made += 1
        message = Queued(f"m{self._made}", body, self._world.now + delay)
        self.queues.setdefault((tier, lane), {})[message.id] = message
        self._wake(tier, lane, message)

    def _wake(self, tier: Tier, lane: Lane, message: Queued) -> None:
        lag = self._world.chance.choice((5, 20, 80, 300))
        self._world.at(message.visible_at + lag, lambda: self.deliver(tier, lane))

    def deliver(self, tier: Tier, lane: Lane) -> None:
        """Invoke a consumer with some of what can be seen, in any order; sometimes it is seen twice."""
        world = self._world
        queue = self.queues[tier, lane]
        seen = [message for message in queue.values() if message.visible_at <= world.now]
        if not seen:
            return
        world.chance.shuffle(seen)
        batch = seen[: world.chance.choice((1, 2, 10))]
        twice = world.strikes("duplicate")
        for message in batch:
            message.receives += 1
            message.visible_at = world.now + (world.chance.choice((0, 100, 20_000)) if twice else VISIBILITY)
            self._wake(tier, lane, message)
        if len(seen) > len(batch):
            world.at(world.now + 50, lambda: self.deliver(tier, lane))
        self._invoke(tier, lane, [Received(m.id, m.body, m.id, m.receives) for m in batch])

    def holds(self, body: str) -> bool:
        """Say whether a message of this body is in some queue, seen or not."""
        return any(each.body == body for queue in self.queues.values() for each in queue.values())

    def empty(self) -> None:
        """Lose every message, seen or not, as when a hand purges the queues."""
        self._world.note("hand", f"empties the queues of {sum(map(len, self.queues.values()))} messages")
        for queue in self.queues.values():
            queue.clear()

    def delete(self, tier: Tier, lane: Lane, message_id: str) -> None:
        """Acknowledge; the deletion may be lost."""
        if not self._world.strikes("duplicate"):
            self.queues[tier, lane].pop(message_id, None)


class SimQueue:
    """The sending side as one process sees it."""

    def __init__(self, process: Process, queues: SimQueues) -> None:
        self._process = process
        self._queues = queues

    def send(self, messages: Sequence[Message]) -> list[bool]:
        self._process.before("send")
        went = [self._send(message) for message in messages]
        self._process.after("send")
        return went

    def _send(self, message: Message) -> bool:
        world = self._process.world
        if world.strikes("refuse"):
            world.note(self._process.name, f"! send {message.job_id} refused")
            return False
        delay = round(message.delay / timedelta(milliseconds=1))
        body = encode(Hint(message.job_id, message.venue_id))
        self._queues.put(message.tier, message.lane, body, delay)
        sure = not world.strikes("lose")
        world.note(self._process.name, f"send {message.job_id} in {message.delay}{'' if sure else ', unsure'}")
        return sure

    def bury(self, tier: Tier, body: str, reason: str) -> bool:
        self._process.before("bury")
        self._queues.dead.append(body)
        return not self._process.world.strikes("lose")


class SimEndpoints(Stormy):
    """The endpoints as one process sees them."""

    def __init__(self, process: Process, memory: MemoryEndpointStore) -> None:
        super().__init__(process)
        self._memory = memory
        self.new_secret = memory.new_secret
        self.remove, self.page = memory.remove, memory.page  # no job asks for these

    def add(self, endpoint: Endpoint, entry: Entry | None = None) -> bool:
        return self._single("endpoint write", lambda: self._memory.add(endpoint, entry))

    def load(self, venue_id: VenueId, endpoint_id: EndpointId) -> Endpoint | None:
        return self._read("endpoint read", lambda: self._memory.load(venue_id, endpoint_id))

    def swap(self, before: Endpoint, after: Endpoint, entry: Entry | None = None) -> bool:
        return self._single("endpoint write", lambda: self._memory.swap(before, after, entry))


class SimInbox:
    """The receiving side of one queue as one process sees it."""

    def __init__(self, process: Process, queues: SimQueues, tier: Tier, lane: Lane) -> None:
        self._process = process
        self._queues = queues
        self._tier = tier
        self._lane = lane

    def postpone(self, delays: Mapping[str, timedelta]) -> None:
        self._process.before("postpone")
        world = self._process.world
        queue = self._queues.queues[self._tier, self._lane]
        for handle, delay in delays.items():
            message = queue.get(handle)
            if message is None or world.strikes("refuse"):
                continue
            message.visible_at = world.now + -(-round(delay / timedelta(milliseconds=1)) // 1000) * 1000
            self._queues._wake(self._tier, self._lane, message)


def _short(result: object) -> str:
    if isinstance(result, Job):
        return f"{result.id} v{result.version} {result.state}"
    text = type(result).__name__ if hasattr(result, "__slots__") else repr(result)
    return text[:60]


def _told(item: object) -> str:
    if isinstance(item, Change):
        return _moved(item)
    return str(item.job_id if isinstance(item, Key) else getattr(item, "id", item))


def _step(change: Change) -> str:
    """Name a save by what it does in the protocol."""
    before, after = change.before, change.after
    if after.state is State.RUNNING:
        return "save begun" if after.claim_id == before.claim_id else "save claim"
    return "save outcome" if before.state is State.RUNNING else "save"


def _moved(change: Change) -> str:
    before, after = change.before, change.after
    return (
        f"{before.id} v{before.version} {before.state} → v{after.version} {after.state}"
        f" attempts {after.attempts}/{after.max_attempts} fence {after.fence}"
        f"{' doubt' if after.doubt else ''}{' begun' if after.begun else ''} looks {after.looks}"
    )


class SimRegistry:
    """The registry as one process sees it."""

    def __init__(self, process: Process, memory: MemoryRegistry) -> None:
        self._process = process
        self._memory = memory

    def look_up(self, needs: Collection[Need]) -> Standing:
        self._process.before("look up needs")
        if self._process.world.strikes("refuse"):
            raise StoreRefused
        return self._memory.look_up(needs)
