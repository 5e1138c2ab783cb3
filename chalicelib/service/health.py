"""Health: whether the tables and every queue answer, told within a second, to anybody and with no detail."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic as _monotonic
from typing import Any

from chalicelib.domain.ports import Clock, JobQueue, JobStore, Journal
from chalicelib.service.read import moment

PATIENCE = timedelta(milliseconds=800)  # a dependency that takes longer is as good as down
FRESH = timedelta(seconds=1)  # the route is public: a flood of it costs one check a second
FRESH_ENOUGH = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found; `checks` says up or down of what is needed, and configured or not of the rest."""

    healthy: bool
    checks: Mapping[str, str]
    at: datetime

    def view(self) -> dict[str, Any]:
        """Return the report as the routes answer it."""
        status = "ok" if self.healthy else "unavailable"
        return {"status": status, "checks": dict(self.checks), "timestamp": moment(self.at)}


class Health:
    """The use case behind GET /health and GET /ready."""

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        clock: Clock,
        journal: Journal,
        configured: Mapping[str, bool],
        patience: timedelta = PATIENCE,
    ) -> None:
        self._needed: Mapping[str, Callable[[], None]] = {"tables": store.ping, "queues": queue.ping}
        self._clock = clock
        self._journal = journal
        self._configured = {name: "configured" if yes else "not_configured" for name, yes in configured.items()}
        self._patience = patience
        self._last: Report | None = None

    def check(self) -> Report:
        """Ask every dependency, unless it was done within the last second."""
        return self._report(FRESH)

    def ready(self) -> Report:
        """Return the last check, unless it is too old: by the same rule, but at next to no cost."""
        return self._report(FRESH_ENOUGH)

    def _report(self, fresh: timedelta) -> Report:
        now = self._clock.now()
        if self._last is None or now - self._last.at >= fresh:
            up = self._ask()
            checks = {name: "up" if up[name] else "down" for name in self._needed} | self._configured
            self._last = Report(all(up.values()), checks, now)
        return self._last

    def _ask(self) -> dict[str, bool]:
        """Ask side by side; whoever has not answered in time is down, and its thread is not waited for."""
        up = dict.fromkeys(self._needed, False)

        def ask(name: str, ping: Callable[[], None]) -> None:
            try:
                ping()
            except Exception as error:  # noqa: BLE001 - whatever a dependency does, the answer is "down"
                self._journal.alarm("dependency_down", dependency=name, error=type(error).__name__)
            else:
                up[name] = True

        threads = [threading.Thread(target=ask, args=each, daemon=True) for each in self._needed.items()]
        for thread in threads:
            thread.start()
        ends = _monotonic() + self._patience.total_seconds()
        for thread in threads:
            thread.join(max(ends - _monotonic(), 0))
        return dict(up)
