"""Running operations: page by page, each page's jobs side by side, one after another for a turn each.

The request that begins an operation has the first turn, so a small one is over when it is answered; a function
that runs each minute does the rest. Under a lease of its own each operation is in one pair of hands at a time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, assert_never

from chalicelib.domain import operation as moves
from chalicelib.domain import steer
from chalicelib.domain.errors import ActionRefused, CallerError, NotFound, StoreError
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.job import Job, JobId, State, VenueId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.keys import digest
from chalicelib.domain.money import stated
from chalicelib.domain.operation import (
    EVERY,
    PAGE_TRIES,
    Action,
    Finish,
    Operation,
    OperationId,
    OperationStore,
    Release,
    Status,
    Stop,
    Tally,
    Wait,
    Watched,
)
from chalicelib.domain.policies import TIMING, EffectClass, Policy, Role, Tier, Timing
from chalicelib.domain.ports import Chance, Clock, Crew, JobStore, Journal, Leases
from chalicelib.domain.search import DEAD, JobIndex, alike, ended, is_dead_letter, of_user, of_venue
from chalicelib.service.listing import Listing
from chalicelib.service.manage import Manage, Order
from chalicelib.service.paging import MOST_READ, Newest, Shelf, read_page
from chalicelib.service.principal import Principal
from chalicelib.service.shift import Shift

TURN = timedelta(seconds=10)
MOST_DUE = 50
SIDE_BY_SIDE = 45  # jobs of a page, each in a thread; the clients keep 50 connections
UNANSWERED = "unavailable"

# The jobs that an action is for; of others nothing is counted.
CONCERNS: Mapping[Action, frozenset[State]] = {
    Action.RETRY: frozenset({State.FAILED, State.CANCELLED}),
    Action.CANCEL: steer.WAITING,
    Action.REDRIVE: frozenset({State.FAILED}),
    Action.ERASE: frozenset(State),
}
Decide = Callable[..., Job | steer.NotAllowed]
DECIDES: Mapping[Action, Decide] = {
    Action.RETRY: steer.retry,
    Action.CANCEL: steer.cancel,
    Action.REDRIVE: steer.redrive,
    Action.ERASE: steer.erase,
}


@dataclass(frozen=True, slots=True)
class OperationsRan:
    """What a run did: turns that it gave, and operations that ended in them.

    `ran` is False when another run holds the lease.
    """

    ran: bool
    turns: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one job: nothing, for a reason with a stable code, or what was, or would be, done."""

    code: str | None = None
    watched: Watched | None = None


