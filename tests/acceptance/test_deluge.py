import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import app
from chalicelib import wiring
from chalicelib.domain.job import Job, State
from chalicelib.domain.ports import Message
from local.event_sources import consuming
from tests.acceptance.works import FULL, FUNCTION_TIMEOUT, VISIBILITY_SECONDS, Works, works

JOBS = 10_000 if FULL else 1_000
DELIVERIES = 10  # of each job
CROWD = 20  # jobs whose messages lie side by side in the queue
SENDERS = 4
PATIENCE = 120.0  # seconds without any message going


@pytest.fixture
def place(new_stack: Callable[..., Mapping[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    stack = new_stack(visibility_timeout=VISIBILITY_SECONDS)
    with works(stack, monkeypatch, LOG_LEVEL="ERROR") as place:
        wiring.install(place.service)
        yield place
        wiring.install(None)


def test_a_thousand_jobs_delivered_ten_times_each_have_a_thousand_effects(place: Works) -> None:
    with ThreadPoolExecutor(SENDERS) as senders:
        crowds = [range(start, min(start + CROWD, JOBS)) for start in range(0, JOBS, CROWD)]
        jobs = [job for crowd in senders.map(lambda numbers: crowd_of(place, numbers), crowds) for job in crowd]
    assert len({job.id for job in jobs}) == JOBS
    assert sum(place.queue_depths().values()) == JOBS * DELIVERIES
    complaints: list[str] = []
    with consuming(app, place.environment, timeout=FUNCTION_TIMEOUT, schedules=False, report=complaints.append):
        await_empty_queues(place)

    records = place.load([job.id for job in jobs])
    assert [job.id for job in records if job.state is not State.COMPLETED] == []
    charged, mailed = place.effects("charge"), place.effects("mail")
    assert charged == {job.id: 1 for job in records if job.type == "payment.process"}
    assert mailed == {job.id: 1 for job in records if job.type == "email.send"}
    assert charged.total() + mailed.total() == JOBS
    assert complaints == []


def crowd_of(place: Works, numbers: range) -> list[Job]:
    """Accept a few jobs and send the other messages of each, mixed, so that consumers meet over them."""
    jobs = place.submit(numbers)
    messages = [Message(job.id, job.venue_id, job.tier, job.lane) for job in jobs] * (DELIVERIES - 1)
    random.Random(numbers.start).shuffle(messages)  # noqa: S311 - repeatable, not secret
    assert all(place.service.queue.send(messages))
    return jobs


def await_empty_queues(place: Works) -> None:
    """Wait until every message was delivered and acknowledged; none may have gone to a dead-letter queue."""
    depths, moved = place.queue_depths(), time.monotonic()
    while sum(depths.values()):
        time.sleep(0.5)
        before, depths = depths, place.queue_depths()
        if depths != before:
            moved = time.monotonic()
        assert time.monotonic() - moved < PATIENCE, depths
        assert not any(depth for name, depth in depths.items() if name.endswith("-dlq")), depths
