"""When a cron expression comes true on the clocks of a time zone, whatever summer time does to them.

As Debian's cron has it. An expression whose minute or hour begins with `*` follows real time: it comes true
whenever the clock on the wall matches, so a skipped hour has no runs and a repeated one has them twice.
Any other names times of day: one that is skipped runs once, at the end of the gap, and one that is repeated
runs once, at its first. cronsim reads the expression and counts on a clock that is never shifted; the shifts
are made here, because its own way over them loses time where a shift is at midnight or of half an hour.
It and the zones are loaded with the first schedule: they are 3 ms of a start, and few containers see one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache

FIELDS = 5
MINUTE = timedelta(minutes=1)
STRIDE = timedelta(days=1)  # no zone has two shifts within it that cancel each other out


class NotCron(ValueError):
    """The text is no cron expression that is run here; the message says what to do."""


class NoSuchZone(ValueError):
    """There is no time zone of this name."""


class Cron:
    """A cron expression on the clocks of a time zone; raises NotCron or NoSuchZone."""

    def __init__(self, expression: str, time_zone: str) -> None:
        self._expression = _checked(expression)
        self._zone = zone(time_zone)

    def following(self, after: datetime) -> datetime | None:
        """Return the first moment after this one at which it comes true, in UTC; None: not within 50 years."""
        return self._in_real_time(after) if self._follows_real_time else self._at_times_of_day(after)

    def upcoming(self, after: datetime, count: int) -> list[datetime]:
        """Return the next moments, at most so many."""
        found: list[datetime] = []
        due = self.following(after)
        while due is not None and len(found) < count:
            found.append(due)
            due = self.following(due)
        return found

    @cached_property
    def _follows_real_time(self) -> bool:
        minute, hour, *_ = self._expression.split()
        return minute.startswith("*") or hour.startswith("*")

    def _in_real_time(self, after: datetime) -> datetime | None:
        """Count as if the clock were never shifted; where it is shifted first, go on from there."""
        while True:
            offset = self._offset(after)
            wall = next(_walls(self._expression, after + offset), None)
            if wall is None:
                return None
            found = wall.replace(tzinfo=UTC) - offset
            shift = self._shift(after, found)
            if shift is None or shift > found:
                return found
            if _matches(self._expression, shift + self._offset(shift)):
                return shift
            after = shift

    def _at_times_of_day(self, after: datetime) -> datetime | None:
        for wall in _walls(self._expression, after + self._offset(after)):
            found = self._moment(wall)
            if found > after:
                return found
        return None

    def _moment(self, wall: datetime) -> datetime:
        """Return when the clock shows this: the first time of two; if it never does, the end of the gap."""
        first = wall.replace(tzinfo=self._zone).astimezone(UTC)
        second = wall.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return first if first <= second else self._shift(second, first) or first

    def _shift(self, after: datetime, until: datetime) -> datetime | None:
        """Return the first moment, after one and up to another, at which the clock has another offset."""
        offset = self._offset(after)
        while after < until:
            reached = min(after + STRIDE, until)
            if self._offset(reached) != offset:
                return self._bisected(after, reached)
            after = reached
        return None

    def _bisected(self, before: datetime, shifted: datetime) -> datetime:
        """Return the one shift between two moments; shifts come on whole minutes."""
        offset = self._offset(before)
        before, shifted = (each.replace(second=0, microsecond=0) for each in (before, shifted))
        while shifted - before > MINUTE:
            middle = before + (shifted - before) // MINUTE // 2 * MINUTE
            before, shifted = (middle, shifted) if self._offset(middle) == offset else (before, middle)
        return shifted

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta(0)


def _matches(expression: str, wall: datetime) -> bool:
    """Whether an expression comes true at a moment of a clock that is never shifted."""
    return next(_walls(expression, wall - MINUTE), None) == wall.replace(tzinfo=None)


def _walls(expression: str, after: datetime) -> Iterator[datetime]:
    """Give the times at which an expression comes true, after one, on a clock that is never shifted."""
    from cronsim import CronSim

    return CronSim(expression, after.replace(tzinfo=None))


def _checked(expression: str) -> str:
    """Return an expression that comes true at some time; raises NotCron."""
    fields = expression.split()
    if len(fields) == FIELDS + 1:
        raise NotCron("Send five fields: seconds are not known here, a schedule runs on whole minutes.")
    if len(fields) != FIELDS:
        raise NotCron("Send five fields: minute, hour, day of month, month, day of week.")
    from cronsim import CronSimError

    try:
        first = next(_walls(expression, datetime(2000, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        raise NotCron(f"{error}: send minute, hour, day of month, month and day of week.") from error
    if first is None:
        raise NotCron("There is no such day: this would never run.")
    return " ".join(fields)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    from importlib.resources import files

    # The package's list, so that every machine knows the same names; a bare ZoneInfo also takes what the
    # machine's own directory happens to hold, such as `posix/…` and clocks with leap seconds.
    return frozenset(files("tzdata").joinpath("zones").read_text().split()) - {"Factory"}


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name; raises NoSuchZone."""
    from zoneinfo import ZoneInfo

    if name not in _zones():
        raise NoSuchZone(name)
    return ZoneInfo(name)
