"""Accepting a job: the key, the record, the message, in that order, so that no crash loses a 201."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, assert_never

from chalicelib.domain import keys
from chalicelib.domain.errors import AcceptanceUnknown, KeyConflict, StoreError, StoreRefused, StoreUnsure
from chalicelib.domain.job import Accepting, Job, JobId, UserId, VenueId, accept
from chalicelib.domain.jobtype import Facts, JobType
from chalicelib.domain.keys import Key
from chalicelib.domain.policies import TIMING, Timing
from chalicelib.domain.ports import Chance, Clock, JobQueue, JobStore, Journal, Message

TRIES = 3  # how often a lost reply or a race for a released key is tried again before the caller is asked to


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


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job that stands for a submission; `deduplicated`: an earlier submission had made it."""

    job: Job
    deduplicated: bool


class Submit:
    """The use case behind POST /v1/jobs."""

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._timing = timing

    def submit(self, submission: Submission) -> Accepted:
        """Accept a job, or return the one that its key already stands for.

        Raises KeyConflict, StoreRefused (nothing was accepted) or AcceptanceUnknown (repeat with the same key).
        """
        key = self._key(submission)
        held: Key | None = None
        for _ in range(TRIES):
            holder = self._take(key, instead_of=held)
            if holder is None:
                return self._accept(submission, key)
            first = self._store.load(holder.job_id, submission.venue_id)
            match keys.judge(holder, first, key, now=self._clock.now(), timing=self._timing):
                case keys.Duplicate(job):
                    return Accepted(job, deduplicated=True)
                case keys.Conflict(job_id):
                    raise KeyConflict(job_id)
                case keys.Unfinished(job_id):
                    # Take the key again for the same job before finishing it: whoever would release it as a
                    # ghost meanwhile is refused, because the record is no longer the one that was judged.
                    key, held = replace(key, job_id=job_id), holder
                case keys.Released():
                    held = holder
                case never:
                    assert_never(never)
        raise StoreRefused("The idempotency key is being taken by many requests at once; repeat the request.")

    def _key(self, submission: Submission) -> Key:
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
        )

    def _take(self, key: Key, *, instead_of: Key | None) -> Key | None:
        for _ in range(TRIES):
            try:
                return self._store.take_key(key, instead_of=instead_of)
            except StoreUnsure:
                continue  # the same write again: if it had been applied, the record names our job
        raise AcceptanceUnknown

    def _accept(self, submission: Submission, key: Key) -> Accepted:
        job = accept(self._offer(submission, key), now=self._clock.now(), timing=self._timing)
        if not self._add(job):
            # Another request finished this acceptance first: its record stands, and it sends the message.
            return Accepted(self._store.load(job.id, job.venue_id) or job, deduplicated=True)
        if job.looks:
            # Not sent, or not surely: 201 all the same. The agenda has the job, `dispatch` sends it.
            self._queue.send([Message(job.id, job.venue_id, job.tier, job.lane, submission.delay)])
        self._journal.note("accepted", jobId=job.id, venueId=job.venue_id, type=job.type, state=job.state)
        return Accepted(job, deduplicated=False)

    def _add(self, job: Job) -> bool:
        """Write the record, and say whether this call did; when the reply is lost, read back.

        A record that is found then is taken for ours: the key has named this id for nobody else's payload.
        """
        try:
            return self._store.add(job)
        except StoreUnsure:
            pass
        for _ in range(TRIES):
            try:
                if self._store.load(job.id, job.venue_id) is not None:
                    return True
                return self._store.add(job)
            except StoreError:
                continue
        raise AcceptanceUnknown

    def _offer(self, submission: Submission, key: Key) -> Accepting:
        return Accepting(
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
        )
