"""The ports: all that the core asks of the world, and nothing of how the world does it.

Every port raises only errors of `domain/errors.py`. The adapters are held to these texts by one
contract suite, which runs over the in-memory ones as well (`tests/contract`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from chalicelib.domain.batch import Stages
from chalicelib.domain.controls import Controls
from chalicelib.domain.job import ClaimId, Job, JobId, KeyId, VenueId
from chalicelib.domain.keys import Key
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.quota import Drawn, Window
from chalicelib.domain.ratelimit import Admission, Ask, Bucket

T = TypeVar("T")
R = TypeVar("R")


class Clock(Protocol):
    """The time on this machine's clock, at most five seconds from any other."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


class Chance(Protocol):
    """Randomness and fresh identities, so that a simulation can choose them."""

    def fraction(self) -> float:
        """Return a number uniform in [0, 1)."""
        ...

    def job_id(self) -> JobId:
        """Return an identity no job has."""
        ...

    def claim_id(self) -> ClaimId:
        """Return an identity no claim has."""
        ...

    def entry_id(self) -> str:
        """Return an identity no audit entry has; later ones sort after earlier ones, to the millisecond."""
        ...


class Journal(Protocol):
    """The log: one structured event per state change. Never payloads, addresses, card data or tokens."""

    def note(self, action: str, **facts: str | int | float | None) -> None:
        """Write an event; `action` is a stable word, `jobId` is among the facts wherever there is a job."""
        ...

    def alarm(self, action: str, **facts: str | int | float | None) -> None:
        """Write an event that a person should look into; inside an `except` the traceback goes with it."""
        ...


class Traces(Protocol):
    """The traces of jobs, as far as the edge of the service knows them."""

    def flush(self) -> None:
        """Send what has been gathered; a collector that is down delays it a little, and never fails it."""
        ...


