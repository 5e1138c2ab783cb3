"""Protocol bugs planted on purpose: the simulation must catch each, or it proves nothing.

Each replaces one piece of the project's own code, or one promise of the store, by a plausible mistake.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from chalicelib.domain import claim as claims
from chalicelib.domain import job as jobs
from chalicelib.domain import keys, look, notice, operation, policies, settle, steer
from chalicelib.domain.batch import Stage
from chalicelib.domain.controls import Controls, Scope
from chalicelib.domain.errors import AcceptanceUnknown, StoreRefused
from chalicelib.domain.job import Job, JobId, Reason, State
from chalicelib.domain.jobtype import Work
from chalicelib.domain.keys import Key
from chalicelib.domain.look import Look
from chalicelib.domain.notice import Notices
from chalicelib.domain.outcome import HeldBack, Retry, Unknown
from chalicelib.domain.policies import EffectClass
from chalicelib.domain.ports import Change, JobStore, Release, Saved, SaveResult
from chalicelib.domain.providers import Begun
from chalicelib.service import (
    dispatch,
    execute,
    fates,
    manage,
    planning,
    submit,
    submit_together,
    unstage,
    writing,
)
from tests.fakes import MemoryStore
from tests.simulation.adapters import SimStore

A, B, C, D = EffectClass


@dataclass(frozen=True)
class Mutant:
    """A planted bug: what it does wrong, where to look for it, and what it replaces.

    `first` is the number of the schedule that the hunt begins with: where it was caught when it was last looked
    up, if that was late. It only saves time; from there the hunt goes on as from 0.
    """

    name: str
    says: str
    classes: tuple[EffectClass, ...]
    patches: Callable[[], list[Any]]
    first: int = 0

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in the code for a while."""
        active = self.patches()
        for each in active:
            each.start()
        try:
            yield
        finally:
            for each in reversed(active):
                each.stop()


def _no_fence() -> list[Any]:
    def save_one(self: MemoryStore, change: Change) -> SaveResult:
        if change.follow is not None:
            self.add_free(change.follow)
        self.jobs[change.before.id] = replace(change.after, payload=change.before.payload)
        return Saved()

    return [patch.object(MemoryStore, "save_one", save_one)]


def _no_dispatch() -> list[Any]:
    return [patch.object(dispatch.Dispatch, "_look_at_all", lambda *_: dispatch.Dispatched(ran=True))]


def _sent_once() -> list[Any]:
    real = look.look

    def once(job: Job, timing: Any, **seen: Any) -> Look | None:
        made = real(job, timing, **seen)
        return made if made is None or job.looks == 0 else replace(made, send_after=None)

    return [patch.object(dispatch, "look", once)]


def _check_then_store() -> list[Any]:
    def take_key(self: SimStore, key: Key, *, instead_of: Key | None = None) -> Key | None:
        held = self.load_key(key.id)
        if held is not None and held != instead_of:
            return held if held.job_id != key.job_id else None
        self._process.before("store key")
        self._memory.keys[key.id] = key
        return None

    return [patch.object(SimStore, "take_key", take_key)]


def _attempts_after_claim() -> list[Any]:
    real = claims.claim

    def claim(job: Job, policy: Any, **named: Any) -> Any:
        generous = replace(job, max_attempts=job.max_attempts + 1)
        verdict = real(generous, policy, **named)
        if isinstance(verdict, claims.Claimed | claims.Ended):
            return type(verdict)(replace(verdict.job, max_attempts=job.max_attempts))
        return verdict

    return [patch.object(planning, "claim", claim)]


def _key_per_attempt() -> list[Any]:
    def key(self: Work, operation: str) -> str:
        return f"{self.job.id}:{operation}:{self.job.generation}:{self.job.attempts}"

    return [patch.object(Work, "key", key)]


def _ghost_key() -> list[Any]:
    real = keys.judge

    def judge(held: Key, holder: Job | None, offered: Key, **named: Any) -> Any:
        hit = real(held, holder, offered, **named)
        return keys.Conflict(held.job_id) if isinstance(hit, keys.Unfinished) else hit

    return [patch.object(keys, "judge", judge)]


def _acknowledged_early() -> list[Any]:
    real = planning.Planner.plan

    def plan(self: Any, *args: Any) -> Any:
        fate = real(self, *args)
        return fates.DONE if isinstance(fate, fates.Later | fates.Look) else fate

    looks = replace(policies.TIMING, look_after=timedelta(hours=20))
    return [
        patch.object(planning.Planner, "plan", plan),
        patch.object(submit, "TIMING", looks),
    ]


