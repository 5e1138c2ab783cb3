"""In-memory adapters of the ports; the contract suite holds them to what the real ones do."""

import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from chalicelib.domain.controls import Controls
from chalicelib.domain.errors import StoreError
from chalicelib.domain.heartbeat import Beat, Beats, Function
from chalicelib.domain.job import ClaimId, Job, JobId, KeyId, VenueId
from chalicelib.domain.keys import Key
from chalicelib.domain.message import Hint, encode
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import (
    AGENDA_SHARDS,
    Change,
    Entry,
    KeyTaken,
    Limiter,
    Message,
    Outdated,
    Received,
    Release,
    Saved,
    SaveResult,
    Unsure,
)
from tests.fakes_batches import MemoryBatches

T = TypeVar("T")
R = TypeVar("R")

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
APART_ABOVE = 1024  # bytes of payload


def told(secret: str) -> Callable[[bool], str]:
    """Return what tells a secret that nobody replaces."""
    return lambda _: secret


class ManualClock:
    """A clock that a test moves."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by


class SeededChance:
    """Numbers and identities that depend on nothing but a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._made = 0

    def fraction(self) -> float:
        return self._random.random()

    def job_id(self) -> JobId:
        return JobId(self._next("job"))

    def claim_id(self) -> ClaimId:
        return ClaimId(self._next("claim"))

    def entry_id(self) -> str:
        return self._next("entry")

    def _next(self, kind: str) -> str:
        self._made += 1
        return f"{kind}_{self._made:06d}"


