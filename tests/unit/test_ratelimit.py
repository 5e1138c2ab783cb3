from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.policies import Lane
from chalicelib.domain.ratelimit import (
    GROUPS,
    LIMITS,
    Ask,
    Bucket,
    Limit,
    admit,
    emptied,
    given_back,
    group_of,
    held_back,
)
from tests.fakes import START

SECOND = timedelta(seconds=1)
LIMIT = Limit(per_second=10, concurrent=10, burst=20, cooldown=timedelta(seconds=2))
A, B = VenueId("venue-a"), VenueId("venue-b")


def asks(count: int, *, venue: VenueId = A, lane: Lane = Lane.EXPRESS, most: int = 1000) -> list[Ask]:
    return [Ask(JobId(f"{venue}-{lane}-{index}"), "mail", most, venue, lane) for index in range(count)]


@pytest.mark.parametrize(
    ("group", "per_second", "concurrent", "burst", "cooldown_ms"),
    [
        ("stripe", 25, 10, 50, 1000),
        ("square", 8, 5, 20, 2000),
        ("sendgrid", 5, 20, 100, 1000),
        ("ses", 14, 20, 50, 1000),
        ("twilio", 1, 5, 10, 5000),
        ("solana", 10, 5, 30, 1000),
        ("quickbooks", 2, 3, 10, 3000),
        ("internal", 100, 50, 200, 100),
    ],
)
def test_each_provider_bears_what_the_contract_says(
    group: str, per_second: float, concurrent: int, burst: int, cooldown_ms: int
) -> None:
    limit = LIMITS[group]
    assert limit == Limit(
        per_second,
        concurrent,
        burst,
        timedelta(milliseconds=cooldown_ms),
        reserve=2 if group == "twilio" else 0,
    )


@pytest.mark.parametrize(("burst", "granted"), [(10, 8), (3, 1), (2, 1), (1, 1)])
def test_what_is_kept_for_alerts_no_job_gets_and_jobs_get_one_at_least(burst: int, granted: int) -> None:
    bucket = Bucket(Limit(1, 100, burst, SECOND, reserve=2), START)
    everybody = [ask for n in range(20) for ask in asks(1, venue=VenueId(f"venue-{n}"))]
    admission = admit(bucket, everybody, owner="o", until=START + SECOND, now=START)
    assert len(admission.granted) == granted


def test_members_share_their_groups_bucket() -> None:
    assert {member: group_of(member) for member in GROUPS} == dict(GROUPS)
    assert {group_of(group) for group in LIMITS} == set(LIMITS)
    assert set(GROUPS.values()) <= set(LIMITS)


def test_express_lane_finds_room_when_the_main_lane_has_used_all_it_may() -> None:
    wide = Limit(10, 1000, 20, SECOND)
    crowd = [ask for venue in ("1", "2", "3") for ask in asks(20, venue=VenueId(venue), lane=Lane.MAIN)]

    full = admit(Bucket(wide, START), crowd, owner="o1", until=START + SECOND, now=START)
    urgent = admit(full.bucket, asks(20, venue=B), owner="o2", until=START + SECOND, now=START)

    assert len(full.granted) == 14  # 70 % of the burst
    assert len(urgent.granted) == 6


def test_main_lane_leaves_three_slots_of_ten_to_the_express_lane() -> None:
    roomy = Limit(1000, 10, 10_000, SECOND)

    main = admit(Bucket(roomy, START), asks(10, lane=Lane.MAIN), owner="o1", until=START + SECOND, now=START)
    urgent = admit(main.bucket, asks(10, venue=A), owner="o2", until=START + SECOND, now=START)

    assert (len(main.granted), len(urgent.granted)) == (7, 3)
    assert set(main.denied.values()) == {SECOND}, "the cool-down, where slots are full"


def test_venue_takes_half_of_a_burst_at_most() -> None:
    wide = Limit(10, 1000, 20, SECOND)

    admission = admit(Bucket(wide, START), asks(20), owner="o", until=START + SECOND, now=START)

    assert len(admission.granted) == 10


def test_venue_has_half_of_the_slots_while_another_waits() -> None:
    roomy = Limit(1000, 10, 10_000, SECOND)
    both = [*asks(10, venue=A), *asks(1, venue=B)]

    admission = admit(Bucket(roomy, START), both, owner="o", until=START + SECOND, now=START)

    assert [job_id for job_id in admission.granted if job_id.startswith(B)] == ["venue-b-express-0"]
    assert len(admission.granted) == 6


