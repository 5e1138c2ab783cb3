"""The queues as operators see them: what waits, since when, and what holds it back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.alert_texts import duration
from chalicelib.domain.backlog import Backlog, Depth, TierDepth
from chalicelib.domain.controls import Controls
from chalicelib.domain.errors import Forbidden
from chalicelib.domain.job import State
from chalicelib.domain.policies import Lane, Role, Tier
from chalicelib.domain.ports import Clock, JobStore
from chalicelib.domain.tally import BEYOND, BUCKETS
from chalicelib.service.control import tier_of, views
from chalicelib.service.figures import RECOUNTED, Figures, Pace, counted_at, drains_in, money, standing
from chalicelib.service.principal import Principal

SEEN_FROM = timedelta(minutes=5)  # a job enters the index of the overdue at its first look past due
YOUNG = "< 5 min"


class Queues:
    """The use cases behind GET /v1/queues: a tier's depths take three calls, its age one; the rest, three."""

    def __init__(self, *, backlog: Backlog, store: JobStore, figures: Figures, clock: Clock) -> None:
        self._backlog = backlog
        self._figures = figures
        self._store = store
        self._clock = clock

    def all(self, principal: Principal) -> list[dict[str, Any]]:
        """Return every tier. Raises Forbidden or StoreRefused."""
        _admit(principal)
        controls, pace = self._store.load_controls(), self._figures.pace()
        return [self._view(tier, controls, pace, principal) for tier in Tier]

    def one(self, name: str, principal: Principal) -> dict[str, Any]:
        """Return one tier. Raises Forbidden, InvalidRequest (no such tier) or StoreRefused."""
        _admit(principal)
        tier = tier_of(name)
        return self._view(tier, self._store.load_controls(), self._figures.pace(), principal)

    def _view(self, tier: Tier, controls: Controls, pace: Pace, principal: Principal) -> dict[str, Any]:
        depth = self._backlog.depth(tier)
        now = self._clock.now()
        stops = views(controls.in_force(now), of=tier)
        return {
            "queue": tier.value,
            "state": "paused" if stops else "open",
            "stops": stops,
            "lanes": {lane.value: _lane(depth.lanes[lane]) for lane in Lane},
            "poison": depth.poison,
            **_age(self._backlog.oldest_due(tier), now),
            **_rates(pace.rates[tier], waiting=sum(lane.waiting for lane in depth.lanes.values())),
            **_p95(pace.p95[tier]),
            "counts": _counts(depth, standing(pace.stock, tier)),
            **({"money": money(pace.stock) if tier is Tier.MONEY else []} if _sees_money(principal) else {}),
            "countedAt": counted_at(pace.stock),
        }


def _admit(principal: Principal) -> None:
    if principal.role is Role.ADMIN:
        return
    if principal.role is not Role.VENUE_ADMIN or principal.venue_id is None:
        raise Forbidden("A token of this role, or without its venue, may not see the queues.")


def _sees_money(principal: Principal) -> bool:
    """The money is of every venue, and concerns none of them."""
    return principal.role is Role.ADMIN


def _lane(depth: Depth) -> dict[str, int]:
    return {"waiting": depth.waiting, "inFlight": depth.in_flight, "delayed": depth.delayed}


def _counts(depth: TierDepth, recounted: Mapping[str, int] | None) -> dict[str, int | None]:
    lanes = depth.lanes.values()
    return {
        State.QUEUED.value: sum(lane.waiting for lane in lanes),
        State.RUNNING.value: sum(lane.in_flight for lane in lanes),
        **(recounted or dict.fromkeys(RECOUNTED)),
    }


def _rates(rates: tuple[float, float], *, waiting: int) -> dict[str, Any]:
    begun, ended = rates
    left = drains_in(waiting, ended)
    return {
        "begunPerMinute": begun,
        "endedPerMinute": ended,
        "drainSeconds": None if left is None else round(left.total_seconds()),
    }


def _p95(bound: str | None) -> dict[str, Any]:
    if bound is None or bound == BEYOND:
        return {"p95Seconds": None, "p95": "none yet" if bound is None else f"> {BUCKETS[-1]:g} s"}
    return {"p95Seconds": float(bound), "p95": f"≤ {bound} s"}


def _age(due: datetime | None, now: datetime) -> dict[str, Any]:
    age = timedelta(0) if due is None else now - due
    if age < SEEN_FROM:
        return {"oldestAgeSeconds": None, "oldestAge": YOUNG}
    return {"oldestAgeSeconds": age // timedelta(seconds=1), "oldestAge": duration(age)}
