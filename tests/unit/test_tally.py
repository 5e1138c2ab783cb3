from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.job import Attempt, Job, Reason, State
from chalicelib.domain.policies import Tier
from chalicelib.domain.tally import (
    BUCKETS,
    HOUR,
    MINUTE,
    Depths,
    Flow,
    Measure,
    Name,
    Results,
    Series,
    bucket_of,
    failure_rate,
    folded,
    hour_of,
    percentile,
    tally,
)
from tests.factories import a_job
from tests.fakes import START

PAYMENT = "payment.process"
TIERS = {PAYMENT: Tier.MONEY, "email.send": Tier.COMMUNICATION}


def running(**more: object) -> Job:
    return replace(a_job(type=PAYMENT), state=State.RUNNING, processed_at=START, attempts=1, **more)  # type: ignore[arg-type]  # a test's own


def settled(state: State, reason: Reason | None = None, took: timedelta = timedelta(seconds=1)) -> Job:
    attempt = Attempt(1, START, START + took, "said")
    return replace(running(), state=state, reason=reason, history=(attempt,))


@pytest.mark.parametrize(
    ("after", "measure"),
    [
        (settled(State.COMPLETED), Measure.SUCCESS),
        (settled(State.FAILED, Reason.REFUSED), Measure.REFUSED),
        (settled(State.FAILED, Reason.EXHAUSTED), Measure.FAILURE),
        (settled(State.FAILED, Reason.EXPIRED), Measure.FAILURE),
        (settled(State.PARKED), Measure.PARKED),
        (settled(State.RETRYING), Measure.RETRIED),
    ],
)
def test_a_settled_attempt_is_counted_by_its_end_and_its_duration(after: Job, measure: Measure) -> None:
    assert tally([(running(), after)]) == {
        Name(measure, PAYMENT): 1,
        Name(Measure.TOOK, PAYMENT, "1"): 1,
        Name(Measure.MILLISECONDS, PAYMENT): 1000,
    }


def test_only_the_first_claim_of_a_job_begins_it() -> None:
    queued = a_job(type=PAYMENT)
    again = replace(queued, state=State.RETRYING, processed_at=START)
    assert tally([(queued, running())]) == {Name(Measure.BEGUN, PAYMENT): 1}
    assert tally([(again, running())]) == {Name(Measure.RESUMED, PAYMENT): 1}


def test_a_job_that_ends_without_an_attempt_took_no_time() -> None:
    waiting = replace(running(), state=State.RETRYING)
    ended = replace(waiting, state=State.FAILED, reason=Reason.EXPIRED)
    assert tally([(waiting, ended)]) == {Name(Measure.FAILURE, PAYMENT): 1, Name(Measure.RESUMED, PAYMENT): 1}


def test_equal_counts_of_a_batch_add_up() -> None:
    change = (running(), settled(State.COMPLETED))
    assert tally([change, change])[Name(Measure.SUCCESS, PAYMENT)] == 2


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, "0.1"), (0.1, "0.1"), (0.101, "0.5"), (60, "60"), (60.001, "inf"), (1, "1")]
)
def test_a_duration_lies_in_the_least_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    assert bucket_of(timedelta(seconds=seconds)) == bucket


names = st.builds(
    Name,
    st.sampled_from(Measure),
    st.sampled_from(list(TIERS)),
    st.none() | st.sampled_from([f"{bound:g}" for bound in BUCKETS]),
)


@given(names)
def test_a_name_is_read_as_it_was_written(name: Name) -> None:
    assert Name.of(str(name)) == name


@given(st.lists(st.dictionaries(names, st.integers(1, 1000)), max_size=150))
def test_minutes_add_up_to_the_totals_and_no_more_than_an_hour_and_a_day_of_them_is_kept(
    minutes: list[dict[Name, int]],
) -> None:
    series = Series(until=START)
    for counts in minutes:
        series = folded(series, counts, {}, TIERS)
    assert sum(series.totals.values()) == sum(sum(counts.values()) for counts in minutes)
    assert series.until == START + len(minutes) * MINUTE
    assert len(series.minutes) <= 60
    assert all(series.until - at <= 60 * MINUTE for at in series.minutes)
    assert all(hour_of(series.until - MINUTE) - at < 24 * HOUR for at in series.hours)


def test_a_minute_is_told_by_tier_and_its_hour_by_type() -> None:
    counts = {
        Name(Measure.BEGUN, PAYMENT): 7,
        Name(Measure.SUCCESS, PAYMENT): 3,
        Name(Measure.FAILURE, PAYMENT): 2,
        Name(Measure.REFUSED, "email.send"): 1,
        Name(Measure.TOOK, PAYMENT, "0.5"): 4,
        Name(Measure.TOOK, PAYMENT, "inf"): 1,
    }
    series = folded(folded(Series(until=START), counts, {Tier.MONEY: Depths(9, 4)}, TIERS), counts, {}, TIERS)
    assert series.minutes[START] == {
        Tier.MONEY: Flow(begun=7, success=3, failure=2, depths=Depths(9, 4), took=(0, 4, 0, 0, 0, 0, 0, 0, 1)),
        Tier.COMMUNICATION: Flow(refused=1),
    }
    assert series.hours[hour_of(START)] == {PAYMENT: Results(6, 4, 0), "email.send": Results(0, 0, 2)}


def test_a_percentile_is_the_least_bound_that_this_part_kept() -> None:
    hour = [Flow(took=(10, 0, 0, 0, 0, 0, 0, 0, 0)), Flow(), Flow(took=(5, 4, 0, 0, 0, 0, 0, 0, 1))]
    assert percentile(hour, 0.75) == "0.1"
    assert percentile(hour, 0.95) == "0.5"
    assert percentile(hour, 0.96) == "inf"
    assert percentile([Flow()], 0.95) is None


def test_the_failure_rate_leaves_refusals_out_and_says_nothing_of_too_few() -> None:
    flows = [Flow(success=15, failure=5, refused=100)]
    assert failure_rate(flows, least=20) == 0.25
    assert failure_rate(flows, least=21) is None