def _lapse_without_doubt() -> list[Any]:
    real = claims._lapse
    return [patch.object(claims, "_lapse", lambda job, *rest: replace(real(job, *rest), doubt=job.doubt))]


def _refusal_replaced(refusal: Callable[..., Any]) -> list[Any]:
    return [patch.object(module, "refusal", refusal) for module in (claims, planning, execute)]


def _lease_ignored() -> list[Any]:
    def refusal(job: Job, *, now: Any, timing: Any) -> Any:
        if job.state in jobs.AT_REST:
            return claims.AtRest()
        early = job.next_attempt_at > now + timing.clock_skew
        return claims.NotYet(job.next_attempt_at) if early else None

    return _refusal_replaced(refusal)


def _ended_is_claimed() -> list[Any]:
    real = claims.refusal

    def refusal(job: Job, **named: Any) -> Any:
        verdict = real(job, **named)
        return None if isinstance(verdict, claims.AtRest) and job.state is State.CANCELLED else verdict

    return _refusal_replaced(refusal)


def _blind_repeated() -> list[Any]:
    real = settle.settle

    def settled(job: Job, outcome: Any, policy: Any, **named: Any) -> Job:
        if isinstance(outcome, Unknown):
            outcome = Retry(outcome.failure)
        return real(job, outcome, policy, **named)

    return [patch.object(execute, "settle", settled)]


def _refused_connection_clears() -> list[Any]:
    real = settle.settle

    def settled(job: Job, outcome: Any, policy: Any, **named: Any) -> Job:
        if isinstance(outcome, Retry):
            outcome = replace(outcome, clears_doubt=True)
        return real(job, outcome, policy, **named)

    return [patch.object(execute, "settle", settled)]


def _exhausted_in_doubt() -> list[Any]:
    real = settle._again

    def again(job: Job, policy: Any, now: Any, delay: timedelta) -> Job:
        if job.poll is None and job.attempts >= job.max_attempts:
            return jobs.rest(job, State.FAILED, policy, now=now, reason=Reason.EXHAUSTED)
        return real(job, policy, now, delay)

    return [patch.object(settle, "_again", again)]


def _begun_not_written() -> list[Any]:
    def begin(self: Any, held: Any, handle: str | None) -> Begun:
        return Begun(held.job.id, held.job.fence)

    return [patch.object(execute.Execute, "_begin", begin)]


def _absence_at_once() -> list[Any]:
    return [patch.object(Work, "absence_counts", lambda _: True)]


def _deadline_ignored() -> list[Any]:
    real = Work

    def late(**named: Any) -> Work:
        return real(**{**named, "deadline": named["deadline"] + timedelta(minutes=30)})

    return [patch.object(execute, "Work", late)]


def _running_cancelled() -> list[Any]:
    def cancel(job: Job, policy: Any, *, now: Any) -> Any:
        if job.state in jobs.TERMINAL:
            return steer.NotAllowed("not_cancellable", "It has ended.")
        return jobs.rest(job, State.CANCELLED, policy, now=now)

    return [patch.object(manage, "cancel", cancel)]


def _any_write_is_ours() -> list[Any]:
    return [patch.object(writing, "same_write", lambda *_: True)]


def _doubt_retried() -> list[Any]:
    def retry(job: Job, policy: Any, *, now: Any) -> Any:
        if job.state not in (State.PARKED, State.FAILED):
            return steer.NotAllowed("not_retryable", "It has not failed.")
        return jobs.restart(job, policy, now=now)

    return [patch.object(manage, "retry", retry)]


def _key_dies_young() -> list[Any]:
    return [patch.object(keys, "lives", lambda _, holder, __: holder.state not in jobs.TERMINAL)]


def _refused_record_answered() -> list[Any]:
    real = submit.Acceptance.add

    def add(self: submit.Acceptance, job: Job) -> bool:
        try:
            return real(self, job)
        except StoreRefused:
            return True

    return [patch.object(submit.Acceptance, "add", add)]


def _unfinished_without_key() -> list[Any]:
    """Finish an acceptance on a key that another may be releasing: the bug that the simulation found."""
    real = submit.Acceptance._take

    def take(self: submit.Acceptance, key: Key, *, instead_of: Key | None) -> Key | None:
        if instead_of is not None and instead_of.job_id == key.job_id:
            return None
        return real(self, key, instead_of=instead_of)

    return [patch.object(submit.Acceptance, "_take", take)]


