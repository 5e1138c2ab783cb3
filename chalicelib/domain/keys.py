"""Idempotency keys: what a hit on one means. Expiry is decided here, never by a table's TTL."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from chalicelib.domain.batch import Stage, StageState
from chalicelib.domain.job import TERMINAL, Job, JobId, KeyId, Reason, StageId, State, VenueId
from chalicelib.domain.policies import Timing


@dataclass(frozen=True, slots=True)
class Key:
    """The idempotency record: it is written before the job that it names."""

    id: KeyId
    job_id: JobId
    payload_hash: str
    natural: bool  # derived from the payload, not given by the caller
    created_at: datetime
    period: timedelta
    stage: StageId | None = None  # the batch that the job is accepted with, all of it or none


def key_id(venue_id: VenueId, job_type: str, *, given: str | None, natural: tuple[object, ...]) -> KeyId:
    """Return the key's identity: scoped by venue and type; the caller's own key wins over the natural one."""
    parts = ["given", given] if given is not None else ["natural", *natural]
    return KeyId(f"{venue_id}#{job_type}#{digest(parts)}")


def digest(value: object) -> str:
    """Return a digest of a JSON value that does not depend on the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def payload_hash(data: Mapping[str, Any]) -> str:
    """Return the digest by which two submissions under one key are the same submission."""
    return digest(data)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The key's job stands for this submission, too."""

    job: Job


@dataclass(frozen=True, slots=True)
class Conflict:
    """The key's job has another payload."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The key names a job that was never written: a crash in between. Finish that acceptance."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class Pending:
    """Whether the key's job is accepted is being decided: ask again."""


@dataclass(frozen=True, slots=True)
class Released:
    """The key's life is over: it may be taken for a new job."""


Hit = Duplicate | Conflict | Unfinished | Pending | Released


def judge(
    held: Key,
    holder: Job | None,
    offered: Key,
    *,
    now: datetime,
    timing: Timing,
    stage: Stage | None = None,
) -> Hit:
    """Decide what a submission under `offered` is, when the key is held by `held` for `holder`.

    `stage` is the one that `held` names, read before `holder`: it says whether the job was ever accepted.
    A key without a job is a crash in between, or a job whose retention is over. Nobody was answered 201
    for the first, so once that acceptance cannot be under way any more it blocks no other payload.
    """
    same = held.payload_hash == offered.payload_hash
    if held.stage is not None:
        if stage is not None and stage.state is StageState.STAGED:
            return Pending()
        flipped = stage is not None and stage.state is StageState.FLIPPED
        if holder is None or (holder.stage is not None and not flipped):
            return Released()
    if holder is None and offered.stage is not None:
        # Its acceptance may not be finished here: this batch may come to nothing, and somebody finish it too.
        return Pending() if now - held.created_at <= timing.accept_within else Released()
    if holder is None:
        patience = held.period if same else timing.accept_within
        if now - held.created_at > patience:
            return Released()
        return Unfinished(held.job_id) if same else Conflict(held.job_id)
    if not lives(held, holder, now):
        return Released()
    return Duplicate(holder) if same else Conflict(held.job_id)


class Standing(StrEnum):
    """What a key that another job's submission has taken is to the job that had it before."""

    HELD = "held"  # its job is there, or was accepted and ended; the key is that job's
    OPEN = "open"  # whether its job will be accepted is being decided
    GHOST = "ghost"  # it never was, and never will be under this record


def standing(held: Key, holder: Job | None, *, now: datetime, timing: Timing, stage: Stage | None) -> Standing:
    """Decide whether a key stands in the way of the job that had it before; arguments as those of `judge`.

    Whoever would still finish the acceptance of a ghost takes its key again first, so it may be taken back as
    long as it is the very record that was judged.
    """
    if held.stage is None:
        if holder is not None:
            return Standing.HELD
        return Standing.OPEN if now - held.created_at <= timing.accept_within else Standing.GHOST
    if stage is not None and stage.state is StageState.STAGED:
        return Standing.OPEN
    flipped = stage is not None and stage.state is StageState.FLIPPED
    off_stage = holder is not None and holder.stage is None
    return Standing.HELD if off_stage or (flipped and holder is not None) else Standing.GHOST


def lives(held: Key, holder: Job, now: datetime) -> bool:
    """Whether a key still stands: until its job is terminal and at least its period from acceptance.

    A natural key alone is let go early, when its job came to nothing for certain: a customer whose card
    was declined may buy again at once.
    """
    if holder.state not in TERMINAL:
        return True
    if held.natural and holder.doubt is None and came_to_nothing(holder):
        return False
    return now < held.created_at + held.period


def came_to_nothing(job: Job) -> bool:
    """Whether a terminal job ended without the effect it was for, by a refusal or a cancellation."""
    match job.state:
        case State.CANCELLED:
            return True
        case State.FAILED:
            return job.reason is Reason.REFUSED
        case State.COMPLETED:
            return False
        case State.QUEUED | State.SCHEDULED | State.RUNNING | State.RETRYING | State.PARKED:
            return False
    assert_never(job.state)
