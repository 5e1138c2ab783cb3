"""The counters in memory."""

import threading
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime

from chalicelib.domain.errors import StoreError
from chalicelib.domain.tally import Counts, Name, Series, minute_of


class MemoryMetrics:
    """The counters in dictionaries; `fails` is raised instead of an answer, `writes` counts the calls."""

    def __init__(self) -> None:
        self.minutes: defaultdict[datetime, Counter[Name]] = defaultdict(Counter)
        self.kept: Series | None = None
        self.writes = 0
        self.fails: StoreError | None = None
        self._lock = threading.Lock()

    def add(self, counts: Counts, *, at: datetime, spread: float) -> bool:
        with self._lock:
            self.writes += 1
            if self.fails is not None:
                return False
            self.minutes[minute_of(at)] += Counter(counts)
            return True

    def minute(self, at: datetime) -> Counts:
        self._answer()
        return dict(self.minutes.get(minute_of(at), {}))

    def series(self) -> Series | None:
        self._answer()
        return self.kept

    def save_series(self, series: Series) -> bool:
        with self._lock:
            self._answer()
            if series.version != (0 if self.kept is None else self.kept.version):
                return False
            self.kept = replace(series, version=series.version + 1)
            return True

    def _answer(self) -> None:
        if self.fails is not None:
            raise self.fails
