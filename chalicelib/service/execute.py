"""Executing a batch: load, claim, run, settle, save; and what each job's message then deserves.

The jobs of a batch are read in one call, claimed in one, run side by side and, in classes A and D, settled
in one. Classes B and C settle each as soon as it has ended, because there a crash leaves doubt that only a
look-up or a person can clear.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, assert_never

from chalicelib.domain.claim import AtRest, NotYet, leave, refusal
from chalicelib.domain.errors import ClaimLost, ProviderError, StoreError, StoreUnsure
from chalicelib.domain.job import AT_REST, Job, JobId, begin, without_message
from chalicelib.domain.jobtype import JobType, Work
from chalicelib.domain.notice import Notices
from chalicelib.domain.outcome import (
    Completed,
    Failure,
    HeldBack,
    Outcome,
    Pending,
    Refused,
    Retry,
    Unknown,
    outcome_of,
)
from chalicelib.domain.policies import TIMING, Policy, Timing
from chalicelib.domain.ports import (
    Chance,
    Change,
    Clock,
    Crew,
    JobQueue,
    JobStore,
    Journal,
    Limiter,
    Outdated,
    Release,
    Saved,
    Unsure,
)
from chalicelib.domain.providers import Begun, Providers
from chalicelib.domain.settle import settle
from chalicelib.domain.standing import Need, Registry
from chalicelib.domain.suppression import Suppressions
from chalicelib.domain.tally import Metrics, tally
from chalicelib.service.admission import Admitted, Gate
from chalicelib.service.fates import DONE, LEFT, STRAY, Fate, Later, Look, Step, Tell
from chalicelib.service.needs import Found, Lessons, look_up
from chalicelib.service.planning import SOON, Planner
from chalicelib.service.sending import send_follows
from chalicelib.service.writing import write


@dataclass(slots=True)
class Hand:
    """A batch in hand: the limiter's slots that it holds, and what surely stands of its saves."""

    slots: Release | None
    stands: list[Change] = field(default_factory=list)  # its threads add to it


@dataclass(slots=True)
class Held:
    """A claimed job in the hands of its attempt; `job` moves on when the effect is noted as begun."""

    job: Job
    job_type: JobType
    policy: Policy
    payload: Mapping[str, Any]
    receives: int
    found: Found


