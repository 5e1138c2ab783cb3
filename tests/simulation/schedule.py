"""One schedule: clients, consumers, dispatchers and an operator in a storm, then calm until all is at rest."""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any

from chalicelib.domain.errors import AcceptanceUnknown, KeyConflict, QueueServiceError
from chalicelib.domain.job import AT_REST, Job, JobId, UserId, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.keys import payload_hash
from chalicelib.domain.message import Hint, decode, encode
from chalicelib.domain.policies import TIMING, Lane, Tier
from chalicelib.domain.ports import Received
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.ratelimit import LIMITS
from chalicelib.jobtypes import discover
from chalicelib.service.callbacks import Callbacks
from chalicelib.service.dispatch import Dispatch
from chalicelib.service.execute import Execute
from chalicelib.service.submit import Accepted, Submission, Submit
from chalicelib.service.submit_together import NotTogether, SubmitTogether
from chalicelib.worker import Worker
from tests.factories import an_endpoint
from tests.fakes import MemoryLeases
from tests.fakes_limiter import MemoryLimiter
from tests.fakes_registry import MemoryRegistry
from tests.simulation.adapters import (
    SimEndpoints,
    SimInbox,
    SimLeases,
    SimLimiter,
    SimQueue,
    SimQueues,
    SimRegistry,
    SimStore,
)
from tests.simulation.invariants import Answered, Watch, WatchedStore
from tests.simulation.operators import Operators
from tests.simulation.providers import (
    DELIVER,
    RETRY_PAYMENT,
    WEBHOOK,
    Provided,
    SimProviders,
    Violation,
)
from tests.simulation.world import HOUR, MINUTE, SECOND, Aim, Endless, Process, World

VENUE = VenueId("venue-1")
OTHERS = [
    *(discover()[name] for name in ("payment.refund", "payment.payout", "analytics.track", "order.fulfill")),
    discover()["sms.send"],
    RETRY_PAYMENT,
    DELIVER,
]
_NAMED = {each.name for each in OTHERS}
# By a class its own type, by name the others of that class; a seed names one of these and a number.
TYPES: Mapping[str, JobType] = {
    **{each.effect_class: each for each in (*discover().values(), WEBHOOK) if each.name not in _NAMED},
    **{each.name: each for each in OTHERS},
}
# So little that two jobs are too much at once; the express lane finds room all the same.
TIGHT = {group: replace(limit, concurrent=1, burst=2, per_second=0.5) for group, limit in LIMITS.items()}
NAMED_BY = ("orderId", "to", "transactionId", "targetId", "paymentIntentId", "period", "eventId")  # they differ
CALLBACK = "https://shop.example/done"
TOLD = 0.3  # of the schedules have callers who want to be told
EMPTIED = 0.2  # of them have their queues purged by hand
DELAYS = (0, 0, 0, 0, 5 * SECOND, 14 * MINUTE, 20 * MINUTE, 3 * HOUR)


@dataclass(frozen=True)
class Report:
    """What came of a schedule."""

    seed: str
    violation: str | None
    events: int
    trace: list[str]
    states: Mapping[str, int]
    struck: bool  # whether the fault that was aimed found its opportunity
    struck_at: str | None  # and at which I/O
    effects: int


def run_schedule(kind: str, number: int, *, tracing: bool = False, aim: Aim | None = None) -> Report:
    """Run one schedule of an effect class or a job type; the same number is the same schedule.

    With an aim there is one submission (of an odd number: one batch) and one fault, and nothing else happens.
    """
    return Schedule(kind, number, tracing, aim).run()


