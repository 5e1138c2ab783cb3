"""The whole API against a model of a few lines: random callers, random requests, workers whose providers vary.

The model says of each request what its answer must be; after each step the records must be as it says, and the
audit log must hold what operators did; no effect may take place twice while a key lives. 500 runs of 30 steps;
QS_FULL=1: 20,000.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chalicelib import wiring
from chalicelib.domain import keys, steer
from chalicelib.domain.controls import Controls
from chalicelib.domain.errors import NotFound
from chalicelib.domain.job import Job, JobId, State
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.outcome import Completed, Failure, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import RETRY, EffectClass, Role, Tier
from chalicelib.domain.ports import Change, Entry
from chalicelib.domain.settle import settle
from chalicelib.service import execute, listing, manage
from chalicelib.service.batch import Batch
from chalicelib.service.manage import Manage
from chalicelib.service.principal import Principal
from chalicelib.service.read import REDACTED, Read
from tests.fakes import MemoryStore
from tests.front import OTHER, OWN, Front
from tests.functional.house import Script, a_type
from tests.functional.test_functions import consume, run_dispatch

FULL = os.environ.get("QS_FULL") == "1"
EXAMPLES = 20_000 if FULL else 500
DAY = timedelta(hours=24)
USER, WHY = "user-1", "An operator wants it."
FAILURE = Failure("test_failed", "The test wants it so.")
OUTCOMES: Mapping[str, Outcome] = {
    "success": Completed({"done": True}),
    "decline": Refused(FAILURE),
    "no effect": Retry(FAILURE),
    "time-out": Unknown(FAILURE),
}
WAITING = frozenset({"queued", "scheduled", "retrying"})
TERMINAL = frozenset({"completed", "failed", "cancelled"})
AT_REST = TERMINAL | {"parked"}
CHARGE, MAIL = "test.charge", "test.mail"
QUEUES = ("money-queue", "money-queue-express", "communication-queue", "communication-queue-express")


@dataclass(frozen=True)
class Caller:
    role: Role
    venue: str | None = None

    @property
    def sub(self) -> str:
        return USER if self.role is Role.USER else f"{self.role}-{self.venue}"

    @property
    def steers(self) -> bool:
        return self.role in (Role.VENUE_ADMIN, Role.ADMIN)

    def may_reach(self, job: "Known") -> bool:
        """Whether a job is there for this caller at all."""
        if self.role is Role.USER:
            return job.user == USER
        return self.role in (Role.SERVICE, Role.ADMIN) or self.venue == job.venue


ADMIN = Caller(Role.ADMIN)
CALLERS = (
    ADMIN,
    Caller(Role.SERVICE),
    Caller(Role.VENUE_ADMIN, OWN),
    Caller(Role.VENUE_ADMIN, OTHER),
    Caller(Role.USER),
)


@dataclass
class Known:
    """A job, as the model knows it."""

    id: str
    type: str
    venue: str
    user: str | None
    data: dict[str, Any]
    key: tuple[str, ...]
    state: str
    doubt: bool = False
    reason: str | None = None
    batch: str | None = None


@dataclass
class Held:
    """An idempotency key, as the model knows it."""

    job: Known
    natural: bool
    since: datetime
    effect: str | None = None  # the provider's key that an effect took place under

    def lives(self, now: datetime) -> bool:
        nothing = self.job.state == "cancelled" or (self.job.state, self.job.reason) == ("failed", "refused")
        if self.job.state not in TERMINAL:
            return True
        return not (self.natural and nothing) and now < self.since + DAY


@dataclass(frozen=True)
class Request:
    """What a caller wants to submit."""

    type: str
    venue: str
    order: str
    amount: int
    key: str | None
    user: str | None
    delay: int
    urgent: bool
    attempts: int

    def body(self) -> dict[str, Any]:
        behalf = {"venueId": self.venue, **({"userId": self.user} if self.user else {})}
        options = {"delay": self.delay, "attempts": self.attempts, **({"priority": 10} if self.urgent else {})}
        key = {"idempotencyKey": self.key} if self.key else {}
        return {"type": self.type, "data": self.data, "options": options, "onBehalfOf": behalf, **key}

    @property
    def data(self) -> dict[str, Any]:
        return {"order": self.order, "amount": self.amount}

    @property
    def scope(self) -> tuple[str, ...]:
        kind = ("given", self.key) if self.key else ("natural", self.order)
        return (self.venue, self.type, *kind)


REQUESTS = st.builds(
    Request,
    type=st.sampled_from([CHARGE, MAIL]),
    venue=st.sampled_from([OWN, OWN, OWN, OTHER]),
    order=st.sampled_from(["order-1", "order-2"]),
    amount=st.sampled_from([100, 100, 200]),
    key=st.sampled_from([None, None, None, "key-1"]),
    user=st.sampled_from([None, USER, "user-2"]),
    delay=st.sampled_from([0, 0, 0, 3_600_000]),
    urgent=st.sampled_from([False, False, True]),
    attempts=st.sampled_from([1, 2, 3]),
)
CALLS = st.sampled_from(CALLERS)
STEERERS = st.sampled_from([ADMIN, ADMIN, ADMIN, CALLERS[2], *CALLERS])
PICKS = st.integers(0, 1_000)
TARGETS: st.SearchStrategy[dict[str, str]] = st.sampled_from(
    [
        *({"scope": "all"}, {"queue": "money"}, {"queue": "communication"}),
        *({"provider": "stripe"}, {"provider": "ses"}, {"venueId": OWN}, {"type": CHARGE}),
    ]
)
RUNS = st.lists(st.sampled_from(["time-out", *OUTCOMES]), min_size=10, max_size=10)
RESUMES = st.sampled_from([False, True, True])
UNKNOWN_ID = "job_999999"
Refusal = tuple[int, str]


class Api(RuleBasedStateMachine):
    """The service, and beside it what it must be."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = {CHARGE: Script(begins=False), MAIL: Script(begins=True)}
        self.front = Front(types=_types(self.scripts))
        self.jobs: dict[str, Known] = {}
        self.keys: dict[tuple[str, ...], Held] = {}
        self.stops: set[tuple[str, str]] = set()
        self.audit: list[tuple[str, str, str]] = []

    def teardown(self) -> None:
        wiring.install(None)

    # --- submitting

    @initialize(wanted=st.lists(REQUESTS, min_size=3, max_size=6))
    def begin(self, wanted: list[Request]) -> None:
        for each in wanted:
            self.submit(ADMIN, each)

    @rule(caller=CALLS, wanted=REQUESTS)
    def submit(self, caller: Caller, wanted: Request) -> None:
        answer = self.ask(caller, "POST", "/v1/jobs", wanted.body())
        if self._barred(caller, wanted):
            assert answer.status_code == 403
            return
        self._accepted(wanted, answer)

    @rule(pick=PICKS, wanted=REQUESTS, amount=st.sampled_from([None, 100]))
    def submit_again(self, pick: int, wanted: Request, amount: int | None) -> None:
        """Submit what an earlier job was made of, or the same with another payload."""
        job = self.picked(pick, AT_REST)
        if job is not None:
            *_, kind, key = job.key
            given = key if kind == "given" else None
            same = replace(wanted, type=job.type, venue=job.venue, key=given, order=job.data["order"])
            self.submit(ADMIN, replace(same, amount=amount or job.data["amount"]))

    @rule(
        caller=CALLS,
        wanted=st.lists(REQUESTS, min_size=1, max_size=4),
        together=st.booleans(),
        odd=st.booleans(),
    )
    def submit_many(self, caller: Caller, wanted: list[Request], together: bool, odd: bool) -> None:
        bodies = [each.body() for each in wanted] + [{"type": "no.such.type", "data": {}}] * odd
        answer = self.ask(
            caller, "POST", "/v1/jobs/batch", {"jobs": bodies, "options": {"stopOnError": together}}
        )
        barred = [self._barred(caller, each) for each in wanted]
        if caller.role is Role.USER or (all(barred) and not odd):
            assert answer.status_code == 403
            return
        told = answer.json_body
        if together and (odd or any(barred) or self._clash(wanted)):
            assert (answer.status_code, told["successful"]) == (400, 0)
            return
        failed = 0
        for place, (each, bar) in enumerate(zip(wanted, barred, strict=True)):
            [error] = [row for row in told["errors"] if row["index"] == place] or [None]
            [row] = [row for row in told["jobs"] if row["index"] == place] or [None]
            verdict, job_id = ("forbidden", None) if bar else self._verdict(each)
            failed += error is not None
            if verdict in ("forbidden", "conflict"):
                assert row is None
                assert error["error"] == {"conflict": "idempotency_conflict"}.get(verdict, verdict)
            elif verdict == "known":
                assert (row["jobId"], row["deduplicated"]) == (job_id, True)
            else:
                assert row["deduplicated"] is False
                self._made(each, row["jobId"], row["status"], batch=told["batchId"])
        failed += odd
        total = len(bodies)
        assert (told["successful"], told["failed"]) == (total - failed, failed)
        assert answer.status_code == (201 if not failed else 207 if failed < total else 400)

    def _barred(self, caller: Caller, wanted: Request) -> bool:
        return caller.role is Role.USER or (caller.role is Role.VENUE_ADMIN and caller.venue != wanted.venue)

    def _verdict(self, wanted: Request) -> tuple[str, str | None]:
        """Say what a submission is: the job of its key, a clash with that, or a new one."""
        held = self.keys.get(wanted.scope)
        if held is None or not held.lives(self.now):
            return "new", None
        return ("known" if held.job.data == wanted.data else "conflict"), held.job.id

    def _clash(self, wanted: list[Request]) -> bool:
        firsts: dict[tuple[str, ...], Request] = {}
        return any(
            self._verdict(each)[0] == "conflict" or firsts.setdefault(each.scope, each).data != each.data
            for each in wanted
        )

    def _accepted(self, wanted: Request, answer: HTTPResponse) -> None:
        verdict, job_id = self._verdict(wanted)
        told = answer.json_body
        match verdict:
            case "new":
                assert (answer.status_code, told["deduplicated"]) == (201, False)
                self._made(wanted, told["jobId"], told["status"])
            case "known":
                assert (answer.status_code, told["deduplicated"], told["jobId"]) == (200, True, job_id)
                assert told["status"] == self.jobs[told["jobId"]].state
            case _:
                assert (answer.status_code, told["error"]) == (409, "idempotency_conflict")
                assert told["details"] == [{"field": "jobId", "message": job_id}]

    def _made(self, wanted: Request, job_id: str, state: str, *, batch: str | None = None) -> None:
        assert job_id not in self.jobs
        assert state == ("scheduled" if wanted.delay else "queued")
        job = Known(
            job_id, wanted.type, wanted.venue, wanted.user, wanted.data, wanted.scope, state, batch=batch
        )
        self.jobs[job_id] = job
        self.keys[wanted.scope] = Held(job, wanted.key is None, self.now)

    # --- reading

    @rule(caller=CALLS, pick=PICKS)
    def read(self, caller: Caller, pick: int) -> None:
        job = self.picked(pick)
        answer = self.ask(caller, "GET", f"/v1/jobs/{job.id if job else UNKNOWN_ID}")
        if job is None or not caller.may_reach(job):
            self._is_as_unknown(answer, caller, "GET", "")
            return
        told = answer.json_body
        assert (answer.status_code, told["state"], told.get("reason")) == (200, job.state, job.reason)
        redacted = dict.fromkeys(job.data, REDACTED)
        assert told["data"] == (redacted if caller.role is Role.SERVICE else job.data)

    @rule(
        caller=CALLS,
        venue=st.sampled_from([None, OWN, OTHER]),
        state=st.sampled_from([None, "queued", "retrying", "failed", "parked", "completed"]),
        job_type=st.sampled_from([None, None, CHARGE, MAIL]),
        limit=st.sampled_from([1, 3, 100]),
        pick=PICKS,
        by_batch=st.sampled_from([False, False, True]),
    )
    def list_jobs(
        self,
        caller: Caller,
        venue: str | None,
        state: str | None,
        job_type: str | None,
        limit: int,
        pick: int,
        by_batch: bool,
    ) -> None:
        job = self.picked(pick)
        batch = job.batch if job and by_batch else None
        asked = {"venueId": venue, "state": state, "type": job_type, "batchId": batch}
        query = "&".join(f"{name}={value}" for name, value in asked.items() if value is not None)
        path = f"/v1/jobs?limit={limit}&{query}"
        answer = self.ask(caller, "GET", path)
        if caller.role is Role.VENUE_ADMIN and venue not in (None, caller.venue):
            assert answer.status_code == 403
            return
        everywhere = venue is None and caller.role in (Role.SERVICE, Role.ADMIN)
        open_ended = state not in ("queued", "retrying", "failed", "parked")
        nowhere = venue is None and caller.role is not Role.VENUE_ADMIN and batch is not None
        if nowhere or (everywhere and (caller.role is Role.SERVICE or open_ended)):
            assert answer.status_code == 400
            return
        found: list[str] = []
        while True:
            assert answer.status_code == 200
            told = answer.json_body
            assert len(told["jobs"]) <= limit
            found += [row["id"] for row in told["jobs"]]
            if told["cursor"] is None:
                break
            answer = self.ask(caller, "GET", f"{path}&cursor={told['cursor']}")
        wanted = [
            each.id
            for each in self.jobs.values()
            if caller.may_reach(each)
            and venue in (None, each.venue)
            and state in (None, each.state)
            and job_type in (None, each.type)
            and batch in (None, each.batch)
        ]
        assert sorted(found) == sorted(wanted)
        if not everywhere:
            assert found == sorted(found, reverse=True)

    # --- steering

    @rule(caller=STEERERS, pick=PICKS)
    def cancel(self, caller: Caller, pick: int) -> None:
        def refusal(job: Known) -> str | None:
            if job.state not in WAITING:
                return "not_cancellable"
            return "effect_begun" if job.doubt else None

        job = self._steer(caller, pick, "DELETE", "", "cancel", refusal)
        if job:
            job.state = "cancelled"

    @rule(caller=STEERERS, pick=PICKS)
    def promote(self, caller: Caller, pick: int) -> None:
        def refusal(job: Known) -> str | None:
            if job.state not in WAITING:
                return "not_promotable"
            return "effect_begun" if job.doubt else None

        job = self._steer(caller, pick, "POST", "/promote", "promote", refusal)
        if job and job.state == "scheduled":
            job.state = "queued"

    @rule(caller=STEERERS, pick=PICKS)
    def retry(self, caller: Caller, pick: int) -> None:
        def refusal(job: Known) -> str | None:
            if job.state == "parked":
                return "outcome_unknown"
            if job.state not in ("failed", "cancelled"):
                return "not_retryable"
            return self._key_taken(job)

        job = self._steer(caller, pick, "POST", "/retry", "retry", refusal)
        if job:
            job.state, job.reason = "queued", None

    @rule(caller=STEERERS, pick=PICKS, how=st.sampled_from(["completed", "failed", "retry"]))
    def resolve(self, caller: Caller, pick: int, how: str) -> None:
        def refusal(job: Known) -> str | None:
            if job.state != "parked":
                return "not_parked"
            return self._key_taken(job) if how == "retry" else None

        more = {"resolution": how}
        job = self._steer(caller, pick, "POST", "/resolve", f"resolve_{how}", refusal, more)
        if job:
            job.doubt = False
            job.state = {"retry": "queued"}.get(how, how)
            job.reason = "refused" if how == "failed" else None

    @rule(
        caller=STEERERS, pick=PICKS, key=st.sampled_from([None, "key-1"]), amount=st.sampled_from([None, 200])
    )
    def clone(self, caller: Caller, pick: int, key: str | None, amount: int | None) -> None:
        job = self.picked(pick, WAITING | AT_REST)
        body: dict[str, Any] = {"reason": WHY, **({"idempotencyKey": key} if key else {})}
        body |= {"data": {"amount": amount}} if amount else {}
        answer = self.ask(caller, "POST", f"/v1/jobs/{job.id if job else UNKNOWN_ID}/clone", body)
        if self._kept_out(caller, job, answer, "POST", "/clone", body):
            return
        assert job is not None
        told = answer.json_body
        if job.doubt:
            assert (answer.status_code, told["error"]) == (409, "outcome_unknown")
            return
        data = {**job.data, **({"amount": amount} if amount else {})}
        scope = (job.venue, job.type, *(("given", key) if key else ("fresh", str(len(self.jobs)))))
        held = self.keys.get(scope)
        if held is not None and held.lives(self.now):
            same = held.job.data == data
            assert answer.status_code == (200 if same else 409)
            assert not same or told["jobId"] == held.job.id
            return
        assert (answer.status_code, told["status"]) == (200, "queued")
        made = Known(told["jobId"], job.type, job.venue, job.user, data, scope, "queued")
        self.jobs[made.id] = made
        self.keys[scope] = Held(made, natural=False, since=self.now)
        self.audit.append(("clone", job.id, caller.sub))

    def _key_taken(self, job: Known) -> str | None:
        return None if self.keys[job.key].job is job else "key_taken"

    def _steer(
        self,
        caller: Caller,
        pick: int,
        method: str,
        path: str,
        action: str,
        refusal: Callable[[Known], str | None],
        more: Mapping[str, str] | None = None,
    ) -> Known | None:
        """Send an operator's order, check the answer, and return the job if the order was carried out."""
        near = WAITING if action in ("cancel", "promote") else AT_REST - {"completed"}
        job = self.picked(pick, near)
        body = {"reason": WHY, **(more or {})}
        answer = self.ask(caller, method, f"/v1/jobs/{job.id if job else UNKNOWN_ID}{path}", body)
        if self._kept_out(caller, job, answer, method, path, body):
            return None
        assert job is not None
        code = refusal(job)
        if code is not None:
            assert (answer.status_code, answer.json_body["error"]) == (409, code)
            details = {each["field"]: each["message"] for each in answer.json_body["details"]}
            assert details["state"] == job.state
            assert details.get("jobId") == (self.keys[job.key].job.id if code == "key_taken" else None)
            return None
        assert (answer.status_code, answer.json_body["jobId"]) == (200, job.id)
        self.audit.append((action, job.id, caller.sub))
        return job

    def _kept_out(
        self, caller: Caller, job: Known | None, answer: HTTPResponse, method: str, path: str, body: Any
    ) -> bool:
        if not caller.steers:
            assert answer.status_code == 403
            return True
        if job is None or not caller.may_reach(job):
            self._is_as_unknown(answer, caller, method, path, body)
            return True
        return False

    def _is_as_unknown(
        self, answer: HTTPResponse, caller: Caller, method: str, path: str, body: Any = None
    ) -> None:
        unknown = self.ask(caller, method, f"/v1/jobs/{UNKNOWN_ID}{path}", body)
        assert answer.status_code == 404
        assert (answer.body, _headers(answer)) == (unknown.body, _headers(unknown))

    # --- stopping

    @rule(caller=STEERERS, stopped=TARGETS, resume=RESUMES)
    def stop(self, caller: Caller, stopped: dict[str, str], resume: bool) -> None:
        [(name, value)] = stopped.items()
        scope = {"venueId": "venue", "queue": "tier"}.get(name, name)
        body = {"reason": WHY, **stopped}
        if scope == "tier":
            path, body = f"/v1/queues/{value}/{'resume' if resume else 'pause'}", {"reason": WHY}
            action, subject = "pause", f"queue/{value}"
        else:
            path = f"/v1/rate-limits/{'resume' if resume else 'emergency-stop'}"
            action, subject = "emergency_stop", "all" if scope == "scope" else f"{scope}/{value}"
        answer = self.ask(caller, "POST", path, body)
        if caller.role is not Role.ADMIN:
            assert answer.status_code == 403
            return
        assert answer.status_code == 200
        if ((scope, value) in self.stops) == resume:  # what stands so already is left alone
            self.audit.append(("resume" if resume else action, subject, caller.sub))
        self.stops = self.stops - {(scope, value)} if resume else self.stops | {(scope, value)}

    def _holds(self, job: Known) -> bool:
        tier, provider = ("money", "stripe") if job.type == CHARGE else ("communication", "ses")
        names = {
            ("all", "all"),
            ("tier", tier),
            ("provider", provider),
            ("venue", job.venue),
            ("type", job.type),
        }
        return bool(self.stops & names)

    # --- what happens by itself

    @rule(charges=RUNS, mails=RUNS)
    def work(self, charges: list[str], mails: list[str]) -> None:
        for queue in QUEUES:
            name, chosen = (CHARGE, charges) if queue.startswith("money") else (MAIL, mails)
            self._consume(queue, self.scripts[name], [OUTCOMES[each] for each in chosen])

    @rule(charges=RUNS, mails=RUNS)
    def work_after_a_minute(self, charges: list[str], mails: list[str]) -> None:
        self.front.clock.advance(timedelta(minutes=1))  # past every backoff, and most of what is held back
        self.work(charges, mails)

    def _consume(self, queue: str, script: Script, outcomes: list[Outcome]) -> None:
        script.steps.extend(outcomes)
        before, acted = len(script.works), len(script.effects)
        consume(self.front, queue)
        script.steps.clear()
        effects: dict[str, str] = dict(script.effects[acted:])
        works = script.works[before:]
        ran: dict[str, Outcome] = {work.job.id: outcome for work, outcome in zip(works, outcomes, strict=False)}
        assert len(ran) == len(works)  # a batch runs no job twice
        records = {str(job.id): job for job in self.front.store.jobs.values()}
        for job in self.jobs.values():
            record = records[job.id]
            if job.id in ran:
                assert not self._holds(job)
                assert job.state in WAITING
                self._ran(job, ran[job.id], effects.get(job.id), record.state.value)
                job.reason = record.reason
            elif record.state.value != job.state:
                # Ended without a run: nobody can look its effect up any longer.
                assert (job.state, job.doubt, record.state.value) == ("retrying", True, "parked")
                job.state = record.state.value

    def _ran(self, job: Known, outcome: Outcome, effect: str | None, after: str) -> None:
        blind = job.type == MAIL
        match outcome:
            case Completed():
                allowed, job.doubt = {"completed"}, False
                self._took_place(job, effect)
            case Unknown():
                allowed, job.doubt = ({"parked"} if blind else {"retrying", "parked"}), True
            case Refused():
                allowed = {"retrying", "parked"} if job.doubt else {"failed"}
            case _:
                allowed = {"retrying", "parked"} if job.doubt else {"retrying", "failed"}
        assert after in allowed, (outcome, after)
        job.state = after

    def _took_place(self, job: Known, effect: str | None) -> None:
        """Note an effect: while a key lives there is one at most, under one key of the provider's."""
        held = self.keys[job.key]
        if effect is not None and held.job is job:
            assert held.effect in (None, effect), "a second effect under a key that lives"
            held.effect = effect

    @rule(seconds=st.sampled_from([1, 60, 400, 3_700, 90_000]))
    def wait_and_dispatch(self, seconds: int) -> None:
        self.front.clock.advance(timedelta(seconds=seconds))
        run_dispatch()

    # --- what holds after each step

    @invariant()
    def records_are_as_the_model_says(self) -> None:
        stored = {job.id: (job.state.value, job.reason, job.venue_id) for job in self.front.store.jobs.values()}
        assert stored == {job.id: (job.state, job.reason, job.venue) for job in self.jobs.values()}
        for job in self.front.store.jobs.values():
            assert job.attempts <= job.max_attempts
            assert (job.doubt is not None) == self.jobs[job.id].doubt

    @invariant()
    def every_order_has_its_entry_and_nothing_else_has_one(self) -> None:
        entries = [(entry.action, entry.subject, entry.actor) for entry in self.front.store.audit]
        assert entries == self.audit
        assert all(entry.reason == WHY for entry in self.front.store.audit)

    # --- how it is asked

    @property
    def now(self) -> datetime:
        return self.front.clock.now()

    def picked(self, pick: int, near: frozenset[str] = frozenset()) -> Known | None:
        """Return one of the jobs, most often one in these states, now and then none."""
        if pick % 10 == 9 or not self.jobs:
            return None
        every = list(self.jobs.values())
        close = [job for job in every if job.state in near]
        doubtful = [job for job in close if job.doubt]
        found = [close, doubtful or close, every][pick % 3] or every
        return found[pick // 3 % len(found)]

    def ask(self, caller: Caller, method: str, path: str, body: Any = None) -> HTTPResponse:
        token = self.front.token(caller.role, sub=caller.sub, venue=caller.venue)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        raw = b"" if body is None else json.dumps(body).encode()
        answer = self.front.client.http.request(method, path, headers=headers, body=raw)
        assert answer.status_code < 500, answer.body
        return answer


def _types(scripts: Mapping[str, Script]) -> dict[str, JobType]:
    charge = a_type(CHARGE, EffectClass.KEYED, Tier.MONEY, "stripe", RETRY["payment"], scripts[CHARGE])
    mail = a_type(MAIL, EffectClass.BLIND, Tier.COMMUNICATION, "ses", RETRY["communication"], scripts[MAIL])
    return {CHARGE: charge, MAIL: mail}


def _headers(answer: HTTPResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "X-RateLimit-Remaining"}


def profile(examples: int, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=30,
        derandomize=not FULL,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_the_api_does_what_the_model_says() -> None:
    run_state_machine_as_test(Api, settings=profile(EXAMPLES))


# --- the faults that this must find


def show_every_venue_every_job(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Read, "_visible", lambda self, job_id, _: self._store.load(job_id, None))


def tell_a_foreign_job_from_an_unknown_one(patch: pytest.MonkeyPatch) -> None:
    def visible(self: Read, job_id: JobId, principal: Principal) -> Job | None:
        job = self._store.load(job_id, None)
        if job is not None and principal.venue_id not in (None, job.venue_id):
            raise NotFound("The job is another venue's.")
        return job

    patch.setattr(Read, "_visible", visible)


def list_another_venues_jobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(listing, "_venue", lambda asked, principal: asked.get("venueId", principal.venue_id))


def cancel_what_is_in_doubt(patch: pytest.MonkeyPatch) -> None:
    before = steer.cancel
    patch.setattr(manage, "cancel", lambda job, *a, **k: before(replace(job, doubt=None, poll=None), *a, **k))


def take_another_payload_for_a_repetition(patch: pytest.MonkeyPatch) -> None:
    before = keys.judge
    patch.setattr(
        keys,
        "judge",
        lambda held, holder, new, **k: before(held, holder, replace(new, payload_hash=held.payload_hash), **k),
    )


def let_keys_go_as_soon_as_their_job_has_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keys, "lives", lambda _held, holder, _now: holder.state not in TERMINAL)


def keep_natural_keys_of_what_was_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keys, "came_to_nothing", lambda _: False)


