"""The eight invariants of the contract, watched at every write, every call and every answer.

A ninth: each end of a job whose caller wants to be told has exactly one notice, and nothing else has any.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise

from chalicelib.domain.batch import Stage, StageState
from chalicelib.domain.controls import Controls, Scope
from chalicelib.domain.job import AT_REST, TERMINAL, Job, JobId, KeyId, Reason, StageId, State
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.keys import Key
from chalicelib.domain.notice import DELIVERY, EVENTS
from chalicelib.domain.operation import Status
from chalicelib.domain.policies import TIERS, TIMING, EffectClass, Tier
from chalicelib.domain.ports import Change, Entry, KeyTaken, SaveResult
from chalicelib.domain.ratelimit import GROUPS
from tests.fakes import MemoryStore
from tests.fakes_operations import MemoryOperationStore
from tests.simulation.providers import Provided, Violation
from tests.simulation.world import MINUTE, SECOND, World

MOST_PUT_OFF = 2  # times that a zombie may hold a job back after the storm
MINUTES = timedelta(minutes=2)  # by how much clocks and the time of a claim may blur a window
LATEST_CLAIM = 6 * MINUTE + 2 * MINUTE + 40 * SECOND  # a visibility, two dispatch runs, clocks and latencies


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client was told about a submission."""

    at: int
    key: KeyId
    payload: str
    job_id: JobId
    period: timedelta
    created: bool