def _message_first() -> list[Any]:
    """Let a settled job's message go before its save is certain, and never look again."""
    real = execute.Execute._run_all

    def run_all(self: Any, *args: Any) -> Any:
        return dict.fromkeys(real(self, *args), fates.DONE)

    looks = patch.object(dispatch, "look", lambda *_, **__: None)
    return [patch.object(execute.Execute, "_run_all", run_all), looks]


def _staged_is_claimed() -> list[Any]:
    real = claims.refusal

    def refusal(job: Job, **named: Any) -> Any:
        return real(replace(job, stage=None), **named)

    return _refusal_replaced(refusal)


def _stage_moved_anyhow() -> list[Any]:
    def move_stage(self: MemoryStore, before: Stage, after: Stage) -> Stage:
        self.stages[before.id] = after
        return after

    return [patch.object(MemoryStore, "move_stage", move_stage)]


def _released_before_flip() -> list[Any]:
    return [patch.object(submit_together.SubmitTogether, "_flip", lambda *_: None)]


def _flipped_without_a_record() -> list[Any]:
    return [patch.object(submit.Acceptance, "read_back", lambda *_: True)]


def _stages_forgotten() -> list[Any]:
    return [patch.object(unstage.Unstage, "settle_due", lambda *_: 0)]


def _stage_of_a_key_ignored() -> list[Any]:
    real = keys.judge

    def judge(held: Key, holder: Job | None, offered: Key, **named: Any) -> Any:
        return real(replace(held, stage=None), holder, offered, **named)

    return [patch.object(keys, "judge", judge)]


def _lost_flip_is_refused() -> list[Any]:
    real = submit_together.SubmitTogether._flip

    def _flip(self: submit_together.SubmitTogether, stage: Stage) -> None:
        try:
            real(self, stage)
        except AcceptanceUnknown:
            raise StoreRefused from None

    return [patch.object(submit_together.SubmitTogether, "_flip", _flip)]


def _message_before_release() -> list[Any]:
    """Let the messages go before the jobs are surely off their stage, and take that for done."""

    def write(store: JobStore, changes: Sequence[Change]) -> list[SaveResult]:
        store.save_many(changes)
        return [Saved() for _ in changes]

    return [patch.object(unstage, "write", write)]


def _pause_ignored() -> list[Any]:
    return [patch.object(planning.Planner, "_held_back", lambda *_: None)]


def _hold_charged() -> list[Any]:
    def hold(job: Job, until: Any) -> Job:
        held = jobs.hold(job, until)
        return replace(held, attempts=min(held.attempts + 1, held.max_attempts))

    return [patch.object(planning, "hold", hold)]


def _held_run_charged() -> list[Any]:
    real = settle.settle

    def settled(job: Job, outcome: Any, policy: Any, **named: Any) -> Job:
        after = real(job, outcome, policy, **named)
        return replace(after, attempts=job.attempts) if isinstance(outcome, HeldBack) else after

    return [patch.object(execute, "settle", settled)]


def _window_runs_on() -> list[Any]:
    return [patch.object(Controls, "paused_for", lambda *_: timedelta(0))]


def _stop_forgets_one_venue() -> list[Any]:
    real = Controls.holding

    def holding(self: Controls, job: Job, provider: str, now: Any) -> Any:
        control = real(self, job, provider, now)
        return None if control is not None and control.scope is Scope.VENUE else control

    return [patch.object(Controls, "holding", holding)]


def _redriven_in_its_generation() -> list[Any]:
    real = steer.redrive

    def redrive(job: Job, policy: Any, *, now: Any) -> Any:
        after = real(job, policy, now=now)
        return replace(after, generation=job.generation) if isinstance(after, Job) else after

    return [patch.object(manage, "redrive", redrive)]


def _key_not_taken_back() -> list[Any]:
    return [patch.object(manage.Manage, "_key_of", lambda *_: (None, None))]


def _canary_skipped() -> list[Any]:
    real = operation.next_step

    def next_step(asked: operation.Operation, *, now: Any) -> Any:
        step = real(asked, now=now)
        return operation.Release(10) if isinstance(step, operation.Release) else step

    return [patch.object(operation, "next_step", next_step)]


