"""What goes on the bus, and what each answer makes of an event."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import Job, Reason, State, UserId
from chalicelib.domain.jobtype import Facts, Work
from chalicelib.domain.outcome import Completed, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Analytics, AnalyticsEvent, Begun, Providers
from chalicelib.domain.settle import settle
from chalicelib.jobtypes.analytics_track import JOB_TYPE
from chalicelib.service.intake import Schema
from tests.factories import VENUE, a_job
from tests.fakes import START, ManualClock


class Bus:
    """A bus in memory; `call` is raised, `entry` is what it says of the event."""

    def __init__(self, entry: str | ProviderError = "event-1", call: ProviderError | None = None) -> None:
        self.entry = entry
        self.call = call
        self.events: list[AnalyticsEvent] = []

    def put(self, events: Sequence[AnalyticsEvent], *, deadline: datetime) -> list[str | ProviderError]:
        self.events += events
        if self.call is not None:
            raise self.call
        return [self.entry for _ in events]


def run(bus: Bus, **changes: Any) -> Outcome:
    clock = ManualClock()
    work = Work(
        job=replace(a_job("job_1", type="analytics.track"), **changes),
        data=dict(JOB_TYPE.example),
        leave=Leave.START,
        deadline=clock.now() + timedelta(minutes=1),
        clock=clock,
        timing=TIMING,
        begin=_never,
    )
    analytics: Analytics = bus
    return JOB_TYPE.run(work, cast(Providers, SimpleNamespace(analytics=analytics)))


def _never(_: str | None) -> Begun:
    raise AssertionError("Class D notes no beginning.")


def test_an_event_bears_the_jobs_id_and_what_the_job_is_about() -> None:
    bus = Bus()
    assert run(bus, user_id=UserId("user-7")) == Completed({"eventBridgeId": "event-1"})
    [event] = bus.events
    assert (event.job_id, event.kind) == ("job_1", "ticket.viewed")
    assert event.at == datetime(2026, 11, 24, 19, 30, tzinfo=UTC)
    assert event.detail == {**JOB_TYPE.example, "venueId": VENUE, "userId": "user-7"}


def test_a_repetition_is_the_same_event() -> None:
    bus = Bus(Ambiguous("provider_failed", "No."))
    run(bus, attempts=1)
    run(bus, attempts=2, generation=1, fence=9)
    assert bus.events[0] == bus.events[1]


ANSWERS: list[tuple[ProviderError, type]] = [
    (NotSent("connection_failed", "No."), Retry),
    (TurnedAway("provider_rate_limited", "No."), Retry),
    (Declined("event_rejected", "No."), Refused),
    (Ambiguous("provider_timeout", "Who knows."), Unknown),
]


@pytest.mark.parametrize(("answer", "kind"), ANSWERS)
def test_an_answer_means_the_same_of_an_entry_and_of_the_call(answer: ProviderError, kind: type) -> None:
    for outcome in (run(Bus(answer)), run(Bus(call=answer))):
        assert isinstance(outcome, Retry | Refused | Unknown)
        assert (type(outcome), outcome.failure.code) == (kind, answer.reason)


def test_an_event_of_which_nobody_knows_is_put_again_and_never_parked() -> None:
    job: Job = replace(
        a_job("job_1", type="analytics.track"), state=State.RUNNING, attempts=1, max_attempts=2, fence=1
    )
    unknown = run(Bus(Ambiguous("provider_timeout", "Who knows.")))
    again = settle(job, unknown, JOB_TYPE.policy(), now=START, jitter=0.5)
    assert (again.state, again.doubt) == (State.RETRYING, None)
    ended = settle(replace(job, attempts=2), unknown, JOB_TYPE.policy(), now=START, jitter=0.5)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.EXHAUSTED)


def test_two_events_are_one_only_if_all_that_makes_them_is_the_same() -> None:
    data = dict(JOB_TYPE.example)
    anonymous = Facts(VENUE, None, data, START)
    key = JOB_TYPE.natural_key(anonymous)
    assert key == ("ticket.viewed", VENUE, "anonymous", "ticket-9001", "2026-11-24T19:30:00Z")
    assert JOB_TYPE.natural_key(replace(anonymous, data={**data, "data": {}}, accepted_at=START)) == key
    others = [
        replace(anonymous, user_id=UserId("user-7")),
        *(
            replace(anonymous, data={**data, name: value})
            for name, value in (("eventType", "x"), ("targetId", "y"), ("timestamp", "2026-11-24T19:30:01Z"))
        ),
    ]
    assert len({JOB_TYPE.natural_key(facts) for facts in others} | {key}) == 5


NO_EVENTS: dict[str, list[Any]] = {
    "timestamp": [
        *("2026-11-24", "2026-02-30T00:00:00Z", "2026-11-24T19:30:60Z", "2026-11-24T24:00:00Z"),
        *("2026-11-24T19:30:00+01:00", "1999-12-31T00:00:00Z", 1764012600),
    ],
    "eventType": ["", "ticket viewed", "x" * 129],
    "targetId": ["", "x" * 256],
    "data": [[], {"a b": 1}, {"a": {}}, {"a": None}, {"a": "x" * 2001}],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NO_EVENTS.items() for value in values]
)
def test_what_is_no_event_is_refused(name: str, value: object) -> None:
    problems = Schema(JOB_TYPE.schema).problems({**JOB_TYPE.example, name: value})
    assert problems
    assert all(problem.field.startswith(name) for problem in problems)


@pytest.mark.parametrize("timestamp", ["2026-11-24T19:30:00.1Z", "2026-11-24T19:30:00.123456Z"])
def test_fractions_of_a_second_are_kept(timestamp: str) -> None:
    assert not Schema(JOB_TYPE.schema).problems({**JOB_TYPE.example, "timestamp": timestamp})
    assert datetime.fromisoformat(timestamp).microsecond