def retry_without_the_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Manage, "_key_of", lambda *_: None)


def retry_what_is_parked(patch: pytest.MonkeyPatch) -> None:
    before = steer.retry
    anew = {State.PARKED: State.FAILED}
    patch.setattr(
        manage,
        "retry",
        lambda job, *a, **k: before(replace(job, state=anew.get(job.state, job.state)), *a, **k),
    )


def run_what_is_stopped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Controls, "holding", lambda *_: None)


def forget_the_entry_of_a_promotion(patch: pytest.MonkeyPatch) -> None:
    before = MemoryStore.save_audited

    def save(self: MemoryStore, change: Change, entry: Entry, **more: Any) -> Any:
        result = before(self, change, entry, **more)
        self.audit[:] = [each for each in self.audit if each.action != "promote"]
        return result

    patch.setattr(MemoryStore, "save_audited", save)


def send_again_what_may_have_been_sent(patch: pytest.MonkeyPatch) -> None:
    def forgetful(job: Job, outcome: Outcome, *a: Any, **k: Any) -> Job:
        return settle(job, Retry(FAILURE) if isinstance(outcome, Unknown) else outcome, *a, **k)

    patch.setattr(execute, "settle", forgetful)


def clone_what_is_in_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.service.clone.clone_refusal", lambda _: None)


def accept_half_of_a_batch(patch: pytest.MonkeyPatch) -> None:
    before = Batch._all_or_nothing
    patch.setattr(Batch, "_all_or_nothing", lambda self, order, good, _: before(self, order, good, {}))


PLANTS = [
    show_every_venue_every_job,
    tell_a_foreign_job_from_an_unknown_one,
    list_another_venues_jobs,
    cancel_what_is_in_doubt,
    take_another_payload_for_a_repetition,
    let_keys_go_as_soon_as_their_job_has_ended,
    keep_natural_keys_of_what_was_refused,
    retry_without_the_key,
    retry_what_is_parked,
    run_what_is_stopped,
    forget_the_entry_of_a_promotion,
    send_again_what_may_have_been_sent,
    clone_what_is_in_doubt,
    accept_half_of_a_batch,
]


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.__name__ for plant in PLANTS])
def test_a_fault_that_is_planted_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):  # the first run that goes wrong is enough: none is shrunk
        run_state_machine_as_test(
            Api, settings=profile(EXAMPLES, phases=[Phase.generate], report_multiple_bugs=False)
        )