class RunOperations:
    """The scheduled function behind bulk actions and redrives."""

    def __init__(
        self,
        *,
        operations: OperationStore,
        store: JobStore,
        index: JobIndex,
        listing: Listing,
        manage: Manage,
        types: Mapping[str, JobType],
        leases: Leases,
        clock: Clock,
        chance: Chance,
        crew: Crew,
        journal: Journal,
        timing: Timing = TIMING,
    ) -> None:
        self._operations = operations
        self._store = store
        self._index = index
        self._listing = listing
        self._manage = manage
        self._types = types
        self._leases = leases
        self._shift = Shift(
            Function.RUN_OPERATIONS, leases=leases, clock=clock, chance=chance, journal=journal, timing=timing
        )
        self._clock = clock
        self._chance = chance
        self._crew = crew
        self._journal = journal
        self._timing = timing
        self._acts: Mapping[Action, Callable[[Order], Job]] = {
            Action.RETRY: manage.retry,
            Action.CANCEL: manage.cancel,
            Action.REDRIVE: manage.redrive,
            Action.ERASE: manage.erase,
        }

    def run(self, *, ends: datetime) -> OperationsRan:
        """Give every operation that is due a turn, and again, until none is left or the time is up."""
        with self._shift.until(ends) as run:
            if run is None:
                return OperationsRan(ran=False)
            done = self._take_turns(ends)
        self._journal.note("operations_run", turns=done.turns, ended=done.ended)
        return done

    def _take_turns(self, ends: datetime) -> OperationsRan:
        stop = ends - self._timing.settle_margin
        turns = over = 0
        while self._clock.now() < stop:
            given = 0
            for each in self._operations.due(until=self._clock.now(), limit=MOST_DUE):
                if (now := self._clock.now()) >= stop:
                    break
                after = self._guarded(each, until=min(stop, now + TURN), ends=ends)
                given += after is not None
                over += after is not None and after.status is not Status.RUNNING
            turns += given
            if given == 0:
                break
        return OperationsRan(True, turns, over)

    def _guarded(self, operation_id: OperationId, *, until: datetime, ends: datetime) -> Operation | None:
        try:
            return self.go_on(operation_id, until=until, ends=ends)
        except StoreError as error:
            self._journal.alarm("operation_waits", operationId=operation_id, error=type(error).__name__)
            return None

    def go_on(self, operation_id: OperationId, *, until: datetime, ends: datetime) -> Operation | None:
        """Go on with an operation until a moment, and return it as it stands then.

        None: it is in other hands, or not due. `ends` is when the invocation is cut off. Raises StoreError;
        then it stands as it was saved last, and the next turn goes on from there.
        """
        owner, lease = self._chance.claim_id(), f"operation/{operation_id}"
        skew = self._timing.clock_skew
        if not self._leases.take(lease, owner, now=self._clock.now(), until=ends + skew):
            return None
        try:
            operation = self._operations.load(operation_id)
            if operation is None or not self._wants(operation):
                return None  # the index lags behind
            while self._wants(operation) and self._clock.now() < until:
                operation = self._step(operation)
            if self._wants(operation):  # behind all others that are due
                now = self._clock.now()
                operation = self._saved(operation, moves.put_off(operation, now, now=now))
            return operation
        finally:
            self._leases.give_back(lease, owner)

    def _wants(self, operation: Operation) -> bool:
        return operation.wakes_at is not None and operation.wakes_at <= self._clock.now()

    def _step(self, operation: Operation) -> Operation:
        now = self._clock.now()
        if not operation.paced:
            return self._page(operation, SIDE_BY_SIDE)
        if operation.in_hand:
            return self._again(operation)
        watched = [each.id for each in operation.watched]
        jobs, _ = self._store.load_batch(watched) if watched else ({}, None)
        judged = moves.judged_anew(operation, moves.judge(operation, jobs))
        match moves.next_step(judged, now=now):
            case Release(count):
                return self._page(moves.stepping(judged, count), min(count, SIDE_BY_SIDE))
            case Wait():
                return self._saved(operation, moves.put_off(judged, now + EVERY, now=now))
            case Finish():
                return self._saved(operation, moves.finish(judged, now=now))
            case Stop(why):
                self._journal.alarm("operation_stopped_itself", operationId=operation.id, why=why)
                return self._saved(operation, moves.stop(judged, why, by=None, now=now))
            case step:
                assert_never(step)

    def _page(self, operation: Operation, count: int) -> Operation:
        try:
            shelf, admits = self._selection(operation)
            limit = count if operation.left is None else min(count, operation.left)
            jobs, place = read_page(
                shelf, self._store, admits, after=operation.place, limit=limit, most=MOST_READ
            )
        except CallerError as error:  # the filter names what this version does not know any more
            self._journal.alarm("operation_refused", operationId=operation.id, error=error.code)
            refused = moves.stop(operation, error.code, by=None, now=self._clock.now())
            return self._saved(operation, refused)
        jobs = self._of_the_person(operation, jobs)
        if operation.paced and jobs:
            in_hand = moves.taken_in_hand(operation, jobs, now=self._clock.now())
            operation = self._saved(operation, in_hand)
            if not self._wants(operation):
                return operation  # it was stopped, or other hands have it
        return self._act_on(operation, jobs, partial(moves.went_on, place=place))

    def _again(self, operation: Operation) -> Operation:
        """Go on with the jobs of which a turn that died, or got no answer, has not noted that they went."""
        jobs, _ = self._store.load_batch([each.id for each in operation.in_hand])
        return self._act_on(operation, list(jobs.values()), moves.recovered)

    def _act_on(self, operation: Operation, jobs: Sequence[Job], then: Callable[..., Operation]) -> Operation:
        """Act on jobs side by side, and save what `then` makes of it."""
        done = self._crew.run_all(partial(self._do, operation), list(enumerate(jobs))) if jobs else []
        now = self._clock.now()
        watched = [each.watched for each in done if each.watched is not None]
        unanswered = {job.id for job, each in zip(jobs, done, strict=True) if each.code == UNANSWERED}
        if unanswered and operation.tries + 1 < PAGE_TRIES:
            ready = [job for job, each in zip(jobs, done, strict=True) if each.code is None]
            tally = self._counted(operation, ready, [each for each in done if each.code is None])
            tried = moves.tried_in_vain(operation, tally, watched=watched, unanswered=unanswered, now=now)
            return self._saved(operation, tried)
        tally = self._counted(operation, jobs, done)
        return self._saved(operation, then(operation, tally, watched=watched, now=now))

    def _selection(self, operation: Operation) -> tuple[Shelf, Callable[[Job], bool]]:
        """Return where the operation's jobs are, and which of those there are concerned."""
        shelf, admits = self._asked(operation)
        states = CONCERNS[operation.action]
        return shelf, lambda job: job.state in states and job.created_at <= operation.created_at and admits(job)

    def _asked(self, operation: Operation) -> tuple[Shelf, Callable[[Job], bool]]:
        asked, starter = operation.asked, operation.starter
        if operation.action is Action.ERASE:
            return self._persons(asked)
        if operation.action is not Action.REDRIVE:
            principal = Principal(starter.sub, starter.role, starter.venue_id)
            return self._listing.select(asked, principal)
        tier, kind = Tier(asked["queue"]), asked.get("fingerprint")
        partitions = [alike(kind, State.FAILED)] if kind else [ended(tier, reason) for reason in DEAD]
        return Newest(self._index, partitions), lambda job: is_dead_letter(job) and job.tier is tier

    def _persons(self, asked: Mapping[str, str]) -> tuple[Shelf, Callable[[Job], bool]]:
        """Return where a person's jobs are: a user's own, or, of an address, among all of a venue's."""
        user, venue = asked.get("userId"), asked.get("venueId")
        partition = of_user(user) if user is not None else of_venue(VenueId(venue or ""))

        def admits(job: Job) -> bool:
            theirs = job.user_id == user if user is not None else job.venue_id == venue
            return theirs and job.erased_at is None and job.stage is None

        return Newest(self._index, [partition]), admits

    def _of_the_person(self, operation: Operation, jobs: list[Job]) -> list[Job]:
        """Leave out the jobs that do not name the address whose owner is to be erased."""
        if "address" not in operation.asked:
            return jobs
        payloads = self._payloads(jobs)
        wanted = operation.asked["address"]
        return [
            job
            for job in jobs
            if any(address_mark(operation.id, text) == wanted for text in texts_of(payloads.get(job.id)))
        ]

    def _do(self, operation: Operation, item: tuple[int, Job]) -> Done:
        """Act on one job, or say what would come of it."""
        index, job = item
        try:
            try:
                return self._act(operation, index, job)
            except ActionRefused as error:
                return Done(self._code(error, job))
        except NotFound:
            return Done("gone")
        except StoreError as error:
            self._journal.alarm("operation_hindered", jobId=job.id, error=type(error).__name__)
            return Done(UNANSWERED)

    def _act(self, operation: Operation, index: int, job: Job) -> Done:
        if not operation.acts:
            return Done(self._hindrance(operation.action, job))
        if (gone := moves.went(operation, job)) is not None:
            return Done(None, gone)
        order = Order(
            job_id=job.id,
            venue_id=_venue_of(operation),
            actor=operation.starter.sub,
            reason=f"{operation.reason} ({operation.id})",
            after=moves.spread(operation, index) if operation.paced else timedelta(0),
            entry_id=f"{operation.id.removeprefix('op_')}-{job.id}",
        )
        after = self._acts[operation.action](order)
        return Done(None, Watched(after.id, after.attempts) if operation.paced else None)

    def _hindrance(self, action: Action, job: Job) -> str | None:
        """Say why nothing could be done about a job as it stands, None if it could."""
        decided = DECIDES[action](job, self._policy(job), now=self._clock.now())
        if isinstance(decided, steer.NotAllowed):
            return decided.code
        if action in (Action.CANCEL, Action.ERASE):
            return None
        self._manage.key_in_the_way(job)
        return None

    def _code(self, error: ActionRefused, job: Job) -> str:
        """Return the code of a refusal; of a key whose other job has done the same work, one of its own."""
        if error.held_by is None:
            return error.code
        holder = self._store.load(JobId(error.held_by), job.venue_id)
        done = holder is not None and holder.state is State.COMPLETED
        return "already_succeeded" if done else error.code

    def _counted(self, operation: Operation, jobs: Sequence[Job], done: Sequence[Done]) -> Tally:
        ready = [job for job, each in zip(jobs, done, strict=True) if each.code is None]
        return Tally(
            matched=len(jobs),
            done=len(ready),
            skipped=Counter(each.code for each in done if each.code is not None),
            types=Counter(job.type for job in jobs),
            money={} if operation.action is Action.ERASE else self._money(ready),
            old_keys=sum(self._old_key(job) for job in ready),
        )

    def _money(self, jobs: Sequence[Job]) -> Mapping[str, int]:
        money: Counter[str] = Counter()
        for currency, amount in filter(None, map(stated, self._payloads(jobs).values())):
            money[currency] += amount
        return money

    def _payloads(self, jobs: Sequence[Job]) -> Mapping[JobId, Mapping[str, Any]]:
        apart = [job for job in jobs if job.payload_apart]
        found = dict(self._store.load_payloads(apart)) if apart else {}
        return {job.id: job.payload for job in jobs if job.payload is not None} | found

    def _old_key(self, job: Job) -> bool:
        """Whether the provider may have forgotten the key under which the job was last tried."""
        if self._policy(job).effect_class is not EffectClass.KEYED or job.key_used_at is None:
            return False
        return self._clock.now() - job.key_used_at > self._timing.key_young

    def _policy(self, job: Job) -> Policy:
        return self._types[job.type].policy(self._timing)

    def _saved(self, before: Operation, after: Operation) -> Operation:
        """Save, and return what stands: if an operator stopped it meanwhile, that, with what was done."""
        if self._operations.swap(before, after):
            if after.status is not Status.RUNNING:
                self._journal.note("operation_ended", operationId=after.id, status=after.status)
            return after
        standing = self._operations.load(before.id)
        if standing is None or standing.status is not Status.STOPPED:
            # Other hands have it, or our own write was applied and its reply lost.
            return replace(standing or after, wakes_at=None)
        ahead = moves.caught_up(standing, after, now=self._clock.now())
        return ahead if self._operations.swap(standing, ahead) else standing


def _venue_of(operation: Operation) -> VenueId | None:
    starter = operation.starter
    return starter.venue_id if starter.role is Role.VENUE_ADMIN else None


def address_mark(operation_id: OperationId, address: str) -> str:
    """Return what an operation keeps of an address: enough to recognise it by, and no address."""
    return digest([operation_id, address.strip().casefold()])


def texts_of(value: object) -> Iterator[str]:
    """Give every text in a payload, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from texts_of(each)
