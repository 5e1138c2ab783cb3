"""What a record says is what the job was: nothing is lost on the way into a table and back."""

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws import records
from chalicelib.aws.attributes import Item, at, seconds
from chalicelib.domain.controls import Control, Controls, Scope
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import (
    AT_REST,
    Attempt,
    ClaimId,
    Job,
    JobId,
    KeyId,
    Poll,
    Reason,
    StageId,
    State,
    UserId,
    VenueId,
)
from chalicelib.domain.keys import Key
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Tier
from tests.factories import a_job
from tests.fakes import START

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
counts = st.integers(0, 2**40)
moments = st.integers(0, 4_102_444_800_000).map(at)  # to the year 2100, in whole milliseconds
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
documents = st.dictionaries(words, values, max_size=4)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


failures = st.builds(Failure, words, words, maybe(words))
attempts = st.builds(
    lambda number, start, took, outcome, code, reference: Attempt(
        number, start, start + timedelta(milliseconds=took), outcome, code, reference
    ),
    counts,
    moments,
    st.integers(0, 10**9),
    words,
    maybe(words),
    maybe(words),
)


NONE: st.SearchStrategy[StageId | None] = st.none()


@st.composite
def jobs(draw: st.DrawFn, stages: st.SearchStrategy[StageId | None] = NONE) -> Job:
    state = draw(st.sampled_from(State))
    rests = state in AT_REST
    stage = draw(stages)
    apart = draw(st.booleans())
    return Job(
        id=JobId(draw(names)),
        type=draw(words),
        tier=draw(st.sampled_from(Tier)),
        venue_id=VenueId(draw(words)),
        submitted_by=draw(words),
        user_id=draw(maybe(words.map(UserId))),
        key_id=KeyId(draw(words)),
        payload_hash=draw(words),
        payload=None if apart else draw(documents),
        payload_apart=apart,
        callback_url=draw(maybe(words)),
        priority=draw(st.integers(1, 10)),
        created_at=draw(moments),
        due=draw(moments),
        state=state,
        next_attempt_at=draw(moments),
        max_attempts=draw(counts),
        next_look=None if rests or stage is not None else draw(moments),
        version=draw(st.integers(1, 2**40)),
        fence=draw(counts),
        generation=draw(counts),
        attempts=draw(counts),
        looks=0 if rests or stage is not None else draw(counts),
        overdue=False if rests else draw(st.booleans()),
        reason=draw(maybe(st.sampled_from(Reason))),
        claim_id=draw(maybe(words.map(ClaimId))),
        claimed_at=draw(maybe(moments)),
        lease_until=draw(maybe(moments)),
        begun=draw(st.booleans()),
        doubt=draw(maybe(moments)),
        key_used_at=draw(maybe(moments)),
        poll=draw(maybe(st.sampled_from(Poll))),
        poll_since=draw(maybe(moments)),
        handle=draw(maybe(words)),
        result=draw(maybe(documents)),
        error=draw(maybe(failures)),
        processed_at=draw(maybe(moments)),
        finished_at=draw(maybe(moments)),
        expires_at=draw(maybe(moments)),
        history=tuple(draw(st.lists(attempts, max_size=3))),
        stage=stage,
        batch_id=draw(maybe(words)),
        batch_index=draw(maybe(st.integers(0, 99))),
        callback_endpoint_id=draw(maybe(words)),
    )


@given(jobs(stages=maybe(words.map(StageId))))
def test_job_comes_back_from_its_record(job: Job) -> None:
    assert records.job(records.job_item(job)) == job


@given(jobs())
def test_record_holds_nothing_that_is_empty_or_usual(job: Job) -> None:
    assert all(value not in ({"NULL": True}, {"BOOL": False}) for value in records.job_item(job).values())


ACCEPTED = set(records.ACCEPTED)
KNOWN = {name for name, _ in {**records.ACCEPTED, **records.MOVING, **records.LOOK}.values()}


@given(jobs(), jobs())
def test_difference_makes_the_one_record_the_other(before: Job, other: Job) -> None:
    after = replace(other, **{name: getattr(before, name) for name in ACCEPTED})

    item = applied(records.job_item(before), records.difference(before, after))

    assert item == records.job_item(after)


