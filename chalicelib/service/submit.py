"""Accepting jobs: the key, the record, the message, in that order, so that no crash loses a 201."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from chalicelib.domain import keys
from chalicelib.domain.endpoint import EndpointId
from chalicelib.domain.errors import (
    AcceptanceUnknown,
    BatchPending,
    InvalidRequest,
    KeyConflict,
    QueueServiceError,
    StoreError,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.job import Accepting, Job, JobId, KeyId, StageId, UserId, VenueId, accept
from chalicelib.domain.jobtype import Facts, JobType
from chalicelib.domain.keys import Key
from chalicelib.domain.policies import TIMING, Timing
from chalicelib.domain.ports import Chance, Clock, Entry, JobQueue, JobStore, Journal
from chalicelib.domain.standing import AtEndpoint, Need, Registry
from chalicelib.service.needs import unmet
from chalicelib.service.sending import send_accepted

TRIES = 3  # how often a lost reply or a race for a released key is tried again before the caller is asked to
PATIENCE = timedelta(seconds=15)  # what a batch has not begun by then is left: its caller waits for 29 s


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid request for a job; `service/intake.py` makes one from a caller's body."""

    job_type: JobType
    data: Mapping[str, Any]
    venue_id: VenueId
    user_id: UserId | None
    submitted_by: str
    priority: int
    attempts: int
    delay: timedelta
    key: str | None
    callback_url: str | None
    batch_id: str | None = None
    batch_index: int | None = None
    callback_endpoint_id: str | None = None  # in place of a URL

    @property
    def needs(self) -> Sequence[Need]:
        """What must stand for it to be accepted: what its type needs, and the endpoint that is to be told."""
        needs = self.job_type.needs(self.venue_id, self.data)
        if self.callback_endpoint_id is None:
            return needs
        return [*needs, AtEndpoint("callbackEndpointId", self.venue_id, EndpointId(self.callback_endpoint_id))]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job that stands for a submission; `deduplicated`: an earlier submission had made it."""

    job: Job
    deduplicated: bool


class Acceptance:
    """The steps of one submission's acceptance; every way of submitting takes these."""

    def __init__(
        self,
        *,
        store: JobStore,
        registry: Registry,
        queue: JobQueue,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing,
    ) -> None:
        self._store = store
        self._registry = registry
        self._queue = queue
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._timing = timing

    def key(self, submission: Submission, *, stage: StageId | None = None) -> Key:
        """Return the key of a submission; it names a job that is not there yet, and the stage of its batch."""
        job_type = submission.job_type
        now = self._clock.now()
        facts = Facts(submission.venue_id, submission.user_id, submission.data, now)
        return Key(
            id=keys.key_id(
                submission.venue_id,
                job_type.name,
                given=submission.key,
                natural=job_type.natural_key(facts) if submission.key is None else (),
            ),
            job_id=self._chance.job_id(),
            payload_hash=keys.payload_hash(submission.data),
            natural=submission.key is None,
            created_at=now,
            period=job_type.key_period,
            stage=stage,
        )

    def refusals(self, offers: Sequence[tuple[Submission, Key]]) -> dict[int, QueueServiceError]:
        """Return why submissions cannot be accepted whose needs are not met, by place; before a key is taken.

        One whose key stands for a job is left to its key: what a caller sends once more is answered as it was
        the first time. A registry that does not answer keeps out all that need something of it.
        """
        needs = {place: offer.needs for place, (offer, _) in enumerate(offers)}
        try:
            stand_in_the_way = unmet(self._registry, needs)
        except StoreError as error:
            return {place: error for place, found in needs.items() if found}
        refused: dict[int, QueueServiceError] = {}
        for place, found in stand_in_the_way.items():
            try:
                if not self._is_answered(*offers[place]):
                    refused[place] = InvalidRequest([each.problem for each in found])
            except StoreError as error:
                refused[place] = error
        return refused

    def _is_answered(self, submission: Submission, key: Key) -> bool:
        """Whether a key says itself what its submission comes to; nothing is taken."""
        holder = self._store.load_key(key.id)
        if holder is None:
            return False
        return not isinstance(self._judge(holder, key, submission.venue_id), keys.Unfinished | keys.Released)

    def hold(self, key: Key, venue_id: VenueId) -> Key | Job:
        """Have the key held for its job, or for one whose acceptance is to be finished; else return its job.

        Raises KeyConflict, BatchPending, StoreRefused (the key is not ours) or AcceptanceUnknown.
        """
        held: Key | None = None
        for _ in range(TRIES):
            holder = self._take(key, instead_of=held)
            if holder is None:
                return key
            match self._judge(holder, key, venue_id):
                case keys.Duplicate(job):
                    return job
                case keys.Conflict(job_id):
                    raise KeyConflict(job_id)
                case keys.Unfinished(job_id):
                    # Take the key again for the same job before finishing it: whoever would release it as a
                    # ghost meanwhile is refused, because the record is no longer the one that was judged.
                    key, held = replace(key, job_id=job_id), holder
                case keys.Pending():
                    raise BatchPending
                case keys.Released():
                    held = holder
                case never:
                    assert_never(never)
        raise StoreRefused("The idempotency key is being taken by many requests at once; repeat the request.")

    def standing(self, key: Key, venue_id: VenueId) -> Job | None:
        """Return the job that a key stands for already; None if it is ours, or might be taken over.

        Nothing is taken over. Raises what `hold` raises.
        """
        holder = self._take(key, instead_of=None)
        if holder is None:
            return None
        match self._judge(holder, key, venue_id):
            case keys.Duplicate(job):
                return job
            case keys.Conflict(job_id):
                raise KeyConflict(job_id)
            case keys.Pending():
                raise BatchPending
            case keys.Unfinished() | keys.Released():
                return None
            case never:
                assert_never(never)

    def _take(self, key: Key, *, instead_of: Key | None) -> Key | None:
        for _ in range(TRIES):
            try:
                return self._store.take_key(key, instead_of=instead_of)
            except StoreUnsure:
                continue  # the same write again: if it had been applied, the record names our job
        raise AcceptanceUnknown

    def _judge(self, holder: Key, key: Key, venue_id: VenueId) -> keys.Hit:
        # The stage before the job: what was flipped by then has written its jobs by then.
        stage = self._store.load_stage(holder.stage) if holder.stage is not None else None
        first = self._store.load(holder.job_id, venue_id)
        return keys.judge(holder, first, key, now=self._clock.now(), timing=self._timing, stage=stage)

    def job(self, submission: Submission, key: Key) -> Job:
        """Return the first record of a submission's job."""
        offer = Accepting(
            id=JobId(key.job_id),
            type=submission.job_type.name,
            tier=submission.job_type.tier,
            venue_id=submission.venue_id,
            submitted_by=submission.submitted_by,
            user_id=submission.user_id,
            key_id=key.id,
            payload_hash=key.payload_hash,
            payload=submission.data,
            callback_url=submission.callback_url,
            priority=submission.priority,
            attempts=submission.attempts,
            delay=submission.delay,
            batch_id=submission.batch_id,
            batch_index=submission.batch_index,
            callback_endpoint_id=submission.callback_endpoint_id,
        )
        return accept(offer, now=self._clock.now(), timing=self._timing)

    def add(self, job: Job) -> bool:
        """Write the record, and say whether this call did; when the reply is lost, read back."""
        try:
            return self._store.add(job)
        except StoreUnsure:
            return self.read_back(job)

    def add_audited(self, job: Job, entry: Entry) -> bool:
        """Write the record of a job that an operator has made, and its audit entry; else as `add`."""
        try:
            return self._store.add_audited(job, entry)
        except StoreUnsure:
            return self.read_back(job, entry)

    def read_back(self, job: Job, entry: Entry | None = None) -> bool:
        """Say whether a record stands that nobody answered for, and write it if it does not.

        A record that is found is taken for ours: the key has named this id for nobody else's payload. Raises
        AcceptanceUnknown when it can be neither read nor written.
        """
        for _ in range(TRIES):
            try:
                if self._store.load(job.id, job.venue_id) is not None:
                    return True
                return self._store.add(job) if entry is None else self._store.add_audited(job, entry)
            except StoreError:
                continue
        raise AcceptanceUnknown

    def send(self, jobs: Sequence[Job]) -> None:
        """Send the messages of jobs whose records are surely written."""
        send_accepted(self._queue, self._journal, jobs, now=self._clock.now())


