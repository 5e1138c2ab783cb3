"""The archive: what goes to it and when, what it is called there, what is written, and how that is checked.

A page of it is an object of gzipped JSON lines, all of one archive, type and day of ending, and a manifest
beside it. The last part of its name is a digest of the lines: the same page is the same object however often it
is written, and another one never takes its place.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from chalicelib.domain.job import TERMINAL, Job, JobId, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import Timing
from chalicelib.domain.ports import Entry

LINES, MANIFEST = ".jsonl.gz", ".manifest.json"
AUDIT, ENTRIES = "audit_archive", "entries"
KEPT_YEARS = 7  # of audit entries
_MILLISECOND = timedelta(milliseconds=1)


class Damaged(Exception):
    """What is read back from the archive is not what its manifest says."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the lines of an object have in common."""

    archive: str  # payment_archive
    type: str  # payment.process
    day: date  # in UTC: of ending, or of the audit entries

    @property
    def prefix(self) -> str:
        """Where its objects are."""
        return f"{self.archive}/{self.type}/{self.day:%Y/%m/%d}/"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What there is in an object; `sha256` is of the object as it is stored.

    `marks` tell whether it may have something of a venue or a user without reading it, and name nobody.
    `replaced_by`: what was erased in it stands there without; this object is about to be deleted.
    """

    key: str
    kind: Kind
    count: int
    size: int  # bytes
    sha256: str
    first: str
    last: str
    marks: frozenset[str] = frozenset()
    replaced_by: str | None = None

    @property
    def name(self) -> str:
        """Where the manifest itself is."""
        return manifest_name(self.key)


@dataclass(frozen=True, slots=True)
class Page:
    """An object and its manifest."""

    manifest: Manifest
    body: bytes


def mark(what: str, name: str) -> str:
    """Return the mark of a user or a venue in a manifest."""
    return hashlib.sha256(f"{what}:{name}".encode()).hexdigest()[:16]


def marks_of(jobs: Iterable[Job]) -> frozenset[str]:
    """Return the marks of the venues and users of jobs."""
    found: set[str] = set()
    for job in jobs:
        found.add(mark("venue", job.venue_id))
        if job.user_id is not None:
            found.add(mark("user", job.user_id))
    return frozenset(found)


def page(kind: Kind, lines: Mapping[str, str], marks: frozenset[str] = frozenset()) -> Page:
    """Return the object of these lines, by id; the same lines always give the same bytes."""
    ids = sorted(lines)
    text = "".join(f"{lines[each]}\n" for each in ids).encode()
    body = gzip.compress(text, mtime=0)
    key = f"{kind.prefix}{ids[0]}-{hashlib.sha256(text).hexdigest()[:32]}{LINES}"
    told = hashlib.sha256(body).hexdigest()
    return Page(Manifest(key, kind, len(ids), len(body), told, ids[0], ids[-1], marks), body)


def manifest_name(key: str) -> str:
    """Return where the manifest of an object is."""
    return key.removesuffix(LINES) + MANIFEST


def manifest_text(manifest: Manifest) -> bytes:
    """Return a manifest as it is stored."""
    told = {
        "object": manifest.key,
        "archive": manifest.kind.archive,
        "type": manifest.kind.type,
        "day": manifest.kind.day.isoformat(),
        "count": manifest.count,
        "bytes": manifest.size,
        "sha256": manifest.sha256,
        "first": manifest.first,
        "last": manifest.last,
        "marks": sorted(manifest.marks),
    }
    told |= {} if manifest.replaced_by is None else {"replacedBy": manifest.replaced_by}
    return json.dumps(told, indent=1).encode()


def read_manifest(text: bytes) -> Manifest:
    """Return the manifest of what is stored. Raises Damaged."""
    try:
        told = json.loads(text)
        kind = Kind(told["archive"], told["type"], date.fromisoformat(told["day"]))
        return Manifest(
            told["object"],
            kind,
            count=told["count"],
            size=told["bytes"],
            sha256=told["sha256"],
            first=told["first"],
            last=told["last"],
            marks=frozenset(told.get("marks", ())),
            replaced_by=told.get("replacedBy"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("A manifest cannot be read.") from error


def read_lines(manifest: Manifest, body: bytes | None) -> list[str]:
    """Return the lines of an object if it is what its manifest says, else raise Damaged."""
    if body is None:
        raise Damaged(f"{manifest.key} is missing.")
    if len(body) != manifest.size or hashlib.sha256(body).hexdigest() != manifest.sha256:
        raise Damaged(f"{manifest.key} is not what was put there.")
    try:
        *lines, rest = gzip.decompress(body).decode().split("\n")  # a text may hold what else ends a line
    except (OSError, EOFError, ValueError) as error:
        raise Damaged(f"{manifest.key} cannot be unpacked.") from error
    if len(lines) != manifest.count or rest:
        raise Damaged(f"{manifest.key} has {len(lines)} lines, not {manifest.count}.")
    return lines


# --- when -----------------------------------------------------------------------------------------


def leaves_at(job: Job, job_type: JobType, timing: Timing) -> datetime | None:
    """Return from when on an ended job may go to the archive; None while it is open or parked.

    Its retention is over by then, and its key is dead by every clock: a key whose job has gone is taken for a
    crash in between, and one that still lived would let the job be accepted, and run, once more.
    """
    if job.state not in TERMINAL or job.finished_at is None or job.stage is not None:
        return None
    key_gone = job.created_at + job_type.key_period + timing.clock_skew + _MILLISECOND
    return max(job.finished_at + job_type.retention, key_gone)


def look_again_at(job: Job, job_type: JobType, timing: Timing, *, now: datetime) -> datetime:
    """Return when a job that may not go now is to be looked at again: no earlier could it go."""
    return leaves_at(job, job_type, timing) or now + job_type.retention


def kind_of(job: Job, job_type: JobType) -> Kind:
    """Return the kind of object that an ended job of an archived type belongs to."""
    if job.finished_at is None or job_type.archive is None:
        raise ValueError(f"job {job.id} has not ended, or goes to no archive")
    return Kind(job_type.archive, job.type, job.finished_at.date())


def last_audit_day(now: datetime) -> date:
    """Return the last day all of whose audit entries are kept for long enough."""
    today = now.date()
    day = min(today.day, 28) if today.month == 2 else today.day
    return today.replace(year=today.year - KEPT_YEARS, day=day) - timedelta(days=1)


# --- where, and what is known of how far it is -------------------------------------------------------


class Archive(Protocol):
    """The objects of the archive, by name. All calls raise StoreRefused, or StoreUnsure where they write."""

    def put(self, key: str, body: bytes, *, sha256: str) -> None:
        """Write an object; the store refuses one that is not of this SHA-256 (in hex)."""
        ...

    def read(self, key: str) -> bytes | None:
        """Return an object, None if there is none."""
        ...

    def names(self, prefix: str, *, after: str | None, limit: int) -> list[str]:
        """Return the names that begin with `prefix`, in order, those after a name."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there does no harm."""
        ...


