"""Alerts of what failed, on the local stack: the counters tell of a minute some time after it is over."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stacks import PATIENCE, RunningStack
from tests.e2e.test_alerts import SOON, Watched, until

FAILED = 25  # more than ten dead letters, and more than the twenty ended jobs that a rate is said of
PATIENT = {"ALERT_THRESHOLD_MONEY_QUEUE": "50", "ALERT_THRESHOLD_MONEY_AGE_MINUTES": "10"}  # of what waits
ENDING = 15.0  # seconds in which all of them have failed
COUNTED = 90.0  # seconds: a minute, twenty seconds for slow writes, and the monitor


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with RunningStack(tmp_path, **{**SOON, **PATIENT}) as running:
        made = Watched(running)
        yield made
        made.close()


def test_dead_letters_and_the_failure_rate_reach_the_phone_and_the_topic_once_each(watched: Watched) -> None:
    left = 60 - time.time() % 60
    if left < ENDING:
        time.sleep(left)  # or some of them would count in the next minute, and fewer than twenty in this one
    watched.fault("orders", "refuse-connection", FAILED)
    jobs = [
        {"type": "order.fulfill", "data": {"orderId": f"order-{n}"}, "options": {"attempts": 1}}
        for n in range(FAILED)
    ]
    assert watched.client.post("/v1/jobs/batch", {"jobs": jobs}).status == 201
    kinds = ("dead_letters", "failure_rate")
    until(
        lambda: watched.published() == {(kind, "alert"): 1 for kind in kinds},
        watched.published,
        patience=COUNTED + PATIENCE,
    )
    until(lambda: watched.told() == {"sms": 2, "call": 1}, watched.told)  # dead letters of money are critical
    assert "jobs failed for good within an hour, more than 10." in watched.alert("dead_letters")["message"]
    assert "100.0 % of the jobs" in watched.alert("failure_rate")["message"]
