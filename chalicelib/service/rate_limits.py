"""The providers' limits as an administrator sees and sets them; every change is one write with its entry."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.controls import Controls, Scope
from chalicelib.domain.errors import InvalidRequest, NotFound, Problem, StoreRefused, StoreUnsure
from chalicelib.domain.ports import Chance, Clock, Entry, JobStore, Journal, Limiter
from chalicelib.domain.ratelimit import Bucket, Limit, emptied
from chalicelib.service.control import admit, views
from chalicelib.service.intake import Schema
from chalicelib.service.principal import Principal
from chalicelib.service.problems import refuse
from chalicelib.service.schedule_intake import REASON, WHY
from chalicelib.service.writing import TRIES

MILLISECOND = timedelta(milliseconds=1)
FIGURES: Mapping[str, Any] = {
    "maxPerSecond": {"type": "number", "exclusiveMinimum": 0, "maximum": 10_000},
    "maxConcurrent": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "burstSize": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "cooldownMs": {"type": "integer", "minimum": 0, "maximum": 3_600_000},
}
LIMIT: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": list(FIGURES),
    "properties": {**FIGURES, "reason": REASON},
}


class RateLimits:
    """The use cases behind /v1/rate-limits. No limiter: nothing is limited, and there is nothing to see."""

    def __init__(
        self, limiter: Limiter | None, store: JobStore, *, clock: Clock, chance: Chance, journal: Journal
    ) -> None:
        self._limiter = limiter
        self._store = store
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._limit, self._why = Schema(LIMIT), Schema(WHY)

    def all(self, principal: Principal) -> dict[str, Any]:
        """Return every provider group's limit, and whatever is stopped.

        Raises Forbidden, NotFound (switched off) or StoreRefused.
        """
        admit(principal)
        buckets, controls = self._buckets(), self._store.load_controls()
        return {
            "rateLimits": [self._view(group, bucket, controls) for group, bucket in sorted(buckets.items())],
            "stops": views(controls.in_force(self._clock.now())),
        }

    def one(self, key: str, principal: Principal) -> dict[str, Any]:
        """Return one group's limit; raises InvalidRequest for an unknown one, and as `all` does."""
        admit(principal)
        return self._view(key, self._bucket(key), self._store.load_controls())

    def change(self, key: str, body: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Set a group's limit, for all functions; raises as `one` does, or StoreUnsure."""
        admit(principal)
        refuse(self._limit.problems(body))
        limit = Limit(
            float(body["maxPerSecond"]),
            int(body["maxConcurrent"]),  # JSON Schema takes 5.0 for an integer
            int(body["burstSize"]),
            int(body["cooldownMs"]) * MILLISECOND,
        )

        def decide(bucket: Bucket, _: datetime) -> Bucket:
            wanted = replace(limit, reserve=bucket.limit.reserve)
            return (
                bucket if bucket.limit == wanted else replace(bucket, limit=wanted, version=bucket.version + 1)
            )

        return self._act("set_limit", key, body, principal, decide)

    def reset(self, key: str, body: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Fill a group's tokens up; what is in flight is never forgotten. Raises as `change` does."""
        admit(principal)
        refuse(self._why.problems(body))
        return self._act("reset_limit", key, body, principal, emptied)

    def _act(
        self,
        action: str,
        key: str,
        body: Mapping[str, Any],
        principal: Principal,
        decide: Callable[[Bucket, datetime], Bucket],
    ) -> dict[str, Any]:
        """Save what is decided on a bucket as it stands, with its entry; what stands so is left alone."""
        lost = False
        for _ in range(TRIES):
            before, now = self._bucket(key), self._clock.now()
            after = decide(before, now)
            if after == before:
                return self._view(key, before, self._store.load_controls())
            entry = Entry(
                id=self._chance.entry_id(),
                at=now,
                actor=principal.sub,
                action=action,
                subject=f"provider/{key}",
                venue_id=None,
                reason=body.get("reason", ""),
                before=_told(before, now),
                after=_told(after, now),
            )
            try:
                if self._limiter is not None and self._limiter.save(key, after, entry):
                    self._journal.note(action, provider=key, actor=principal.sub)
                    return self._view(key, after, self._store.load_controls())
            except StoreUnsure:
                lost = True
        raise StoreUnsure if lost else StoreRefused

    def _buckets(self) -> Mapping[str, Bucket]:
        if self._limiter is None:
            raise NotFound("Calls to providers are not limited here.")
        return self._limiter.buckets()

    def _bucket(self, key: str) -> Bucket:
        buckets = self._buckets()
        if key not in buckets:
            raise InvalidRequest([Problem("key", f"Send one of {', '.join(sorted(buckets))}.")])
        return buckets[key]

    def _view(self, key: str, bucket: Bucket, controls: Controls) -> dict[str, Any]:
        now = self._clock.now()
        stopped = ((Scope.ALL, ""), (Scope.PROVIDER, key))
        return {
            "key": key,
            "limit": figures(bucket.limit),
            "tokens": round(bucket.tokens(now), 3),
            "inFlight": bucket.in_flight(now),
            "stopped": any(controls.standing(*each, now) is not None for each in stopped),
        }


def figures(limit: Limit) -> dict[str, Any]:
    """Return a limit as callers read and set it."""
    return {
        "maxPerSecond": limit.per_second,
        "maxConcurrent": limit.concurrent,
        "burstSize": limit.burst,
        "cooldownMs": limit.cooldown // MILLISECOND,
    }


def _told(bucket: Bucket, now: datetime) -> str:
    """Return how a bucket stood, for the audit log."""
    told = ", ".join(f"{name} {value}" for name, value in figures(bucket.limit).items())
    return f"{told}; tokens {bucket.tokens(now):.3f}"
