"""An operation whose process is killed in mid-page, on the emulator: it goes on, and does nothing twice."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import pytest

from chalicelib.domain.job import JobId, State
from chalicelib.domain.operation import Operation, Status
from chalicelib.domain.policies import Role
from chalicelib.service.principal import Principal
from local.options import ROOT
from tests.acceptance.works import VISIBILITY_SECONDS, Works, short_service, works

JOBS = 240
OPS = Principal("ops", Role.ADMIN)
ORDER = {"mode": "start", "action": "cancel", "filter": {"state": "queued"}, "reason": "A wrong deploy"}
BEGIN = "tests.acceptance.test_operations"  # run as a script: begins the operation and is killed in it
PATIENCE = 40.0  # seconds; the killed process's lease lasts for twelve


@pytest.fixture
def place(new_stack: Callable[..., Mapping[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    stack = new_stack(visibility_timeout=VISIBILITY_SECONDS)
    with works(stack, monkeypatch, LOG_LEVEL="ERROR") as place:
        yield place


def states(place: Works, job_ids: list[JobId]) -> Counter[State]:
    return Counter(job.state for job in place.load(job_ids))


def the_operation(place: Works) -> Operation:
    [operation], _ = place.service.operations.page(OPS, below=None, limit=10)
    return operation


def test_an_operation_whose_process_is_killed_goes_on_and_does_nothing_twice(place: Works) -> None:
    job_ids = [job.id for job in place.submit(range(JOBS))]
    process = subprocess.Popen(
        [sys.executable, "-m", BEGIN], cwd=ROOT, env=os.environ | dict(place.environment)
    )
    end = time.monotonic() + PATIENCE
    while states(place, job_ids)[State.CANCELLED] < 10:
        assert process.poll() is None, "it was over before it could be killed"
        assert time.monotonic() < end
    process.kill()
    process.wait()
    assert 0 < states(place, job_ids)[State.CANCELLED] < JOBS

    while the_operation(place).status is not Status.COMPLETED:
        assert time.monotonic() < end
        now = place.service.clock.now()
        place.service.run_operations.run(ends=now + timedelta(seconds=15))
        time.sleep(0.5)

    assert states(place, job_ids) == {State.CANCELLED: JOBS}
    for job_id in job_ids:
        assert len(place.adapters.audit_log.of_subject(job_id, below=None, limit=10)) == 1
    # A page whose count was lost with its process is short by that page, and by no more.
    assert JOBS - 45 <= the_operation(place).tally.done <= JOBS


if __name__ == "__main__":
    short_service(os.environ)[0].operations.bulk(ORDER, OPS)
