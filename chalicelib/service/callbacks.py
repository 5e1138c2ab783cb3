"""Callbacks: what vendors tell us, once it is known that it is they. They make jobs due; they settle none."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from threading import Lock

from chalicelib.domain.callback import called_back, named
from chalicelib.domain.errors import QueueServiceError, StoreUnsure
from chalicelib.domain.job import JobId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import TIMING, Timing
from chalicelib.domain.ports import Change, Clock, JobQueue, JobStore, Journal, Message, Saved, Unsure
from chalicelib.service.writing import write

READ_AT_MOST_EVERY = timedelta(seconds=30)  # strangers' signatures cost no more than one read in this time


class Callbacks:
    """The use case behind every vendor's callback."""

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        types: Mapping[str, JobType],
        clock: Clock,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._store = store
        self._queue = queue
        self._policies = {name: job_type.policy(timing) for name, job_type in types.items()}
        self._clock = clock
        self._journal = journal

    def bring_forward(self, job_id: str, vendor: str) -> bool:
        """Let a job that polls its provider ask now, and say whether one was moved; any text may be sent.

        One read, at most one write and one message. Where somebody else has just changed the job, nothing is
        done: it is being looked at. Raises StoreRefused or StoreUnsure: the vendor is to call again.
        """
        found, _ = self._store.load_batch([JobId(job_id)])
        job = found.get(JobId(job_id))
        policy = self._policies.get(job.type) if job is not None else None
        if job is None or policy is None:
            return False
        after = called_back(job, policy, now=self._clock.now())
        if after is None:
            return False
        match write(self._store, [Change(job, after)])[0]:
            case Saved():
                # Not sent, or not surely: the job's own message comes back, and the agenda has the job.
                self._queue.send([Message(job.id, job.venue_id, job.tier, job.lane)])
                self._journal.note("called_back", jobId=job.id, type=job.type, vendor=vendor)
                return True
            case Unsure():
                raise StoreUnsure
        return False

    def name_object(self, job_id: str, handle: str, vendor: str) -> bool:
        """Let a parked job know the vendor's object, and say whether it did not know; any text may be sent.

        One read and at most one write. Raises StoreRefused.
        """
        found, _ = self._store.load_batch([JobId(job_id)])
        job = found.get(JobId(job_id))
        after = named(job, handle) if job is not None else None
        if job is None or after is None or not isinstance(write(self._store, [Change(job, after)])[0], Saved):
            return False
        self._journal.note("object_named", jobId=job.id, type=job.type, vendor=vendor, handle=handle)
        return True


class Seal:
    """A secret that a vendor signs its callbacks with; `tell` tells it, read anew when asked to be."""

    def __init__(self, tell: Callable[[bool], str], *, clock: Clock, journal: Journal) -> None:
        self._tell = tell
        self._clock = clock
        self._journal = journal
        self._lock = Lock()
        self._read_at: datetime | None = None

    def holds(self, check: Callable[[str], bool]) -> bool:
        """Say whether a check passes with the secret, or, after a rotation, with the one that replaced it.

        Raises StoreRefused while the secret has never been read.
        """
        return check(self._tell(False)) or (self._may_read_anew() and self._checks_anew(check))

    def _may_read_anew(self) -> bool:
        now = self._clock.now()
        with self._lock:
            if self._read_at is not None and now - self._read_at < READ_AT_MOST_EVERY:
                return False
            self._read_at = now
            return True

    def _checks_anew(self, check: Callable[[str], bool]) -> bool:
        try:
            return check(self._tell(True))
        except QueueServiceError:
            self._journal.alarm("callback_secret_unread")
            return False
