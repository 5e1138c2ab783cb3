"""What operators hold back: a tier paused, a provider, a venue, a type or everything stopped.

One record, read once per batch with the jobs, so it stays small. A pause that has ended stays on it for as
long as a tier's window may reach back, because windows leave pauses out; what else has ended is taken off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.job import Job
from chalicelib.domain.outcome import HeldBack
from chalicelib.domain.policies import Tier, Timing
from chalicelib.domain.ratelimit import group_of

REMEMBERED = timedelta(days=8)  # past the longest window, 7 days
MOST_IN_FORCE = 50  # the record is read with every batch, so it stays small
MOST_ENDED = 50  # pauses that have ended; of more than that the longest are remembered


class Scope(StrEnum):
    """What a control holds back."""

    TIER = "tier"
    PROVIDER = "provider"
    VENUE = "venue"
    TYPE = "type"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Control:
    """One pause or stop: of what, why, by whom, from when, and until when if that is known."""

    scope: Scope
    value: str  # the tier, provider, venue or type; empty for all
    reason: str
    owner: str
    since: datetime
    until: datetime | None = None

    def holds_at(self, now: datetime) -> bool:
        """Whether it is in force at this moment; it ends by itself."""
        return self.since <= now and (self.until is None or now < self.until)

    def ended(self, now: datetime) -> bool:
        """Whether it is over."""
        return self.until is not None and self.until <= now

    def lasted(self, now: datetime) -> timedelta:
        """Return how long it has held so far."""
        return min(self.until or now, now) - self.since


@dataclass(frozen=True, slots=True)
class Controls:
    """All controls, as read; `version` makes the next change conditional."""

    entries: tuple[Control, ...] = ()
    version: int = 0

    def holding(self, job: Job, provider: str, now: datetime) -> Control | None:
        """Return the control that holds this job back, or None if it may run.

        A provider is held by its own name and by that of its group: `stripe` holds `stripe-charges`.
        """
        names: Mapping[Scope, tuple[str, ...]] = {
            Scope.TIER: (job.tier.value,),
            Scope.PROVIDER: (provider, group_of(provider)),
            Scope.VENUE: (job.venue_id,),
            Scope.TYPE: (job.type,),
            Scope.ALL: ("",),
        }
        for entry in self.entries:
            if entry.value in names[entry.scope] and entry.holds_at(now):
                return entry
        return None

    def in_force(self, now: datetime) -> tuple[Control, ...]:
        """Return what is held back at this moment."""
        return tuple(entry for entry in self.entries if entry.holds_at(now))

    def standing(self, scope: Scope, value: str, now: datetime) -> Control | None:
        """Return what is in force on this scope and value."""
        found = (each for each in self.in_force(now) if (each.scope, each.value) == (scope, value))
        return next(found, None)

    def paused(self, tier: Tier, now: datetime) -> bool:
        """Whether a whole tier stands still."""
        return any(entry.holds_at(now) for entry in self._pauses(tier))

    def paused_for(self, tier: Tier, due: datetime, now: datetime) -> timedelta:
        """Return how long a tier stood still since `due`; overlapping pauses count once."""
        total, reached = timedelta(0), due
        for entry in sorted(self._pauses(tier), key=lambda pause: pause.since):
            start = max(entry.since, reached)
            end = min(entry.until or now, now)
            if end > start:
                total, reached = total + (end - start), end
        return total

    def started(self, control: Control) -> "Controls":
        """Return the controls with one more in force.

        One that is in force on the same gets the new reason, owner and end, and has held since it began.
        """
        before = self.standing(control.scope, control.value, control.since)
        kept = tuple(entry for entry in self._fresh(control.since) if entry is not before)
        since = control.since if before is None else before.since
        return replace(self, entries=(*kept, replace(control, since=since)), version=self.version + 1)

    def lifted(self, scope: Scope, value: str, now: datetime) -> "Controls":
        """Return the controls with everything on this scope and value ended at this moment."""
        return replace(
            self,
            entries=tuple(
                replace(entry, until=now)
                if (entry.scope, entry.value) == (scope, value) and entry.holds_at(now)
                else entry
                for entry in self._fresh(now)
            ),
            version=self.version + 1,
        )

    def _pauses(self, tier: Tier) -> Sequence[Control]:
        return [entry for entry in self.entries if _pauses_a_tier(entry) and entry.value in ("", tier)]

    def _fresh(self, now: datetime) -> tuple[Control, ...]:
        """Return what holds, and of the pauses that have ended those worth remembering."""
        ended = [entry for entry in self.entries if entry.ended(now) and _pauses_a_tier(entry)]
        recent = [entry for entry in ended if entry.until is not None and now - entry.until < REMEMBERED]
        longest = sorted(recent, key=lambda entry: entry.lasted(now), reverse=True)[:MOST_ENDED]
        return tuple(entry for entry in self.entries if not entry.ended(now) or entry in longest)


def _pauses_a_tier(entry: Control) -> bool:
    return entry.scope in (Scope.ALL, Scope.TIER)


def hold_for(control: Control, timing: Timing, *, now: datetime, spread: float) -> HeldBack:
    """Return how long a held-back job waits; `spread` in [0, 1) keeps the herd from coming back at once.

    With no end in sight, or a near one, the message waits in its queue and is back within a minute of the
    end. With a far one the job is put off by record, and looks again every few minutes: a stop may be lifted
    before its time.
    """
    short = timing.hold_by_visibility * (0.5 + 0.5 * spread)
    if control.until is None or control.until - now <= timing.hold_by_visibility:
        return HeldBack(f"{control.scope}_stopped", short)
    left = control.until - now + timing.hold_by_visibility * spread
    return HeldBack(f"{control.scope}_stopped", min(left, timing.look_after + short))
