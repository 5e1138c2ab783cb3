"""The schedules in a dictionary; the contract suite holds it to what the real store does."""

import threading
from datetime import datetime

from chalicelib.domain.ports import Entry
from chalicelib.domain.schedule import Due, Schedule, ScheduleId


class MemoryScheduleStore:
    """One lock around each call; audit entries go to the list that is given."""

    def __init__(self, audit: list[Entry] | None = None) -> None:
        self.schedules: dict[ScheduleId, Schedule] = {}
        self.audit = [] if audit is None else audit
        self._lock = threading.RLock()

    def add(self, schedule: Schedule, entry: Entry) -> bool:
        with self._lock:
            if schedule.id in self.schedules:
                return False
            self.schedules[schedule.id] = schedule
            self.audit.append(entry)
            return True

    def load(self, schedule_id: ScheduleId) -> Schedule | None:
        with self._lock:
            return self.schedules.get(schedule_id)

    def swap(self, before: Schedule, after: Schedule, entry: Entry | None = None) -> bool:
        with self._lock:
            if not self._stands(before):
                return False
            self.schedules[before.id] = after
            self.audit += [] if entry is None else [entry]
            return True

    def remove(self, schedule: Schedule, entry: Entry) -> bool:
        with self._lock:
            if not self._stands(schedule):
                return False
            del self.schedules[schedule.id]
            self.audit.append(entry)
            return True

    def page(self, *, after: ScheduleId | None, limit: int) -> tuple[list[Schedule], ScheduleId | None]:
        with self._lock:
            ids = sorted(each for each in self.schedules if after is None or each > after)
            found = [self.schedules[each] for each in ids[:limit]]
        return found, found[-1].id if len(ids) > limit else None

    def due(self, *, until: datetime, after: Due | None, limit: int) -> list[Due]:
        with self._lock:
            waiting = [
                (schedule.wakes_at, schedule.id)
                for schedule in self.schedules.values()
                if schedule.wakes_at is not None and schedule.wakes_at <= until
            ]
        start = None if after is None else (after.at, after.id)
        return [Due(*each) for each in sorted(waiting) if start is None or each > start][:limit]

    def _stands(self, schedule: Schedule) -> bool:
        standing = self.schedules.get(schedule.id)
        return standing is not None and standing.revision == schedule.revision
