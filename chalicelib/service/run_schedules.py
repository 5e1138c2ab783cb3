"""Running schedules: each minute, those that are due are found through their index and their jobs submitted.

One job is made of each due time, because of the order: submit under the due time's own key, then move the
schedule on if it still is as it was read. A run that dies in between is repeated, and the key finds the job.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib.domain import keys
from chalicelib.domain.errors import CallerError, QueueServiceError, StoreRefused, StoreUnsure
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.job import Job
from chalicelib.domain.policies import TIMING, Role, Timing
from chalicelib.domain.ports import Chance, Clock, JobStore, Journal, Leases
from chalicelib.domain.schedule import (
    PUNCTUAL,
    Due,
    LastRun,
    Run,
    Schedule,
    ScheduleStore,
    Visit,
    visit,
    visited,
)
from chalicelib.service.cron import Cron, NoSuchZone, NotCron
from chalicelib.service.intake import Intake
from chalicelib.service.principal import Principal
from chalicelib.service.shift import Shift
from chalicelib.service.submit import Accepted, Submission, Submit
from chalicelib.service.writing import TRIES

PAGE = 100  # ids read from the index in one call

Result = Accepted | CallerError  # a job, or why there is none


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run did; `ran` is False when another run holds the lease, `left` True when its time was up."""

    ran: bool
    visited: int = 0
    jobs: int = 0
    repeated: int = 0  # due times whose job was there already
    refused: int = 0  # due times of which no job could be made
    failed: int = 0  # schedules that stay as they are until the next run
    left: bool = False


class RunSchedules:
    """The scheduled function behind schedules; it also carries out what an operator orders."""

    def __init__(
        self,
        *,
        schedules: ScheduleStore,
        store: JobStore,
        intake: Intake,
        submit: Submit,
        leases: Leases,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._schedules = schedules
        self._store = store
        self._intake = intake
        self._submit = submit
        self._shift = Shift(
            Function.RUN_SCHEDULES, leases=leases, clock=clock, chance=chance, journal=journal, timing=timing
        )
        self._clock = clock
        self._journal = journal
        self._timing = timing

    def run(self, *, ends: datetime) -> Ran:
        """Visit every schedule that is due, earliest first, until none is left or the time is up."""
        with self._shift.until(ends) as run:
            if run is None:
                return Ran(ran=False)
            done, left = self._visit_all(run.began, stop=ends - self._timing.settle_margin)
        ran = Ran(ran=True, **done, left=left)
        self._journal.note(
            "schedules_run",
            visited=ran.visited,
            jobs=ran.jobs,
            repeated=ran.repeated,
            refused=ran.refused,
            failed=ran.failed,
            left=ran.left,
        )
        return ran

    def _visit_all(self, until: datetime, *, stop: datetime) -> tuple[Counter[str], bool]:
        """Go through the index once; what fails is passed over, and found first by the next run."""
        done: Counter[str] = Counter()
        after: Due | None = None
        while True:
            page = self._schedules.due(until=until, after=after, limit=PAGE)
            for due in page:
                if self._clock.now() >= stop:
                    return done, True
                done += self._visit(due)
            if len(page) < PAGE:
                return done, False
            after = page[-1]

    def _visit(self, due: Due) -> Counter[str]:
        try:
            schedule = self._schedules.load(due.id)
            # The index lags behind: one that was deleted, moved on or switched off meanwhile is left alone.
            if schedule is None or schedule.wakes_at is None or schedule.wakes_at > self._clock.now():
                return Counter()
            results = self.carry_out(schedule)
        except (QueueServiceError, NotCron, NoSuchZone) as error:
            self._journal.alarm("schedule_failed", scheduleId=due.id, error=type(error).__name__)
            return Counter(failed=1)
        return Counter(visited=1) + Counter(_counted(result) for result in results.values())

    def carry_out(self, schedule: Schedule) -> Mapping[str, Result]:
        """Make the jobs that wait in a schedule, move it on, and return what came of each, by its key.

        Raises StoreError or AcceptanceUnknown; the schedule then is as it was, and carrying it out again
        makes the rest.
        """
        cron = Cron(schedule.plan.cron, schedule.plan.time_zone)
        made = visit(schedule, cron.following, now=self._clock.now())
        results = {run.key: self._make(schedule, run) for run in made.runs}
        last_run = None
        for run in made.runs:
            last_run = _told(run, results[run.key])
            self._journal.note(
                "schedule_ran", scheduleId=schedule.id, jobId=last_run.job_id, key=run.key, error=last_run.error
            )
        self._move_on(schedule, made, last_run)
        return results

    def _make(self, schedule: Schedule, run: Run) -> Result:
        try:
            submission = self._read(schedule, run)
            if run.at < self._clock.now() - PUNCTUAL and (job := self._made_long_ago(submission)) is not None:
                return Accepted(job, deduplicated=True)
            return self._submit.submit(submission)
        except CallerError as error:
            # A type that has changed since, or a key that stands for what the schedule said before.
            self._journal.alarm("schedule_refused", scheduleId=schedule.id, key=run.key, error=error.code)
            return error

    def _read(self, schedule: Schedule, run: Run) -> Submission:
        """Return the submission of a run: the template, read anew by the rules that hold for every caller."""
        job = schedule.plan.job
        body = {
            "type": job.type,
            "data": job.data,
            "options": job.options,
            "onBehalfOf": {"venueId": job.venue_id},
            **job.callbacks,
        }
        read = self._intake.read(body, Principal(f"schedule:{schedule.id}", Role.ADMIN), None)
        return replace(read, key=run.key)

    def _made_long_ago(self, submission: Submission) -> Job | None:
        """Return the job that a run has come to, even if its key has run out since.

        A run that died after it submitted may be repeated days later, when the key alone would let it pass.
        """
        held = self._store.load_key(
            keys.key_id(submission.venue_id, submission.job_type.name, given=submission.key, natural=())
        )
        return None if held is None else self._store.load(held.job_id, submission.venue_id)

    def _move_on(self, schedule: Schedule, made: Visit, last_run: LastRun | None) -> None:
        """Save the visit; if the schedule was changed meanwhile, the next visit finds what is left to do."""
        after = visited(schedule, made, last_run)
        for _ in range(TRIES):
            try:
                moved = self._schedules.swap(schedule, after)
            except StoreUnsure:
                continue  # the same write again; if it had been applied it is refused, and no harm is done
            if made.missed and moved:
                self._journal.note("schedule_missed", scheduleId=schedule.id, policy=schedule.plan.missed)
            return
        raise StoreRefused("A schedule could not be moved on.")


def _told(run: Run, result: Result) -> LastRun:
    if isinstance(result, Accepted):
        return LastRun(run.at, result.job.id)
    return LastRun(run.at, None, result.code)


def _counted(result: Result) -> str:
    if isinstance(result, Accepted):
        return "repeated" if result.deduplicated else "jobs"
    return "refused"