@dataclass(frozen=True, slots=True)
class Venue:
    """A venue that has had jobs, and by days of retention the last job that all is done up to."""

    id: VenueId
    done: Mapping[int, JobId]


@dataclass(frozen=True, slots=True)
class Leftover:
    """A job behind its venue's mark that could not go yet, and when it is to be looked at again."""

    at: datetime
    job_id: JobId


class Cleaning(Protocol):
    """How far the cleanup is, and what only it may do. All calls raise StoreRefused, or StoreUnsure."""

    def venues(self, *, after: VenueId | None, limit: int) -> list[Venue]:
        """Return venues from the register, in order; a venue is there before the first record of its jobs."""
        ...

    def oldest(self, venue_id: VenueId, *, above: JobId | None, below: JobId, limit: int) -> list[JobId]:
        """Return a venue's jobs between two ids, in the order of their acceptance; one query."""
        ...

    def mark(self, venue_id: VenueId, days: int, done: JobId) -> None:
        """Note up to which job all is done of a venue and a retention."""
        ...

    def leftovers(self, *, after: Leftover | None, until: datetime, limit: int) -> list[Leftover]:
        """Return what is to be looked at again by a moment, earliest first, from behind another one on."""
        ...

    def note(self, leftovers: Sequence[Leftover]) -> None:
        """Note what is to be looked at again; the same once more does no harm."""
        ...

    def forget(self, leftovers: Sequence[Leftover]) -> None:
        """Take notes away."""
        ...

    def place(self, name: str) -> str | None:
        """Return how far a walk was."""
        ...

    def set_place(self, name: str, place: str | None) -> None:
        """Note how far a walk is; None: it begins anew."""
        ...

    def delete(self, jobs: Sequence[Job]) -> list[bool]:
        """Delete records, each if it still has the version that was read, and payloads kept apart.

        Says of each whether this surely is done; False: it has changed, or nobody can tell.
        """
        ...

    def delete_entries(self, entries: Iterable[Entry]) -> None:
        """Delete audit entries; those that are not there do no harm."""
        ...

    def tell(self, entry: Entry) -> None:
        """Write an audit entry of what is done to the archive alone."""
        ...

    def restore(self, job: Job, note: Leftover, entry: Entry) -> bool:
        """Write a job from the archive, whole, where none of its id stands, with a note and an audit entry.

        Says whether it was this call that wrote it.
        """
        ...
