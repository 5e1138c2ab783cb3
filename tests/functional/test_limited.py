"""Consumers before the limiter: what does not fit is held back, charged nothing, and comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import State
from chalicelib.domain.policies import EffectClass, Lane, Tier
from chalicelib.domain.ports import Release
from chalicelib.domain.ratelimit import LIMITS, Admission, Ask, Limit
from tests.fakes_limiter import MemoryLimiter
from tests.functional.house import House

NARROW = Limit(per_second=1, concurrent=10, burst=6, cooldown=timedelta(seconds=5))  # 3 for a venue
MINUTE = timedelta(minutes=1)


class Limiters(MemoryLimiter):
    """A limiter that counts the calls made to it and can be silent."""

    def __init__(self, limits: Mapping[str, Limit]) -> None:
        super().__init__(limits)
        self.reserved: list[list[Ask]] = []
        self.returned: list[str] = []
        self.fails: type[Exception] | None = None

    def reserve(
        self, group: str, asks: Sequence[Ask], *, owner: str, until: datetime, now: datetime
    ) -> Admission:
        self.reserved.append(list(asks))
        if self.fails is not None:
            raise self.fails
        return super().reserve(group, asks, owner=owner, until=until, now=now)

    def give_back(self, release: Release) -> None:
        self.returned.extend(release.groups)
        super().give_back(release)


@pytest.fixture
def limiter() -> Limiters:
    return Limiters({**LIMITS, "stripe": NARROW})


@pytest.fixture
def house(limiter: Limiters) -> House:
    return House(limiter=limiter)


def test_what_does_not_fit_is_held_back_uncharged_and_done_later(house: House) -> None:
    ids = house.accept_many(5)
    kept = house.consume()
    states = [house.job(job_id).state for job_id in ids]

    assert (states.count(State.COMPLETED), states.count(State.QUEUED), len(kept)) == (3, 2, 2)
    assert [house.job(job_id).attempts for job_id in ids if house.job(job_id).state is State.QUEUED] == [0, 0]

    house.pass_time(MINUTE, step=timedelta(seconds=1))
    assert {house.job(job_id).state for job_id in ids} == {State.COMPLETED}
    assert {house.job(job_id).attempts for job_id in ids} == {1}


def test_held_back_jobs_come_back_spread_over_time(house: House) -> None:
    house.accept_many(10)
    house.consume()

    shown = [message.visible_at - house.clock.now() for message in house.messages()]
    assert len(set(shown)) == len(shown) == 7
    assert all(timedelta(seconds=1) <= each <= MINUTE for each in shown)


def test_batch_is_one_reservation_and_gives_its_slots_back(house: House, limiter: Limiters) -> None:
    house.accept_many(3)
    house.consume()

    assert [len(asks) for asks in limiter.reserved] == [3]
    assert limiter.returned == ["stripe"]
    assert limiter.buckets()["stripe"].in_flight(house.clock.now()) == 0


def test_slots_are_given_back_when_the_batch_fails(house: House, limiter: Limiters) -> None:
    def breaks(_: object) -> None:
        raise KeyboardInterrupt

    house.accept_many(1)
    house.scripts[EffectClass.KEYED].steps.append(breaks)
    with pytest.raises(KeyboardInterrupt):
        house.consume()

    assert limiter.buckets()["stripe"].in_flight(house.clock.now()) == 0


def test_job_that_has_nothing_to_run_asks_for_nothing(house: House, limiter: Limiters) -> None:
    job_id = house.accept()
    house.queue.put(Tier.MONEY, Lane.MAIN, house.messages()[0].body)
    house.consume()
    limiter.reserved.clear()
    house.queue.put(Tier.MONEY, Lane.MAIN, '{"v":1,"jobId":"' + job_id + '","venueId":"v"}')

    assert house.consume() == []
    assert limiter.reserved == []


@pytest.mark.parametrize("fails", [StoreRefused, StoreUnsure])
def test_silent_limiter_lets_nobody_through_and_charges_nothing(
    house: House, limiter: Limiters, fails: type[Exception]
) -> None:
    job_id = house.accept()
    limiter.fails = fails
    kept = house.consume()

    assert len(kept) == 1
    assert house.job(job_id).attempts == 0
    assert "limiter_unreachable" in house.journal.actions()

    limiter.fails = None
    house.pass_time(MINUTE)
    assert house.job(job_id).state is State.COMPLETED


def test_urgent_job_finds_room_behind_a_backlog_of_ordinary_ones(house: House) -> None:
    for venue in ("1", "2", "3"):
        house.accept_many(5, venue_id=venue)
    house.consume()
    house.consume()
    urgent = house.accept(priority=10, data={"order": "urgent"})
    house.consume(lane=Lane.EXPRESS)

    assert house.job(urgent).state is State.COMPLETED


FULL = Limit(per_second=0.0001, concurrent=10, burst=1, cooldown=timedelta(seconds=5))


def test_what_a_full_bucket_keeps_waiting_has_one_message_however_long_it_waits() -> None:
    house = House(limiter=Limiters({**LIMITS, "stripe": FULL}))
    ids = house.accept_many(4)
    house.pass_time(timedelta(hours=6))

    states = [house.job(job_id).state for job_id in ids]
    waiting = [house.job(job_id) for job_id in ids if house.job(job_id).state is State.QUEUED]
    assert State.COMPLETED in states
    assert waiting
    assert len(house.messages()) == len(waiting)
    assert all(job.overdue for job in waiting), (
        "what dispatch need not look at is among the overdue all the same"
    )
    assert all((job.looks, job.attempts) == (1, 0) for job in waiting)


def test_the_looks_of_what_waits_at_a_full_bucket_are_seldom_written() -> None:
    house = House(limiter=Limiters({**LIMITS, "stripe": FULL}))
    house.accept_many(4)
    house.pass_time(timedelta(hours=6))
    assert house.store.calls["save_looks"] <= 8  # each doubles what was waited; one call for a batch


def test_a_message_that_is_lost_while_its_job_waits_at_a_full_bucket_is_sent_again() -> None:
    limiter = Limiters({**LIMITS, "stripe": FULL})
    house = House(limiter=limiter)
    ids = house.accept_many(2)
    house.pass_time(timedelta(minutes=20))
    house.lose_messages()
    limiter.fails = None
    limiter._buckets["stripe"] = replace(limiter._buckets["stripe"], limit=NARROW)
    house.pass_time(timedelta(minutes=40))
    assert {house.job(job_id).state for job_id in ids} == {State.COMPLETED}


def test_without_a_limiter_everything_is_let_through() -> None:
    house = House()
    ids = house.accept_many(10)
    house.consume()

    assert {house.job(job_id).state for job_id in ids} == {State.COMPLETED}
