from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.controls import MOST_ENDED, REMEMBERED, Control, Controls, Scope, hold_for
from chalicelib.domain.policies import TIERS, TIMING, Tier
from tests.factories import a_job
from tests.fakes import START

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
JOB = a_job()


def a_control(scope: Scope = Scope.TIER, value: str = "money", **changes: Any) -> Control:
    fields: dict[str, Any] = {"reason": "the bank is down", "owner": "admin-1", "since": START}
    return Control(scope, value, **{**fields, **changes})


def holds(*controls: Control, now: datetime = START) -> bool:
    return Controls(controls).holding(JOB, "stripe", now) is not None


@pytest.mark.parametrize(
    ("scope", "value", "held"),
    [
        (Scope.TIER, "money", True),
        (Scope.TIER, "background", False),
        (Scope.PROVIDER, "stripe", True),
        (Scope.PROVIDER, "ses", False),
        (Scope.VENUE, "venue-1", True),
        (Scope.VENUE, "venue-2", False),
        (Scope.TYPE, "payment.process", True),
        (Scope.TYPE, "email.send", False),
        (Scope.ALL, "", True),
        (Scope.VENUE, "stripe", False),
        (Scope.PROVIDER, "venue-1", False),
    ],
)
def test_a_control_holds_back_what_it_names(scope: Scope, value: str, held: bool) -> None:
    assert holds(a_control(scope, value)) is held


def test_the_control_that_holds_is_named() -> None:
    other, ours = a_control(Scope.VENUE, "venue-2"), a_control(Scope.PROVIDER, "stripe")
    assert Controls((other, ours)).holding(JOB, "stripe", START) is ours
    assert Controls().holding(JOB, "stripe", START) is None


@pytest.mark.parametrize(
    ("now", "held"),
    [
        (START - timedelta(milliseconds=1), False),
        (START, True),
        (START + HOUR - timedelta(milliseconds=1), True),
        (START + HOUR, False),
    ],
)
def test_a_control_holds_from_its_start_to_its_end(now: datetime, held: bool) -> None:
    assert holds(a_control(until=START + HOUR), now=now) is held


def test_a_control_without_an_end_holds_for_ever() -> None:
    assert holds(a_control(), now=START + timedelta(days=3650))


@pytest.mark.parametrize(
    ("control", "paused"),
    [
        (a_control(), True),
        (a_control(Scope.ALL, ""), True),
        (a_control(value="background"), False),
        (a_control(Scope.PROVIDER, "stripe"), False),
        (a_control(Scope.TYPE, "money"), False),
        (a_control(until=START), False),
    ],
)
def test_a_tier_stands_still_only_if_all_of_it_does(control: Control, paused: bool) -> None:
    assert Controls((control,)).paused(Tier.MONEY, START) is paused


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def a_pause(since: int, until: int | None, **changes: Any) -> Control:
    return a_control(since=at(since), until=None if until is None else at(until), **changes)


@pytest.mark.parametrize(
    ("pauses", "minutes"),
    [
        pytest.param((), 0, id="none"),
        pytest.param((a_pause(10, 20),), 10, id="one"),
        pytest.param((a_pause(10, 20), a_pause(30, 35)), 15, id="two"),
        pytest.param((a_pause(30, 35), a_pause(10, 20)), 15, id="written in another order"),
        pytest.param((a_pause(10, 30), a_pause(20, 40)), 30, id="overlapping count once"),
        pytest.param((a_pause(10, 40), a_pause(20, 30)), 30, id="one inside another"),
        pytest.param((a_pause(10, 20), a_pause(10, 20)), 10, id="the same twice"),
        pytest.param((a_pause(-30, 10),), 10, id="begun before due"),
        pytest.param((a_pause(-30, -10),), 0, id="over before due"),
        pytest.param((a_pause(50, None),), 10, id="still on"),
        pytest.param((a_pause(50, 90),), 10, id="ends later"),
        pytest.param((a_pause(70, 80),), 0, id="begins later"),
        pytest.param((a_pause(10, 20, scope=Scope.ALL, value=""),), 10, id="everything stopped"),
        pytest.param((a_pause(10, 20, value="background"),), 0, id="another tier"),
        pytest.param((a_pause(10, 20, scope=Scope.PROVIDER, value="stripe"),), 0, id="a provider"),
    ],
)
def test_the_time_that_a_tier_stood_still_is_counted_once(pauses: tuple[Control, ...], minutes: int) -> None:
    assert Controls(pauses).paused_for(Tier.MONEY, at(0), at(60)) == timedelta(minutes=minutes)


spans = st.lists(st.tuples(st.integers(-50, 150), st.integers(0, 60), st.booleans()), max_size=6)


@given(spans=spans, now=st.integers(1, 120))
def test_the_time_stood_still_is_what_counting_the_minutes_gives(
    spans: list[tuple[int, int, bool]], now: int
) -> None:
    controls = Controls(tuple(a_pause(since, since + long if ends else None) for since, long, ends in spans))
    minutes = sum(controls.paused(Tier.MONEY, at(minute)) for minute in range(now))
    assert controls.paused_for(Tier.MONEY, at(0), at(now)) == timedelta(minutes=minutes)


