"""When schedules come round: tables over the nights on which clocks are shifted, and a walk by minutes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.service.cron import Cron, NoSuchZone, NotCron, zone

MINUTE = timedelta(minutes=1)
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
CAIRO, KOLKATA = "Africa/Cairo", "Asia/Kolkata"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def shown(moments: list[datetime], time_zone: str) -> list[str]:
    """Return moments as a clock in the zone shows them, with its offset."""
    return [each.astimezone(ZoneInfo(time_zone)).isoformat(timespec="minutes") for each in moments]


# Zone, expression, a moment before the shift, and the next runs as the clock there shows them.
SHIFTS: list[tuple[str, str, str, list[str]]] = [
    # A time of day that is skipped runs once, when the gap ends; the next day all is as ever.
    (BERLIN, "30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
    (BERLIN, "0,30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
    (BERLIN, "0 2,3 * * *", "2026-03-28T12:00Z", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
    (NEW_YORK, "15 2 * * *", "2026-03-07T12:00Z", ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"]),
    (LORD_HOWE, "15 2 * * *", "2026-10-03T12:00Z", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
    (CAIRO, "30 0 * * *", "2026-04-23T12:00Z", ["2026-04-24T01:00+03:00", "2026-04-25T00:30+03:00"]),
    # One that is repeated runs once, the first time.
    (BERLIN, "30 2 * * *", "2026-10-24T12:00Z", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
    (BERLIN, "30 2 * * *", "2026-10-25T00:45Z", ["2026-10-26T02:30+01:00"]),
    (BERLIN, "30 2 * * *", "2026-10-25T01:10Z", ["2026-10-26T02:30+01:00"]),
    (NEW_YORK, "30 1 * * *", "2026-10-31T12:00Z", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
    (LORD_HOWE, "45 1 * * *", "2026-04-04T10:00Z", ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
    # What runs every hour or every few minutes runs by real time.
    (BERLIN, "0 * * * *", "2026-03-29T00:30Z", ["2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"]),
    (
        BERLIN,
        "0 * * * *",
        "2026-10-24T23:30Z",
        ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
    ),
    (BERLIN, "*/30 2 * * *", "2026-03-28T12:00Z", ["2026-03-30T02:00+02:00", "2026-03-30T02:30+02:00"]),
    # cronsim's own way over these two shifts misses 03:00 to 03:20 and the hour after midnight.
    (LORD_HOWE, "*/20 3 * * *", "2026-10-03T14:00Z", ["2026-10-04T03:00+11:00", "2026-10-04T03:20+11:00"]),
    (LORD_HOWE, "*/15 2 * * *", "2026-10-03T14:00Z", ["2026-10-04T02:30+11:00", "2026-10-04T02:45+11:00"]),
    (LORD_HOWE, "*/30 1 * * *", "2026-04-04T14:15Z", ["2026-04-05T01:30+11:00", "2026-04-05T01:30+10:30"]),
    (CAIRO, "*/20 1 * * *", "2026-04-23T12:00Z", ["2026-04-24T01:00+03:00", "2026-04-24T01:20+03:00"]),
    # Zones without summer time, and with a half hour.
    (KOLKATA, "0 9 * * *", "2026-03-01T00:00Z", ["2026-03-01T09:00+05:30", "2026-03-02T09:00+05:30"]),
    ("UTC", "0 0 29 2 *", "2026-03-01T00:00Z", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]),
]


@pytest.mark.parametrize(("time_zone", "expression", "after", "wanted"), SHIFTS)
def test_runs_across_a_shift(time_zone: str, expression: str, after: str, wanted: list[str]) -> None:
    found = Cron(expression, time_zone).upcoming(at(after), len(wanted))
    assert shown(found, time_zone) == wanted


# Day of month and day of week: both must hold if either begins with a star, else one is enough.
DAYS: list[tuple[str, list[str]]] = [
    ("0 0 13 * FRI", ["2026-03-06", "2026-03-13", "2026-03-20"]),
    ("0 0 * * 1-5", ["2026-03-02", "2026-03-03", "2026-03-04"]),
    ("0 0 1 */3 *", ["2026-04-01", "2026-07-01", "2026-10-01"]),
    ("0 0 L * *", ["2026-03-31", "2026-04-30", "2026-05-31"]),
    ("0 0 * * 0", ["2026-03-08", "2026-03-15", "2026-03-22"]),
    ("0 0 * * SUN#1", ["2026-04-05", "2026-05-03", "2026-06-07"]),
]


@pytest.mark.parametrize(("expression", "wanted"), DAYS)
def test_days_are_those_of_the_expression(expression: str, wanted: list[str]) -> None:
    found = Cron(expression, "UTC").upcoming(at("2026-03-01T12:00Z"), len(wanted))
    assert [each.date().isoformat() for each in found] == wanted


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("0 0 9 * * *", "seconds"),
        ("* * * *", "five fields"),
        ("* * * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("", "five fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("a * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        (", * * * *", "minute"),
        ("0 0 30 2 *", "day-of-month"),
        ("0 0 31 4,6,9,11 *", "day-of-month"),
        ("0 0 */28 2 MON#3", "never"),
    ],
)
def test_what_is_no_expression_or_never_comes_true_is_refused(expression: str, word: str) -> None:
    with pytest.raises(NotCron, match=word):
        Cron(expression, "UTC")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe",
        "europe/berlin",
        "right/UTC",
        "posix/UTC",
        "../UTC",
        "/etc/localtime",
        "UTC\0",
        "CET+1",
        "Factory",
    ],
)
def test_what_is_no_zone_of_iana_is_refused(name: str) -> None:
    with pytest.raises(NoSuchZone):
        zone(name)


def fields(least: int, most: int) -> st.SearchStrategy[str]:
    """Return one field of an expression: a star, a step, a value, a list, a range."""
    values = st.integers(least, most)
    pairs = st.tuples(values, values).map(sorted)
    return st.one_of(
        st.just("*"),
        st.integers(1, most).map(lambda step: f"*/{step}"),
        values.map(str),
        st.lists(values, min_size=2, max_size=4).map(lambda some: ",".join(map(str, some))),
        pairs.map(lambda pair: f"{pair[0]}-{pair[1]}"),
    )


expressions = st.tuples(fields(0, 59), fields(0, 23), st.just("*"), st.just("*"), fields(0, 6)).map(" ".join)
# A day before each shift of a year, by zone; a walk of two days goes over the shift and out again.
NIGHTS: list[tuple[str, str]] = [
    (BERLIN, "2026-03-28T12:00Z"),
    (BERLIN, "2026-10-24T12:00Z"),
    (NEW_YORK, "2026-03-07T18:00Z"),
    (NEW_YORK, "2026-10-31T18:00Z"),
    (LORD_HOWE, "2026-04-04T03:00Z"),
    (LORD_HOWE, "2026-10-03T03:00Z"),
    (CAIRO, "2026-04-23T10:00Z"),
    (CAIRO, "2026-10-29T10:00Z"),
    ("America/St_Johns", "2026-03-07T16:00Z"),
    ("Pacific/Chatham", "2026-09-26T02:00Z"),
    ("UTC", "2026-02-28T00:00Z"),
]


def walked(expression: str, time_zone: str, after: datetime, until: datetime) -> list[datetime]:
    """Return the runs by looking at every minute: the rule of the contract, as plainly as it can be said."""
    there = ZoneInfo(time_zone)
    minutes = [after + MINUTE * n for n in range(1, (until - after) // MINUTE + 1)]
    minute, hour, *_ = expression.split()
    if minute.startswith("*") or hour.startswith("*"):
        return [each for each in minutes if true_at(expression, each.astimezone(there))]
    runs: list[datetime] = []
    latest = after.astimezone(there).replace(tzinfo=None)  # the latest the clock has shown so far
    for each in minutes:
        wall = each.astimezone(there).replace(tzinfo=None)
        # Every time of day that the clock passes for the first time, whether it shows it or jumps over it.
        passed = [latest + MINUTE * n for n in range(1, (wall - latest) // MINUTE + 1)]
        if any(true_at(expression, time) for time in passed):
            runs.append(each)
        latest = max(latest, wall)
    return runs


def true_at(expression: str, wall: datetime) -> bool:
    sim = CronSim(expression, datetime(2026, 1, 1))  # noqa: DTZ001 - only for its fields
    return wall.minute in sim.minutes and wall.hour in sim.hours and sim.match_day(wall.date())


@settings(max_examples=150)
@given(expression=expressions, night=st.sampled_from(NIGHTS))
def test_runs_are_those_of_a_walk_by_minutes(expression: str, night: tuple[str, str]) -> None:
    time_zone, start = night
    after, until = at(start), at(start) + timedelta(days=2)
    cron, found = Cron(expression, time_zone), []
    due = cron.following(after)
    while due is not None and due <= until:
        found.append(due)
        due = cron.following(due)
    assert found == walked(expression, time_zone, after, until)


@settings(max_examples=150)
@given(
    expression=expressions,
    night=st.sampled_from(NIGHTS),
    offset=st.integers(0, 2 * 86_400_000).map(lambda ms: timedelta(milliseconds=ms)),
)
def test_the_next_run_lies_strictly_later_on_a_whole_minute(
    expression: str, night: tuple[str, str], offset: timedelta
) -> None:
    after = at(night[1]) + offset
    found = Cron(expression, night[0]).upcoming(after, 3)
    assert all(one < other for one, other in pairwise([after, *found]))
    assert all((each.second, each.microsecond) == (0, 0) for each in found)


@pytest.mark.parametrize("time_zone", [BERLIN, NEW_YORK, LORD_HOWE, CAIRO])
@pytest.mark.parametrize("expression", ["30 2 * * *", "15 0 1 * *", "45 1 * * SUN"])
def test_a_time_of_day_runs_once_on_each_of_its_days_all_year(expression: str, time_zone: str) -> None:
    cron, found = Cron(expression, time_zone), []
    due = cron.following(at("2026-01-01T12:00Z"))
    while due is not None and due < at("2027-01-01T12:00Z"):
        found.append(due)
        due = cron.following(due)
    days = [each.astimezone(ZoneInfo(time_zone)).date() for each in found]
    assert len(days) == len(set(days))
    assert len(days) == {"30 2 * * *": 365, "15 0 1 * *": 12, "45 1 * * SUN": 52}[expression]