@dataclass(frozen=True, slots=True)
class _Begun:
    """A job whose key is ours; `added` is what `JobStore.add_many` said of its record."""

    job: Job
    added: bool | None


class Submit:
    """The use case behind POST /v1/jobs, and behind a batch each of whose jobs stands by itself."""

    def __init__(
        self,
        *,
        store: JobStore,
        registry: Registry,
        queue: JobQueue,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._store = store
        self._clock = clock
        self._steps = Acceptance(
            store=store,
            registry=registry,
            queue=queue,
            clock=clock,
            chance=chance,
            journal=journal,
            timing=timing,
        )

    def submit(self, submission: Submission, *, audit: Callable[[Job], Entry] | None = None) -> Accepted:
        """Accept a job, or return the one that its key already stands for.

        `audit` gives the entry of an operator who makes the job; it is written with the record, or not at all.

        Raises InvalidRequest (a need is not met), KeyConflict, BatchPending, StoreRefused (nothing was
        accepted) or AcceptanceUnknown (repeat with the same key).
        """
        key = self._steps.key(submission)
        for refusal in self._steps.refusals([(submission, key)]).values():
            raise refusal
        return self._submit(submission, key, audit)

    def submit_each(self, submissions: Sequence[Submission]) -> list[Accepted | QueueServiceError]:
        """Accept jobs, each by itself, and say of each in order what `submit` returns or raises.

        New keys and records are written 25 to a call; whatever does not go that plain way goes the one that a
        single submission goes. A submission that comes twice is its own duplicate.
        """
        begun_at = self._clock.now()
        offers = [(submission, self._steps.key(submission)) for submission in submissions]
        refused = self._steps.refusals(offers)
        firsts: dict[KeyId, int] = {}
        for place, (_, key) in enumerate(offers):
            if place not in refused:
                firsts.setdefault(key.id, place)
        begun = self._begin([offers[place] for place in firsts.values()])
        verdicts: list[Accepted | QueueServiceError] = []
        for place, (submission, key) in enumerate(offers):
            if place in refused:
                verdicts.append(refused[place])
                continue
            first = firsts[key.id]
            if first != place and offers[first][1].payload_hash == key.payload_hash:
                verdicts.append(_once_more(verdicts[first]))
            elif first == place and key.id in begun:
                verdicts.append(self._finish(begun[key.id]))
            else:
                verdicts.append(self._in_time(submission, key, begun_at))
        return verdicts

    def _begin(self, offers: Sequence[tuple[Submission, Key]]) -> dict[KeyId, _Begun]:
        """Take the keys that are free, write their records, and send the messages of those surely written."""
        taken = self._store.take_keys([key for _, key in offers])
        jobs = [
            self._steps.job(submission, key)
            for (submission, key), ours in zip(offers, taken, strict=True)
            if ours
        ]
        added = self._store.add_many(jobs)
        self._steps.send([job for job, done in zip(jobs, added, strict=True) if done])
        return {job.key_id: _Begun(job, done) for job, done in zip(jobs, added, strict=True)}

    def _finish(self, begun: _Begun) -> Accepted | QueueServiceError:
        if begun.added:
            return Accepted(begun.job, deduplicated=False)
        try:
            ours = begun.added is None and self._steps.read_back(begun.job)
            return self._answer(begun.job, ours=ours)
        except QueueServiceError as error:
            return error

    def _in_time(self, submission: Submission, key: Key, begun_at: datetime) -> Accepted | QueueServiceError:
        if self._clock.now() - begun_at > PATIENCE:
            return StoreRefused("There was no time left for this job; repeat the request.")
        try:
            return self._submit(submission, key)
        except QueueServiceError as error:
            return error

    def _submit(
        self, submission: Submission, key: Key, audit: Callable[[Job], Entry] | None = None
    ) -> Accepted:
        held = self._steps.hold(key, submission.venue_id)
        if isinstance(held, Job):
            return Accepted(held, deduplicated=True)
        job = self._steps.job(submission, held)
        added = self._steps.add(job) if audit is None else self._steps.add_audited(job, audit(job))
        return self._answer(job, ours=added)

    def _answer(self, job: Job, *, ours: bool) -> Accepted:
        if not ours:
            # Another request finished this acceptance first: its record stands, and it sends the message.
            return Accepted(self._store.load(job.id, job.venue_id) or job, deduplicated=True)
        self._steps.send([job])
        return Accepted(job, deduplicated=False)


def _once_more(verdict: Accepted | QueueServiceError) -> Accepted | QueueServiceError:
    return Accepted(verdict.job, deduplicated=True) if isinstance(verdict, Accepted) else verdict
