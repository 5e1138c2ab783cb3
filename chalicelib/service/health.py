"""Health: whether each table, queue and secret answers, told within a second, to anybody and with no detail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock, Thread
from time import monotonic as _monotonic
from typing import Any

from chalicelib.domain.dependency import Probe
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Clock, Journal
from chalicelib.service.read import moment

PATIENCE = timedelta(milliseconds=800)  # a dependency that takes longer is as good as down
FRESH = timedelta(seconds=1)  # the route is public: a flood of it costs one check a second
FRESH_ENOUGH = timedelta(seconds=10)
# What every job is accepted and run by. Of the rest some work needs something, or an operator does.
NEEDED = frozenset(
    {
        *("table/jobs", "table/idempotency_keys", "table/queue_controls", "table/rate_limits"),
        "table/queue_metrics",  # where a venue is entered before its first job is written
        *(f"queue/{tier}-queue{lane}" for tier in Tier for lane in ("", "-express")),
        "secret/token-keys",
    }
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: `checks` says up or down of a dependency, configured or not of a provider."""

    status: str
    checks: Mapping[str, str]
    at: datetime

    @property
    def available(self) -> bool:
        """Whether jobs are accepted and run."""
        return self.status != "unavailable"

    def view(self) -> dict[str, Any]:
        """Return the report as the routes answer it."""
        return {"status": self.status, "checks": dict(self.checks), "timestamp": moment(self.at)}


class Health:
    """The use case behind GET /health and GET /ready."""

    def __init__(
        self,
        *,
        probes: Callable[[], Sequence[Probe]],
        clock: Clock,
        journal: Journal,
        configured: Mapping[str, bool],
        patience: timedelta = PATIENCE,
    ) -> None:
        self._probes = probes
        self._clock = clock
        self._journal = journal
        self._providers = {
            f"provider/{name}": "configured" if yes else "not_configured" for name, yes in configured.items()
        }
        self._patience = patience
        self._lock = Lock()  # whoever comes while a check is made is told what it finds
        self._inquiries: Sequence[_Inquiry] | None = None
        self._down: frozenset[str] = frozenset()
        self._last: Report | None = None

    def check(self) -> Report:
        """Ask every dependency, unless it was done within the last second."""
        return self._report(FRESH)

    def ready(self) -> Report:
        """Return the last check, unless it is too old: by the same rule, but at next to no cost."""
        return self._report(FRESH_ENOUGH)

    def _report(self, fresh: timedelta) -> Report:
        with self._lock:
            now = self._clock.now()
            if self._last is None or now - self._last.at >= fresh:
                self._last = self._made(now)
            return self._last

    def _made(self, now: datetime) -> Report:
        troubles = self._ask(now)
        down = frozenset(name for name, trouble in troubles.items() if trouble is not None)
        for name in sorted(down - self._down):
            self._journal.alarm("dependency_down", dependency=name, error=troubles[name])
        for name in sorted(self._down - down):
            self._journal.note("dependency_up", dependency=name)
        self._down = down
        status = "unavailable" if down & NEEDED else "degraded" if down else "ok"
        checks = {name: "down" if name in down else "up" for name in troubles}
        return Report(status, checks | self._providers, now)

    def _ask(self, now: datetime) -> Mapping[str, str | None]:
        """Ask side by side; whoever has not answered in time is down, and its thread is not waited for."""
        ends = _monotonic() + self._patience.total_seconds()
        if self._inquiries is None:
            self._inquiries = [_Inquiry(probe) for probe in self._probes()]
        for inquiry in self._inquiries:
            inquiry.begin(now)
        troubles: dict[str, str | None] = {}
        for inquiry in self._inquiries:
            troubles |= inquiry.troubles(max(ends - _monotonic(), 0))
        return troubles


class _Inquiry:
    """A probe with its thread, of which there is never a second, however long it hangs."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._thread: Thread | None = None
        self._began: datetime | None = None
        self._told: dict[str, str | None] = {}
        self._error = "Unanswered"

    def begin(self, now: datetime) -> None:
        """Ask, unless the last time still goes on or what it told still stands."""
        asks = self._thread is not None and self._thread.is_alive()
        stands = self._began is not None and now - self._began < self._probe.stands
        if asks or (stands and self._well()):
            return
        self._began, self._told, self._error = now, {}, "Unanswered"
        self._thread = Thread(target=self._ask, daemon=True)
        self._thread.start()

    def troubles(self, seconds: float) -> Mapping[str, str | None]:
        """Return what is wrong with each name, as far as it is told of within so many seconds."""
        if self._thread is not None:
            self._thread.join(seconds)
        told = dict(self._told)
        return {name: told.get(name, self._error) for name in self._probe.names}

    def _well(self) -> bool:
        return all(self._told.get(name, self._error) is None for name in self._probe.names)

    def _ask(self) -> None:
        try:
            for name, trouble in self._probe.ask():
                self._told[name] = trouble
        except Exception as error:  # noqa: BLE001 - whatever a dependency does, the answer is "down"
            self._error = type(error).__name__