@given(jobs(), jobs())
def test_difference_writes_nothing_that_is_the_same(before: Job, other: Job) -> None:
    after = replace(other, **{name: getattr(before, name) for name in ACCEPTED})
    old, new = records.job_item(before), records.job_item(after)
    change = records.difference(before, after)

    look = {"ag", "nl", "lo"}
    same = {name for name in new if old.get(name) == new[name]} - look - {records.TTL}  # TTL counts seconds
    assert not same & set(change.sets)
    if (before.next_look, before.looks) == (after.next_look, after.looks):
        assert not look & set(change.sets)


@given(jobs())
def test_difference_never_writes_what_was_accepted(job: Job) -> None:
    other = replace(job, payload={"x": 1}, payload_apart=not job.payload_apart, venue_id=VenueId("other"))
    change = records.difference(job, replace(other, version=job.version + 1))

    assert set(change.sets) == {"vn"}


strange_names = names.filter(lambda name: name not in KNOWN)


@given(jobs(), st.dictionaries(strange_names, st.just({"S": "of a newer version"}), max_size=3))
def test_unknown_attributes_are_passed_over(job: Job, unknown: dict[str, Any]) -> None:
    assert records.job({**records.job_item(job), **unknown}) == job


def test_every_field_of_a_job_has_its_place() -> None:
    places = [*records.ACCEPTED, *records.MOVING, *records.LOOK]
    assert sorted(places) == sorted(field.name for field in fields(Job))


def test_no_two_fields_share_a_name() -> None:
    assert len(KNOWN | {"ag", records.TTL}) == len(fields(Job)) + 2


@pytest.mark.parametrize(
    "broken", [{"st": {"S": "of a newer version"}}, {"cr": {"S": "now"}}, {"er": {"S": "{"}}]
)
def test_record_that_this_version_cannot_read_is_a_store_error(broken: Item) -> None:
    with pytest.raises(StoreRefused):
        records.job({**records.job_item(a_job()), **broken})


def test_record_without_a_needed_field_is_a_store_error() -> None:
    item = records.job_item(a_job())
    del item["ve"]
    with pytest.raises(StoreRefused):
        records.job(item)


keys = st.builds(
    Key,
    id=names.map(KeyId),
    job_id=names.map(JobId),
    payload_hash=words,
    natural=st.booleans(),
    stage=maybe(names.map(StageId)),
    created_at=moments,
    period=st.integers(0, 10**11).map(lambda value: timedelta(milliseconds=value)),
)


@given(keys)
def test_key_comes_back_from_its_record(key: Key) -> None:
    assert records.key(records.key_item(key)) == key


controls = st.builds(
    Controls,
    entries=st.lists(
        st.builds(Control, st.sampled_from(Scope), words, words, words, moments, maybe(moments)), max_size=4
    ).map(tuple),
    version=st.integers(1, 2**40),
)


@given(controls)
def test_controls_come_back_from_their_record(value: Controls) -> None:
    assert records.controls(records.controls_item(value)) == value


def test_controls_without_a_record_hold_nothing_back() -> None:
    assert records.controls(None) == Controls()


@given(moments)
def test_expiry_is_never_before_its_moment_and_within_a_second_of_it(moment: datetime) -> None:
    expiry = at(int(seconds(moment)["N"]) * 1000)
    assert moment <= expiry < moment + timedelta(seconds=1)


@given(st.text())
def test_any_text_may_be_asked_for(text: str) -> None:
    assert not records.findable(text) or text.encode()


def test_job_that_is_open_has_a_look() -> None:
    with pytest.raises(ValueError, match="has no look"):
        records.look(replace(a_job(), next_look=None))


def test_shards_are_used_evenly_and_stay_the_same() -> None:
    shards = [records.shard_of(JobId(f"job_{number}")) for number in range(4000)]
    assert {shard: 800 < shards.count(shard) < 1200 for shard in range(4)} == dict.fromkeys(range(4), True)
    assert [records.shard_of(JobId(name)) for name in ("a", "b", "c")] == [3, 1, 3]


def test_start_is_a_whole_millisecond() -> None:
    assert at(int(records.job_item(a_job())["cr"]["N"])) == START


def applied(item: dict[str, Any], change: records.Difference) -> dict[str, Any]:
    """Return an item as a write leaves it."""
    return {name: value for name, value in item.items() if name not in change.removes} | change.sets
