from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.job import Job, JobId, Reason, State, VenueId
from chalicelib.domain.keys import (
    Conflict,
    Duplicate,
    Hit,
    Key,
    Released,
    Unfinished,
    came_to_nothing,
    digest,
    judge,
    key_id,
    lives,
    payload_hash,
)
from chalicelib.domain.policies import TIMING
from tests.factories import VENUE, a_job, a_key
from tests.fakes import START

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MS = timedelta(milliseconds=1)
HELD = a_key(job_id="job_1")
SAME = a_key(job_id="job_2")
OTHER = a_key(job_id="job_2", payload_hash="another payload")


def judged(holder: Job | None, offered: Key = SAME, *, held: Key = HELD, after: timedelta = HOUR) -> Hit:
    return judge(held, holder, offered, now=START + after, timing=TIMING)


def ending(state: State, reason: Reason | None = None) -> Job:
    return replace(a_job(), state=state, reason=reason)


def test_a_key_is_scoped_by_venue_and_type() -> None:
    ids = {
        key_id(venue, job_type, given="k", natural=())
        for venue in (VenueId("venue-1"), VenueId("venue-2"))
        for job_type in ("payment.process", "email.send")
    }
    assert len(ids) == 4
    assert all(each.count("#") == 2 for each in ids)


def test_the_callers_own_key_wins_over_the_natural_one() -> None:
    given_alone = key_id(VENUE, "payment.process", given="k", natural=())
    assert key_id(VENUE, "payment.process", given="k", natural=("a",)) == given_alone
    assert key_id(VENUE, "payment.process", given=None, natural=("a",)) != given_alone


def test_a_given_key_never_meets_a_natural_one() -> None:
    natural = key_id(VENUE, "payment.process", given=None, natural=("k",))
    assert key_id(VENUE, "payment.process", given="k", natural=()) != natural
    assert key_id(VENUE, "payment.process", given="", natural=("k",)) != natural


@given(st.lists(st.text() | st.integers() | st.none(), min_size=2, max_size=4, unique_by=str))
def test_natural_keys_of_other_parts_or_another_order_differ(parts: list[object]) -> None:
    turned = tuple(reversed(parts))
    assert key_id(VENUE, "t", given=None, natural=tuple(parts)) != key_id(
        VENUE, "t", given=None, natural=turned
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_a_payloads_hash_does_not_depend_on_the_order_of_its_keys(data: dict[str, object]) -> None:
    turned = dict(reversed(list(data.items())))
    assert payload_hash(turned) == payload_hash(data)
    assert payload_hash({**data, "one more": 1}) != payload_hash(data)


def test_digests_are_stable_for_ever() -> None:
    assert digest({"b": 1, "a": "é"}) == digest({"a": "é", "b": 1})
    assert digest({"b": 1, "a": "é"}) == "6d9eb45284090145dc16661b06abe01185a16a7d"
    assert digest([1]) != digest(["1"])
    assert digest([START]) == digest([str(START)])
    assert (
        key_id(VENUE, "t", given=None, natural=("k",)) == "venue-1#t#1ca6e8d50790ba28097d9f8aef094e87608dd133"
    )
    assert key_id(VENUE, "t", given="k", natural=()) == "venue-1#t#15038d0efd902929406903fc48cf358cbc17f76c"


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RUNNING, State.RETRYING, State.PARKED])
@pytest.mark.parametrize("after", [HOUR, 400 * DAY])
@pytest.mark.parametrize("natural", [False, True])
def test_a_key_lives_as_long_as_its_job_is_not_terminal(state: State, after: timedelta, natural: bool) -> None:
    job = ending(state)
    held = replace(HELD, natural=natural)
    assert judged(job, held=held, after=after) == Duplicate(job)
    assert judged(job, OTHER, held=held, after=after) == Conflict(JobId("job_1"))


ENDS = [
    (ending(State.COMPLETED), False),
    (ending(State.FAILED, Reason.REFUSED), True),
    (ending(State.FAILED, Reason.EXHAUSTED), False),
    (ending(State.FAILED, Reason.EXPIRED), False),
    (ending(State.CANCELLED), True),
]


@pytest.mark.parametrize(("job", "released_early"), ENDS)
@pytest.mark.parametrize("natural", [False, True])
def test_only_a_natural_key_is_released_early_and_only_if_nothing_came_of_its_job(
    job: Job, released_early: bool, natural: bool
) -> None:
    held = replace(HELD, natural=natural)
    early = Released() if natural and released_early else Duplicate(job)
    assert judged(job, held=held) == early
    assert judged(job, OTHER, held=held) == (early if early == Released() else Conflict(JobId("job_1")))


@pytest.mark.parametrize("job", [job for job, _ in ENDS])
def test_a_terminal_jobs_key_lives_for_its_period(job: Job) -> None:
    assert judged(job, after=DAY - MS) == Duplicate(job)
    assert judged(job, after=DAY) == Released()
    assert judged(job, OTHER, after=DAY) == Released()


def test_a_natural_key_in_doubt_is_not_released_early() -> None:
    held = replace(HELD, natural=True)
    job = replace(ending(State.FAILED, Reason.REFUSED), doubt=START)
    assert lives(held, job, START + HOUR)


@pytest.mark.parametrize(
    ("offered", "after", "hit"),
    [
        pytest.param(SAME, timedelta(0), Unfinished(JobId("job_1")), id="same payload"),
        pytest.param(SAME, DAY, Unfinished(JobId("job_1")), id="same payload, at the end of its period"),
        pytest.param(SAME, DAY + MS, Released(), id="same payload, period over"),
        pytest.param(OTHER, timedelta(0), Conflict(JobId("job_1")), id="other payload: may be under way"),
        pytest.param(OTHER, timedelta(seconds=60), Conflict(JobId("job_1")), id="other, a minute later"),
        pytest.param(OTHER, timedelta(seconds=60) + MS, Released(), id="other, nobody can be at it"),
    ],
)
def test_a_key_without_a_job_is_a_crash_in_between(offered: Key, after: timedelta, hit: Hit) -> None:
    assert judged(None, offered, after=after) == hit


@pytest.mark.parametrize("state", list(State))
def test_what_came_to_nothing(state: State) -> None:
    nothing = state is State.CANCELLED
    assert came_to_nothing(ending(state)) is nothing
    assert came_to_nothing(ending(state, Reason.REFUSED)) is (nothing or state is State.FAILED)