def test_venue_that_was_denied_counts_as_waiting_for_half_a_minute() -> None:
    roomy = Limit(1000, 10, 10_000, SECOND)
    alone = admit(Bucket(roomy, START), asks(10), owner="o1", until=START + SECOND, now=START)
    denied = admit(alone.bucket, asks(1, venue=B), owner="o2", until=START + SECOND, now=START)
    soon, late = START + 20 * SECOND, START + 31 * SECOND

    def granted(when: timedelta) -> int:
        now = START + when
        return len(admit(denied.bucket, asks(10), owner="o3", until=now + SECOND, now=now).granted)

    assert len(alone.granted) == 10
    assert len(denied.granted) == 0
    assert granted(soon - START) == 5
    assert granted(late - START) == 10


def test_venue_with_less_than_its_share_comes_back_at_once() -> None:
    roomy = Limit(1000, 10, 10_000, SECOND)
    alone = admit(Bucket(roomy, START), asks(10), owner="o1", until=START + SECOND, now=START)

    quiet = admit(alone.bucket, asks(1, venue=B), owner="o2", until=START + SECOND, now=START)
    loud = admit(alone.bucket, asks(1, venue=A), owner="o2", until=START + SECOND, now=START)

    assert list(quiet.denied.values()) == [timedelta(0)]
    assert list(loud.denied.values()) == [SECOND]


def test_job_type_has_no_more_calls_in_flight_than_its_own_limit() -> None:
    roomy = Limit(1000, 100, 10_000, SECOND)

    admission = admit(Bucket(roomy, START), asks(10, most=5), owner="o", until=START + SECOND, now=START)
    again = admit(admission.bucket, asks(10, most=5), owner="p", until=START + SECOND, now=START)

    assert (len(admission.granted), len(again.granted)) == (5, 0)


def test_slots_are_free_when_given_back_and_when_the_lease_has_ended() -> None:
    roomy = Limit(1000, 10, 10_000, SECOND)
    bucket = admit(Bucket(roomy, START), asks(10), owner="o", until=START + SECOND, now=START).bucket

    assert bucket.in_flight(START) == 10
    assert given_back(bucket, "o").in_flight(START) == 0
    assert bucket.in_flight(START + SECOND) == 0


def test_emptying_a_bucket_never_forgets_what_is_in_flight() -> None:
    bucket = admit(Bucket(LIMIT, START), asks(5), owner="o", until=START + SECOND, now=START).bucket

    fresh = emptied(bucket, START)

    assert (fresh.level, fresh.in_flight(START), fresh.version) == (0, 5, bucket.version + 1)


def test_denial_of_a_venue_known_to_wait_is_no_news() -> None:
    bucket = admit(Bucket(LIMIT, START), asks(20), owner="o", until=START + SECOND, now=START).bucket

    second = admit(bucket, asks(1), owner="p", until=START + SECOND, now=START)

    assert (second.granted, second.news) == ((), False)


def test_clock_that_is_behind_drains_nothing() -> None:
    bucket = admit(Bucket(LIMIT, START), asks(10), owner="o", until=START + SECOND, now=START).bucket

    admission = admit(bucket, asks(1), owner="p", until=START, now=START - 5 * SECOND)

    assert admission.granted == ()


@given(
    batches=st.lists(
        st.tuples(st.integers(0, 1500), st.integers(1, 12), st.sampled_from([A, B]), st.sampled_from(Lane)),
        max_size=40,
    )
)
def test_no_more_calls_start_than_the_burst_and_the_rate_allow(
    batches: list[tuple[int, int, VenueId, Lane]],
) -> None:
    bucket, now, started = Bucket(LIMIT, START), START, 0
    for index, (after_ms, count, venue, lane) in enumerate(batches):
        now += timedelta(milliseconds=after_ms)
        until = now + timedelta(milliseconds=200)
        admission = admit(bucket, asks(count, venue=venue, lane=lane), owner=str(index), until=until, now=now)
        bucket = admission.bucket
        started += len(admission.granted)
        assert bucket.in_flight(now) <= LIMIT.concurrent
        assert len(admission.granted) + len(admission.denied) == count
    elapsed = Fraction((now - START) // timedelta(milliseconds=1), 1000)
    assert started <= LIMIT.burst + LIMIT.per_second * elapsed + 1e-6


@given(st.timedeltas(timedelta(0), timedelta(minutes=5)), st.integers(1, 500), st.floats(0, 0.999))
def test_held_back_jobs_stay_away_at_least_as_long_as_they_must(
    wait: timedelta, receives: int, spread: float
) -> None:
    stays = held_back(wait, receives=receives, spread=spread)

    assert stays >= wait
    assert stays >= SECOND or (not wait and receives <= 8)