class Schedule:
    """The actors of one schedule and the world they share."""

    def __init__(self, kind: str, number: int, tracing: bool, aim: Aim | None) -> None:
        self.world = World(f"{kind}-{number}", tracing, aim)
        self._number = number
        chance = self.world.chance
        self.world.faults_left = chance.choice((0, 2, 5, 10, 20))
        self.world.storm_ends = chance.choice((2 * MINUTE, 10 * MINUTE, 40 * MINUTE, 30 * HOUR))
        self.registry = MemoryRegistry()
        # A chance of their own, so that schedules without callbacks are what they were before there were any.
        self._told = random.Random(f"{self.world.seed} callbacks")
        self._callbacks = number % 4 > 1 if aim else self._told.random() < TOLD
        self.job_type = TYPES[kind]
        self.types = {DELIVER.name: DELIVER, self.job_type.name: self.job_type}
        self.provided = Provided(self.world, self._leased)
        self.provided.endpoints.add(an_endpoint())
        self.registry.endpoints = self.provided.endpoints.endpoints
        if self.job_type.name == "sms.send" and aim is None and number % 3:
            hour = self._told.randrange(24)
            hours = QuietHours("Europe/Berlin", time(hour), time((hour + 11) % 24))
            self.registry.quiet_hours[VENUE] = self.provided.quiet_hours = hours
        self.watch = Watch(self.world, self.provided, self.types, self.job_type)
        self.store = WatchedStore(self.watch, self._tick_for)
        self.leases = MemoryLeases()
        self.limiter = MemoryLimiter(chance.choice((LIMITS, TIGHT)))
        self.store.limiter = self.limiter
        self.queues = SimQueues(self.world, self._invoke)
        self.operators = Operators(
            self.world, self.types, self.job_type, VENUE, self.store, self.queues, self.leases, self.watch
        )
        self._ticks: set[int] = set()
        self._started = 0

    def run(self) -> Report:
        """Run until nothing moves any more, or an invariant breaks."""
        violation: str | None = None
        try:
            if self.world.aim and self._number % 2:
                self._submit_together([_payload(self.job_type, n, changed=False) for n in (0, 1)], "key", 8)
            elif self.world.aim:
                attempts = self.job_type.most_attempts if self.world.aim.smooth else 3
                self._submit(_payload(self.job_type, 0, changed=False), "key", (0, attempts, 5), 3)
            else:
                self._weave()
                self._empty_queues()
            self.world.at(self.world.storm_ends, self._calm)
            self.world.run()
            self.watch.over(self.store, self.queues.dead)
            self.watch.operations_are_over(self.operators.operations)
        except Violation as broken:
            violation = str(broken)
        except Endless:
            violation = "1: the schedule does not come to an end"
        states: dict[str, int] = {}
        for job in self.store.jobs.values():
            states[job.state] = states.get(job.state, 0) + 1
        return Report(
            self.world.seed,
            violation,
            self.world.events,
            self.world.trace,
            states,
            self.world.struck,
            self.world.struck_at,
            self._effects(),
        )

    def _effects(self) -> int:
        """Count what happened; a receiver that knows repetitions counts none."""
        seen: Mapping[JobId, Sequence[object]] = self.provided.effects
        if not self.job_type.effect_class.doubts:
            seen = {job_id: list(ids) for job_id, ids in self.provided.ids.items()}
        return sum(len(each) for each in seen.values())

    def _leased(self, job_id: JobId) -> bool:
        job = self.store.jobs[job_id]
        slack = timedelta(seconds=5)  # the clocks'
        return job.lease_until is not None and self.world.moment() <= job.lease_until + slack

    def _weave(self) -> None:
        """Choose what happens: most often anything, sometimes what leads to where chance seldom comes."""
        draw = self.world.chance.random()
        if draw < 0.05:
            self._dead_letters()
        elif draw < 0.1:
            self._old_key()
        else:
            self._clients()
            self._batches()
            self._call_back()
            self.operators.prepare(often=self.world.chance.random() < 0.2)
            if self._callbacks and self._told.random() < 0.2:
                self.world.at(self._told.choice((20 * MINUTE, 26 * HOUR)), self.operators.resolve_parked)
            self._poison()

    def _empty_queues(self) -> None:
        """Let a hand purge the queues now and then, in some schedules, the same to all else."""
        hand = random.Random(f"{self.world.seed} hand")
        if hand.random() < EMPTIED:
            for _ in range(hand.choice((1, 2, 5))):
                self.world.at(hand.choice((50, SECOND, MINUTE, 10 * MINUTE, 2 * HOUR)), self.queues.empty)

    def _dead_letters(self) -> None:
        """Let many jobs fail at their only attempt, and redrive them while that goes on."""
        world = self.world
        world.weather["provider"], world.faults_left = 0.5, 40
        world.weather[world.chance.choice(("lose", "refuse", "crash"))] = 0.3
        world.storm_ends = world.chance.choice((10 * MINUTE, 40 * MINUTE))
        for index in range(world.chance.choice((3, 5))):
            self._submit(_payload(self.job_type, index, changed=False), f"dead-{index}", (0, 1, 5), 3)
        for when in (2 * MINUTE, 9 * MINUTE):
            self.world.at(when, lambda: self.operators.begin(world.chance.choice(("redrive", "retry"))))

    def _old_key(self) -> None:
        """Let an attempt fail, stop everything for a day, and let the next ones fail under an old key."""
        world = self.world
        world.weather["provider"], world.faults_left, world.storm_ends = 0.5, 20, 30 * HOUR
        self._submit(_payload(self.job_type, 0, changed=False), "old", (0, 10, 5), 3)
        world.at(world.chance.choice((200, 500, 1_000)), lambda: self.operators.stop(whole=True))

    # --- clients

    def _clients(self) -> None:
        """Some keys, each with a few submissions: doubles, changed payloads, repetitions after a 503."""
        chance = self.world.chance
        for index in range(chance.choice((1, 1, 2))):
            given = f"key-{index}" if chance.random() < 0.6 else None
            options = (chance.choice(DELAYS), chance.choice((1, 1, 2, 3, 10)), chance.choice((5, 5, 10)))
            for submission in range(chance.choice((1, 1, 2, 3))):
                changed = given is not None and submission > 0 and chance.random() < 0.25
                when = chance.choice((0, 10, 200, 5 * SECOND, 3 * MINUTE, 25 * HOUR))
                data = _payload(self.job_type, index, changed)
                self.world.at(when, lambda d=data, g=given, o=options: self._submit(d, g, o, 3))  # type: ignore[misc]  # defaults bind

    def _submit(
        self, data: dict[str, Any], given: str | None, options: tuple[int, int, int], tries: int
    ) -> None:
        process = self._process("api")
        submission = self._submission(data, given, options)

        def again() -> None:
            if tries > 1 and not answered:
                self._submit(data, given, options, tries - 1)

        answered = False

        def submit() -> None:
            nonlocal answered
            store = SimStore(process, self.store)
            use_case = Submit(
                store=store,
                registry=SimRegistry(process, self.registry),
                queue=SimQueue(process, self.queues),
                clock=process,
                chance=process,
                journal=process,
            )
            try:
                accepted = use_case.submit(submission)
            except KeyConflict as conflict:
                answered = True
                self._conflicts(conflict, data)
                return
            except QueueServiceError as error:
                self.world.note(process.name, f"answers 503 {error.code}")
                return
            answered = True
            self.world.note(process.name, f"answers {200 if accepted.deduplicated else 201} {accepted.job.id}")
            self._answered(accepted, data, natural=given is None)

        process.start(submit)
        self.world.at(self.world.now + self.world.chance.choice((2, 31)) * SECOND, again)

    def _submission(self, data: dict[str, Any], given: str | None, options: tuple[int, int, int]) -> Submission:
        delay, attempts, priority = options
        return Submission(
            job_type=self.job_type,
            data=data,
            venue_id=VENUE,
            user_id=UserId("user-1"),
            submitted_by="service-1",
            priority=priority,
            attempts=attempts,
            delay=timedelta(milliseconds=delay),
            key=given,
            callback_url=CALLBACK if self._callbacks and self._told.random() < 0.8 else None,
        )

    def _answered(self, accepted: Accepted, data: dict[str, Any], *, natural: bool) -> None:
        answer = Answered(
            at=self.world.now,
            key=accepted.job.key_id,
            payload=str(data),
            job_id=accepted.job.id,
            period=self.job_type.key_period,
            created=not accepted.deduplicated,
        )
        self.watch.answered(answer, self.store, natural=natural)

    def _batches(self) -> None:
        """Sometimes a batch, all of it or nothing, repeated after a 503; its keys may be others' too."""
        chance = self.world.chance
        if chance.random() < 0.7:
            return
        size = chance.choice((1, 2, 2, 3, 5))
        data = [_payload(self.job_type, n, changed=False) for n in range(size)]
        given = chance.choice(("batch", "batch", "key", None))
        for _ in range(chance.choice((1, 1, 2))):
            when = chance.choice((0, 50, 300, 30 * SECOND, 3 * MINUTE))
            if chance.random() < 0.25:
                self.world.at(when, lambda: self._submit_each(data, given, 4))
            else:
                self.world.at(when, lambda: self._submit_together(data, given, 4))
            self.world.at(when + chance.choice((100, 300, SECOND)), self._stray)

    def _stray(self) -> None:
        """Send a hint that nobody ordered: it may name any job, also one that is on a stage."""
        if self.store.jobs:
            job = self.world.chance.choice(list(self.store.jobs.values()))
            body = encode(Hint(job.id, job.venue_id))
            self.watch.strays.add(body)
            self.queues.put(job.tier, job.lane, body)

    def _call_back(self) -> None:
        """Sometimes let a vendor call back, at any time and about any job, often more than once."""
        # Drawn apart, so that the schedules in which nobody calls stay as they are.
        chance = random.Random(f"{self.world.seed} calls")
        if chance.random() < 0.7:
            return
        for _ in range(chance.choice((1, 3, 10))):
            when = chance.choice((SECOND, 20 * SECOND, 2 * MINUTE, 9 * MINUTE, 2 * HOUR, 25 * HOUR))
            for at in (when, when + chance.choice((0, 50, 500))):
                self.world.at(at, lambda: self._called_back(chance))

    def _called_back(self, chance: random.Random) -> None:
        if not self.store.jobs:
            return
        job_id = chance.choice(list(self.store.jobs))
        process = self._process("api")
        use_case = Callbacks(
            store=SimStore(process, self.store),
            queue=SimQueue(process, self.queues),
            types=self.types,
            clock=process,
            journal=process,
        )

        def call() -> None:
            with suppress(QueueServiceError):
                use_case.bring_forward(job_id, "vendor")

        process.start(call)

    def _submit_each(self, data: Sequence[dict[str, Any]], given: str | None, tries: int) -> None:
        process = self._process("api")
        submissions = self._submissions(data, given)
        done = False

        def again() -> None:
            if tries > 1 and not done:
                self._submit_each(data, given, tries - 1)

        def submit() -> None:
            nonlocal done
            use_case = Submit(
                store=SimStore(process, self.store),
                registry=SimRegistry(process, self.registry),
                queue=SimQueue(process, self.queues),
                clock=process,
                chance=process,
                journal=process,
            )
            verdicts = use_case.submit_each(submissions)
            done = all(isinstance(verdict, Accepted | KeyConflict) for verdict in verdicts)
            for each, verdict in zip(data, verdicts, strict=True):
                if isinstance(verdict, Accepted):
                    self._answered(verdict, each, natural=given is None)
                elif isinstance(verdict, KeyConflict):
                    self._conflicts(verdict, each)

        process.start(submit)
        self.world.at(self.world.now + self.world.chance.choice((2, 31)) * SECOND, again)

    def _submissions(self, data: Sequence[dict[str, Any]], given: str | None) -> list[Submission]:
        return [
            self._submission(each, None if given is None else f"{given}-{place}", (0, 3, 5))
            for place, each in enumerate(data)
        ]

    def _submit_together(self, data: Sequence[dict[str, Any]], given: str | None, tries: int) -> None:
        # Whatever an acceptance of one job may rely on, a batch is safe from callers that write on for long.
        process = Process(self.world, f"batch-{self._started}", 29)
        self._started += 1
        store = SimStore(process, self.store)
        submissions = self._submissions(data, given)
        answered = False

        def again() -> None:
            if tries > 1 and not answered:
                self._submit_together(data, given, tries - 1)

        def submit() -> None:
            nonlocal answered
            use_case = SubmitTogether(
                store=store,
                registry=SimRegistry(process, self.registry),
                queue=SimQueue(process, self.queues),
                clock=process,
                chance=process,
                journal=process,
            )
            try:
                verdicts = use_case.submit(submissions)
            except AcceptanceUnknown:
                self.world.note(process.name, "answers 503 acceptance_unknown")
                return
            except QueueServiceError as error:
                self.world.note(process.name, f"answers: none of it, {error}")
                self.watch.turned_away.update(store.opened)
                if isinstance(error, NotTogether) and isinstance(error.cause, KeyConflict):
                    answered = True
                    self._conflicts(error.cause, data[error.place])
                return
            answered = True
            self.world.note(process.name, f"answers 201 {' '.join(each.job.id for each in verdicts)}")
            for each, accepted in zip(data, verdicts, strict=True):
                self._answered(accepted, each, natural=given is None)

        process.start(submit)
        self.world.at(self.world.now + self.world.chance.choice((2, 31)) * SECOND, again)

    def _conflicts(self, conflict: KeyConflict, data: dict[str, Any]) -> None:
        for key in self.store.keys.values():
            if key.job_id == conflict.job_id and key.payload_hash == payload_hash(data):
                raise Violation(f"6: the same payload as that of {conflict.job_id} was a conflict")

    # --- consumers and dispatchers

    def _process(self, kind: str) -> Process:
        self._started += 1
        name = f"{kind}-{self._started}"
        # Who answers over HTTP is cut off by the gateway; an acceptance never takes longer than that.
        return Process(self.world, name, 29, zombie=0) if kind == "api" else Process(self.world, name)

    def _invoke(self, tier: Tier, lane: Lane, received: list[Received]) -> None:
        process = self._process("consumer")
        if self.world.tracing:
            ids = " ".join(f"{message.message_id}x{message.receives}" for message in received)
            self.world.note(process.name, f"receives {ids}")

        def consume() -> None:
            try:
                found = {message.message_id: self._open(message) for message in received}
                keep = self._worker(process, tier, lane).run_batch(received, ends=process.ends)
            except QueueServiceError as error:
                self.world.note(process.name, f"fails: {error.code}")
                return
            for message in received:
                if message.message_id not in keep:
                    self.queues.delete(tier, lane, message.message_id)
                    self._gone(message, found[message.message_id])

        process.start(consume)

    def _open(self, message: Received) -> Job | None:
        """Return the job of a message, as it stands, if there is one to be done."""
        if "poison" in message.body:
            return None
        job = self.store.jobs.get(decode(message.body).job_id)
        return None if job is None or job.stage is not None or job.state in AT_REST else job

    def _gone(self, message: Received, found: Job | None) -> None:
        """Check that whoever let a message go has set the look of its job, unless another one is there."""
        job = self._open(message)
        if found is None or job is None or job.max_attempts != found.max_attempts:
            return
        if job.looks and not self.queues.holds(message.body):
            raise Violation(f"1: the message of {job.id} was let go and its look does not know")

    def _worker(self, process: Process, tier: Tier, lane: Lane) -> Worker:
        execute = Execute(
            store=SimStore(process, self.store),
            registry=SimRegistry(process, self.registry),
            queue=SimQueue(process, self.queues),
            providers=SimProviders(process, self.provided, SimEndpoints(process, self.provided.endpoints)),
            types=self.types,
            clock=process,
            chance=process,
            crew=process,
            journal=process,
            limiter=SimLimiter(process, self.limiter),
        )
        return Worker(
            tier=tier,
            execute=execute,
            queue=SimQueue(process, self.queues),
            inbox=SimInbox(process, self.queues, tier, lane),
            journal=process,
        )

    def _tick_for(self, look: datetime) -> None:
        """Have `dispatch` run at the first full minute at which it could find this look."""
        due = round((look - TIMING.look_ahead - self.world.moment()) / timedelta(milliseconds=1))
        minute = -(-(self.world.now + max(due, 1)) // MINUTE)
        if minute not in self._ticks:
            self._ticks.add(minute)
            self.world.at(minute * MINUTE, lambda: self._tick(minute))

    def _tick(self, minute: int) -> None:
        self._ticks.discard(minute)
        looks = [each.next_look for each in self.store.jobs.values()]
        looks += [each.next_look for each in self.store.stages.values()]
        if not any(look is not None for look in looks):
            return
        self.world.at((minute + 1) * MINUTE - 1, self._tick_again)
        for _ in range(2 if self.world.strikes("duplicate") else 1):
            process = self._process("dispatch")
            process.start(lambda process=process: self._dispatch(process))  # type: ignore[misc]  # defaults bind

    def _tick_again(self) -> None:
        for job in self.store.jobs.values():
            if job.next_look is not None:
                self._tick_for(job.next_look)
        for stage in self.store.stages.values():
            if stage.next_look is not None:
                self._tick_for(stage.next_look + TIMING.look_ahead)

    def _dispatch(self, process: Process) -> None:
        dispatch = Dispatch(
            store=SimStore(process, self.store),
            queue=SimQueue(process, self.queues),
            leases=SimLeases(process, self.leases),
            types=self.types,
            clock=process,
            chance=process,
            journal=process,
        )
        try:
            dispatch.run(ends=process.ends)
        except QueueServiceError as error:
            self.world.note(process.name, f"fails: {error.code}")

    # --- the rest

    def _poison(self) -> None:
        if self.world.chance.random() < 0.1:
            self.queues.put(self.job_type.tier, Lane.MAIN, '{"poison":true}')

    def _calm(self) -> None:
        """End the storm: no more faults, nothing held back; now every open job must end."""
        self.world.note("world", "--- the storm is over ---")
        self.operators.lift_all(lambda: self.watch.calm(self.store))


def _payload(job_type: JobType, index: int, changed: bool) -> dict[str, Any]:
    data = dict(job_type.example)
    for name, value in data.items():
        if isinstance(value, str) and name in NAMED_BY:
            phone = value.startswith("+")
            data[name] = f"{value}{index}{7 * changed}" if phone else f"{index}{'x' if changed else ''}{value}"
    if index % 2 and data.pop("url", None):
        data["endpointId"] = "ep_1"
    return data or {"number": index, "changed": changed}
