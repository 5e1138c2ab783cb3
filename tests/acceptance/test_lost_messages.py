"""All queues emptied by hand, again and again, while jobs of every tier wait, run and are tried again."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app import app
from chalicelib import wiring
from chalicelib.domain.job import Job, JobId, Reason, State
from chalicelib.domain.policies import Role
from chalicelib.service.principal import Principal
from chalicelib.service.submit import Submission
from chalicelib.settings import Settings
from chalicelib.system import SystemClock
from chalicelib.wiring import Service, assemble
from local.event_sources import consuming, queue_urls
from local.sessions import session
from tests.acceptance.works import (
    FUNCTION_TIMEOUT,
    TIMING,
    VENUES,
    VISIBILITY_SECONDS,
    Works,
    short_types,
    works,
)

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
OPS = Principal("ops", Role.ADMIN)
LOOKS = {"look_after": 1, "look_cap": 2, "look_ahead": 1}  # seconds; what is lost is missed as soon
BY_TYPE = 4  # jobs that nothing else befalls
TURNED_AWAY = 3  # of Stripe's answers, each to another attempt
EMPTIED_FOR, EMPTIED_EVERY = 3.5, 0.25  # seconds
PATIENCE = 30.0  # seconds

PAYMENT, MAIL, EVENT = "payment.process", "email.send", "analytics.track"
DONE, EXPIRED = (State.COMPLETED, None), (State.FAILED, Reason.EXPIRED)
# How old a job is that nobody has ever delivered, and how it ends.
OLD: tuple[tuple[str, timedelta, tuple[State, Reason | None]], ...] = (
    (PAYMENT, 60 * DAY, DONE),
    (MAIL, 6 * DAY, DONE),
    (MAIL, 7 * DAY + HOUR, EXPIRED),
    (EVENT, 23 * HOUR, DONE),
    (EVENT, 25 * HOUR, EXPIRED),
)


class PastClock(SystemClock):
    """A clock that is behind, as all clocks were when an old job was accepted."""

    def __init__(self, behind: timedelta) -> None:
        self._behind = behind

    def now(self) -> datetime:
        return super().now() - self._behind


class Queues:
    """Every queue of a stack, which a hand empties."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._urls = queue_urls(environment).values()
        self._sqs = session(environment["AWS_ENDPOINT_URL"]).client("sqs")

    def close(self) -> None:
        self._sqs.close()

    def empty(self) -> None:
        for url in self._urls:
            self._sqs.purge_queue(QueueUrl=url)


@pytest.fixture
def place(new_stack: Callable[..., Mapping[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    stack = new_stack(visibility_timeout=VISIBILITY_SECONDS)
    timing = json.dumps({**json.loads(TIMING), **LOOKS})
    with works(stack, monkeypatch, LOG_LEVEL="ERROR", QUEUE_TIMING=timing) as place:
        wiring.install(place.service)
        yield place
        wiring.install(None)


@pytest.fixture
def queues(place: Works) -> Iterator[Queues]:
    made = Queues(place.environment)
    yield made
    made.close()


def in_the_past(place: Works, behind: timedelta) -> Service:
    adapters = replace(place.adapters, clock=PastClock(behind))
    return assemble(Settings.from_env(place.environment), adapters, short_types())


def accept(service: Service, name: str, key: str, *, delay: timedelta = timedelta(0)) -> JobId:
    job_type = short_types()[name]
    submission = Submission(
        job_type=job_type,
        data=dict(job_type.example),
        venue_id=VENUES[0],
        user_id=None,
        submitted_by="service-1",
        priority=5,
        attempts=job_type.policy().attempts,
        delay=delay,
        key=key,
        callback_url=None,
    )
    return service.submit.submit(submission).job.id


def await_ends(place: Works, expected: Mapping[JobId, tuple[State, Reason | None]]) -> Mapping[JobId, Job]:
    """Return all jobs once each is as expected; fails when that takes too long."""
    end = time.monotonic() + PATIENCE
    while True:
        jobs = {job.id: job for job in place.load(list(expected))}
        wrong = {
            (job.type, job.state, job.reason)
            for job in jobs.values()
            if (job.state, job.reason) != expected[job.id]
        }
        if not wrong:
            return jobs
        assert time.monotonic() < end, wrong
        time.sleep(0.1)


def test_every_accepted_job_ends_as_it_should_though_all_queues_are_emptied_by_hand(
    place: Works, queues: Queues
) -> None:
    service, complaints = place.service, list[str]()
    service.stops.pause("communication", {"reason": "A test"}, OPS)
    expected = {accept(in_the_past(place, age), name, f"{name} of {age}"): end for name, age, end in OLD}
    for name in (PAYMENT, MAIL, EVENT):
        expected |= {accept(service, name, f"{name} {number}"): DONE for number in range(BY_TYPE)}
        expected |= {accept(service, name, f"{name} later", delay=5 * SECOND): DONE}
        cancelled = accept(service, name, f"{name} cancelled")
        service.steering.cancel(cancelled, {"reason": "A test"}, OPS)
        expected[cancelled] = (State.CANCELLED, None)
    accepted = place.queue_depths()
    assert sum(accepted.values()) == len(expected)
    place.stand_ins.arm("stripe", "status-429", TURNED_AWAY)
    queues.empty()
    assert sum(place.queue_depths().values()) == 0

    lost = 0
    with consuming(app, place.environment, timeout=FUNCTION_TIMEOUT, every=SECOND, report=complaints.append):
        end = time.monotonic() + EMPTIED_FOR
        while time.monotonic() < end:
            lost += sum(place.queue_depths().values())
            queues.empty()
            time.sleep(EMPTIED_EVERY)
        service.stops.resume("communication", {}, OPS)
        jobs = await_ends(place, expected)

    assert lost > 0, "nothing was lost on the way; empty the queues more often"
    completed = {job.id for job in jobs.values() if job.state is State.COMPLETED}
    of_type = {name: {job.id for job in jobs.values() if job.type == name} for name in (PAYMENT, MAIL, EVENT)}
    assert place.effects("charge") == dict.fromkeys(of_type[PAYMENT] & completed, 1)
    assert place.effects("mail") == dict.fromkeys(of_type[MAIL] & completed, 1)
    # What was lost cost no attempt: there was one for each answer, and none for a job that never ran.
    attempts = {name: sum(jobs[each].attempts for each in ids & completed) for name, ids in of_type.items()}
    answers = {name: len(ids & completed) for name, ids in of_type.items()}
    assert attempts == {**answers, PAYMENT: answers[PAYMENT] + TURNED_AWAY}
    assert {job.attempts for job in jobs.values() if job.id not in completed} == {0}
    # A message that was in hand when its queue was emptied can be acknowledged no more.
    assert [each for each in complaints if "receipt handle" not in each] == []
