import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest

from chalicelib.domain.job import AT_REST, Job, JobId, State
from local.options import ROOT
from tests.acceptance.works import FULL, VISIBILITY_SECONDS, VISIBLE, Works, works

KILLS = 2_000 if FULL else 20
WORKERS = 3
BACKLOG = 60  # messages that can always be taken, so that whoever is killed had a batch in hand
TOP_UP = 60
LONGEST_LIFE = (
    1.2  # seconds from a worker's first claim to its end: it dies loading, calling, saving, acknowledging
)
PATIENCE = 90.0  # seconds


class WorkerProcess:
    """A consumer process and what its log says it has in hand."""

    def __init__(self, place: Works, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.short_worker"],
            cwd=ROOT,
            env=os.environ | dict(place.environment) | {"SCHEDULES": "1", "SCHEDULE_SECONDS": "3"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self._log = log
        self._in_hand: set[str] = set()
        self._claimed = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def await_claim(self) -> None:
        """Wait until it has claimed its first job."""
        end = time.monotonic() + PATIENCE
        while not self._claimed.wait(0.2):
            assert self._process.poll() is None, f"a worker ended by itself; {self._log.name} says why"
            assert time.monotonic() < end, "a worker claimed nothing"

    @property
    def has_batch(self) -> bool:
        """Whether it has claimed jobs that it has not settled."""
        return bool(self._in_hand)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end in good order."""
        self._end(signal.SIGTERM)

    def _end(self, signum: int) -> None:
        self._process.send_signal(signum)
        self._process.wait(PATIENCE)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith(b"}\n"):
                continue  # `ready`, or the line it was killed in
            event = json.loads(line)
            if event.get("action") == "claimed":
                self._in_hand.add(event["jobId"])
                self._claimed.set()
            elif event.get("action") == "moved":
                self._in_hand.discard(event["jobId"])


class Feeder:
    """Keeps jobs waiting in the queues until it is told to stop."""

    def __init__(self, place: Works) -> None:
        self.jobs: list[Job] = []
        self._place = place
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._feed)

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _feed(self) -> None:
        while not self._enough.is_set():
            if sum(self._place.queue_depths(VISIBLE).values()) < BACKLOG:
                self.jobs += self._place.submit(range(len(self.jobs), len(self.jobs) + TOP_UP))
            else:
                self._enough.wait(0.1)


@pytest.fixture
def place(new_stack: Callable[..., Mapping[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    stack = new_stack(visibility_timeout=VISIBILITY_SECONDS)
    with works(stack, monkeypatch, LOG_LEVEL="INFO", LOG_FORMAT="json") as place:
        yield place


def test_workers_killed_in_mid_batch_lose_nothing_and_double_nothing(place: Works, tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable, not secret
    with (tmp_path / "workers.log").open("ab") as log:
        workers = [WorkerProcess(place, log) for _ in range(WORKERS)]
        try:
            with Feeder(place) as feeder:
                for kill in range(KILLS):
                    kill_in_mid_batch(workers[kill % WORKERS], chance)
                    workers[kill % WORKERS] = WorkerProcess(place, log)
            jobs = await_rest(place, feeder.jobs)
        finally:
            for worker in workers:
                worker.stop()

    payments = [job for job in jobs if job.type == "payment.process"]
    mails = [job for job in jobs if job.type == "email.send"]
    charged, mailed = place.effects("charge"), place.effects("mail")

    # Money: every payment has ended with its one charge, whatever was killed in the middle of it.
    assert [job.id for job in payments if job.state is not State.COMPLETED] == []
    assert charged == {job.id: 1 for job in payments}
    # Mail cannot be looked up: one that may have left is parked for a person, and none leaves twice.
    assert {job.state for job in mails} <= {State.COMPLETED, State.PARKED}
    assert [job_id for job_id, count in mailed.items() if count > 1] == []
    assert [job.id for job in mails if job.state is State.COMPLETED and mailed[job.id] != 1] == []
    assert set(mailed) <= {job.id for job in mails}
    # The kills were in mid-batch: their jobs' leases lapsed. And nothing was poison.
    lapsed = sum(entry.outcome == "lapsed" for job in jobs for entry in job.history)
    assert lapsed >= KILLS
    assert not any(depth for name, depth in place.queue_depths().items() if name.endswith("-dlq"))


def kill_in_mid_batch(worker: WorkerProcess, chance: random.Random) -> None:
    """Kill a worker some time after its first claim, as soon as it has unsettled jobs in hand."""
    worker.await_claim()
    time.sleep(chance.uniform(0, LONGEST_LIFE))
    end = time.monotonic() + PATIENCE
    while not worker.has_batch:
        assert time.monotonic() < end, "a worker has no batch"
        time.sleep(0.001)
    worker.kill()


def await_rest(place: Works, accepted: list[Job]) -> list[Job]:
    """Return every accepted job's record once it is at rest; one that is missing or stays open is a loss."""
    records: dict[JobId, Job] = {}
    moved = time.monotonic()
    while True:
        open_ids = [job.id for job in accepted if job.id not in records]
        rested = {job.id: job for job in place.load(open_ids) if job.state in AT_REST}
        if rested:
            records |= rested
            moved = time.monotonic()
        if len(records) == len(accepted):
            return list(records.values())
        if time.monotonic() - moved > PATIENCE:
            states = Counter(job.state for job in place.load(open_ids))
            pytest.fail(f"{len(open_ids)} of {len(accepted)} jobs never came to rest: {states}")
        time.sleep(0.5)
