"""The figures of the contract's sections 3 to 6, as a product owner would check them."""

from datetime import timedelta

import pytest

from chalicelib.domain.jobtype import EVERY_SUBMITTER, PLATFORM_ONLY
from chalicelib.domain.policies import (
    ATTEMPTS,
    MAX_DELAY,
    PRIORITIES,
    RETRY,
    TIERS,
    TIMING,
    EffectClass,
    Growth,
    Lane,
    Role,
    Tier,
    Timing,
    lane_of,
)
from chalicelib.jobtypes import discover


@pytest.mark.parametrize(
    ("tier", "priority", "express_from", "attempts", "window"),
    [
        (Tier.MONEY, 8, 9, 10, None),
        (Tier.COMMUNICATION, 5, 8, 3, timedelta(days=7)),
        (Tier.BACKGROUND, 5, 8, 3, timedelta(hours=24)),
    ],
)
def test_tiers_are_as_agreed(
    tier: Tier, priority: int, express_from: int, attempts: int, window: timedelta | None
) -> None:
    policy = TIERS[tier]
    assert (policy.priority, policy.express_from) == (priority, express_from)
    assert (policy.attempts, policy.window) == (attempts, window)


def test_there_are_three_tiers_and_each_has_a_policy() -> None:
    assert set(TIERS) == set(Tier)
    assert [tier.value for tier in Tier] == ["money", "communication", "background"]


@pytest.mark.parametrize(
    ("tier", "express"),
    [(Tier.MONEY, {9, 10}), (Tier.COMMUNICATION, {8, 9, 10}), (Tier.BACKGROUND, {8, 9, 10})],
)
def test_only_urgent_jobs_take_the_express_lane(tier: Tier, express: set[int]) -> None:
    assert {priority for priority in PRIORITIES if lane_of(tier, priority) is Lane.EXPRESS} == express


def test_a_job_of_default_priority_takes_the_main_lane() -> None:
    assert all(lane_of(tier, TIERS[tier].priority) is Lane.MAIN for tier in Tier)


@pytest.mark.parametrize(
    ("name", "growth", "factor", "base", "cap", "attempts"),
    [
        ("payment", Growth.EXPONENTIAL, 2, 1, 60, 10),
        ("communication", Growth.EXPONENTIAL, 2, 5, 30, 3),
        ("webhook", Growth.EXPONENTIAL, 3, 2, 120, 5),
        ("mint", Growth.LINEAR, 1, 30, 300, 10),
        ("default", Growth.EXPONENTIAL, 2, 1, 10, 3),
    ],
)
def test_retry_strategies_are_as_agreed(
    name: str, growth: Growth, factor: int, base: int, cap: int, attempts: int
) -> None:
    strategy = RETRY[name]
    assert (strategy.growth, strategy.factor, strategy.attempts) == (growth, factor, attempts)
    assert (strategy.base, strategy.cap) == (timedelta(seconds=base), timedelta(seconds=cap))


def test_no_strategy_goes_without_a_test() -> None:
    assert set(RETRY) == {"payment", "communication", "webhook", "mint", "default"}


@pytest.mark.parametrize(
    ("effect_class", "begins", "doubts"),
    [
        (EffectClass.KEYED, False, True),
        (EffectClass.LOOKED_UP, True, True),
        (EffectClass.BLIND, True, True),
        (EffectClass.RECEIVER_DEDUPS, False, False),
    ],
)
def test_effect_classes_differ_in_what_they_note_and_doubt(
    effect_class: EffectClass, begins: bool, doubts: bool
) -> None:
    assert (effect_class.begins, effect_class.doubts) == (begins, doubts)


@pytest.mark.parametrize(
    ("figure", "seconds"),
    [
        ("clock_skew", 5),
        ("look_after", 5 * 60),
        ("look_cap", 6 * 3600),
        ("look_ahead", 60),
        ("longest_delay", 15 * 60),
        ("hold_by_visibility", 60),
        ("poll_every", 5 * 60),
        ("poll_for", 24 * 3600),
        ("poll_grace", 3600),
        ("key_young", 23 * 3600),
        ("accept_within", 60),
        ("settle_margin", 3),
        ("absence_after", 5 * 60),
    ],
)
def test_times_of_the_protocol_are_as_agreed(figure: str, seconds: int) -> None:
    assert getattr(TIMING, figure) == timedelta(seconds=seconds)


def test_counts_and_ranges_are_as_agreed() -> None:
    assert TIMING.most_receives == 500
    assert (min(PRIORITIES), max(PRIORITIES)) == (1, 10)
    assert (min(ATTEMPTS), max(ATTEMPTS)) == (1, 10)
    assert timedelta(days=365) == MAX_DELAY


def test_no_user_submits_and_venues_never_on_the_platforms_behalf() -> None:
    assert {Role.SERVICE, Role.ADMIN, Role.VENUE_ADMIN} == EVERY_SUBMITTER
    assert {Role.SERVICE, Role.ADMIN} == PLATFORM_ONLY


@pytest.mark.parametrize(
    ("name", "effect_class", "tier", "strategy", "attempts", "key_days", "retention", "archive", "in_flight"),
    [
        ("payment.process", EffectClass.KEYED, Tier.MONEY, "payment", 10, 1, 90, "payment_archive", 5),
        ("payment.refund", EffectClass.KEYED, Tier.MONEY, "payment", 10, 90, 90, "payment_archive", 5),
        ("analytics.track", EffectClass.RECEIVER_DEDUPS, Tier.BACKGROUND, "default", 3, 7, 14, None, 20),
        ("order.fulfill", EffectClass.RECEIVER_DEDUPS, Tier.MONEY, "payment", 10, 1, 90, "payment_archive", 10),
        ("sms.send", EffectClass.BLIND, Tier.COMMUNICATION, "communication", 3, 1, 7, None, 5),
        ("ticket.mint", EffectClass.LOOKED_UP, Tier.MONEY, "mint", 10, 365, 365, "blockchain_archive", 3),
        ("email.send", EffectClass.BLIND, Tier.COMMUNICATION, "communication", 3, 1, 7, None, 20),
    ],
)
def test_job_types_are_as_agreed(
    name: str,
    effect_class: EffectClass,
    tier: Tier,
    strategy: str,
    attempts: int,
    key_days: int,
    retention: int,
    archive: str | None,
    in_flight: int,
) -> None:
    job_type = discover()[name]
    policy = job_type.policy()
    assert (job_type.tier, job_type.in_flight) == (tier, in_flight)
    assert job_type.key_period == timedelta(days=key_days)
    assert (policy.effect_class, policy.retry) == (effect_class, RETRY[strategy])
    assert (policy.attempts, policy.window) == (attempts, TIERS[tier].window)
    assert (policy.retention, policy.archive) == (timedelta(days=retention), archive)
    assert policy.timing == TIMING
    other = Timing(clock_skew=timedelta(seconds=1))
    assert job_type.policy(other).timing == other