class Crew(Protocol):
    """Runs the tasks of a batch side by side: threads in production, chosen by a seed in simulation."""

    def run_all(self, task: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Run `task` on every item and return the results in order, once every one of them has ended.

        An exception of a task is raised after all have ended.
        """
        ...


# --- the record --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A compare-and-swap: `after` replaces `before` if the stored version is still `before`'s.

    `follow` is a new job that is written with it, both or neither.
    """

    before: Job
    after: Job
    follow: Job | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """The change stands."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """The change was refused: this is the record that stands instead, payload left out; None if none does."""

    current: Job | None


@dataclass(frozen=True, slots=True)
class Unsure:
    """The store did not say: the change may stand or not. The same change may be tried again."""


SaveResult = Saved | Outdated | Unsure


@dataclass(frozen=True, slots=True)
class Release:
    """The limiter's slots that an owner is done with: all that it holds in these groups."""

    groups: tuple[str, ...]
    owner: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit log: who did what to what, why, when, and what it made of it.

    `subject` is a job's id, or names what else was acted on: `queue/money`, `provider/stripe`. `before` and
    `after` are states, or what stood there. No venue: it concerns the whole platform.
    """

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    venue_id: VenueId | None
    reason: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """The change was refused: the job's idempotency key is held by another job."""

    job_id: JobId


class JobStore(Stages, Protocol):
    """The durable records: jobs, their keys, the stages of batches, the controls that are read with them.

    Before the first record of a venue is written the venue is in the register, by which the cleanup finds it.
    """

    def take_key(self, key: Key, *, instead_of: Key | None = None) -> Key | None:
        """Write an idempotency record if there is none, or if the one there still is `instead_of`.

        Returns None when `key` is now held for `key.job_id` (also when it was already), else the record
        that holds it. Raises StoreRefused (surely not written) or StoreUnsure.
        """
        ...

    def add(self, job: Job) -> bool:
        """Write a job that does not exist yet, its payload first where that is kept apart.

        Returns whether it was this call that wrote it; False: a job of this id exists. Raises StoreRefused
        or StoreUnsure.
        """
        ...

    def add_audited(self, job: Job, entry: Entry) -> bool:
        """Write a job that an operator has made and its audit entry, both or neither; answers as `add` does."""
        ...

    def take_keys(self, keys: Sequence[Key]) -> list[bool]:
        """Write idempotency records where there are none, each by itself, in one call per 25; no id twice.

        Says of each whether this call surely wrote it. Never raises StoreError.
        """
        ...

    def add_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        """Write jobs, each by itself, in one call per 25 and item.

        Says of each what `add` does; None: nobody can tell. Never raises StoreError.
        """
        ...

    def load(self, job_id: JobId, venue_id: VenueId | None) -> Job | None:
        """Return a job, whole, if it exists and belongs to the venue; None as venue is any venue.

        Read consistently. Raises StoreRefused when the table does not answer.
        """
        ...

    def load_batch(self, job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], Controls]:
        """Return the jobs of a batch (at most 100 ids, no doubles) and the controls, in one call.

        Read consistently; unknown ids are left out; payloads kept apart are not loaded.
        """
        ...

    def load_payloads(self, jobs: Sequence[Job]) -> Mapping[JobId, Mapping[str, Any]]:
        """Return the payloads of jobs that keep theirs apart."""
        ...

    def save_many(self, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        """Apply each change by itself, in one call per 25; no job may be in it twice.

        The slots of a `release` are given back in the same calls; a failure leaves them to run out.

        One with a `follow` takes a call of its own, and is Unsure where a job of the follow's id exists. Only
        what differs is written, so that a look which `dispatch` moved meanwhile stays moved; the look and its
        count go together. A job at rest leaves the agenda and the index of the overdue. Never raises
        StoreError: an unanswered call is Unsure for each of its changes, and so is a throttled one, since
        the next try of it is the same.
        """
        ...

    def save_audited(
        self,
        change: Change,
        entry: Entry,
        *,
        take_back: Key | None = None,
        instead_of: Key | None = None,
    ) -> SaveResult | KeyTaken:
        """Apply an operator's change, its `follow` included, and write its audit entry, all or nothing.

        Saved, too, if an entry of this id stands already: the change was made before, whatever has become of
        the job since. With `take_back` the key is written for the job in the same transaction, unless it is
        held by another; the very record `instead_of` is replaced all the same.
        """
        ...

    def load_key(self, key_id: KeyId) -> Key | None:
        """Return an idempotency record. Read consistently. Raises StoreRefused."""
        ...

    def agenda(self, shard: int, tier: Tier, *, until: datetime, limit: int) -> list[JobId]:
        """Return the open jobs of a shard whose look has come, earliest first, from the agenda index."""
        ...

    def save_looks(self, looks: Sequence[Change]) -> list[SaveResult]:
        """Move the looks of jobs: next look, count and `overdue`, nothing else, and no version.

        Each only if the job's look is still `before`'s. Batched and answered like `save_many`.
        """
        ...

    def load_controls(self) -> Controls:
        """Return what operators hold back. Read consistently. Raises StoreRefused."""
        ...

    def save_controls(self, controls: Controls, entry: Entry) -> bool:
        """Replace the controls, if those that stand are one version older, and write the audit entry with them.

        Says whether it was done. Raises StoreRefused or StoreUnsure.
        """
        ...


AGENDA_SHARDS = 4  # per tier: spreads an on-sale's writes over the partitions of the index


class Limiter(Protocol):
    """The buckets of the provider groups, one record each, shared by all functions. It never sleeps."""

    def reserve(
        self, group: str, asks: Sequence[Ask], *, owner: str, until: datetime, now: datetime
    ) -> Admission:
        """Let through what fits of a batch, rate and slots in one write (see `ratelimit.admit`).

        Slots are held for `owner` until they are given back, or until `until`. Raises StoreRefused or
        StoreUnsure when nothing can be said; nobody may call then.
        """
        ...

    def give_back(self, release: Release) -> None:
        """End what an owner holds; a failure leaves it to run out."""
        ...

    def given_back(self, release: Release) -> None:
        """Note that this was ended by `JobStore.save_many`."""
        ...

    def buckets(self) -> Mapping[str, Bucket]:
        """Return the bucket of every known group as it stands. Raises StoreRefused."""
        ...

    def save(self, group: str, bucket: Bucket, entry: Entry) -> bool:
        """Replace a bucket whose version is one older, as an operator wants it, with the audit entry.

        What was given back meanwhile stays given back. Says whether it was done. Raises StoreRefused or
        StoreUnsure.
        """
        ...


class Quotas(Protocol):
    """The counts of callers' requests, one per caller and window, shared by all containers."""

    def draw(self, caller: str, window: Window, *, limit: int, least: int, most: int) -> Drawn:
        """Take up to `most` of what a caller has left in a window, nothing if that is less than `least`.

        Never more than `limit` in all, whoever draws at the same time. Raises StoreRefused, or StoreUnsure:
        perhaps taken, and lost to the caller, but never spent.
        """
        ...


class Leases(Protocol):
    """Run leases: of two overlapping runs of a scheduled function one works."""

    def take(self, name: str, owner: str, *, now: datetime, until: datetime) -> bool:
        """Take the lease if nobody holds it at this moment; say whether this owner has it now.

        A store that does not answer gives no lease: the next run, a minute later, tries again.
        """
        ...

    def give_back(self, name: str, owner: str) -> None:
        """End the lease if this owner still has it, and keep nothing; a failure leaves it to run out."""
        ...

    def end_run(self, name: str, owner: str, *, well_at: datetime | None) -> None:
        """End the lease as `give_back` does, and keep when a run of the function last ended well.

        None: this one did not, and what was kept stays. One write.
        """
        ...


# --- the queues --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """A hint that a job may be due: ids, nothing else. The venue is the fair queue's group."""

    job_id: JobId
    venue_id: VenueId
    tier: Tier
    lane: Lane
    delay: timedelta = timedelta(0)


class JobQueue(Protocol):
    """The sending side of the queues, and the dead-letter queues for poison."""

    def send(self, messages: Sequence[Message]) -> list[bool]:
        """Send each message, delayed by at most 15 minutes; say of each whether it surely went.

        One call per ten messages of a queue. Never raises StoreError.
        """
        ...

    def bury(self, tier: Tier, body: str, reason: str) -> bool:
        """Put a poison message in the tier's dead-letter queue; say whether it surely arrived."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """A message as a consumer holds it; `handle` is what its visibility is changed by."""

    message_id: str
    body: str
    handle: str
    receives: int


class Inbox(Protocol):
    """The receiving side of one queue, while a batch of it is in hand."""

    def postpone(self, delays: Mapping[str, timedelta]) -> None:
        """Set the visibility of messages, by handle; one call per ten. A failure leaves the queue's own."""
        ...