@dataclass
class Watch:
    """The watcher of one schedule."""

    world: World
    provided: Provided
    types: Mapping[str, JobType]
    job_type: JobType  # of the jobs that clients submit; the others tell of their ends
    answers: list[Answered] = field(default_factory=list)
    audited: bool = False  # whether the write under way is an operator's
    vouched: set[JobId] = field(default_factory=set)  # an operator has asserted that the effect was there
    born_at: dict[JobId, int] = field(default_factory=dict)
    ended_at: dict[JobId, int] = field(default_factory=dict)
    key_dead_at: dict[JobId, int] = field(default_factory=dict)
    waits: dict[JobId, int] = field(default_factory=dict)
    strays: set[str] = field(default_factory=set)  # messages that no code of ours has sent
    turned_away: set[StageId] = field(default_factory=set)  # batches whose callers were told: none of it
    pauses: dict[tuple[str, datetime], datetime | None] = field(
        default_factory=dict
    )  # of a tier, or of all, to their end
    ends: dict[JobId, list[State]] = field(default_factory=dict)  # each that a job has come to, in order
    acted_on: set[tuple[str, JobId, date]] = field(
        default_factory=set
    )  # by operations, which their reasons name
    let_go: dict[str, list[Job]] = field(default_factory=dict)  # by redrive

    def _class_of(self, job: Job) -> EffectClass:
        return self.types[job.type].effect_class

    # --- at every write

    def written(self, before: Job | None, after: Job) -> None:
        """Check one write of the record against the one that stood before."""
        if before is None:
            self.born_at[after.id] = self.world.now
            return
        if after.version == before.version:
            if (after.state, after.fence, after.attempts) != (before.state, before.fence, before.attempts):
                raise Violation(f"3: a look of {after.id} changed more than the look")
            return
        self._rises(before, after)
        self._charges(before, after)
        if after.stage is not None:
            raise Violation(f"1: {after.id} went from {before.state} to {after.state} on its stage")
        if after.expires_at is not None and after.state not in TERMINAL:
            raise Violation(f"1: {after.id} is {after.state} and expires")
        if before.state in AT_REST and not self.audited:
            raise Violation(f"4: {after.id} went from {before.state} to {after.state} without an operator")
        if before.state is State.RUNNING and after.claim_id != before.claim_id:
            lease = before.lease_until
            if lease is not None and self.world.moment(2_500) < lease:
                raise Violation(f"3: {after.id} was claimed while its lease ran")
        if after.state in TERMINAL and before.state not in TERMINAL:
            self.ends.setdefault(after.id, []).append(after.state)
        if after.state in AT_REST:
            self._ends(after)
        else:
            self.provided.forbidden.pop(after.id, None)

    def _rises(self, before: Job, after: Job) -> None:
        if after.version != before.version + 1:
            raise Violation(f"3: {after.id} was written over version {before.version} as {after.version}")
        if after.fence < before.fence:
            raise Violation(f"3: a write with fence {after.fence} over {before.fence} of {after.id}")
        claimed = after.state is State.RUNNING and after.claim_id != before.claim_id
        if claimed and after.fence != before.fence + 1:
            raise Violation(f"3: a claim of {after.id} did not raise the fence")
        if after.attempts > after.max_attempts:
            raise Violation(f"3: {after.id} has {after.attempts} attempts of {after.max_attempts}")

    def _charges(self, before: Job, after: Job) -> None:
        """Check that attempts are charged by claims alone, and given back by a run that was held back."""
        charged = after.attempts - before.attempts
        claimed = after.state is State.RUNNING and after.claim_id != before.claim_id
        if charged > (1 if claimed else 0):
            raise Violation(f"3: an attempt of {after.id} was charged by what is no claim")
        ours = before.state is State.RUNNING and after.claim_id == before.claim_id
        held = ours and after.state is not State.RUNNING and (after.id, before.fence) in self.provided.held
        if held and charged != (-1 if before.poll is None else 0):
            raise Violation(f"3: {after.id} was charged an attempt for being held back")

    def claims(self, change: Change, controls: Controls, read_at: datetime) -> None:
        """Check a claim against the controls that its batch was read with: what is stopped is not begun."""
        before, after = change.before, change.after
        if after.state is not State.RUNNING or after.claim_id == before.claim_id:
            return
        provider = self.types[after.type].provider
        named = {
            Scope.ALL: ("",),
            Scope.TIER: (after.tier.value,),
            Scope.PROVIDER: (provider, GROUPS.get(provider, "")),
            Scope.VENUE: (after.venue_id,),
            Scope.TYPE: (after.type,),
        }
        for each in controls.entries:
            over = each.until is not None and each.until <= read_at
            if each.since <= read_at and not over and each.value in named[each.scope]:
                raise Violation(f"3: {after.id} was claimed while its {each.scope} was stopped")

    def controls_changed(self, controls: Controls) -> None:
        """Note the pauses of tiers, for the windows that leave them out."""
        for each in controls.entries:
            if each.scope in (Scope.ALL, Scope.TIER):
                self.pauses[each.value, each.since] = each.until

    def _paused_since(self, due: datetime, tier: Tier) -> timedelta:
        """Return how long a tier stood still since a moment, counted anew."""
        now = self.world.moment()
        spans = sorted(
            (max(since, due), min(until or now, now))
            for (value, since), until in self.pauses.items()
            if value in ("", tier)
        )
        total, reached = timedelta(0), due
        for start, end in spans:
            total += max(end - max(start, reached), timedelta(0))
            reached = max(reached, end)
        return total

    def _ends(self, job: Job) -> None:
        self.ended_at[job.id] = self.world.now
        window = TIERS[job.tier].window
        if job.reason is Reason.EXPIRED and window is not None:
            lasted = self.world.moment() - job.due - self._paused_since(job.due, job.tier)
            if lasted < window - MINUTES:
                raise Violation(f"1: {job.id} expired after {lasted}, pauses left out")
        happened = bool(self.provided.effects.get(job.id))
        dead = job.state in (State.FAILED, State.CANCELLED)
        charged = self.provided.is_charged((job.payload or {}).get("paymentIntentId"))  # by another retry of it
        if job.state is State.COMPLETED and not (happened or charged) and job.id not in self.vouched:
            raise Violation(f"7: {job.id} is completed and nothing has happened")
        if self._class_of(job) is not EffectClass.RECEIVER_DEDUPS and dead:
            if happened:
                raise Violation(f"8: {job.id} is {job.state} and its effect has happened")
            if self.provided.may_still_happen(job.id) and job.reason is not Reason.REFUSED:
                raise Violation(f"8: {job.id} is {job.state} and its effect may still happen")

    def steered(self, change: Change, entry: Entry, store: MemoryStore) -> None:
        """Check an operator's change that stands: who starts anew has its key, and a key for its provider."""
        before, after = change.before, change.after
        if after.state is not State.QUEUED or before.state not in AT_REST:
            return
        if store.keys[after.key_id].job_id != after.id:
            raise Violation(f"6: {after.id} starts anew and its key is another's")
        if after.doubt is not None or (before.doubt is not None and entry.action != "resolve_retry"):
            raise Violation(f"8: {after.id} starts anew although an effect is in doubt")
        if after.generation != before.generation + (1 if self._class_of(after).doubts else 0):
            raise Violation(f"8: {after.id} starts anew in the generation {after.generation}")
        if "(op_" in entry.reason:
            # Within a day: the log's partition is the day, as docs/adr/0011 says.
            act = (entry.reason, after.id, entry.at.date())
            if act in self.acted_on:
                raise Violation(f"4: {after.id} was acted on twice by one operation")
            self.acted_on.add(act)
        if entry.action == "redrive":
            self._goes_ahead(after, self.let_go.setdefault(entry.reason, []), store)

    def _goes_ahead(self, job: Job, earlier: list[Job], store: MemoryStore) -> None:
        """Check that the first job that a redrive lets go is its canary: it says something before others go."""
        spoken = any(
            store.jobs[each.id].state in AT_REST or store.jobs[each.id].attempts >= each.attempts + 2
            for each in earlier
        )
        if earlier and not spoken:
            raise Violation(f"4: {job.id} was let go before the canary of its redrive has ended")
        earlier.append(job)

    def staged(self, before: Stage | None, after: Stage, store: MemoryStore) -> None:
        """Check one write of a batch's record: what was flipped or aborted stays that, and a flip is of all."""
        if before is not None and before.state not in (StageState.STAGED, after.state):
            raise Violation(f"1: the batch {after.id} was {before.state} and is {after.state}")
        if after.state is StageState.FLIPPED:
            for key in store.keys.values():
                if key.stage == after.id and key.job_id not in store.jobs:
                    raise Violation(f"1: the batch {after.id} was flipped without {key.job_id}")

    def off_stage(self, before: Job | None, after: Job, store: MemoryStore) -> None:
        """Check that a job leaves its stage only when its batch is accepted."""
        if before is not None and before.stage is not None and after.stage is None:
            state = store.stages[before.stage].state
            if state is not StageState.FLIPPED:
                raise Violation(f"1: {after.id} left its stage while the batch was {state}")

    # --- at every answer

    def answered(self, answer: Answered, store: MemoryStore, natural: bool) -> None:
        """Check what a client was told: invariants 1 and 6."""
        job = store.jobs.get(answer.job_id)
        if job is None:
            raise Violation(f"1: {answer.job_id} was answered and has no record")
        for earlier in self.answers:
            if earlier.key != answer.key or earlier.job_id == answer.job_id:
                continue
            first = store.jobs[earlier.job_id]
            if self._both_live(first, job, answer, natural):
                raise Violation(f"6: {answer.job_id} was accepted under the live key of {first.id}")
        for earlier in self.answers:
            if earlier.job_id == answer.job_id and earlier.payload != answer.payload:
                raise Violation(f"6: {answer.job_id} stands for two payloads")
        self.answers.append(answer)

    def _both_live(self, first: Job, answered: Job, answer: Answered, natural: bool) -> bool:
        """Whether the later of two jobs of one key was accepted while the key of the earlier surely lived."""
        if self.born_at[first.id] <= self.born_at[answered.id]:
            return self._key_lives(first, answer, natural)
        # The answer is a late one: its job was there first, and what counts is how it stood back then.
        if self.ended_at.get(answered.id, self.world.now) > self.born_at[first.id]:
            return True
        return self._key_lives(answered, answer, natural)

    def _key_lives(self, first: Job, answer: Answered, natural: bool) -> bool:
        """Whether the first job's key surely lived when the second was accepted; clocks differ by 5 s."""
        if first.state not in TERMINAL:
            return True
        nothing = first.state is State.CANCELLED or first.reason is Reason.REFUSED
        if natural and nothing:
            return False
        return self.world.moment(5_000) < first.created_at + answer.period

    def cancelled(self, job_id: JobId, store: MemoryStore) -> None:
        """Note that a cancellation was answered 200: from here on no call may start."""
        if store.jobs[job_id].state is State.CANCELLED:
            self.provided.forbidden[job_id] = self.world.now

    # --- after the storm

    def calm(self, store: MemoryStore) -> None:
        """Note which jobs wait, and check in time that each was claimed or has ended."""
        for job in store.jobs.values():
            self._expect(store, job, put_off=0)

    def _expect(self, store: MemoryStore, job: Job, *, put_off: int) -> None:
        if job.state in AT_REST or job.next_look is None:
            return
        wakes = max(self.world.now, _ms(job.wakes_at, self.world))
        latest = max(wakes, _ms(job.next_look, self.world)) + LATEST_CLAIM
        self.world.at(latest, lambda: self._moved(store, job, put_off))

    def _moved(self, store: MemoryStore, then: Job, put_off: int) -> None:
        job = store.jobs[then.id]
        if job.state in AT_REST or job.fence != then.fence:
            return
        if job.next_attempt_at > then.next_attempt_at and put_off < MOST_PUT_OFF:
            # Who had read the controls before they were lifted has held it back since.
            self._expect(store, job, put_off=put_off + 1)
            return
        raise Violation(f"1: {job.id} was due and nobody claimed it in time")

    def over(self, store: MemoryStore, dead: list[str]) -> None:
        """Check what is left when nothing moves any more."""
        self._batches_are_over(store)
        for answer in self.answers:
            if answer.job_id not in store.jobs:
                raise Violation(f"1: {answer.job_id} was answered and is gone")
        for job in store.jobs.values():
            if job.stage is not None:
                continue  # left by a caller that was cut off and wrote on; nobody sees it
            if job.state not in AT_REST:
                raise Violation(f"1: {job.id} was forgotten as {job.state}")
            effects = self.provided.effects.get(job.id, [])
            if self._class_of(job) is EffectClass.RECEIVER_DEDUPS:
                if len(self.provided.ids.get(job.id, ())) > 1:
                    raise Violation(f"2: {job.id} was repeated under another id")
            elif len(effects) > 1:
                raise Violation(f"2: {job.id} had {len(effects)} effects")
            if job.state is State.FAILED and effects and self._class_of(job).doubts:
                raise Violation(f"8: {job.id} is failed and its effect has happened")
        self._effects_per_key(store)
        self._ends_are_told(store)
        if any("poison" not in body and body not in self.strays for body in dead):
            raise Violation("5: the dead-letter queue holds a message of a job")

    def _ends_are_told(self, store: MemoryStore) -> None:
        """Check that each end of a job with a callback is told once, and none of a job without."""
        told: dict[JobId, list[tuple[str, str]]] = {}
        for job in store.jobs.values():
            data = job.payload or store.payloads.get(job.id, {})
            if job.type == DELIVERY and data["event"] in EVENTS.values():
                about = JobId(data["payload"]["jobId"])
                told.setdefault(about, []).append((data["event"], data["eventId"]))
        for job in store.jobs.values():
            expected = [f"job.{state}" for state in self.ends.get(job.id, ()) if job.callback_url is not None]
            events = told.pop(job.id, [])
            if sorted(event for event, _ in events) != sorted(expected):
                raise Violation(f"9: {job.id} came to {expected} and is told of as {events}")
            if len({event_id for _, event_id in events}) < len(events):
                raise Violation(f"9: two ends of {job.id} are told as one: {events}")
        if told:
            raise Violation(f"9: {sorted(told)} are told of and are not there")

    def operations_are_over(self, operations: MemoryOperationStore) -> None:
        """Check that every operation has come to an end."""
        for each in operations.operations.values():
            if each.status is Status.RUNNING:
                raise Violation(f"1: the operation {each.id} was forgotten")

    def _batches_are_over(self, store: MemoryStore) -> None:
        for stage in store.stages.values():
            if stage.next_look is not None or stage.state is StageState.STAGED:
                raise Violation(f"1: the batch {stage.id} was forgotten as {stage.state}")
            if stage.state is StageState.FLIPPED and stage.id in self.turned_away:
                raise Violation(f"1: the batch {stage.id} was refused and is accepted")
            for job in (store.jobs[job_id] for job_id in stage.job_ids if job_id in store.jobs):
                if (job.stage is None) != (stage.state is StageState.FLIPPED):
                    raise Violation(f"1: {job.id} is a job of the batch {stage.id}, which is {stage.state}")

    def _effects_per_key(self, store: MemoryStore) -> None:
        """Invariant 2, across jobs: two effects under one key lie at least its period apart."""
        if not self.job_type.effect_class.doubts:
            return
        by_key: dict[str, list[Job]] = {}
        for job in store.jobs.values():
            if self.provided.effects.get(job.id) and self._class_of(job).doubts:
                by_key.setdefault(job.key_id, []).append(job)
        period = self.answers[0].period if self.answers else timedelta(0)
        for jobs in by_key.values():
            jobs.sort(key=lambda job: job.created_at)
            for first, second in pairwise(jobs):
                if second.created_at - first.created_at < period - timedelta(seconds=5):
                    raise Violation(f"2: {first.id} and {second.id} both had effects under one key")


