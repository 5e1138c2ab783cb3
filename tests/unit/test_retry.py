from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.policies import RETRY
from chalicelib.domain.retry import backoff, ceiling


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("payment", [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]),
        ("communication", [5, 10, 20, 30, 30]),
        ("webhook", [2, 6, 18, 54, 120, 120]),
        ("mint", [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300]),
        ("default", [1, 2, 4, 8, 10, 10]),
    ],
)
def test_backoff_grows_as_agreed_up_to_its_cap(name: str, seconds: list[int]) -> None:
    grown = [ceiling(RETRY[name], attempt) for attempt in range(1, len(seconds) + 1)]
    assert grown == [timedelta(seconds=each) for each in seconds]


@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.5, 0.75])
def test_jitter_takes_its_share_of_the_ceiling(jitter: float) -> None:
    assert backoff(RETRY["payment"], 3, jitter) == timedelta(seconds=4 * jitter)


@given(
    name=st.sampled_from(sorted(RETRY)),
    attempt=st.integers(1, 10_000),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_backoff_is_never_negative_and_never_above_the_cap(name: str, attempt: int, jitter: float) -> None:
    strategy = RETRY[name]
    assert timedelta(0) <= backoff(strategy, attempt, jitter) <= strategy.cap
    assert ceiling(strategy, attempt) <= ceiling(strategy, attempt + 1) <= strategy.cap