def _canary_forgotten() -> list[Any]:
    real = operation.taken_in_hand
    return [patch.object(operation, "taken_in_hand", lambda asked, _, now: real(asked, [], now=now))]


def _acted_on_twice() -> list[Any]:
    """Give each try of an operation an audit entry of its own, so that a lost reply is not known again."""
    real = manage.Manage._act

    def act(self: Any, action: str, order: manage.Order, decide: Any) -> Job:
        return real(self, action, replace(order, entry_id=None), decide)

    return [patch.object(manage.Manage, "_act", act)]


Write = Callable[..., list[SaveResult]]


def _written(write: Write) -> list[Any]:
    return [patch.object(execute, "write", write)]


def _alone(changes: Sequence[Change]) -> list[Change]:
    return [replace(change, follow=None) for change in changes]


def _told_after_the_save() -> list[Any]:
    """Write notices by themselves, once the ends surely stand."""
    real = writing.write

    def write(store: JobStore, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        results = real(store, _alone(changes), release)
        stand = [change for change, result in zip(changes, results, strict=True) if result == Saved()]
        store.add_many([each.follow for each in stand if each.follow is not None])
        return results

    return _written(write)


def _told_before_the_save() -> list[Any]:
    """Write notices by themselves, before the ends, so that none gets lost."""
    real = writing.write

    def write(store: JobStore, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        store.add_many([each.follow for each in changes if each.follow is not None])
        return real(store, _alone(changes), release)

    return _written(write)


def _message_without_a_record() -> list[Any]:
    """Send the message of a notice whose record nobody has written."""
    real = writing.write
    return _written(lambda store, changes, release=None: real(store, _alone(changes), release))


def _told_at_each_try() -> list[Any]:
    """Give a notice that is there already a fresh id, and write it apart from the end."""
    real = MemoryStore.save_one

    def save_one(self: MemoryStore, change: Change) -> SaveResult:
        if change.follow is not None and not self.add_free(change.follow):
            self.add_free(replace(change.follow, id=JobId(f"{change.follow.id}-{len(self.jobs)}")))
        return real(self, replace(change, follow=None))

    return [patch.object(MemoryStore, "save_one", save_one)]


def _noticed(on: Callable[[Notices, Change], Change]) -> list[Any]:
    return [patch.object(Notices, "on", on)]


def _cancellation_untold() -> list[Any]:
    real = Notices.on
    return _noticed(lambda self, made: made if made.after.state is State.CANCELLED else real(self, made))


def _ending_claim_untold() -> list[Any]:
    real = Notices.on
    return _noticed(
        lambda self, made: made if made.after.claim_id != made.before.claim_id else real(self, made)
    )


def _resolution_untold() -> list[Any]:
    real = Notices.on
    return _noticed(lambda self, made: made if made.before.state is State.PARKED else real(self, made))


def _parked_is_told() -> list[Any]:
    real = Notices.on

    def on(self: Notices, made: Change) -> Change:
        if made.after.state is not State.PARKED:
            return real(self, made)
        ended = replace(made.after, state=State.FAILED, finished_at=made.after.created_at)
        return replace(made, follow=real(self, Change(made.before, ended)).follow)

    return _noticed(on)


def _ends_known_by_their_job() -> list[Any]:
    return [patch.object(notice, "event_id", lambda ended: ended.id)]


MUTANTS = (
    Mutant("no_fence", "saves without comparing the version", (A, C), _no_fence),
    Mutant("no_dispatch", "never looks at the agenda", (D, A), _no_dispatch),
    Mutant("sent_once", "misses no message that was sent and lost", (D, A), _sent_once),
    Mutant("check_then_store", "reads the key, then writes it", (A, D), _check_then_store),
    Mutant("attempts_after_claim", "checks the attempts after the claim", (D, B), _attempts_after_claim),
    Mutant("key_per_attempt", "makes a fresh provider key for each attempt", (A,), _key_per_attempt),
    Mutant("ghost_key", "takes a key without a job for a conflict", (A, D), _ghost_key),
    Mutant("acknowledged_early", "acknowledges what is not due", (D, A), _acknowledged_early),
    Mutant("lapse_without_doubt", "forgets that a dead owner may have acted", (C, B), _lapse_without_doubt),
    Mutant("lease_ignored", "claims over a running lease", (A, C), _lease_ignored),
    Mutant("ended_is_claimed", "revives cancelled jobs", (D, A), _ended_is_claimed),
    Mutant("blind_repeated", "repeats what may have happened", (C, B), _blind_repeated),
    Mutant("refusal_clears", "lets a refused connection clear a doubt", (A, B), _refused_connection_clears),
    Mutant("exhausted_in_doubt", "fails a job whose effect may have happened", (A, B), _exhausted_in_doubt),
    Mutant("begun_not_written", "starts a blind effect without noting it", (C, B), _begun_not_written, 194),
    Mutant("absence_at_once", "takes an early look-up for proof of absence", (A,), _absence_at_once, 713),
    Mutant("deadline_ignored", "starts calls after the invocation's deadline", (A, C), _deadline_ignored),
    Mutant("running_cancelled", "cancels a job that runs", (A, C), _running_cancelled),
    Mutant("any_write_is_ours", "takes any refused write for its own", (A, C), _any_write_is_ours),
    Mutant("doubt_retried", "lets an operator retry what is in doubt", (C,), _doubt_retried, 893),
    Mutant("key_dies_young", "releases a key with its job's end", (A, D), _key_dies_young),
    Mutant("refused_answered", "answers 201 for a record that was refused", (A, D), _refused_record_answered),
    Mutant(
        "unfinished_without_key", "finishes a job whose key may be gone", (A, D), _unfinished_without_key, 3_500
    ),
    Mutant("staged_is_claimed", "claims what is on a stage", (A, C), _staged_is_claimed),
    Mutant("stage_moved_anyhow", "flips what is aborted, aborts what is flipped", (A, D), _stage_moved_anyhow),
    Mutant("released_early", "lets jobs off their stage before the flip", (A, D), _released_before_flip),
    Mutant("record_missing", "flips a batch without one of its records", (A, D), _flipped_without_a_record),
    Mutant("stages_forgotten", "leaves to nobody what a dead caller staged", (A, D), _stages_forgotten),
    Mutant("stage_ignored", "judges a key as if its batch were accepted", (A, D), _stage_of_a_key_ignored),
    Mutant("lost_flip_refused", "says no of a flip that may stand", (A, D), _lost_flip_is_refused, 1_285),
    Mutant(
        "release_unchecked",
        "takes a job off its stage that may still be on it",
        (A, D),
        _message_before_release,
        1_455,
    ),
    Mutant("pause_ignored", "claims what is stopped or paused", (D, A), _pause_ignored),
    Mutant("venue_not_stopped", "claims the jobs of a venue that is stopped", (A, C), _stop_forgets_one_venue),
    Mutant("hold_charged", "charges an attempt for being put off by a stop", (D, A), _hold_charged),
    Mutant("held_run_charged", "charges an attempt for a limit that a run met", (D,), _held_run_charged),
    Mutant("window_runs_on", "lets windows run on through a pause", (D,), _window_runs_on),
    Mutant(
        "redriven_as_it_was", "redrives under the old provider key", (A, B), _redriven_in_its_generation, 289
    ),
    Mutant("key_not_taken_back", "lets a job start anew without its key", (A, D), _key_not_taken_back, 508),
    Mutant("canary_skipped", "redrives many before one has ended well", (D, A), _canary_skipped, 1_034),
    Mutant("canary_forgotten", "notes a canary only once it is let go", (D, A), _canary_forgotten, 3_500),
    Mutant("acted_on_twice", "retries a job twice by one operation", (A,), _acted_on_twice, 10_700),
    Mutant("message_first", "lets messages go before the save", (D, A), _message_first),
    Mutant("told_after_the_save", "writes a notice once the end stands", (A, C), _told_after_the_save),
    Mutant("told_before_the_save", "writes a notice before the end stands", (A, D), _told_before_the_save),
    Mutant("told_at_each_try", "writes a notice more when a reply is lost", (A, C), _told_at_each_try),
    Mutant("told_by_message", "sends a notice that has no record", (A, D), _message_without_a_record),
    Mutant("cancelled_untold", "forgets to tell of cancellations", (A, C), _cancellation_untold),
    Mutant("ending_claim_untold", "forgets to tell what a claim ends", (D, A), _ending_claim_untold),
    Mutant("resolved_untold", "forgets to tell what an operator resolves", (C, B), _resolution_untold, 827),
    Mutant("parked_is_told", "takes a parked job for one that has ended", (C, B), _parked_is_told, 490),
    Mutant("told_as_one", "knows two ends of a job by one event", (D, A), _ends_known_by_their_job),
)
