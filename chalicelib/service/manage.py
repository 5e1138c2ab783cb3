"""Managing: what an operator does to one job, always with an audit entry in the same transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain import keys
from chalicelib.domain.errors import (
    ActionRefused,
    BatchPending,
    NotFound,
    QueueMismatch,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.job import AT_REST, Job, JobId, State, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.keys import Key
from chalicelib.domain.notice import Notices
from chalicelib.domain.policies import TIMING, Policy, Tier, Timing
from chalicelib.domain.ports import (
    Chance,
    Change,
    Clock,
    Entry,
    JobQueue,
    JobStore,
    Journal,
    KeyTaken,
    Message,
    Outdated,
    Saved,
    Unsure,
)
from chalicelib.domain.steer import (
    WAITING,
    NotAllowed,
    Resolution,
    cancel,
    erase,
    promote,
    redrive,
    resolve,
    retry,
)
from chalicelib.service.sending import send_follows
from chalicelib.service.writing import TRIES


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants something done to which job, and why; None as venue is any venue, as queue any queue."""

    job_id: JobId
    venue_id: VenueId | None
    actor: str
    reason: str
    queue: Tier | None = None
    after: timedelta = timedelta(0)  # how long the job's message is put off
    entry_id: str | None = None  # of its audit entry, where one order may be given twice; None: a fresh one


class Manage:
    """The use cases behind retry, cancel, promote and resolve."""

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        types: Mapping[str, JobType],
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._store = store
        self._queue = queue
        self._types = types
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._timing = timing
        self._notices = Notices(types, timing)

    def cancel(self, order: Order) -> Job:
        """Cancel a waiting job: no provider call for it starts after this returns.

        Raises NotFound, QueueMismatch, ActionRefused, BatchPending, StoreRefused or StoreUnsure, as the
        others do.
        """
        return self._act("cancel", order, lambda job, policy: cancel(job, policy, now=self._clock.now()))

    def retry(self, order: Order) -> Job:
        """Let a failed or cancelled job start anew."""
        return self._act("retry", order, lambda job, policy: retry(job, policy, now=self._clock.now()))

    def redrive(self, order: Order) -> Job:
        """Let a dead letter start anew."""
        return self._act("redrive", order, lambda job, policy: redrive(job, policy, now=self._clock.now()))

    def erase(self, order: Order) -> Job:
        """Take what is a person's from a job that has ended."""
        return self._act("erase", order, lambda job, policy: erase(job, policy, now=self._clock.now()))

    def promote(self, order: Order) -> Job:
        """Let a waiting job run now."""
        return self._act("promote", order, lambda job, policy: promote(job, policy, now=self._clock.now()))

    def resolve(self, order: Order, resolution: Resolution) -> Job:
        """End the doubt about a parked job."""
        return self._act(
            f"resolve_{resolution}",
            order,
            lambda job, policy: resolve(job, policy, resolution, now=self._clock.now()),
        )

    def _act(self, action: str, order: Order, decide: Callable[[Job, Policy], Job | NotAllowed]) -> Job:
        entry_id = order.entry_id or self._chance.entry_id()
        at = self._clock.now()  # one for all tries: its day is a part of the entry's name
        decided = False
        for _ in range(TRIES):
            if not decided:
                made = self._decide(order, decide)
                key, ghost = self._key_of(made)
                entry = self._entry(action, order, made, entry_id, at)
            match self._store.save_audited(made, entry, take_back=key, instead_of=ghost):
                case Saved():
                    return self._done(action, order, made)
                case Unsure():
                    decided = True  # the same once more: if it was applied, its entry says so
                case Outdated() | KeyTaken():
                    decided = False  # somebody was faster: decide again on what they left
        raise StoreUnsure

    def _decide(self, order: Order, decide: Callable[[Job, Policy], Job | NotAllowed]) -> Change:
        job = self._store.load(order.job_id, order.venue_id)
        if job is None:
            raise NotFound
        if job.stage is not None:
            raise BatchPending
        if order.queue not in (None, job.tier):
            raise QueueMismatch(f"The job is in the queue {job.tier}: name that, or none.")
        after = decide(job, self._types[job.type].policy(self._timing))
        if isinstance(after, NotAllowed):
            raise ActionRefused(after.code, after.message, state=job.state)
        return self._notices.on(Change(job, after))

    def _key_of(self, made: Change) -> tuple[Key | None, Key | None]:
        """Return the key that a job, starting anew, is to hold again, and the ghost of one that it replaces.

        Raises ActionRefused where another job holds it, BatchPending or StoreRefused where that is open.
        """
        job = made.before
        if job.state not in AT_REST or made.after.state is not State.QUEUED:
            return None, None
        held = self.key_in_the_way(job)
        if held is not None and held.job_id == job.id:
            return held, None
        key = Key(
            id=job.key_id,
            job_id=job.id,
            payload_hash=job.payload_hash,
            natural=False,
            created_at=job.created_at,
            period=self._types[job.type].key_period,
        )
        return key, held

    def key_in_the_way(self, job: Job) -> Key | None:
        """Return the record of a job's key as it stands, if the job may hold it again: its own, or a ghost's.

        Raises as retry does: ActionRefused where another job holds it, BatchPending or StoreRefused.
        """
        held = self._store.load_key(job.key_id)
        if held is not None and held.job_id != job.id:
            self._check_ghost(held, job)
        return held

    def _check_ghost(self, held: Key, job: Job) -> None:
        """Let a key pass that names a job which never came to be, and whose acceptance is over."""
        # The stage before the job: what was flipped by then has written its jobs by then.
        stage = self._store.load_stage(held.stage) if held.stage is not None else None
        holder = self._store.load(held.job_id, job.venue_id)
        match keys.standing(held, holder, now=self._clock.now(), timing=self._timing, stage=stage):
            case keys.Standing.HELD:
                message = f"Its idempotency key is held by job {held.job_id}."
                raise ActionRefused("key_taken", message, state=job.state, held_by=held.job_id)
            case keys.Standing.OPEN if stage is not None:
                raise BatchPending
            case keys.Standing.OPEN:
                raise StoreRefused("Its idempotency key is being taken at this moment; repeat the request.")
            case keys.Standing.GHOST:
                pass

    def _done(self, action: str, order: Order, made: Change) -> Job:
        job = made.after
        self._journal.note(action, jobId=job.id, actor=order.actor, state=job.state)
        if job.state in WAITING:
            # Not sent, or not surely: the agenda has the job, `dispatch` sends it.
            self._queue.send([Message(job.id, job.venue_id, job.tier, job.lane, order.after)])
        send_follows(self._queue, self._journal, [made], [Saved()], now=self._clock.now())
        return job

    def _entry(self, action: str, order: Order, made: Change, entry_id: str, at: datetime) -> Entry:
        return Entry(
            id=entry_id,
            at=at,
            actor=order.actor,
            action=action,
            subject=made.before.id,
            venue_id=made.before.venue_id,
            reason=order.reason,
            before=made.before.state,
            after=made.after.state,
        )
