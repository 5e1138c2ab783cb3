"""The core over in-memory adapters: one job type of each effect class, its work by script; faults by order."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from chalicelib.domain.claim import Leave
from chalicelib.domain.controls import Control, Controls, Scope
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import Job, JobId, KeyId, UserId, VenueId
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.keys import Key
from chalicelib.domain.notice import DELIVERY
from chalicelib.domain.outcome import Completed, Outcome
from chalicelib.domain.policies import RETRY, TIERS, EffectClass, Lane, RetryStrategy, Tier
from chalicelib.domain.ports import (
    Change,
    Crew,
    Entry,
    KeyTaken,
    Limiter,
    Message,
    Received,
    Release,
    SaveResult,
    Unsure,
)
from chalicelib.domain.providers import Providers
from chalicelib.service.dispatch import Dispatch, Dispatched
from chalicelib.service.execute import Execute
from chalicelib.service.manage import Manage
from chalicelib.service.submit import Accepted, Submission, Submit
from chalicelib.worker import Worker
from tests.factories import VENUE
from tests.fakes import (
    ListJournal,
    ManualClock,
    MemoryInbox,
    MemoryLeases,
    MemoryQueue,
    MemoryStore,
    SeededChance,
    SequentialCrew,
)
from tests.fakes_metrics import MemoryMetrics
from tests.fakes_registry import MemoryRegistry, MemorySuppressions

T = TypeVar("T")
INVOCATION = timedelta(seconds=60)
DONE = Completed({"done": True})


class Fault(StrEnum):
    """What becomes of a call."""

    REFUSED = "refused"  # not applied, and told so
    MUTE = "mute"  # not applied, and no reply
    LOST = "lost"  # applied, and no reply


Order = Fault | Callable[[], object]  # a fault, or what somebody else does just before the call


class FaultyStore(MemoryStore):
    """Records that count the calls made to them and fail as ordered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self._orders: dict[str, deque[Order]] = defaultdict(deque)

    def order(self, call: str, *orders: Order) -> None:
        """Have the next calls of this name go wrong, one after another."""
        self._orders[call].extend(orders)

    def take_key(self, key: Key, *, instead_of: Key | None = None) -> Key | None:
        return self._call("take_key", lambda: super(FaultyStore, self).take_key(key, instead_of=instead_of))

    def load_key(self, key_id: KeyId) -> Key | None:
        return self._call("load_key", lambda: super(FaultyStore, self).load_key(key_id))

    def add(self, job: Job) -> bool:
        return self._call("add", lambda: super(FaultyStore, self).add(job))

    def add_audited(self, job: Job, entry: Entry) -> bool:
        return self._call("add_audited", lambda: super(FaultyStore, self).add_audited(job, entry))

    def load(self, job_id: JobId, venue_id: VenueId | None) -> Job | None:
        return self._call("load", lambda: super(FaultyStore, self).load(job_id, venue_id))

    def load_batch(self, job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], Controls]:
        assert len(set(job_ids)) == len(job_ids) <= 100
        return self._call("load_batch", lambda: super(FaultyStore, self).load_batch(job_ids))

    def load_payloads(self, jobs: Sequence[Job]) -> Mapping[JobId, Mapping[str, Any]]:
        return self._call("load_payloads", lambda: super(FaultyStore, self).load_payloads(jobs))

    def save_many(self, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        assert len({change.before.id for change in changes}) == len(changes)
        save = super().save_many
        return self._saving("save_many", changes, lambda these: save(these, release))

    def save_looks(self, looks: Sequence[Change]) -> list[SaveResult]:
        return self._saving("save_looks", looks, super().save_looks)

    def save_audited(
        self,
        change: Change,
        entry: Entry,
        *,
        take_back: Key | None = None,
        instead_of: Key | None = None,
    ) -> SaveResult | KeyTaken:
        def save() -> SaveResult | KeyTaken:
            return super(FaultyStore, self).save_audited(
                change, entry, take_back=take_back, instead_of=instead_of
            )

        try:
            return self._call("save_audited", save)
        except StoreUnsure:
            return Unsure()

    def agenda(self, shard: int, tier: Tier, *, until: datetime, limit: int) -> list[JobId]:
        return self._call(
            "agenda", lambda: super(FaultyStore, self).agenda(shard, tier, until=until, limit=limit)
        )

    def _saving(
        self, call: str, changes: Sequence[Change], save: Callable[[Sequence[Change]], list[SaveResult]]
    ) -> list[SaveResult]:
        try:
            return self._call(call, lambda: save(changes))
        except StoreUnsure:
            return [Unsure() for _ in changes]

    def _call(self, call: str, carry_out: Callable[[], T]) -> T:
        self.calls[call] += 1
        order = self._orders[call].popleft() if self._orders[call] else None
        if order is Fault.REFUSED:
            raise StoreRefused
        if order is Fault.MUTE:
            raise StoreUnsure
        if callable(order):
            order()
        result = carry_out()
        if order is Fault.LOST:
            raise StoreUnsure
        return result


@dataclass
class FaultyQueue(MemoryQueue):
    """Queues that can be down, which they say, or lose what they were given, which they do not."""

    down: bool = False
    leaky: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    most_receives: int = 0

    def receive(
        self, tier: Tier, lane: Lane, limit: int = 10, visibility: timedelta = timedelta(minutes=6)
    ) -> list[Received]:
        received = super().receive(tier, lane, limit, visibility)
        self.deliveries += len(received)
        self.most_receives = max([self.most_receives, *(message.receives for message in received)])
        return received

    def send(self, messages: Sequence[Message]) -> list[bool]:
        self.calls["send"] += 1
        assert all(timedelta(0) <= message.delay <= timedelta(minutes=15) for message in messages)
        if self.down or self.leaky:
            return [not self.down for _ in messages]
        return super().send(messages)

    def bury(self, tier: Tier, body: str, reason: str) -> bool:
        self.calls["bury"] += 1
        return not self.down and super().bury(tier, body, reason)

    def inbox(self, tier: Tier, lane: Lane) -> MemoryInbox:
        return CountingInbox(self, tier, lane)


@dataclass
class CountingInbox(MemoryInbox):
    """An inbox that counts the calls made to it."""

    def postpone(self, delays: Mapping[str, timedelta]) -> None:
        cast(FaultyQueue, self.queue).calls["postpone"] += 1
        super().postpone(delays)


Step = Outcome | Exception | Callable[[Work], object]


class Script:
    """A job type's work: each run takes the next step, or completes when there is none.

    A run that may act notes that it is about to, where its class does so, and acts. A step that is a function
    is the whole of its run.
    """

    def __init__(self, *, begins: bool) -> None:
        self._begins = begins
        self.steps: deque[Step] = deque()
        self.works: list[Work] = []
        self.providers: list[Providers] = []
        self.effects: list[tuple[JobId, str]] = []  # each call that started: of which job, under which key

    def run(self, work: Work, providers: Providers) -> Outcome:
        self.works.append(work)
        self.providers.append(providers)
        step = self.steps.popleft() if self.steps else DONE
        if callable(step):
            return cast(Outcome, step(work))
        if work.leave in (Leave.START, Leave.REPEAT):
            if self._begins:
                work.begin(None)
            self.act(work)
        if isinstance(step, Exception):
            raise step
        return step

    def act(self, work: Work) -> None:
        """Call the provider."""
        self.effects.append((work.job.id, work.key("act")))


def _natural_key(facts: Facts) -> tuple[object, ...]:
    return (facts.venue_id, facts.data.get("order"))


def a_type(
    name: str, effect_class: EffectClass, tier: Tier, provider: str, retry: RetryStrategy, script: Script
) -> JobType:
    """Return a job type whose work goes by a script."""
    return JobType(
        name=name,
        aliases=(),
        tier=tier,
        provider=provider,
        effect_class=effect_class,
        schema={},
        natural_key=_natural_key,
        key_period=timedelta(hours=24),
        retention=timedelta(days=30),
        archive=None,
        in_flight=20,
        retry=retry,
        run=script.run,
        run_time=timedelta(seconds=10),
        attempts=retry.attempts,
    )


ROWS: Mapping[EffectClass, tuple[str, Tier, str, str]] = {
    EffectClass.KEYED: ("test.charge", Tier.MONEY, "stripe", "payment"),
    EffectClass.LOOKED_UP: ("test.mint", Tier.MONEY, "solana", "mint"),
    EffectClass.BLIND: ("test.mail", Tier.COMMUNICATION, "ses", "communication"),
    EffectClass.RECEIVER_DEDUPS: ("test.hook", Tier.BACKGROUND, "internal", "webhook"),
}


class House:
    """Every use case of the core, one clock, and what each consumer would do."""

    def __init__(
        self,
        *,
        crew: Crew | None = None,
        types: Mapping[str, JobType] | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.chance = SeededChance()
        self.journal = ListJournal()
        self.store = FaultyStore()
        self.store.limiter = limiter
        self.metrics = MemoryMetrics()
        self.registry = MemoryRegistry()
        self.suppressions = MemorySuppressions(self.registry, self.store.audit)
        self.queue = FaultyQueue(self.clock)
        self.leases = MemoryLeases()
        self.providers = cast(Providers, SimpleNamespace())
        self.scripts = {each: Script(begins=each.begins) for each in EffectClass}
        self.of_class = {
            each: a_type(name, each, tier, provider, RETRY[retry], self.scripts[each])
            for each, (name, tier, provider, retry) in ROWS.items()
        }
        self.deliveries = Script(begins=False)
        dedups, webhook = EffectClass.RECEIVER_DEDUPS, RETRY["webhook"]
        tells = a_type(DELIVERY, dedups, Tier.BACKGROUND, "internal", webhook, self.deliveries)
        named = [*self.of_class.values(), tells]
        self.types = {**{each.name: each for each in named}, **(types or {})}
        self._submit = Submit(
            store=self.store,
            registry=self.registry,
            queue=self.queue,
            clock=self.clock,
            chance=self.chance,
            journal=self.journal,
        )
        self.manage = Manage(
            store=self.store,
            queue=self.queue,
            types=self.types,
            clock=self.clock,
            chance=self.chance,
            journal=self.journal,
        )
        self.dispatcher = Dispatch(
            store=self.store,
            queue=self.queue,
            leases=self.leases,
            types=self.types,
            clock=self.clock,
            chance=self.chance,
            journal=self.journal,
        )
        self.execute = Execute(
            store=self.store,
            registry=self.registry,
            queue=self.queue,
            providers=self.providers,
            types=self.types,
            clock=self.clock,
            chance=self.chance,
            crew=crew or SequentialCrew(),
            suppressions=self.suppressions,
            journal=self.journal,
            limiter=limiter,
            metrics=self.metrics,
        )

    # --- callers

    def submission(self, what: EffectClass | JobType = EffectClass.KEYED, **changes: Any) -> Submission:
        """Return a valid request; `changes` are fields of Submission."""
        job_type = self.of_class[what] if isinstance(what, EffectClass) else what
        fields: dict[str, Any] = {
            "data": {"order": "order-1", "amount": 4500},
            "venue_id": VENUE,
            "user_id": UserId("user-1"),
            "submitted_by": "service-1",
            "priority": TIERS[job_type.tier].priority,
            "attempts": job_type.most_attempts,
            "delay": timedelta(0),
            "key": None,
            "callback_url": None,
        }
        return Submission(job_type=job_type, **{**fields, **changes})

    def submit(self, what: EffectClass | JobType = EffectClass.KEYED, **changes: Any) -> Accepted:
        """Submit a job."""
        return self._submit.submit(self.submission(what, **changes))

    def accept(self, what: EffectClass | JobType = EffectClass.KEYED, **changes: Any) -> JobId:
        """Submit a job that must be new."""
        accepted = self.submit(what, **changes)
        assert not accepted.deduplicated
        return accepted.job.id

    def accept_many(self, count: int, what: EffectClass = EffectClass.KEYED, **changes: Any) -> list[JobId]:
        """Submit jobs that differ in their order."""
        return [self.accept(what, data={"order": f"order-{n}"}, **changes) for n in range(1, count + 1)]

    # --- consumers and the clock

    def worker(self, tier: Tier = Tier.MONEY, lane: Lane = Lane.MAIN) -> Worker:
        """Return the consumer of a queue."""
        return Worker(tier, self.execute, self.queue, self.queue.inbox(tier, lane), self.journal)

    def consume(
        self, tier: Tier = Tier.MONEY, lane: Lane = Lane.MAIN, *, lasts: timedelta = INVOCATION
    ) -> list[Received]:
        """Let a consumer take a batch and return the messages that stay in the queue."""
        received = self.queue.receive(tier, lane)
        kept = self.worker(tier, lane).run_batch(received, ends=self.clock.now() + lasts)
        for message in received:
            if message.message_id not in kept:
                self.queue.delete(tier, lane, message.message_id)
        return [message for message in received if message.message_id in kept]

    def consume_all(self) -> None:
        """Let the consumers of every queue take what is there to see."""
        for tier in Tier:
            for lane in Lane:
                while any(each.visible_at <= self.clock.now() for each in self.messages(tier, lane)):
                    self.consume(tier, lane)

    def dispatch(self, *, lasts: timedelta = INVOCATION) -> Dispatched:
        """Let a run of `dispatch` take place."""
        return self.dispatcher.run(ends=self.clock.now() + lasts)

    def pass_time(self, time: timedelta, *, step: timedelta = timedelta(minutes=1)) -> None:
        """Let time pass: the consumers take what shows, `dispatch` runs once a step."""
        ends = self.clock.now() + time
        while self.clock.now() < ends:
            self.clock.advance(min(step, ends - self.clock.now()))
            self.dispatch()
            self.consume_all()

    # --- operators

    def stop(self, scope: Scope, value: str, *, until: datetime | None = None) -> None:
        """Hold something back from now on."""
        control = Control(scope, value, "a test wants it", "admin-1", self.clock.now(), until)
        self.store.controls = self.store.controls.started(control)

    def lift(self, scope: Scope, value: str) -> None:
        """End what holds this back."""
        self.store.controls = self.store.controls.lifted(scope, value, self.clock.now())

    # --- what came of it

    def job(self, job_id: JobId) -> Job:
        """Return a job as it stands."""
        return self.store.jobs[job_id]

    def change(self, job_id: JobId, change: Callable[[Job], Job]) -> None:
        """Change a record behind everybody's back."""
        self.store.jobs[job_id] = change(self.store.jobs[job_id])

    def messages(self, tier: Tier = Tier.MONEY, lane: Lane = Lane.MAIN) -> list[Any]:
        """Return what is in a queue, seen or not."""
        return list(self.queue.messages.get((tier, lane), {}).values())

    def notices(self) -> list[Job]:
        """Return the jobs that tell of others' ends, in order."""
        return sorted((job for job in self.store.jobs.values() if job.type == DELIVERY), key=lambda job: job.id)

    def told(self) -> list[tuple[JobId, str]]:
        """Return of which jobs it is told and what, in order."""
        payloads = self.store.load_payloads
        found = [job.payload or payloads([job])[job.id] for job in self.notices()]
        return [(each["payload"]["jobId"], each["event"]) for each in found]

    def lose_messages(self) -> None:
        """Lose every message in every queue."""
        self.queue.messages.clear()
