"""A caller's limit as figures: shares by role, blocks, windows, and what a draw may take."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.policies import Role
from chalicelib.domain.quota import Allowance, Block, Drawn, grant, window_at

MINUTE = timedelta(minutes=1)
USER = Allowance(100, MINUTE)


@pytest.mark.parametrize(
    ("role", "requests", "block"),
    [
        (Role.USER, 100, 1),
        (Role.VENUE_ADMIN, 1_000, 10),
        (Role.SERVICE, 100_000, 100),
        (Role.ADMIN, 100_000, 100),
    ],
)
def test_each_role_has_its_share_and_its_block(role: Role, requests: int, block: int) -> None:
    allowance = USER.of(role)
    assert (allowance.requests, allowance.window, allowance.block) == (requests, MINUTE, block)


def test_every_role_has_a_share() -> None:
    assert all(USER.of(role).requests >= USER.requests for role in Role)


@given(st.integers(1, 1_000_000))
def test_a_service_pays_a_tenth_of_a_write_for_a_request_at_most(requests: int) -> None:
    assert Allowance(requests, MINUTE).of(Role.SERVICE).block >= 10


@given(st.integers(1, 10**9))
def test_no_block_is_much_of_its_limit(requests: int) -> None:
    block = Allowance(requests, MINUTE).block
    assert block == 1 or block <= requests / 100


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - see timezones
    st.timedeltas(timedelta(seconds=1), timedelta(hours=1)),
)
def test_windows_lie_end_to_end(now: datetime, length: timedelta) -> None:
    window = window_at(now, length)
    assert window.starts <= now < window.ends == window.starts + length
    assert window_at(window.ends, length).starts == window.ends
    assert window_at(window.starts, length) == window


def test_windows_begin_with_the_minute() -> None:
    window = window_at(datetime(2026, 3, 1, 12, 0, 59, 999_000, tzinfo=UTC), MINUTE)
    assert window.starts == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("used", "least", "most", "taken"),
    [
        (0, 1, 1, 1),
        (0, 1, 10, 10),
        (95, 1, 10, 5),
        (99, 1, 10, 1),
        (100, 1, 10, 0),
        (120, 1, 10, 0),  # the limit has been lowered since
        (95, 6, 10, 0),
        (95, 5, 10, 5),
        (0, 101, 101, 0),
        (0, 100, 100, 100),
    ],
)
def test_a_draw_takes_what_there_is_and_nothing_if_that_is_too_little(
    used: int, least: int, most: int, taken: int
) -> None:
    assert grant(used, 100, least=least, most=most) == taken


def test_a_block_is_spent_and_filled_up() -> None:
    block = Block(window_at(datetime(2026, 3, 1, tzinfo=UTC), MINUTE), rest=2, left=10)
    assert block.most == 12
    assert block.spent(3) is None
    after = block.spent(2)
    assert after is not None
    assert (after.rest, after.left) == (0, 10)
    filled = after.with_more(Drawn(taken=4, left=3))
    assert (filled.rest, filled.left, filled.most) == (4, 3, 7)
