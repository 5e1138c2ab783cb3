"""The cleanup: ended jobs whose retention is over go to the archive, then from the table; so do audit entries.

Nothing is deleted before the object that holds it was read back and is what its manifest says. The jobs of a
venue are found by the range of their ids, from where the last run stopped; those that cannot go yet are noted
for the moment from which they can. What a run that dies has done is done again: the same page, the same object.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import chain

from chalicelib.domain.archive import (
    AUDIT,
    ENTRIES,
    Archive,
    Cleaning,
    Damaged,
    Kind,
    Leftover,
    Venue,
    kind_of,
    last_audit_day,
    leaves_at,
    look_again_at,
    marks_of,
)
from chalicelib.domain.audit import AuditLog
from chalicelib.domain.errors import StoreError
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.ids import job_id
from chalicelib.domain.job import Job, JobId, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.lines import entry_line, job_line
from chalicelib.domain.policies import TIMING, Timing
from chalicelib.domain.ports import Chance, Clock, JobStore, Journal, Leases
from chalicelib.service.archiving import keep
from chalicelib.service.shift import Shift

AT_ONCE = 90  # records read in one call; the controls come with them
MOST_HELD = 300  # jobs in hand before they are archived: what bounds the memory
MOST_SEEN = 2_000  # records looked at before it is noted how far the run is
MOST_ENTRIES = 500  # of the audit log in one object
MOST_VENUES = 100  # read from the register in one call
VENUES, ENTRIES_OF_DAYS = "venues", "audit"  # the walks whose places are kept
FIRST_DAY = date(2026, 1, 1)  # no audit entry is older
A_DAY, A_MONTH = timedelta(days=1), timedelta(days=30)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class CleanedUp:
    """What a run did, or would do; `left`: its time was up, and the next goes on from there."""

    ran: bool
    kinds: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # of each: lines, bytes
    deleted: int = 0
    put_off: int = 0
    left: bool = False
    failed: bool = False

    @property
    def archived(self) -> int:
        """Jobs and audit entries that went to the archive."""
        return sum(count for count, _ in self.kinds.values())


@dataclass
class _Load:
    """What is in hand between two saves: jobs to go, notes to make and to take away, marks to set."""

    jobs: dict[JobId, Job] = field(default_factory=dict)
    later: list[Leftover] = field(default_factory=list)
    looked_at: list[Leftover] = field(default_factory=list)
    marks: dict[tuple[VenueId, int], JobId] = field(default_factory=dict)
    seen: int = 0

    @property
    def full(self) -> bool:
        return len(self.jobs) >= MOST_HELD or self.seen >= MOST_SEEN


@dataclass
class _Round:
    """One run: when it began and must stop, whether it changes anything, and what came of it."""

    now: datetime
    stop: datetime
    acts: bool
    load: _Load = field(default_factory=_Load)
    passed: VenueId | None = None  # the last venue that the walk is done with, until it is once around
    lines: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    deleted: int = 0
    put_off: int = 0
    left: bool = False
    failed: bool = False

    def result(self) -> CleanedUp:
        """Return what came of it."""
        kinds = {kind: (count, self.bytes[kind]) for kind, count in self.lines.items()}
        return CleanedUp(True, kinds, self.deleted, self.put_off, self.left, self.failed)


class Cleanup:
    """The scheduled function behind retention."""

    def __init__(
        self,
        *,
        store: JobStore,
        cleaning: Cleaning,
        archive: Archive,
        audit_log: AuditLog,
        leases: Leases,
        types: Mapping[str, JobType],
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._store = store
        self._cleaning = cleaning
        self._archive = archive
        self._audit_log = audit_log
        self._shift = Shift(
            Function.CLEANUP, leases=leases, clock=clock, chance=chance, journal=journal, timing=timing
        )
        self._types = types
        self._clock = clock
        self._journal = journal
        self._timing = timing
        self._days = sorted({each.retention.days for each in types.values() if each.archive is not None})

    def run(self, *, ends: datetime) -> CleanedUp:
        """Archive and delete what is due, until nothing is left or the time is up."""
        with self._shift.until(ends) as run:
            if run is None:
                return CleanedUp(ran=False)
            done = self._go_through(_Round(run.began, ends - self._timing.settle_margin, acts=True))
            run.failed = done.failed
        self._journal.note(
            "cleaned_up",
            archived=done.archived,
            deleted=done.deleted,
            putOff=done.put_off,
            left=done.left,
            failed=done.failed,
        )
        return done

    def preview(self, *, ends: datetime) -> CleanedUp:
        """Say what a run would archive, by archive and type, and change nothing."""
        return self._go_through(_Round(self._clock.now(), ends, acts=False))

    def _go_through(self, round_: _Round) -> CleanedUp:
        try:
            for _ in chain(self._leftovers(round_), self._venues(round_)):
                if round_.load.full:
                    self._settle(round_)
                if self._clock.now() >= round_.stop:
                    round_.left = True
                    break
            self._settle(round_)
            if round_.acts and (round_.passed is not None or not round_.left):
                self._cleaning.set_place(VENUES, round_.passed)
            if not round_.left:
                self._entries(round_)
        except (StoreError, Damaged) as error:
            self._journal.alarm("cleanup_failed", error=type(error).__name__, why=str(error))
            round_.failed = True
        return round_.result()

    # --- what is due

    def _leftovers(self, round_: _Round) -> Iterator[None]:
        """Look again at the jobs that could not go before, page by page."""
        last: Leftover | None = None
        while page := self._cleaning.leftovers(after=last, until=round_.now, limit=AT_ONCE):
            last = page[-1]
            self._sort(round_, [each.job_id for each in page], None)
            round_.load.looked_at += page
            yield

    def _venues(self, round_: _Round) -> Iterator[None]:
        """Go through all venues, from where the last run stopped, page by page of each one's jobs."""
        place = self._cleaning.place(VENUES)
        for venue in self._register(None if place is None else VenueId(place)):
            for days in self._days:
                try:
                    yield from self._of_venue(round_, venue, days)
                except StoreError as error:  # a record that this version cannot read: others are not held up
                    self._journal.alarm("cleanup_hindered", venueId=venue.id, error=type(error).__name__)
                    round_.failed = True
            round_.passed = venue.id
            yield
        round_.passed = None

    def _register(self, start: VenueId | None) -> Iterator[Venue]:
        """Return all venues, those after `start` first."""
        for first, last in ((start, None), (None, start)) if start is not None else ((None, None),):
            after = first
            while page := self._cleaning.venues(after=after, limit=MOST_VENUES):
                for venue in page:
                    if last is not None and venue.id > last:
                        return
                    yield venue
                after = page[-1].id

    def _of_venue(self, round_: _Round, venue: Venue, days: int) -> Iterator[None]:
        above = venue.done.get(days)
        below = job_id(round_.now - timedelta(days=days) + _MILLISECOND)
        while above is None or above < below:
            ids = self._cleaning.oldest(venue.id, above=above, below=below, limit=AT_ONCE)
            if not ids:
                return
            self._sort(round_, ids, days)
            above = round_.load.marks[venue.id, days] = ids[-1]
            yield

    def _sort(self, round_: _Round, ids: Sequence[JobId], days: int | None) -> None:
        """Take in hand what may go, and note what may later; `days`: of this retention alone."""
        jobs, _ = self._store.load_batch(ids)
        round_.load.seen += len(ids)
        for job in jobs.values():
            job_type = self._types.get(job.type)
            if job_type is None:
                if days in (None, self._days[-1]):
                    self._journal.alarm("cleanup_unknown_type", jobId=job.id, type=job.type)
                    round_.load.later.append(Leftover(round_.now + A_MONTH, job.id))
                continue
            if job_type.archive is None or days not in (None, job_type.retention.days):
                continue
            leaves = leaves_at(job, job_type, self._timing)
            if leaves is not None and leaves <= round_.now:
                round_.load.jobs[job.id] = job
            else:
                again = look_again_at(job, job_type, self._timing, now=round_.now)
                round_.load.later.append(Leftover(again, job.id))

    # --- what is done with it

    def _settle(self, round_: _Round) -> None:
        """Archive what is in hand, delete it, then note how far the run is."""
        load, round_.load = round_.load, _Load()
        self._archive_jobs(round_, list(load.jobs.values()))
        if not round_.acts:
            round_.put_off += len(load.later)
            return
        jobs = list(load.jobs.values())
        gone = self._cleaning.delete(jobs) if jobs else []
        # One that an operator has let start anew meanwhile, or of which nobody can tell.
        stays = [Leftover(round_.now + A_DAY, job.id) for job, done in zip(jobs, gone, strict=True) if not done]
        later = load.later + stays
        round_.deleted += sum(gone)
        round_.put_off += len(later)
        if later:
            self._cleaning.note(later)
        if load.looked_at:
            self._cleaning.forget(load.looked_at)
        for (venue_id, days), done in load.marks.items():
            self._cleaning.mark(venue_id, days, done)

    def _archive_jobs(self, round_: _Round, jobs: Sequence[Job]) -> None:
        alike: dict[Kind, list[Job]] = defaultdict(list)
        for job in jobs:
            alike[kind_of(job, self._types[job.type])].append(job)
        for kind, group in alike.items():
            lines = {str(job.id): job_line(job) for job in self._whole(group)}
            self._keep(round_, kind, lines, marks_of(group))

    def _whole(self, jobs: Sequence[Job]) -> list[Job]:
        apart = [job for job in jobs if job.payload_apart]
        payloads = self._store.load_payloads(apart) if apart else {}
        for job in apart:
            if job.id not in payloads:
                self._journal.alarm("payload_missing", jobId=job.id)
        return [replace(job, payload=payloads.get(job.id)) if job.payload_apart else job for job in jobs]

    def _entries(self, round_: _Round) -> None:
        """Archive the audit entries of days that are past seven years, day by day."""
        place = self._cleaning.place(ENTRIES_OF_DAYS)
        day = first = FIRST_DAY if place is None else date.fromisoformat(place)
        last, below = last_audit_day(round_.now), None
        while day <= last and self._clock.now() < round_.stop:
            entries = self._audit_log.of_day(day, below=below, limit=MOST_ENTRIES)
            if not entries:
                day, below = day + A_DAY, None
                continue
            below = entries[-1].id
            self._keep(round_, Kind(AUDIT, ENTRIES, day), {each.id: entry_line(each) for each in entries})
            if round_.acts:
                self._cleaning.delete_entries(entries)
                round_.deleted += len(entries)
        round_.left = round_.left or day <= last
        if round_.acts and day > first:
            self._cleaning.set_place(ENTRIES_OF_DAYS, day.isoformat())

    def _keep(
        self, round_: _Round, kind: Kind, lines: Mapping[str, str], marks: frozenset[str] = frozenset()
    ) -> None:
        if round_.acts:
            keep(self._archive, kind, lines, marks)
        named = (kind.archive, kind.type)
        round_.lines[named] += len(lines)
        round_.bytes[named] += sum(len(line.encode()) + 1 for line in lines.values())
