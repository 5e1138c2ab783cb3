"""What operators do with the archive: look into it, check it, bring jobs back, erase a person in it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.domain import job as moves
from chalicelib.domain.archive import (
    AUDIT,
    MANIFEST,
    Archive,
    Cleaning,
    Damaged,
    Leftover,
    Manifest,
    mark,
    marks_of,
    read_manifest,
)
from chalicelib.domain.job import Job, JobId
from chalicelib.domain.lines import job_line, read_job
from chalicelib.domain.operation import OperationId
from chalicelib.domain.ports import Chance, Clock, Entry, Journal
from chalicelib.service.archiving import keep, put_manifest, read
from chalicelib.service.run_operations import address_mark, texts_of

RESTORED_FOR = timedelta(days=30)
A_DAY = timedelta(days=1)
MOST_NAMES = 500  # listed in one call


@dataclass(frozen=True, slots=True)
class Who:
    """Who does it and why, for the audit log."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of the jobs that were asked for."""

    restored: int = 0
    stood: int = 0  # a record of this id stands; it was left alone


@dataclass(frozen=True, slots=True)
class Person:
    """Whose data is erased: a user's, or what has an address in its data among a venue's jobs."""

    user_id: str | None = None
    venue_id: str | None = None
    address: str | None = None
    known_by: OperationId | None = None  # then `address` is what this operation keeps of it, and no address

    @property
    def mark(self) -> str:
        """The mark of the objects that may have something of them."""
        return mark("venue", self.venue_id or "") if self.user_id is None else mark("user", self.user_id)

    def owns(self, job: Job) -> bool:
        """Whether an archived job has something of theirs that is not erased yet."""
        if job.erased_at is not None:
            return False
        if self.user_id is not None:
            return job.user_id == self.user_id
        return job.venue_id == self.venue_id and any(map(self._names_them, texts_of(job.payload)))

    def _names_them(self, text: str) -> bool:
        if self.known_by is not None:
            return address_mark(self.known_by, text) == self.address
        return text.strip().casefold() == (self.address or "").strip().casefold()


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: jobs, and the objects that were written anew for it."""

    jobs: int = 0
    objects: int = 0
    left_at: str | None = None  # its time was up: behind this name it goes on


class Archived:
    """The archive in an operator's hands."""

    def __init__(
        self, *, archive: Archive, cleaning: Cleaning, clock: Clock, chance: Chance, journal: Journal
    ) -> None:
        self._archive = archive
        self._cleaning = cleaning
        self._clock = clock
        self._chance = chance
        self._journal = journal

    def manifests(self, prefix: str) -> Iterator[Manifest]:
        """Give the manifests under a prefix, in order. Raises Damaged or StoreRefused."""
        for name in self._names(prefix):
            text = self._archive.read(name)
            if text is not None:  # else it was replaced meanwhile
                yield read_manifest(text)

    def verify(self, prefix: str) -> Iterator[tuple[str, str | None]]:
        """Say of every object under a prefix what is wrong with it, None if it is as its manifest says."""
        for name in self._names(prefix):
            try:
                read(self._archive, name)
            except Damaged as error:
                yield name, str(error)
            else:
                yield name, None

    def restore(self, prefix: str, who: Who, *, job_ids: frozenset[str] | None = None) -> Restored:
        """Bring back the jobs under a prefix, or some of them, as they were, for thirty days.

        Where a record stands it stays. Of a job that is in two objects the last version counts. Raises Damaged
        or StoreError; what was restored by then stays, and doing it again brings back the rest.
        """

        def wanted(job: Job) -> bool:
            return job_ids is None or job.id in job_ids

        versions: dict[JobId, int] = {}
        for job in self._jobs(prefix):
            if wanted(job):
                versions[job.id] = max(job.version, versions.get(job.id, 0))
        back = stood = 0
        for job in self._jobs(prefix):
            if wanted(job) and job.version == versions.get(job.id):
                del versions[job.id]
                done = self._bring_back(job, who)
                back, stood = back + done, stood + (not done)
        self._journal.note("archive_restored", prefix=prefix, restored=back, stood=stood, actor=who.actor)
        return Restored(back, stood)

    def erase(
        self, person: Person, who: Who, *, after: str | None = None, until: datetime | None = None
    ) -> Erased:
        """Take a person's data out of all objects that may have some, each replaced by one without it.

        Raises Damaged or StoreError; doing it again goes on, and finds nothing where it is done.
        """
        if after is None:
            self._cleaning.tell(self._entry("erase_archive", "archive", who))
        jobs = objects = 0
        for name in self._names("", after):
            if until is not None and self._clock.now() >= until:
                return Erased(jobs, objects, after or "")
            after = name
            text = self._archive.read(name)
            if text is None:
                continue
            manifest = read_manifest(text)
            if manifest.replaced_by is not None:  # a run that died was about to delete it
                self._drop(manifest)
            elif person.mark in manifest.marks:
                found = self._erase_in(manifest, person)
                jobs, objects = jobs + found, objects + (found > 0)
        self._journal.note("archive_erased", jobs=jobs, objects=objects, actor=who.actor)
        return Erased(jobs, objects)

    def _erase_in(self, manifest: Manifest, person: Person) -> int:
        """Replace an object by one without the person's data; return of how many jobs."""
        before = [read_job(line) for line in read(self._archive, manifest.name)[1]]
        now = self._clock.now()
        after = [moves.erase(job, now=now) if person.owns(job) else job for job in before]
        found = sum(was is not job for was, job in zip(before, after, strict=True))
        if found:
            lines = {str(job.id): job_line(job) for job in after}
            made = keep(self._archive, manifest.kind, lines, marks_of(after))
            put_manifest(self._archive, replace(manifest, replaced_by=made.key))
            self._drop(manifest)
        return found

    def _drop(self, manifest: Manifest) -> None:
        self._archive.delete(manifest.key)
        self._archive.delete(manifest.name)

    def _bring_back(self, job: Job, who: Who) -> bool:
        until = self._clock.now() + RESTORED_FOR
        entry = self._entry("restore", job.id, who, job)
        note = Leftover(until + A_DAY, job.id)  # if an operator lets it start anew, it is archived anew
        return self._cleaning.restore(replace(job, expires_at=until), note, entry)

    def _jobs(self, prefix: str) -> Iterator[Job]:
        for manifest in self.manifests(prefix):
            if manifest.kind.archive != AUDIT and manifest.replaced_by is None:
                for line in read(self._archive, manifest.name)[1]:
                    yield read_job(line)

    def _names(self, prefix: str, after: str | None = None) -> Iterator[str]:
        while names := self._archive.names(prefix, after=after, limit=MOST_NAMES):
            yield from (name for name in names if name.endswith(MANIFEST))
            after = names[-1]

    def _entry(self, action: str, subject: str, who: Who, job: Job | None = None) -> Entry:
        return Entry(
            id=self._chance.entry_id(),
            at=self._clock.now(),
            actor=who.actor,
            action=action,
            subject=subject,
            venue_id=None if job is None else job.venue_id,
            reason=who.reason,
            before=None,
            after=None if job is None else job.state,
        )
