"""The contract of the limiter: one bucket for all containers, rate and slots together, in one write."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.policies import Lane
from chalicelib.domain.ports import Change, Entry, Outdated, Release
from chalicelib.domain.ratelimit import LIMITS, Ask, Limit, emptied
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.factories import a_job
from tests.fakes import START

UNTIL = START + timedelta(seconds=65)
CONSUMERS = 8
SECONDS = 3.0


def asks(count: int, *, venue: str = "venue-1", most: int = 1000, first: int = 0) -> list[Ask]:
    return [
        Ask(JobId(f"job_{first + index}"), "email.send", most, VenueId(venue), Lane.EXPRESS)
        for index in range(count)
    ]


def an_entry(entry_id: str) -> Entry:
    return Entry(entry_id, START, "admin-1", "set_limit", "provider/ses", None, "calm", "14/s", "2/s")


def test_what_one_container_reserves_another_cannot(records: Records) -> None:
    first = records.limiter().reserve("ses", asks(15), owner="o1", until=UNTIL, now=START)
    second = records.limiter().reserve("ses", asks(15, venue="venue-2"), owner="o2", until=UNTIL, now=START)

    assert (len(first.granted), len(second.granted)) == (15, 5)  # 20 at once
    assert records.limiter().buckets()["ses"].in_flight(START) == 20


def test_slots_that_are_given_back_are_free_at_once(records: Records) -> None:
    mine, other = records.limiter(), records.limiter()
    mine.reserve("ses", asks(15), owner="o1", until=UNTIL, now=START)
    mine.give_back(Release(("ses",), "o1"))

    assert other.buckets()["ses"].in_flight(START) == 0
    assert len(other.reserve("ses", asks(10), owner="o2", until=UNTIL, now=START).granted) == 10


def test_slots_go_back_with_the_save_of_a_batch_whatever_comes_of_its_changes(records: Records) -> None:
    mine, other = records.limiter(), records.limiter()
    for group in ("ses", "stripe"):
        mine.reserve(group, asks(10), owner="o1", until=UNTIL, now=START)
        other.reserve(group, asks(1), owner="o2", until=UNTIL, now=START)
    job = a_job()
    records.store.add(job)
    release = Release(("ses", "stripe"), "o1")
    stale = Change(replace(job, version=7), replace(job, version=8))

    [result] = records.store.save_many([stale], release)
    assert isinstance(result, Outdated)
    mine.given_back(release)

    assert set(other.buckets()["ses"].holdings) == {"o2"}
    assert "o1" not in other.buckets()["stripe"].holdings
    assert len(mine.reserve("ses", asks(10), owner="o3", until=UNTIL, now=START).granted) == 10


def test_slots_of_an_owner_that_died_are_free_when_its_lease_has_ended(records: Records) -> None:
    records.limiter().reserve("stripe", asks(10), owner="o1", until=UNTIL, now=START)

    before = records.limiter().reserve("stripe", asks(1), owner="o2", until=UNTIL, now=START)
    after = records.limiter().reserve("stripe", asks(1), owner="o2", until=UNTIL + timedelta(1), now=UNTIL)

    assert (before.granted, len(after.granted)) == ((), 1)
    assert set(records.limiter().buckets()["stripe"].holdings) == {"o2"}


def test_giving_back_what_nobody_holds_does_no_harm(records: Records) -> None:
    limiter = records.limiter()
    limiter.give_back(Release(("stripe", "ses"), "o1"))

    assert limiter.buckets()["ses"].in_flight(START) == 0
    assert len(limiter.reserve("ses", asks(1), owner="o1", until=UNTIL, now=START).granted) == 1


def test_limit_that_an_operator_sets_holds_for_every_container_and_is_audited(records: Records) -> None:
    user, operator = records.limiter(), records.limiter()
    user.reserve("ses", asks(3), owner="o1", until=UNTIL, now=START)
    bucket = operator.buckets()["ses"]
    slow = Limit(2, 4, 10, timedelta(seconds=5))

    assert operator.save("ses", replace(bucket, limit=slow, version=bucket.version + 1), an_entry("entry_1"))

    assert records.audited() == ["entry_1"]
    assert user.buckets()["ses"].limit == slow
    assert user.buckets()["ses"].in_flight(START) == 3
    assert len(user.reserve("ses", asks(10), owner="o2", until=UNTIL, now=START).granted) == 1


def test_limit_is_set_before_the_first_call_was_ever_made(records: Records) -> None:
    operator = records.limiter()
    bucket = operator.buckets()["twilio"]
    wide = Limit(9, 9, 9, timedelta(seconds=9), reserve=2)

    assert operator.save("twilio", replace(bucket, limit=wide, version=1), an_entry("entry_1"))

    assert operator.buckets()["twilio"].limit == wide
    assert len(operator.reserve("twilio", asks(2), owner="o", until=UNTIL, now=START).granted) == 2


def test_outdated_change_of_a_bucket_is_refused_and_leaves_no_entry(records: Records) -> None:
    operator = records.limiter()
    bucket = operator.buckets()["ses"]
    records.limiter().reserve("ses", asks(1), owner="o1", until=UNTIL, now=START)

    assert not operator.save("ses", emptied(bucket, START), an_entry("entry_1"))
    assert records.audited() == []


def test_bucket_survives_the_way_into_its_record_and_back(records: Records) -> None:
    limiter = records.limiter()
    limiter.reserve("ses", [*asks(3), *asks(2, venue="venue-2")], owner="o1", until=UNTIL, now=START)
    limiter.reserve("ses", asks(40), owner="o2", until=UNTIL, now=START)

    bucket = records.limiter().buckets()["ses"]

    assert bucket.at == START
    assert bucket.level == 5 + sum(slot.count for slot in bucket.holdings["o2"].slots)
    assert {slot.venue_id: slot.count for slot in bucket.holdings["o1"].slots} == {"venue-1": 3, "venue-2": 2}
    assert bucket.venues[VenueId("venue-1")].denied_at == START


@pytest.fixture
def calls(dynamo: DynamoRecords) -> list[str]:
    """Return a list to which the name of every call is added."""
    made: list[str] = []
    dynamo.client.meta.events.register("before-call", lambda model, **_: made.append(model.name))
    return made


def test_container_that_is_alone_reserves_a_batch_in_one_call(dynamo: DynamoRecords, calls: list[str]) -> None:
    limiter = dynamo.limiter()
    limiter.reserve("ses", asks(1), owner="o0", until=UNTIL, now=START)
    calls.clear()
    for number in range(5):
        now = START + timedelta(seconds=number + 1)
        limiter.reserve("ses", asks(10), owner=f"o{number}", until=now, now=now)

    assert calls == ["UpdateItem"] * 5


def test_denied_batch_of_a_venue_that_waits_already_writes_nothing(
    dynamo: DynamoRecords, calls: list[str]
) -> None:
    limiter = dynamo.limiter()
    limiter.reserve("stripe", asks(40), owner="o0", until=UNTIL, now=START)
    calls.clear()

    assert limiter.reserve("stripe", asks(10), owner="o1", until=UNTIL, now=START).granted == ()
    assert "UpdateItem" not in calls


def test_nobody_may_call_when_the_table_does_not_answer(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("GetItem", *[wire.throttle] * 3)

    with pytest.raises(StoreRefused):
        dynamo.limiter().reserve("ses", asks(1), owner="o1", until=UNTIL, now=START)


def test_eight_consumers_overshoot_by_no_more_than_a_burst_and_a_batch(records: Records) -> None:
    limit, batch = LIMITS["ses"], 10
    started: list[datetime] = []
    lock = threading.Lock()
    ends = time.monotonic() + SECONDS

    def consume(number: int) -> None:
        limiter, turn = records.limiter(), 0
        while time.monotonic() < ends:
            turn += 1
            now = datetime.now(UTC)
            owner = f"o{number}-{turn}"
            try:
                granted = limiter.reserve(
                    "ses",
                    asks(batch, venue=f"venue-{turn % 5}"),
                    owner=owner,
                    until=now + timedelta(seconds=5),
                    now=now,
                ).granted
            except StoreRefused:  # too many at once: the batch comes back later
                continue
            with lock:
                started.extend([now] * len(granted))
            limiter.give_back(Release(("ses",), owner))

    with ThreadPoolExecutor(CONSUMERS) as pool:
        list(pool.map(consume, range(CONSUMERS)))

    elapsed = (max(started) - min(started)) / timedelta(seconds=1)
    most = limit.burst + limit.per_second * elapsed
    assert most * 0.8 <= len(started) <= most + batch
