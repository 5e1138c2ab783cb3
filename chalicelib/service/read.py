"""Reading: a job as its callers see it, and only to those who may see it."""

import re
from datetime import datetime
from typing import Any

from chalicelib.domain.errors import BatchPending, InvalidRequest, NotFound, Problem, QueueMismatch
from chalicelib.domain.job import TERMINAL, Attempt, Job, JobId, State
from chalicelib.domain.keys import lives
from chalicelib.domain.money import stated
from chalicelib.domain.notice import DELIVERY, is_awaited, notice_id
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Role, Tier
from chalicelib.domain.ports import Clock, JobStore
from chalicelib.service.principal import Principal
from chalicelib.service.submit import Accepted

REDACTED = "[redacted]"
SEES_DATA = frozenset({Role.USER, Role.VENUE_ADMIN, Role.ADMIN})  # a user sees only jobs of its own at all
OPERATORS = frozenset({Role.VENUE_ADMIN, Role.ADMIN})  # see in lists how much money a job is about
WAITING = frozenset({State.QUEUED, State.SCHEDULED, State.RETRYING})

# The table also holds payloads, under ids that no job has; a caller's id must not reach them.
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Read:
    """The use cases behind GET /v1/jobs/{id} and what its idempotency key stands for."""

    def __init__(self, store: JobStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def job(self, job_id: str, principal: Principal, *, queue: str | None = None) -> dict[str, Any]:
        """Return the view of a job; one that the principal may not see is as unknown as one that is not there.

        Raises NotFound, InvalidRequest (no such queue), QueueMismatch (not the job's), BatchPending or
        StoreRefused.
        """
        if queue is not None and queue not in list(Tier):
            raise InvalidRequest([Problem("queue", f"Send one of {', '.join(Tier)}.")])
        job = self._seen(job_id, principal)
        if queue is not None and queue != job.tier:
            raise QueueMismatch(f"The job is in the queue {job.tier}: name that, or none.")
        return view(job, whole=principal.role in SEES_DATA)

    def key(self, job_id: str, principal: Principal) -> dict[str, Any]:
        """Return what a job's idempotency key stands for now; raises as `job` does."""
        job = self._seen(job_id, principal)
        held = self._store.load_key(job.key_id)
        if held is None:
            return {"jobId": job.id, "key": None}
        holder = job if held.job_id == job.id else self._store.load(held.job_id, None)
        stands = holder is not None and lives(held, holder, self._clock.now())
        return {
            "jobId": job.id,
            "key": {
                "given": not held.natural,
                "since": moment(held.created_at),
                "until": moment(held.created_at + held.period),
                "stands": stands,
                "ours": held.job_id == job.id,
            },
        }

    def _seen(self, job_id: str, principal: Principal) -> Job:
        job = self._visible(job_id, principal)
        if job is None:
            raise NotFound
        if job.stage is not None:
            raise BatchPending
        return job

    def _visible(self, job_id: str, principal: Principal) -> Job | None:
        if not _JOB_ID.fullmatch(job_id):
            return None
        match principal.role:
            case Role.SERVICE | Role.ADMIN:
                return self._store.load(JobId(job_id), None)
            case Role.VENUE_ADMIN:
                venue = principal.venue_id
                return self._store.load(JobId(job_id), venue) if venue is not None else None
            case Role.USER:
                job = self._store.load(JobId(job_id), None)
                # A delivery says where the venue's systems listen, which is no user's to know.
                theirs = job is not None and job.user_id == principal.sub and job.type != DELIVERY
                return job if theirs else None


def receipt(accepted: Accepted) -> dict[str, Any]:
    """Return the answer to a submission; of a job that stood before it, also what has come of it so far."""
    job = accepted.job
    answer: dict[str, Any] = {
        "jobId": job.id,
        "queue": job.tier,
        "type": job.type,
        "status": job.state,
        "deduplicated": accepted.deduplicated,
        "options": {
            "priority": job.priority,
            "delay": round((job.due - job.created_at).total_seconds() * 1000),
            "attempts": job.max_attempts,
        },
    }
    if accepted.deduplicated:
        answer |= _present(reason=job.reason, result=job.result, error=error_of(job.error))
    return answer


def view(job: Job, *, whole: bool) -> dict[str, Any]:
    """Return a job as callers see it; unless `whole`, the values of its data are blanked and the keys kept."""
    data = job.payload or {}
    return row(job, money=whole) | {
        "data": data if whole else dict.fromkeys(data, REDACTED),
        "history": [_attempt(attempt) for attempt in job.history],
    }


def row(job: Job, *, money: bool) -> dict[str, Any]:
    """Return a job as lists show it: all but its data, of which `money` alone is told, and its history."""
    shown: dict[str, Any] = {
        "id": job.id,
        "queue": job.tier,
        "type": job.type,
        "venueId": job.venue_id,
        "state": job.state,
        "progress": progress(job),
        "attempts": job.attempts,
        "maxAttempts": job.max_attempts,
        "priority": job.priority,
        "createdAt": moment(job.created_at),
        "processedAt": moment(job.processed_at),
        "finishedAt": moment(job.finished_at),
    }
    currency, amount = (stated(job.payload) if money else None) or (None, None)
    return shown | _present(
        amount=amount,
        currency=currency,
        reason=job.reason,
        scheduledFor=moment(job.due) if job.state is State.SCHEDULED else None,
        nextAttemptAt=moment(job.next_attempt_at) if job.state in WAITING else None,
        result=job.result,
        error=error_of(job.error),
        providerObject=job.handle if job.erased_at is None else None,
        batchId=job.batch_id,
        batchIndex=job.batch_index,
        callbackJobId=notice_id(job) if job.state in TERMINAL and is_awaited(job) else None,
        erasedAt=moment(job.erased_at),
    )


def progress(job: Job) -> int:
    """Return 0 until the first claim, 100 once completed, and 50 for all in between.

    One effect is either done or not; there is nothing finer to measure, and a failed job is not done.
    """
    if job.state is State.COMPLETED:
        return 100
    return 0 if job.processed_at is None else 50


def moment(at: datetime | None) -> str | None:
    """Return a moment as callers read it: ISO 8601 in UTC, to the millisecond."""
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "startedAt": moment(attempt.started_at),
        "endedAt": moment(attempt.ended_at),
        "outcome": attempt.outcome,
        **_present(code=attempt.code, reference=attempt.reference),
    }


def error_of(failure: Failure | None) -> dict[str, Any] | None:
    """Return what a caller sees of what went wrong."""
    if failure is None:
        return None
    return {"code": failure.code, "message": failure.message, **_present(reference=failure.reference)}


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
