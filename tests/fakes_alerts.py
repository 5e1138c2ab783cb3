"""The alerts and their channels in memory; the contract suite holds the alerts to what the real store does."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from chalicelib.domain.alerting import MOST_LISTED, Alert, Channel, Condition, Notice, Outlet
from chalicelib.domain.errors import StoreError
from chalicelib.domain.ports import Entry


class MemoryAlertBook:
    """The alerts by id; `fails` is raised instead of an answer, audit entries go to the list that is given."""

    def __init__(self, audit: list[Entry] | None = None) -> None:
        self.alerts: dict[str, Alert] = {}
        self.audit = [] if audit is None else audit
        self.fails: StoreError | None = None
        self.calls = 0
        self._open: dict[Condition, str] = {}
        self._lock = threading.RLock()

    def standing(self) -> Mapping[Condition, Alert]:
        with self._lock:
            self._answer()
            return {condition: self.alerts[each] for condition, each in self._open.items()}

    def begin(self, alert: Alert) -> bool:
        with self._lock:
            self._answer()
            if alert.condition in self._open or alert.id in self.alerts:
                return False
            self.alerts[alert.id] = alert
            self._open[alert.condition] = alert.id
            return True

    def add(self, alert: Alert, entry: Entry) -> bool:
        with self._lock:
            self._answer()
            if alert.id in self.alerts:
                return False
            self.alerts[alert.id] = alert
            self.audit.append(entry)
            return True

    def swap(self, before: Alert, after: Alert, entry: Entry | None = None) -> bool:
        with self._lock:
            self._answer()
            if not self._stands(before):
                return False
            self.alerts[before.id] = replace(after, version=before.version + 1)
            self.audit += [] if entry is None else [entry]
            return True

    def close(self, alert: Alert) -> bool:
        with self._lock:
            self._answer()
            if not self._stands(alert) or self._open.get(alert.condition) != alert.id:
                return False
            self.alerts[alert.id] = replace(alert, version=alert.version + 1)
            del self._open[alert.condition]
            return True

    def load(self, alert_id: str) -> Alert | None:
        with self._lock:
            self._answer()
            return self.alerts.get(alert_id)

    def since(self, moment: datetime) -> list[Alert]:
        with self._lock:
            self._answer()
            return self._latest([each for each in self.alerts.values() if each.created_at >= moment])

    def unacknowledged(self) -> list[Alert]:
        with self._lock:
            self._answer()
            return self._latest([each for each in self.alerts.values() if each.acknowledged_at is None])

    def _latest(self, found: list[Alert]) -> list[Alert]:
        return sorted(found, key=lambda each: each.id, reverse=True)[:MOST_LISTED]

    def _stands(self, before: Alert) -> bool:
        standing = self.alerts.get(before.id)
        return standing is not None and standing.version == before.version

    def _answer(self) -> None:
        self.calls += 1
        if self.fails is not None:
            raise self.fails


@dataclass
class MemoryOutlet:
    """One channel, and what was sent on it."""

    sent: list[Notice] = field(default_factory=list)
    down: Exception | None = None  # raised for as long as it is there

    def send(self, notice: Notice, *, deadline: datetime) -> None:
        if self.down is not None:
            raise self.down
        self.sent.append(notice)


class MemoryOutlets:
    """Every channel that is not the log."""

    def __init__(self) -> None:
        self.sns, self.sms, self.phone = MemoryOutlet(), MemoryOutlet(), MemoryOutlet()
        self.unconfigured: set[Channel] = set()

    @property
    def all(self) -> dict[Channel, Outlet]:
        every: dict[Channel, Outlet] = {
            Channel.SNS: self.sns,
            Channel.SMS: self.sms,
            Channel.PHONE: self.phone,
        }
        return {channel: outlet for channel, outlet in every.items() if channel not in self.unconfigured}
