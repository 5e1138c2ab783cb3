"""Reading the audit log, which grows for ever: by day, or by what was acted on."""

from datetime import date
from typing import Protocol

from chalicelib.domain.ports import Entry


class AuditLog(Protocol):
    """The entries as they were written; nothing changes one. Each call is one query; raises StoreRefused."""

    def of_day(self, day: date, *, below: str | None, limit: int) -> list[Entry]:
        """Return the entries of a day in UTC, the latest first, with ids less than `below`."""
        ...

    def of_subject(self, subject: str, *, below: str | None, limit: int) -> list[Entry]:
        """Return the entries about a subject, the latest first, with ids less than `below`.

        From an index, which lags behind the log.
        """
        ...
