"""What each answer of a receiver makes of a delivery, and of the endpoint that it went to."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.endpoint import DEFAULT, FAILS_FOR, Disabled, Endpoint, EndpointId, Secret
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, StoreRefused, StoreUnsure
from chalicelib.domain.job import Reason, State, VenueId
from chalicelib.domain.jobtype import Facts, Work
from chalicelib.domain.outcome import Completed, Failure, HeldBack, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import RETRY, TIMING, EffectClass, Tier
from chalicelib.domain.ports import Entry
from chalicelib.domain.providers import Begun, Hook, HookAnswer, Providers
from chalicelib.domain.settle import settle
from chalicelib.jobtypes.webhook_deliver import JOB_TYPE
from chalicelib.service.needs import look_up
from tests.factories import VENUE, a_job, an_endpoint
from tests.fakes import START, ListJournal, ManualClock
from tests.fakes_endpoints import MemoryEndpointStore
from tests.fakes_registry import MemoryRegistry

SECRET, OLD = "whsec_bmV3", "whsec_b2xk"
EVENT = {"event": "order.paid", "eventId": "evt-1", "payload": {"name": "größer", "total": 4500}}
TO_ENDPOINT = {"endpointId": "ep_1", **EVENT}
TO_URL = {"url": "https://shop.example/once", **EVENT}


class Receiver:
    """A receiver that answers in turn, the last answer for ever."""

    def __init__(self, *answers: int | HookAnswer | ProviderError) -> None:
        self.answers = list(answers) or [204]
        self.hooks: list[Hook] = []

    def post(self, hook: Hook, *, deadline: datetime) -> HookAnswer:
        self.hooks.append(hook)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ProviderError):
            raise answer
        return answer if isinstance(answer, HookAnswer) else an_answer(answer)


def an_answer(status: int, **changes: Any) -> HookAnswer:
    return replace(HookAnswer(status, timedelta(milliseconds=12), None, "req_1"), **changes)


class Case:
    """A venue with an endpoint and a receiver."""

    def __init__(self, *answers: int | HookAnswer | ProviderError, endpoint: Endpoint | None = None) -> None:
        self.clock = ManualClock()
        self.journal = ListJournal()
        self.receiver = Receiver(*answers)
        self.audit: list[Entry] = []
        self.stale: Endpoint | None = None  # what every job has read, whatever stands by now
        self.store = MemoryEndpointStore(self.audit)
        self.registry = MemoryRegistry()
        self.registry.endpoints = self.store.endpoints
        made = endpoint or an_endpoint()
        self.store.endpoints[made.venue_id, made.id] = made

    def run(self, data: dict[str, Any] | None = None, **changes: Any) -> Outcome:
        job, data = replace(a_job("job_1", type="webhook.deliver"), **changes), data or TO_ENDPOINT
        found = look_up(self.registry, {job.id: JOB_TYPE.needs(job.venue_id, data)})[job.id]
        work = Work(
            job=job,
            data=data,
            objections=found.objections,
            endpoint=self.stale or found.endpoint,
            leave=Leave.START,
            deadline=self.clock.now() + timedelta(minutes=1),
            clock=self.clock,
            timing=TIMING,
            begin=_never,
            alarm=self.journal.alarm,
        )
        providers = SimpleNamespace(hooks=self.receiver, endpoints=self.store)
        return JOB_TYPE.run(work, cast(Providers, providers))

    @property
    def endpoint(self) -> Endpoint:
        return self.store.endpoints[VENUE, EndpointId("ep_1")]

    def disabled(self) -> Disabled | None:
        return self.endpoint.disabled


def _never(_: str | None) -> Begun:
    raise AssertionError("Class D notes no beginning.")


def test_an_event_is_posted_as_the_standard_has_it() -> None:
    case = Case()
    outcome = case.run()
    assert outcome == Completed({"status": 204, "durationMs": 12, "reference": "req_1"})
    [hook] = case.receiver.hooks
    assert (hook.id, hook.url, hook.secrets) == ("job_1", "https://hooks.example/", (SECRET,))
    assert json.loads(hook.body) == {
        "type": "order.paid",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "eventId": "evt-1",
        "data": EVENT["payload"],
    }


def test_a_repetition_is_the_same_to_the_byte_whenever_it_comes() -> None:
    case = Case()
    case.run()
    case.clock.advance(timedelta(hours=3))
    case.run(attempts=4, fence=9, generation=2)
    first, second = case.receiver.hooks
    assert (first.id, first.body) == (second.id, second.body)


def test_a_secret_that_was_changed_signs_beside_the_new_one_until_its_time_is_over() -> None:
    until = START + timedelta(hours=24)
    case = Case(endpoint=an_endpoint(secrets=(Secret(SECRET), Secret(OLD, until))))
    case.run()
    case.clock.advance(timedelta(hours=24))
    case.run()
    assert [hook.secrets for hook in case.receiver.hooks] == [(SECRET, OLD), (SECRET,)]


class TestUrlsOfTheirOwn:
    def test_the_venues_default_signs_and_is_made_once(self) -> None:
        case = Case()
        case.run(TO_URL)
        case.run(TO_URL)
        default = case.store.endpoints[VENUE, DEFAULT]
        assert default.url is None
        first, second = case.receiver.hooks
        assert first.url == "https://shop.example/once"
        assert first.secrets == second.secrets == (default.secrets[0].value,)
        assert case.store.writes == 1

    def test_another_venue_has_another_secret(self) -> None:
        case = Case()
        case.run(TO_URL)
        case.run(TO_URL, venue_id=VenueId("venue-9"))
        first, second = case.receiver.hooks
        assert first.secrets != second.secrets

    def test_of_two_that_make_it_at_once_one_stands(self) -> None:
        case = Case()
        add = case.store.add

        def overtaken(endpoint: Endpoint, entry: Entry | None = None) -> bool:
            add(replace(endpoint, secrets=(Secret(OLD),)))
            return add(endpoint, entry)

        case.store.add = overtaken  # type: ignore[method-assign] # another worker is faster
        case.run(TO_URL)
        assert case.receiver.hooks[0].secrets == (OLD,)

    @pytest.mark.parametrize("error", [StoreRefused, StoreUnsure])
    def test_a_default_that_cannot_be_made_holds_the_job_back_without_an_attempt(
        self, error: type[Exception]
    ) -> None:
        case = Case()

        def fail(*_: object) -> bool:
            raise error

        case.store.add = fail  # type: ignore[assignment] # the table does not answer
        assert isinstance(case.run(TO_URL), HeldBack)
        assert case.receiver.hooks == []

    def test_a_failure_is_noted_on_no_endpoint(self) -> None:
        case = Case(500)
        case.run(TO_URL)
        case.run(TO_URL)
        assert case.store.writes == 1

    def test_410_is_a_refusal_all_the_same(self) -> None:
        outcome = Case(410).run(TO_URL)
        assert isinstance(outcome, Refused)
        assert outcome.failure.code == "receiver_gone"


@pytest.mark.parametrize(
    ("answer", "kind", "code", "after"),
    [
        *((status, Completed, None, None) for status in (200, 201, 202, 204, 299)),
        (410, Refused, "receiver_gone", None),
        *((status, Retry, f"http_{status}", None) for status in (301, 302, 400, 401, 404, 408, 422, 500, 502)),
        (an_answer(429, after=timedelta(seconds=7)), Retry, "http_429", timedelta(seconds=7)),
        (an_answer(503, after=timedelta(minutes=9)), Retry, "http_503", timedelta(minutes=9)),
        (Declined("address_refused", "no"), Refused, "address_refused", None),
        (Declined("url_refused", "no"), Refused, "url_refused", None),
        (NotSent("connection_failed", "no"), Retry, "connection_failed", None),
        (NotSent("certificate_refused", "no"), Retry, "certificate_refused", None),
        (Ambiguous("receiver_timeout", "late"), Unknown, "receiver_timeout", None),
    ],
)
def test_an_answer_is_one_outcome(answer: Any, kind: type, code: str | None, after: timedelta | None) -> None:
    outcome = Case(answer).run()
    failure = getattr(outcome, "failure", None)
    assert (type(outcome), failure and failure.code, getattr(outcome, "after", None)) == (kind, code, after)


def test_a_failure_bears_our_words_and_the_receivers_reference() -> None:
    outcome = Case(500).run()
    assert isinstance(outcome, Retry)
    assert outcome.failure == Failure("http_500", "The receiver did not take the event.", "req_1")


def test_a_delivery_of_which_nobody_knows_is_never_parked() -> None:
    job = replace(a_job("job_1", type="webhook.deliver"), state=State.RUNNING, attempts=5, max_attempts=5)
    outcome = Case(Ambiguous("receiver_timeout", "late")).run()
    ended = settle(job, outcome, JOB_TYPE.policy(), now=START, jitter=0.5)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.EXHAUSTED)


class TestTheEndpoint:
    @pytest.mark.parametrize(
        "answer", [500, 404, Declined("address_refused", "no"), NotSent("tls_failed", "no")]
    )
    def test_the_first_failure_is_noted_and_the_next_are_not(self, answer: Any) -> None:
        case = Case(answer)
        for _ in range(5):
            case.run()
            case.clock.advance(timedelta(hours=1))
        assert case.endpoint.failing_since == START
        assert case.endpoint.disabled is None
        assert case.store.writes == 1

    def test_a_success_is_noted_only_after_a_failure(self) -> None:
        case = Case(204, 500, 204)
        for _ in range(6):
            case.run()
        assert case.endpoint.failing_since is None
        assert case.store.writes == 2

    def test_one_that_fails_for_days_is_disabled_and_alerts(self) -> None:
        case = Case(500)
        case.run()
        case.clock.advance(FAILS_FOR - timedelta(seconds=1))
        case.run()
        assert case.disabled() is None
        case.clock.advance(timedelta(seconds=1))
        case.run()
        assert case.disabled() is Disabled.FAILING
        [(action, facts)] = case.journal.events
        assert (action, facts["endpointId"], facts["reason"]) == ("endpoint_disabled", "ep_1", "failing")
        [entry] = case.audit
        assert (entry.action, entry.actor, entry.subject) == (
            "disable_endpoint",
            "queue-service",
            "endpoint/ep_1",
        )
        assert (entry.before, entry.after) == ("hooks.example, enabled", "hooks.example, disabled (failing)")

    def test_one_success_in_five_days_keeps_it(self) -> None:
        case = Case(500, 204, 500)
        for _ in range(3):
            case.run()
            case.clock.advance(timedelta(days=4))
        assert case.endpoint.disabled is None

    def test_410_disables_it_at_once(self) -> None:
        case = Case(410)
        assert isinstance(case.run(), Refused)
        assert case.endpoint.disabled is Disabled.GONE
        assert case.journal.actions() == ["endpoint_disabled"]

    @pytest.mark.parametrize("reason", Disabled)
    def test_nothing_is_posted_to_one_that_is_disabled(self, reason: Disabled) -> None:
        case = Case(endpoint=an_endpoint(disabled=reason))
        outcome = case.run()
        assert isinstance(outcome, Refused)
        assert outcome.failure.code == "disabled_endpoint"
        assert case.receiver.hooks == []

    def test_nothing_is_posted_to_one_of_another_venue(self) -> None:
        case = Case()
        outcome = case.run(venue_id=VenueId("venue-9"))
        assert isinstance(outcome, Refused)
        assert outcome.failure.code == "unknown_endpoint"
        assert case.receiver.hooks == []

    def test_a_call_that_we_had_no_time_for_says_nothing_of_it(self) -> None:
        case = Case(NotSent("no_time_left", "The invocation ends."))
        case.run()
        assert case.endpoint.failing_since is None

    @pytest.mark.parametrize("error", [StoreRefused, StoreUnsure])
    @pytest.mark.parametrize("answer", [500, 410])
    def test_a_note_that_cannot_be_written_changes_no_outcome(
        self, error: type[Exception], answer: int
    ) -> None:
        expected = type(Case(answer).run())
        case = Case(answer)

        def fail(*_: object) -> bool:
            raise error

        case.store.swap = fail  # type: ignore[assignment] # the table does not answer
        assert type(case.run()) is expected
        assert case.journal.events == []

    def test_of_two_that_disable_it_at_once_one_alerts(self) -> None:
        case = Case(410)
        case.stale = case.endpoint
        case.run()
        case.run()
        assert case.journal.actions() == ["endpoint_disabled"]
        assert len(case.audit) == 1


def facts(**data: Any) -> Facts:
    return Facts(VENUE, None, {**EVENT, **data}, START)


def test_one_event_at_one_endpoint_is_one_job() -> None:
    key: Callable[[Facts], object] = JOB_TYPE.natural_key
    assert key(facts(endpointId="ep_1")) == key(facts(endpointId="ep_1", payload={}))
    apart = [facts(endpointId="ep_1"), facts(endpointId="ep_2"), facts(url="https://shop.example/")]
    assert len({key(each) for each in (*apart, facts(endpointId="ep_1", eventId="evt-2"))}) == 4


def test_its_figures_are_those_of_the_table() -> None:
    assert JOB_TYPE.aliases == ("webhook", "webhook.process")
    assert (JOB_TYPE.tier, JOB_TYPE.provider, JOB_TYPE.effect_class) == (
        Tier.BACKGROUND,
        "internal",
        EffectClass.RECEIVER_DEDUPS,
    )
    assert (JOB_TYPE.key_period, JOB_TYPE.retention) == (timedelta(hours=24), timedelta(days=30))
    assert (JOB_TYPE.archive, JOB_TYPE.in_flight, JOB_TYPE.most_attempts) == ("webhook_archive", 10, 5)
    assert JOB_TYPE.retry == RETRY["webhook"]
