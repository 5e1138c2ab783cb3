"""What the API answers, counted in its container and added to the shared counters now and then.

Accepting a job writes no counter: a container writes once for all that it has answered in a minute or more.
What it had not yet written when it was recycled is lost. API Gateway's own metrics are exact.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta
from itertools import islice

from chalicelib.domain.ports import Chance, Clock, Journal
from chalicelib.domain.tally import Counts, Metrics, Name, answered

WRITTEN_AFTER = timedelta(minutes=1)  # the earliest, from the first answer that is not yet written
LEAST = 10  # answers for which that is worth a write
NEVER_LATER = timedelta(minutes=5)  # worth it or not: at the next answer
MOST_NAMES = 200  # in one write: DynamoDB takes an update of 4 KB, and some hundreds of counters fit in


class Traffic:
    """Counts the answers of one container; many threads may tell it of theirs."""

    def __init__(self, metrics: Metrics, *, clock: Clock, chance: Chance, journal: Journal) -> None:
        self._metrics = metrics
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._lock = threading.Lock()
        self._counts: Counter[Name] = Counter()
        self._answers = 0
        self._since: datetime | None = None  # the first answer that is not yet written

    def count(self, method: str, route: str, status: int, took: timedelta, *, may_write: bool) -> None:
        """Count an answer; write what has been counted, if it is time and this answer may wait for that.

        What cannot be written is lost: an answer never fails for it.
        """
        now = self._clock.now()
        with self._lock:
            self._counts.update(answered(method, route, status, took))
            self._answers += 1
            self._since = self._since or now
            taken = self._take(now) if may_write and self._is_due(now, self._since) else None
        if taken and not self._metrics.add(taken, at=now, spread=self._chance.fraction()):
            self._journal.note("answers_not_counted", names=len(taken))

    def _is_due(self, now: datetime, since: datetime) -> bool:
        waited = now - since
        return (waited >= WRITTEN_AFTER and self._answers >= LEAST) or waited >= NEVER_LATER

    def _take(self, now: datetime) -> Counts:
        """Take what one write holds; what is left waits as if it had come now."""
        taken = {name: self._counts.pop(name) for name in list(islice(self._counts, MOST_NAMES))}
        self._answers, self._since = 0, now if self._counts else None
        return taken