def test_a_control_is_started_and_lifted_by_versions() -> None:
    pause = a_control()
    started = Controls(version=4).started(pause)
    assert (started.version, started.entries) == (5, (pause,))
    lifted = started.lifted(Scope.TIER, "money", START + HOUR)
    assert lifted.version == 6
    assert not lifted.paused(Tier.MONEY, START + HOUR)
    assert lifted.paused_for(Tier.MONEY, START, START + 2 * HOUR) == HOUR


def test_lifting_ends_only_what_it_names_and_is_in_force() -> None:
    over = a_control(until=START + MINUTE)
    other = a_control(value="background")
    ours = a_control(since=START + MINUTE)
    lifted = Controls((over, other, ours)).lifted(Scope.TIER, "money", START + HOUR)
    assert lifted.entries[:2] == (over, other)
    assert lifted.entries[2].until == START + HOUR


@pytest.mark.parametrize("change", [Controls.started, Controls.lifted], ids=["start", "lift"])
@pytest.mark.parametrize(
    ("until", "kept"),
    [
        (START, False),
        (START + timedelta(milliseconds=1), True),
        (None, True),
    ],
)
def test_a_control_that_ended_is_kept_as_long_as_a_window_may_reach_back(
    change: Callable[..., Controls], until: datetime | None, kept: bool
) -> None:
    now = START + REMEMBERED
    old = a_control(value="background", until=until)
    arguments = (a_control(since=now),) if change is Controls.started else (Scope.TIER, "money", now)
    assert (old in change(Controls((old,)), *arguments).entries) is kept


def test_ended_controls_outlast_the_longest_window() -> None:
    assert timedelta(days=8) == REMEMBERED
    assert all(policy.window is None or policy.window < REMEMBERED for policy in TIERS.values())


@pytest.mark.parametrize(
    ("until", "spread", "seconds"),
    [
        pytest.param(None, 0.0, 30, id="no end, least"),
        pytest.param(None, 0.5, 45, id="no end, middle"),
        pytest.param(START + timedelta(seconds=60), 0.0, 30, id="a near end"),
        pytest.param(START + timedelta(seconds=10), 0.5, 45, id="a very near end"),
        pytest.param(START + timedelta(seconds=61), 0.0, 61, id="a far end"),
        pytest.param(START + timedelta(minutes=4), 0.0, 240, id="four minutes"),
        pytest.param(START + timedelta(minutes=4), 0.5, 270, id="four minutes, spread"),
        pytest.param(START + timedelta(days=3), 0.0, 330, id="days: put off by a few minutes"),
        pytest.param(START + timedelta(days=3), 0.5, 345, id="days, spread"),
    ],
)
def test_how_long_a_held_back_job_waits(until: datetime | None, spread: float, seconds: int) -> None:
    held = hold_for(a_control(until=until), TIMING, now=START, spread=spread)
    assert held.delay == timedelta(seconds=seconds)
    assert held.reason == "tier_stopped"


@given(
    seconds=st.none() | st.integers(1, 10_000_000),
    spread=st.floats(0, 1, exclude_max=True),
)
def test_a_held_back_job_neither_comes_back_at_once_nor_is_forgotten(
    seconds: int | None, spread: float
) -> None:
    until = None if seconds is None else START + timedelta(seconds=seconds)
    delay = hold_for(a_control(until=until), TIMING, now=START, spread=spread).delay
    assert timedelta(seconds=30) <= delay <= TIMING.look_after + TIMING.hold_by_visibility
    if until is not None:
        assert delay <= max(until - START, timedelta(0)) + TIMING.hold_by_visibility


@pytest.mark.parametrize(
    ("stopped", "provider", "held"),
    [
        ("stripe", "stripe-charges", True),
        ("stripe-charges", "stripe-charges", True),
        ("stripe-refunds", "stripe-charges", False),
        ("twilio", "stripe-charges", False),
        ("ses", "ses", True),
    ],
)
def test_a_group_that_is_stopped_holds_its_members(stopped: str, provider: str, held: bool) -> None:
    controls = Controls((a_control(Scope.PROVIDER, stopped),))
    assert (controls.holding(JOB, provider, START) is not None) is held


def test_a_control_placed_on_one_in_force_keeps_its_start_alone() -> None:
    first = a_control(reason="first", until=START + HOUR)
    again = a_control(reason="again", since=START + MINUTE)
    placed = Controls(version=1).started(first).started(again)
    assert (placed.version, placed.entries) == (3, (a_control(reason="again"),))
    assert placed.paused_for(Tier.MONEY, START, START + 2 * HOUR) == 2 * HOUR


def test_a_control_placed_after_one_that_ended_stands_beside_it() -> None:
    first = a_control(until=START + MINUTE)
    later = a_control(since=START + HOUR)
    assert Controls((first,)).started(later).entries == (first, later)


def test_of_what_has_ended_only_pauses_are_kept_the_longest_of_too_many() -> None:
    stops = [a_control(Scope.VENUE, f"v{n}", until=START + MINUTE) for n in range(3)]
    pauses = [a_control(until=START + n * MINUTE) for n in range(1, MOST_ENDED + 10)]
    new = a_control(Scope.ALL, "", since=START + 2 * HOUR)
    assert Controls((*stops, *pauses)).started(new).entries == (*pauses[9:], new)
