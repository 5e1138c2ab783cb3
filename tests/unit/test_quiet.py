"""When quiet hours end, whatever summer time does to the clocks."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.quiet import QuietHours

NIGHT = QuietHours("Europe/Berlin", time(21), time(8))
NOON = QuietHours("UTC", time(12), time(14))
ZONES = sorted(available_timezones())


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        pytest.param(NIGHT, "2026-11-24T22:00", "2026-11-25T07:00", id="23:00 waits until 08:00"),
        pytest.param(NIGHT, "2026-11-25T06:59:59", "2026-11-25T07:00", id="the last second"),
        pytest.param(NIGHT, "2026-11-25T07:00", None, id="08:00 is no longer quiet"),
        pytest.param(NIGHT, "2026-11-24T19:59", None, id="20:59 is not quiet yet"),
        pytest.param(NIGHT, "2026-11-24T20:00", "2026-11-25T07:00", id="21:00 is"),
        pytest.param(NIGHT, "2026-07-01T21:00", "2026-07-02T06:00", id="in summer an hour earlier"),
        pytest.param(NIGHT, "2026-03-28T22:00", "2026-03-29T06:00", id="the night that loses an hour"),
        pytest.param(NIGHT, "2026-10-24T21:00", "2026-10-25T07:00", id="the night that gains one"),
        pytest.param(
            QuietHours("Europe/Berlin", time(21), time(2, 30)),
            "2026-03-28T22:00",
            "2026-03-29T01:30",
            id="an end that is skipped comes after the gap",
        ),
        pytest.param(
            QuietHours("Europe/Berlin", time(21), time(2, 30)),
            "2026-10-24T22:00",
            "2026-10-25T00:30",
            id="an end that comes twice, its first",
        ),
        pytest.param(
            QuietHours("Europe/Berlin", time(21), time(2, 30)),
            "2026-10-25T01:10",
            "2026-10-25T01:30",
            id="and its second, by then",
        ),
        pytest.param(
            QuietHours("Australia/Lord_Howe", time(21), time(8)),
            "2026-11-24T11:00",
            "2026-11-24T21:00",
            id="half an hour of summer time",
        ),
        pytest.param(
            QuietHours("UTC", time(13), time(15)), "2026-11-24T14:00", "2026-11-24T15:00", id="by day"
        ),
        pytest.param(QuietHours("UTC", time(13), time(15)), "2026-11-24T16:00", None, id="by day, over"),
        pytest.param(QuietHours("UTC", time(8), time(8)), "2026-11-24T08:00", None, id="none at all"),
    ],
)
def test_quiet_hours_end(hours: QuietHours, now: str, until: str | None) -> None:
    assert hours.until(utc(now)) == (None if until is None else utc(until))


@given(
    zone=st.sampled_from(ZONES),
    begins=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    ends=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - aware by `timezones`
)
def test_what_waits_is_let_out_within_a_day_and_in_no_quiet_hour(
    zone: str, begins: time, ends: time, now: datetime
) -> None:
    hours = QuietHours(zone, begins, ends)
    until = hours.until(now)
    clock = now.astimezone(ZoneInfo(zone)).time()
    quiet = begins <= clock < ends if begins <= ends else clock >= begins or clock < ends
    assert (until is not None) is quiet
    if until is not None:
        assert now < until <= now + timedelta(hours=26)
        # Where clocks are set back over the end, the same hours may begin once more.
        again = hours.until(until)
        assert again is None or again <= until + timedelta(hours=3)


def test_they_say_when_they_are() -> None:
    assert str(NIGHT) == "21:00 to 08:00 Europe/Berlin"
