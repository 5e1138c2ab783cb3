"""Notices: the job that tells a caller how a job of theirs has ended, by a signed event.

A notice is made of the ended job alone and written in one transaction with its end: no crash can lose it, and
an end that is written twice is told once. A job that starts anew and ends again is told of again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chalicelib.domain import ids, keys
from chalicelib.domain.job import TERMINAL, Accepting, Job, JobId, KeyId, State, accept
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import TIERS, Timing
from chalicelib.domain.ports import Change

DELIVERY = "webhook.deliver"  # the job type of a notice
EVENTS: Mapping[State, str] = {
    State.COMPLETED: "job.completed",
    State.FAILED: "job.failed",
    State.CANCELLED: "job.cancelled",
}


@dataclass(frozen=True, slots=True)
class Notices:
    """What makes the notices of a house; every write that may end a job goes by `on`."""

    types: Mapping[str, JobType]
    timing: Timing

    def on(self, change: Change) -> Change:
        """Return a change with its notice, where it ends a job whose caller wants to be told.

        A parked job has not ended: whoever resolves it ends it. What is done to a job that has ended already,
        such as its erasure, is no end.
        """
        before, after = change.before, change.after
        if after.state not in TERMINAL or before.state in TERMINAL or not is_awaited(after):
            return change
        return replace(change, follow=notice(after, self.types[DELIVERY], self.timing))


def is_awaited(job: Job) -> bool:
    """Whether somebody wants to be told how the job ends."""
    return job.callback_url is not None or job.callback_endpoint_id is not None


def notice(ended: Job, via: JobType, timing: Timing) -> Job:
    """Return the job that tells of an end: the same one, whoever asks and however often.

    It belongs to the same venue and user, so that an erasure finds what it says of them, and it is told of by
    nobody: no notice has a callback.
    """
    at = _ended_at(ended)
    data = event(ended)
    offer = Accepting(
        id=notice_id(ended),
        type=via.name,
        tier=via.tier,
        venue_id=ended.venue_id,
        submitted_by=ended.submitted_by,
        user_id=ended.user_id,
        # A key of its own kind, which no caller can give: `notice_id` alone sees to it that there is one.
        key_id=KeyId(f"{ended.venue_id}#{via.name}#{keys.digest(['notice', data['eventId']])}"),
        payload_hash=keys.payload_hash(data),
        payload=data,
        callback_url=None,
        priority=TIERS[via.tier].priority,
        attempts=via.most_attempts,
        delay=at - at,
    )
    return accept(offer, now=at, timing=timing)


def notice_id(ended: Job) -> JobId:
    """Return the id of the notice of an end; it sorts by the moment of that, as all jobs' do by theirs."""
    known_by = hashlib.sha256(event_id(ended).encode()).digest()
    return ids.job_id(_ended_at(ended), int.from_bytes(known_by[: ids.RANDOM_BITS // 8], "big"))


def event_id(ended: Job) -> str:
    """Return what the receiver knows an end by; one that starts anew and ends again has another version."""
    return f"{ended.id}-{ended.version}"


def event(ended: Job) -> Mapping[str, Any]:
    """Return the payload of a notice: where it goes, and the event as its receiver reads it.

    The event says what came of the job and never what it was made of. `result` goes to whom the job's own
    caller has named, who may read it at `GET /v1/jobs/{id}` anyway.
    """
    failure = ended.error if ended.state is State.FAILED else None
    told = {
        "jobId": ended.id,
        "type": ended.type,
        "queue": ended.tier.value,
        "venueId": ended.venue_id,
        "state": ended.state.value,
        "reason": None if ended.reason is None else ended.reason.value,
        "result": ended.result if ended.state is State.COMPLETED else None,
        "error": None if failure is None else {"code": failure.code, "message": failure.message},
        "attempts": ended.attempts,
        "batchId": ended.batch_id,
        "batchIndex": ended.batch_index,
        "finishedAt": _written(_ended_at(ended)),
    }
    to = {"url": ended.callback_url, "endpointId": ended.callback_endpoint_id}
    return {
        **_present(to),
        "event": EVENTS[ended.state],
        "eventId": event_id(ended),
        "payload": _present(told),
    }


def _ended_at(ended: Job) -> datetime:
    if ended.finished_at is None:
        raise ValueError(f"job {ended.id} has not ended")
    return ended.finished_at


def _written(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
