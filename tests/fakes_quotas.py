"""The counts of callers' requests in memory."""

import threading
from collections import Counter

from chalicelib.domain.errors import StoreError
from chalicelib.domain.quota import Drawn, Window, grant


class MemoryQuotas:
    """The counts in a dictionary; `fails` is raised instead of an answer, `draws` counts the calls."""

    def __init__(self) -> None:
        self.used: Counter[tuple[str, Window]] = Counter()
        self.draws = 0
        self.fails: StoreError | None = None
        self._lock = threading.Lock()

    def draw(self, caller: str, window: Window, *, limit: int, least: int, most: int) -> Drawn:
        with self._lock:
            self.draws += 1
            if self.fails is not None:
                raise self.fails
            taken = grant(self.used[caller, window], limit, least=least, most=most)
            self.used[caller, window] += taken
            return Drawn(taken, max(limit - self.used[caller, window], 0))
