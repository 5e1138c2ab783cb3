"""A tier paused over HTTP while a backlog waits: what runs ends, what waits loses nothing, and all end."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import app
from chalicelib import wiring
from chalicelib.domain.job import Job, JobId
from local.event_sources import consuming
from local.identity import token
from local.rest import Client
from local.server import Api
from tests.acceptance.works import FUNCTION_TIMEOUT, TIMING, VISIBILITY_SECONDS, Works, works

JOBS = 40  # of which at most 20 can be in hand at a time, and each takes two seconds
SECRET = "a secret of this test, longer than the 32 bytes that a key must have"
SECOND = timedelta(seconds=1)
AT_ONCE = 2 * SECOND  # a batch that had read the controls before the pause may still be claimed
HELD_SECONDS = 2  # a held-back message comes back within them; on AWS it is a minute
PATIENCE = 90.0  # seconds


@pytest.fixture
def place(new_stack: Callable[..., Mapping[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    stack = new_stack(visibility_timeout=VISIBILITY_SECONDS)
    timing = json.dumps({**json.loads(TIMING), "hold_by_visibility": HELD_SECONDS})
    settings = {"LOG_LEVEL": "ERROR", "JWT_SECRET": SECRET, "QUEUE_TIMING": timing}
    with works(stack, monkeypatch, **settings) as place:
        wiring.install(place.service)
        yield place
        wiring.install(None)


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def api(place: Works, complaints: list[str]) -> Iterator[Client]:
    """Serve the API and run every consumer and schedule; give a client that speaks for an administrator."""
    served = Api("127.0.0.1", 0)
    served.start(app)
    client = Client(served.url, token(SECRET))
    running = consuming(
        app, place.environment, timeout=FUNCTION_TIMEOUT, every=SECOND, report=complaints.append
    )
    with running:
        yield client
    client.close()
    served.stop()


def ask(answer: Any, status: int = 200) -> Any:
    assert answer.status == status, answer
    return answer.body


def backlog(place: Works, api: Client) -> list[JobId]:
    """Submit payments that Stripe is slow about, and return once some run while others wait."""
    place.stand_ins.arm("stripe", "slow", JOBS * 10)
    data = {"amount": 4500, "currency": "EUR", "customerId": "cus_1", "paymentMethod": "pm_card_visa"}
    jobs = [
        {"type": "payment.process", "data": {**data, "eventId": f"event-{number}"}} for number in range(JOBS)
    ]
    ids = [JobId(each["jobId"]) for each in ask(api.post("/v1/jobs/batch", {"jobs": jobs}), 201)["jobs"]]
    await_that(lambda: any(job.attempts for job in place.load(ids)))
    return ids


def await_that(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def in_state(place: Works, ids: list[JobId], state: str) -> list[Job]:
    return [job for job in place.load(ids) if job.state == state]


def charged(place: Works) -> set[str]:
    return set(place.effects("charge"))


def place_in_line(job: Job) -> tuple[object, ...]:
    return (job.id, job.state, job.attempts, job.fence, job.due, job.next_attempt_at, job.version)


def test_a_paused_tier_ends_what_runs_begins_nothing_and_goes_on_where_it_stood(
    place: Works, api: Client, complaints: list[str]
) -> None:
    ids = backlog(place, api)
    paused = ask(api.post("/v1/queues/money/pause", {"reason": "The bank is down"}))
    paused_at = datetime.fromisoformat(paused["stops"][0]["since"])
    await_that(lambda: not in_state(place, ids, "running"))
    waiting = in_state(place, ids, "queued")
    assert waiting, "nothing was left to pause; let Stripe be slower"
    done = {job.id for job in in_state(place, ids, "completed")}
    assert done | {job.id for job in waiting} == set(ids)
    assert {job.attempts for job in waiting} == {0}
    assert charged(place) == done

    time.sleep(3 * HELD_SECONDS)  # the messages come and go; dispatch runs, too
    still = in_state(place, ids, "queued")
    assert sorted(map(place_in_line, still)) == sorted(map(place_in_line, waiting))
    assert charged(place) == done
    queue = ask(api.get("/v1/queues/money"))
    assert queue["state"] == "paused"
    # A job that took longer than its message was hidden has left a second one, which does no harm.
    assert sum(queue["lanes"]["main"].values()) >= len(waiting)

    resumed_at = datetime.now(UTC)
    ask(api.post("/v1/queues/money/resume", {}))
    await_that(lambda: len(in_state(place, ids, "completed")) == JOBS)
    jobs = [ask(api.get(f"/v1/jobs/{job_id}")) for job_id in ids]
    assert {job["attempts"] for job in jobs} == {1}
    begun = [datetime.fromisoformat(job["processedAt"]) for job in jobs]
    assert [moment for moment in begun if paused_at + AT_ONCE < moment < resumed_at] == []
    assert place.effects("charge") == dict.fromkeys(ids, 1)
    assert complaints == []


def test_a_pause_with_an_end_resumes_by_itself(place: Works, api: Client, complaints: list[str]) -> None:
    ids = backlog(place, api)
    until = (datetime.now(UTC) + 6 * SECOND).replace(microsecond=0)
    asked = {"reason": "The bank is down", "until": until.isoformat(timespec="milliseconds")}
    paused = ask(api.post("/v1/queues/money/pause", asked))
    paused_at = datetime.fromisoformat(paused["stops"][0]["since"])
    await_that(lambda: datetime.now(UTC) > until - SECOND)
    waiting = {job.id: job for job in place.load(ids) if job.state != "completed"}
    assert {(job.state, job.attempts) for job in waiting.values()} == {("queued", 0)}

    await_that(lambda: len(in_state(place, ids, "completed")) == JOBS)
    assert ask(api.get("/v1/queues/money"))["state"] == "open"
    jobs = {job.id: job for job in place.load(ids)}
    assert {job.attempts for job in jobs.values()} == {1}
    assert {job_id: job.due for job_id, job in waiting.items()} == {
        job_id: jobs[job_id].due for job_id in waiting
    }
    begun = [datetime.fromisoformat(ask(api.get(f"/v1/jobs/{job_id}"))["processedAt"]) for job_id in ids]
    assert [moment for moment in begun if paused_at + AT_ONCE < moment < until] == []
    assert len([moment for moment in begun if moment >= until]) == len(waiting)
    assert place.effects("charge") == dict.fromkeys(ids, 1)
    assert complaints == []