class WatchedStore(MemoryStore):
    """The store's records, each write of which is checked; `tick` is told of every look that is set."""

    def __init__(self, watch: Watch, tick: Callable[[datetime], None]) -> None:
        super().__init__()
        self.watch = watch
        self.jobs = _WatchedJobs(watch, tick, self)
        self.stages = _WatchedStages(watch, tick, self)

    def save_audited(
        self,
        change: Change,
        entry: Entry,
        *,
        take_back: Key | None = None,
        instead_of: Key | None = None,
    ) -> SaveResult | KeyTaken:
        self.watch.audited, known = True, len(self.audit)
        try:
            result = super().save_audited(change, entry, take_back=take_back, instead_of=instead_of)
        finally:
            self.watch.audited = False
        if len(self.audit) > known:
            self.watch.steered(change, entry, self)
        return result

    def save_controls(self, controls: Controls, entry: Entry) -> bool:
        saved = super().save_controls(controls, entry)
        if saved:
            self.watch.controls_changed(controls)
        return saved


class _WatchedJobs(dict[JobId, Job]):
    def __init__(self, watch: Watch, tick: Callable[[datetime], None], store: MemoryStore) -> None:
        super().__init__()
        self._store = store
        self._watch = watch
        self._tick = tick

    def __setitem__(self, job_id: JobId, job: Job) -> None:
        before = self.get(job_id)
        self._watch.written(before, job)
        self._watch.off_stage(before, job, self._store)
        super().__setitem__(job_id, job)
        if job.next_look is not None:
            self._tick(job.next_look)


class _WatchedStages(dict[StageId, Stage]):
    def __init__(self, watch: Watch, tick: Callable[[datetime], None], store: MemoryStore) -> None:
        super().__init__()
        self._watch = watch
        self._tick = tick
        self._store = store

    def __setitem__(self, stage_id: StageId, stage: Stage) -> None:
        self._watch.staged(self.get(stage_id), stage, self._store)
        super().__setitem__(stage_id, stage)
        if stage.next_look is not None:
            self._tick(stage.next_look + TIMING.look_ahead)  # these are not looked for ahead of time


def _ms(moment: datetime, world: World) -> int:
    return world.now + round((moment - world.moment()) / timedelta(milliseconds=1))
