"""Quiet hours: when a venue's guests are not to be woken, by the clocks of its time zone."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol

from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `begins` to before `ends` on the wall's clock, over midnight where `ends` is the earlier of the two.

    `time_zone` is an IANA name that exists. The same time twice is no quiet hours at all.
    """

    time_zone: str
    begins: time
    ends: time

    def __str__(self) -> str:
        """Return them as people read them, such as `21:00 to 08:00 Europe/Berlin`."""
        return f"{self.begins:%H:%M} to {self.ends:%H:%M} {self.time_zone}"

    def until(self, now: datetime) -> datetime | None:
        """Return when the quiet hours end that hold at a moment, in UTC; None: none do.

        An end that summer time skips comes when the gap is over; of one that comes twice the next counts.
        """
        from zoneinfo import ZoneInfo

        local = now.astimezone(ZoneInfo(self.time_zone))
        if not self._hold_at(local.time().replace(fold=0)):
            return None
        day = local.date() if local.time() < self.ends else local.date() + DAY
        first = datetime.combine(day, self.ends, tzinfo=local.tzinfo)
        ends = (first.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        return next(end for end in ends if end > now)

    def _hold_at(self, clock: time) -> bool:
        if self.begins <= self.ends:
            return self.begins <= clock < self.ends
        return clock >= self.begins or clock < self.ends


class QuietBook(Protocol):
    """The quiet hours of the venues that have any."""

    def load(self, venue_id: VenueId) -> QuietHours | None:
        """Return the quiet hours of a venue. Read consistently. Raises StoreRefused."""
        ...

    def swap(
        self, venue_id: VenueId, before: QuietHours | None, after: QuietHours | None, entry: Entry
    ) -> bool:
        """Replace the quiet hours of a venue if they still are `before`, with the audit entry, both or neither.

        None: it has none. Says whether it was done. Raises StoreRefused or StoreUnsure.
        """
        ...