class ListJournal:
    """A log that a test reads."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def note(self, action: str, **facts: str | int | float | None) -> None:
        self.events.append((action, dict(facts)))

    def alarm(self, action: str, **facts: str | int | float | None) -> None:
        self.events.append((action, dict(facts)))

    def actions(self) -> list[str]:
        return [action for action, _ in self.events]


class SequentialCrew:
    """Runs the tasks of a batch one after another."""

    def run_all(self, task: Callable[[T], R], items: Sequence[T]) -> list[R]:
        return [task(item) for item in items]


class MemoryStore(MemoryBatches):
    """The records in dictionaries, one lock around each call."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[JobId, Job] = {}
        self.payloads: dict[JobId, Mapping[str, Any]] = {}
        self.keys: dict[KeyId, Key] = {}
        self.venues: set[VenueId] = set()
        self.audit: list[Entry] = []
        self.controls = Controls()
        self.limiter: Limiter | None = None  # whose slots go back with a save

    def take_key(self, key: Key, *, instead_of: Key | None = None) -> Key | None:
        with self._lock:
            held = self.keys.get(key.id)
            if held is None or held == instead_of:
                self.keys[key.id] = key
                return None
            return None if held.job_id == key.job_id else held

    def load_key(self, key_id: KeyId) -> Key | None:
        with self._lock:
            return self.keys.get(key_id)

    def add(self, job: Job) -> bool:
        return self.add_free(job)

    def add_audited(self, job: Job, entry: Entry) -> bool:
        with self._lock:
            added = self.add_free(job)
            self.audit += [entry] * added
            return added

    def add_free(self, job: Job) -> bool:
        with self._lock:
            self.venues.add(job.venue_id)
            if job.id in self.jobs:
                return False
            payload = job.payload or {}
            if len(json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()) > APART_ABOVE:
                self.payloads[job.id] = payload
                job = replace(job, payload=None, payload_apart=True)
            self.jobs[job.id] = job
            return True

    def load(self, job_id: JobId, venue_id: VenueId | None) -> Job | None:
        with self._lock:
            job = self.jobs.get(job_id)
            if job is None or venue_id not in (None, job.venue_id):
                return None
            return replace(job, payload=self.payloads[job_id]) if job.payload_apart else job

    def load_batch(self, job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], Controls]:
        with self._lock:
            return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}, self.controls

    def load_payloads(self, jobs: Sequence[Job]) -> Mapping[JobId, Mapping[str, Any]]:
        with self._lock:
            return {job.id: self.payloads[job.id] for job in jobs if job.id in self.payloads}

    def save_many(self, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        results = [self.save_one(change) for change in changes]
        if release is not None and self.limiter is not None:
            self.limiter.give_back(release)
        return results

    def save_one(self, change: Change) -> SaveResult:
        """Compare and swap one record; the look stays as it is unless the change moves it."""
        before, after = change.before, change.after
        with self._lock:
            current = self.jobs.get(before.id)
            if current is None or current.version != before.version:
                return outdated(current)
            if change.follow is not None and not self.add_free(change.follow):
                return Unsure()
            if (before.next_look, before.looks) == (after.next_look, after.looks):
                after = replace(after, next_look=current.next_look, looks=current.looks)
            if before.overdue == after.overdue and after.next_look is not None:
                after = replace(after, overdue=current.overdue)
            payload = current.payload
            if before.erased_at != after.erased_at and current.payload_apart:
                self.payloads[before.id] = after.payload or {}
            elif before.erased_at != after.erased_at:
                payload = after.payload
            self.jobs[before.id] = replace(after, payload=payload, payload_apart=current.payload_apart)
            return Saved()

    def save_audited(
        self,
        change: Change,
        entry: Entry,
        *,
        take_back: Key | None = None,
        instead_of: Key | None = None,
    ) -> SaveResult | KeyTaken:
        with self._lock:
            if any((each.id, each.at.date()) == (entry.id, entry.at.date()) for each in self.audit):
                return Saved()
            held = self.keys.get(take_back.id) if take_back else None
            current = self.jobs.get(change.before.id)
            if current is None or current.version != change.before.version:
                return outdated(current)
            if take_back and held and held.job_id != take_back.job_id and held != instead_of:
                return KeyTaken(held.job_id)
            result = self.save_one(change)
            if result != Saved():
                return result
            self.audit.append(entry)
            if take_back:
                self.keys[take_back.id] = take_back
            return result

    def agenda(self, shard: int, tier: Tier, *, until: datetime, limit: int) -> list[JobId]:
        with self._lock:
            found = [
                (job.next_look, job.id)
                for job in self.jobs.values()
                if job.next_look is not None
                and job.next_look <= until
                and job.tier is tier
                and shard_of(job.id) == shard
            ]
        return [job_id for _, job_id in sorted(found)[:limit]]

    def save_looks(self, looks: Sequence[Change]) -> list[SaveResult]:
        return [self.save_look(change) for change in looks]

    def save_look(self, change: Change) -> SaveResult:
        """Move one look if it is still where it was."""
        before, after = change.before, change.after
        with self._lock:
            current = self.jobs.get(before.id)
            if current is None or (current.next_look, current.looks) != (before.next_look, before.looks):
                return outdated(current)
            self.jobs[before.id] = replace(
                current, next_look=after.next_look, looks=after.looks, overdue=after.overdue
            )
            return Saved()

    def load_controls(self) -> Controls:
        with self._lock:
            return self.controls

    def save_controls(self, controls: Controls, entry: Entry) -> bool:
        with self._lock:
            if self.controls.version != controls.version - 1:
                return False
            self.controls = controls
            self.audit.append(entry)
            return True


def outdated(current: Job | None) -> Outdated:
    """Return the record that stands instead; like the real tables, without its payload."""
    return Outdated(None if current is None else replace(current, payload=None))


def shard_of(job_id: JobId) -> int:
    """Return the agenda's shard of a job; which one does not matter, only that it stays the same."""
    return sum(job_id.encode()) % AGENDA_SHARDS


@dataclass
class Queued:
    """A message in a queue."""

    id: str
    body: str
    group: str
    visible_at: datetime
    receives: int = 0


@dataclass
class MemoryQueue:
    """The queues of every tier and lane, and the dead-letter queues."""

    clock: ManualClock = field(default_factory=ManualClock)
    messages: dict[tuple[Tier, Lane], dict[str, Queued]] = field(default_factory=dict)
    dead: dict[Tier, list[str]] = field(default_factory=dict)
    made: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.RLock()

    def send(self, messages: Sequence[Message]) -> list[bool]:
        return [self.send_one(message) for message in messages]

    def send_one(self, message: Message) -> bool:
        """Put one message in its queue."""
        body = encode(Hint(message.job_id, message.venue_id))
        self.put(message.tier, message.lane, body, message.venue_id, message.delay)
        return True

    def put(self, tier: Tier, lane: Lane, body: str, group: str = "", delay: timedelta = timedelta(0)) -> str:
        """Put any body in a queue and return the message's id."""
        with self._lock:
            self.made += 1
            message = Queued(f"m{self.made}", body, group, self.clock.now() + delay)
            self.messages.setdefault((tier, lane), {})[message.id] = message
            return message.id

    def bury(self, tier: Tier, body: str, reason: str) -> bool:
        with self._lock:
            self.dead.setdefault(tier, []).append(body)
            return True

    def receive(
        self, tier: Tier, lane: Lane, limit: int = 10, visibility: timedelta = timedelta(minutes=6)
    ) -> list[Received]:
        """Return up to `limit` visible messages and hide them."""
        with self._lock:
            now = self.clock.now()
            queue = self.messages.get((tier, lane), {})
            found = [message for message in queue.values() if message.visible_at <= now][:limit]
            for message in found:
                message.visible_at = now + visibility
                message.receives += 1
            return [Received(each.id, each.body, each.id, each.receives) for each in found]

    def delete(self, tier: Tier, lane: Lane, message_id: str) -> None:
        """Acknowledge a message."""
        with self._lock:
            self.messages.get((tier, lane), {}).pop(message_id, None)

    def inbox(self, tier: Tier, lane: Lane) -> "MemoryInbox":
        """Return the receiving side of one queue."""
        return MemoryInbox(self, tier, lane)

    def waiting(self) -> int:
        """Return how many messages are in the queues, seen or not."""
        return sum(len(queue) for queue in self.messages.values())


@dataclass
class MemoryInbox:
    """The receiving side of one of the queues."""

    queue: MemoryQueue
    tier: Tier
    lane: Lane

    def postpone(self, delays: Mapping[str, timedelta]) -> None:
        held = self.queue.messages.get((self.tier, self.lane), {})
        for handle, delay in delays.items():
            if handle in held:
                held[handle].visible_at = self.queue.clock.now() + delay


class MemoryLeases:
    """Run leases and heartbeats in dictionaries; `fails` is raised instead of the beats."""

    def __init__(self) -> None:
        self.fails: StoreError | None = None
        self._held: dict[str, tuple[str, datetime]] = {}
        self._beats: dict[str, Beat] = {}
        self._lock = threading.Lock()

    def take(self, name: str, owner: str, *, now: datetime, until: datetime) -> bool:
        with self._lock:
            holder = self._held.get(name)
            if holder is not None and holder[0] != owner and holder[1] > now:
                return False
            self._held[name] = (owner, until)
            return True

    def give_back(self, name: str, owner: str) -> None:
        with self._lock:
            self._end(name, owner)

    def end_run(self, name: str, owner: str, *, well_at: datetime | None) -> None:
        with self._lock:
            if self._end(name, owner) and well_at is not None:
                self._beats[name] = Beat(well_at)

    def run_well(self, name: str, *, at: datetime) -> None:
        """Have a run of a function have ended well at that moment."""
        self.take(name, "another", now=at, until=at)
        self.end_run(name, "another", well_at=at)

    def beats(self) -> Beats:
        with self._lock:
            if self.fails is not None:
                raise self.fails
            return {function: self._beats.get(function, Beat()) for function in Function}

    def miss(self, function: Function, now: datetime) -> None:
        with self._lock:
            self._beats.setdefault(function, Beat(missed_since=now))

    def _end(self, name: str, owner: str) -> bool:
        if self._held.get(name, ("",))[0] != owner:
            return False
        del self._held[name]
        return True
