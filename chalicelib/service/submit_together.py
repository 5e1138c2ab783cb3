"""Accepting a batch, all of it or nothing: its jobs wait on a stage until one write accepts every one of them.

Stage, keys, records, flip, and only then the jobs leave the stage and their messages go. Whatever fails before
the flip leaves nothing that anybody sees; whatever fails after it is made good by `dispatch`.
"""

from collections.abc import Mapping, Sequence

from chalicelib.domain.batch import Stage, StageState, abort, flip, open_stage
from chalicelib.domain.errors import (
    AcceptanceUnknown,
    BatchPending,
    KeyConflict,
    QueueServiceError,
    StoreError,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.job import Job, KeyId, StageId, put_on_stage
from chalicelib.domain.keys import Key
from chalicelib.domain.policies import TIMING, Timing
from chalicelib.domain.ports import Chance, Clock, JobQueue, JobStore, Journal
from chalicelib.domain.standing import Registry
from chalicelib.service.submit import PATIENCE, TRIES, Acceptance, Accepted, Submission
from chalicelib.service.unstage import Unstage


class NotTogether(QueueServiceError):
    """Something kept a job of the batch out, so none was accepted.

    `place` is that job's, `cause` what was wrong; `causes` has those of all jobs that are known to be kept out.
    """

    def __init__(
        self, place: int, cause: QueueServiceError, *, causes: Mapping[int, QueueServiceError] | None = None
    ) -> None:
        super().__init__(cause.message)
        self.place = place
        self.cause = cause
        self.causes = causes or {place: cause}


class SubmitTogether:
    """The use case behind a batch with `stopOnError`."""

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
        self._chance = chance
        self._journal = journal
        self._timing = timing
        self._steps = Acceptance(
            store=store,
            registry=registry,
            queue=queue,
            clock=clock,
            chance=chance,
            journal=journal,
            timing=timing,
        )
        self._unstage = Unstage(store=store, queue=queue, clock=clock, journal=journal, timing=timing)

    def submit(self, submissions: Sequence[Submission]) -> list[Accepted]:
        """Accept every job, or return for some of them the ones that their keys already stand for.

        Raises NotTogether (nothing was accepted), StoreRefused (nothing was accepted) or AcceptanceUnknown
        (repeat with the same keys).
        """
        stage_id = StageId(self._chance.claim_id())
        keys = [self._steps.key(submission, stage=stage_id) for submission in submissions]
        firsts = _firsts(keys)
        refused = self.refusals(submissions)
        for place, cause in sorted(refused.items()):
            if isinstance(cause, StoreError):
                raise cause
            raise NotTogether(place, cause, causes=refused)
        stage = self._open(stage_id, [keys[place] for place in firsts.values()])
        try:
            earlier = self._hold(stage, submissions, keys, firsts)
            new = [place for place in firsts.values() if place not in earlier]
            jobs = self._stage(stage, submissions, keys, new)
        except QueueServiceError:
            self._give_up(stage)
            raise
        if jobs:
            self._flip(stage)
            self._unstage.release(list(jobs.values()))
        else:
            self._give_up(stage)
        return [_accepted(firsts[key.id], place, jobs, earlier) for place, key in enumerate(keys)]

    def refusals(self, submissions: Sequence[Submission]) -> dict[int, QueueServiceError]:
        """Return why submissions cannot be accepted whose needs are not met, by place; nothing is written."""
        return self._steps.refusals([(each, self._steps.key(each)) for each in submissions])

    def _open(self, stage_id: StageId, keys: Sequence[Key]) -> Stage:
        stage = open_stage(stage_id, [key.job_id for key in keys], now=self._clock.now(), timing=self._timing)
        for _ in range(TRIES):
            try:
                self._store.open_stage(stage)
            except StoreUnsure:
                continue
            return stage
        raise StoreRefused  # one that was written after all is aborted by `dispatch`

    def _hold(
        self, stage: Stage, submissions: Sequence[Submission], keys: Sequence[Key], firsts: dict[KeyId, int]
    ) -> dict[int, Job]:
        """Have every key held for its job on this stage; return the jobs that other keys already stand for.

        Released keys are taken over only when nothing else stands in the batch's way: a key that is taken over
        is lost to the job that had it, which an operator may want to start anew.
        """
        taken = self._store.take_keys([keys[place] for place in firsts.values()])
        rest = [place for place, ours in zip(firsts.values(), taken, strict=True) if not ours]
        earlier: dict[int, Job] = {}
        for find in (self._steps.standing, self._steps.hold):
            for place in rest:
                if place in earlier:
                    continue
                self._in_time(stage)
                try:
                    found = find(keys[place], submissions[place].venue_id)
                except AcceptanceUnknown:
                    raise StoreRefused from None  # a key that is held names a stage that is never flipped
                except (KeyConflict, BatchPending) as error:
                    raise NotTogether(place, error) from error
                if isinstance(found, Job):
                    earlier[place] = found
        return earlier

    def _stage(
        self,
        stage: Stage,
        submissions: Sequence[Submission],
        keys: Sequence[Key],
        places: Sequence[int],
    ) -> dict[int, Job]:
        """Write the records of the jobs that are to be accepted, each surely; return them by place."""
        jobs = {
            place: put_on_stage(self._steps.job(submissions[place], keys[place]), stage.id) for place in places
        }
        added = self._store.add_many(list(jobs.values()))
        for job, done in zip(jobs.values(), added, strict=True):
            if done is None:
                self._in_time(stage)
                try:
                    self._steps.read_back(job)
                except AcceptanceUnknown:
                    raise StoreRefused from None  # written or not, it is on a stage that is never flipped
        return jobs

    def _flip(self, stage: Stage) -> None:
        """Accept the batch by one write.

        Raises StoreRefused if it was aborted, AcceptanceUnknown if nobody can tell. A flip that nobody
        answers for ends in an abort: of the two only one can have been written.
        """
        for after in (*[flip(stage)] * TRIES, abort(stage, now=self._clock.now())):
            try:
                standing = self._store.move_stage(stage, after)
            except StoreError:
                continue
            if standing is not None and standing.state is StageState.FLIPPED:
                return
            raise StoreRefused("The batch was given up; repeat the request.")
        raise AcceptanceUnknown

    def _in_time(self, stage: Stage) -> None:
        if self._clock.now() - stage.created_at > PATIENCE:
            raise StoreRefused("There was no time left for this batch; repeat the request.")

    def _give_up(self, stage: Stage) -> None:
        """Abort the batch at once, so that its keys are free; if this fails, `dispatch` does it."""
        try:
            self._store.move_stage(stage, abort(stage, now=self._clock.now()))
        except StoreError:
            self._journal.note("stage_left", stage=stage.id)


def _firsts(keys: Sequence[Key]) -> dict[KeyId, int]:
    """Return the first place of each key; raises NotTogether where it comes again with another payload."""
    firsts: dict[KeyId, int] = {}
    for place, key in enumerate(keys):
        first = keys[firsts.setdefault(key.id, place)]
        if first.payload_hash != key.payload_hash:
            raise NotTogether(place, KeyConflict(first.job_id))
    return firsts


def _accepted(first: int, place: int, jobs: dict[int, Job], earlier: dict[int, Job]) -> Accepted:
    if first in earlier:
        return Accepted(earlier[first], deduplicated=True)
    return Accepted(jobs[first], deduplicated=place != first)