class Execute:
    """The use case behind the consumers."""

    def __init__(
        self,
        *,
        store: JobStore,
        registry: Registry,
        queue: JobQueue,
        providers: Providers,
        types: Mapping[str, JobType],
        clock: Clock,
        chance: Chance,
        crew: Crew,
        journal: Journal,
        limiter: Limiter | None = None,
        metrics: Metrics | None = None,
        suppressions: Suppressions | None = None,
        timing: Timing = TIMING,
    ) -> None:
        self._store = store
        self._registry = registry
        self._queue = queue
        self._providers = providers
        self._types = types
        self._clock = clock
        self._chance = chance
        self._crew = crew
        self._journal = journal
        self._gate = Gate(limiter, types, journal)
        self._metrics = metrics
        self._lessons = Lessons(suppressions, clock, journal)
        self._timing = timing
        self._policies = {name: job_type.policy(timing) for name, job_type in types.items()}
        self._notices = Notices(types, timing)
        self._planner = Planner(types, self._policies, clock, chance, journal, timing)

    def execute(
        self, receives: Mapping[JobId, int], *, ends: datetime, told: Tell = lambda _: None
    ) -> dict[JobId, Fate]:
        """Do what is due of these jobs before the invocation ends, and say what their messages deserve.

        `receives` is how often each job's message has been received; `told` hears of the fates that are known
        before anything runs, so that nobody's message waits for another's job. Raises StoreRefused when the
        jobs cannot even be read; nothing was claimed then.
        """
        jobs, controls = self._store.load_batch(list(receives))
        fates: dict[JobId, Fate] = {job_id: STRAY for job_id in receives if job_id not in jobs}
        plan = self._planner.plan
        plans = {job_id: plan(job, controls, receives[job_id], ends) for job_id, job in jobs.items()}
        owner = self._chance.claim_id()
        admitted = self._ask_limiter(plans.values(), owner, ends)
        plans |= {
            job_id: self._planner.turned_away(jobs[job_id], wait, receives[job_id])
            for job_id, wait in admitted.denied.items()
        }
        hand = Hand(admitted.slots)
        try:
            return fates | self._carry_out(plans, receives, ends, told, hand)
        finally:
            if hand.slots is not None:
                self._gate.give_back(hand.slots)
            self._count(hand.stands)

    def _carry_out(
        self,
        plans: Mapping[JobId, Step | Look | Fate],
        receives: Mapping[JobId, int],
        ends: datetime,
        told: Tell,
        hand: Hand,
    ) -> dict[JobId, Fate]:
        """Write what was planned and run what was claimed; say what each message deserves."""
        steps = [plan for plan in plans.values() if isinstance(plan, Step)]
        payloads = self._payloads(steps)
        missing = {step.change.after.id for step in steps if step.fate is None} - payloads.keys()
        steps = [step for step in steps if step.change.after.id not in missing]
        needed = self._look_up(steps, payloads)
        unknown = {job_id for job_id, found in needed.items() if found is None}
        steps = [step for step in steps if step.change.after.id not in unknown]
        fates = {job_id: plan for job_id, plan in plans.items() if not isinstance(plan, Step | Look)}
        fates |= {job_id: self._left_without_payload(job_id) for job_id in missing}
        fates |= dict.fromkeys(unknown, LEFT)
        fates |= self._move_looks([plan for plan in plans.values() if isinstance(plan, Look)])
        claimed, written = self._write(steps, hand)
        told(fates := fates | written)
        held = [
            Held(
                job,
                self._types[job.type],
                self._policies[job.type],
                payloads[job.id],
                receives[job.id],
                needed.get(job.id) or Found(),
            )
            for job in claimed
        ]
        return fates | self._run_all(held, ends, hand)

    def _ask_limiter(self, plans: Iterable[Step | Look | Fate], owner: str, ends: datetime) -> Admitted:
        asking = [plan.change.before for plan in plans if isinstance(plan, Step) and plan.fate is None]
        until = ends + self._timing.clock_skew
        return self._gate.ask(asking, owner=owner, until=until, now=self._clock.now())

    # --- writing

    def _move_looks(self, looks: Sequence[Look]) -> dict[JobId, Fate]:
        if not looks:
            return {}
        results = self._store.save_looks([look.change for look in looks])
        return {
            look.change.before.id: look.fate if isinstance(result, Saved) else look.otherwise
            for look, result in zip(looks, results, strict=True)
        }

    def _write(
        self, steps: Sequence[Step], hand: Hand, *, last: bool = False
    ) -> tuple[list[Job], dict[JobId, Fate]]:
        """Write what was decided; return the jobs that are ours to run, and the fates of the others.

        With the last write of a batch goes what it held.
        """
        if not steps:
            return [], {}
        claimed: list[Job] = []
        fates: dict[JobId, Fate] = {}
        changes = [self._notices.on(step.change) for step in steps]
        release = hand.slots if last else None
        results = write(self._store, changes, release)
        if release is not None:
            hand.slots = None
            self._gate.given_back(release)
        send_follows(self._queue, self._journal, changes, results, now=self._clock.now())
        for step, result in zip(steps, results, strict=True):
            job = step.change.after
            match result:
                case Saved():
                    hand.stands.append(step.change)
                    self._journal.note(
                        "claimed" if step.fate is None else "moved",
                        jobId=job.id,
                        type=job.type,
                        state=job.state,
                        reason=job.reason,
                        code=job.error.code if job.error else None,
                        attempt=job.attempts,
                        fence=job.fence,
                    )
                    if step.fate is None:
                        claimed.append(job)
                    else:
                        fates[job.id] = step.fate
                case Outdated(current):
                    fates[job.id] = self._fate_by(current)
                case Unsure():
                    fates[job.id] = LEFT
                case never:
                    assert_never(never)
        return claimed, fates

    def _fate_by(self, current: Job | None) -> Fate:
        """Return what a message deserves whose job another worker has changed meanwhile."""
        if current is None:
            return STRAY
        now = self._clock.now()
        match refusal(current, now=now, timing=self._timing):
            case AtRest():
                return DONE
            case NotYet(until):
                return Later(min(until - now, self._timing.longest_delay))
            case None:
                return Later(SOON)

    def _payloads(self, steps: Sequence[Step]) -> dict[JobId, Mapping[str, Any]]:
        """Return the payloads of the jobs to run, read before any is claimed: a failure then costs nothing."""
        jobs = [step.change.after for step in steps if step.fate is None]
        apart = [job for job in jobs if job.payload is None]
        payloads = {job.id: job.payload for job in jobs if job.payload is not None}
        return payloads | (dict(self._store.load_payloads(apart)) if apart else {})

    def _left_without_payload(self, job_id: JobId) -> Fate:
        """Leave a job whose payload is gone, so that it holds up no other; nothing can be done with it."""
        self._journal.alarm("payload_missing", jobId=job_id)
        return LEFT

    def _look_up(
        self, steps: Sequence[Step], payloads: Mapping[JobId, Mapping[str, Any]]
    ) -> dict[JobId, Found | None]:
        """Return what is found of the jobs' needs, before any is claimed; None: nobody can tell."""
        needs: dict[JobId, Sequence[Need]] = {}
        unread: list[JobId] = []
        for job in (step.change.after for step in steps if step.fate is None):
            try:
                needs[job.id] = self._types[job.type].needs(job.venue_id, payloads[job.id])
            except (LookupError, TypeError, ValueError):  # data of another version; it holds up no other job
                self._journal.alarm("needs_unreadable", jobId=job.id, type=job.type)
                unread.append(job.id)
        try:
            return {**look_up(self._registry, needs), **dict.fromkeys(unread)}
        except StoreError:
            self._journal.alarm("needs_unanswered")
            return dict.fromkeys([*(job_id for job_id, found in needs.items() if found), *unread])

    def _count(self, stands: Sequence[Change]) -> None:
        """Add what a batch came to to the counters, in one write; a count that is lost costs no job."""
        counts = tally((change.before, change.after) for change in stands)
        if self._metrics is None or not counts:
            return
        if not self._metrics.add(counts, at=self._clock.now(), spread=self._chance.fraction()):
            self._journal.note("not_counted", jobs=len(stands))

    # --- running

    def _run_all(self, claimed: Sequence[Held], ends: datetime, hand: Hand) -> dict[JobId, Fate]:
        deadline = ends - self._timing.settle_margin

        def attempt(held: Held) -> Step | Fate:
            try:
                outcome = self._run(held, deadline)
                self._lessons.learn(held.job, held.job_type, held.payload, outcome)
                step = self._settle(held, outcome)
            except (StoreError, ClaimLost):
                # What the record says of this attempt is unknown, so it may not go on; the lease runs out.
                self._journal.alarm("attempt_abandoned", jobId=held.job.id, type=held.job.type)
                return LEFT
            if held.policy.effect_class.begins:
                return self._write([step], hand)[1][held.job.id]
            return step

        ended = dict(zip((held.job.id for held in claimed), self._crew.run_all(attempt, claimed), strict=True))
        _, fates = self._write([step for step in ended.values() if isinstance(step, Step)], hand, last=True)
        return {job_id: fate for job_id, fate in ended.items() if not isinstance(fate, Step)} | fates

    def _run(self, held: Held, deadline: datetime) -> Outcome:
        """Let the job type do its work and return what came of it, whatever that was."""
        job = held.job
        work = Work(
            job=job,
            data=held.payload,
            leave=leave(job, held.policy, self._clock.now()),
            deadline=deadline,
            clock=self._clock,
            timing=self._timing,
            begin=lambda handle: self._begin(held, handle),
            objections=held.found.objections,
            quiet_hours=held.found.quiet_hours,
            endpoint=held.found.endpoint,
            alarm=self._journal.alarm,
        )
        try:
            outcome: object = held.job_type.run(work, self._providers)
        except ProviderError as error:
            return outcome_of(error)
        except (StoreError, ClaimLost):
            raise
        except Exception as error:  # noqa: BLE001 - the one broad catch: a job type may fail in any way
            self._journal.alarm("run_failed", jobId=job.id, type=job.type, error=type(error).__name__)
            return self._surprise(held, "run_failed", "The job type failed in a way that it does not handle.")
        if not isinstance(outcome, Completed | Retry | Refused | Unknown | HeldBack | Pending):
            self._journal.alarm("no_outcome", jobId=job.id, type=job.type)
            return self._surprise(held, "no_outcome", "The job type did not say what came of the attempt.")
        return outcome

    def _surprise(self, held: Held, code: str, message: str) -> Outcome:
        """Return the outcome of an attempt that broke: nothing happened if the effect was never begun."""
        failure = Failure(code, message)
        return Retry(failure) if held.policy.effect_class.begins and not held.job.begun else Unknown(failure)

    def _begin(self, held: Held, handle: str | None) -> Begun:
        """Write `begun` before an effect of class B or C; raises ClaimLost or StoreUnsure."""
        change = Change(held.job, begin(held.job, handle=handle))
        match write(self._store, [change])[0]:
            case Saved():
                held.job = change.after
                return Begun(held.job.id, held.job.fence)
            case Outdated():
                raise ClaimLost
            case Unsure():
                raise StoreUnsure
            case never:
                assert_never(never)

    def _settle(self, held: Held, outcome: Outcome) -> Step:
        """Decide the job's next state, and whether its message waits for it."""
        now = self._clock.now()
        job = settle(held.job, outcome, held.policy, now=now, jitter=self._chance.fraction())
        if job.state in AT_REST:
            return Step(Change(held.job, job), DONE)
        wait = job.next_attempt_at - now
        kept_back = isinstance(outcome, HeldBack)
        most = self._timing.hold_by_visibility if kept_back else self._timing.longest_delay
        if self._planner.by_visibility(wait, held.receives, most):
            return Step(Change(held.job, job), Later(wait))
        return Step(Change(held.job, without_message(job)), DONE)
