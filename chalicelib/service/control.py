"""Stopping and resuming: what operators hold back; every change and its audit entry are one transaction."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.controls import MOST_IN_FORCE, Control, Controls, Scope
from chalicelib.domain.errors import (
    ActionRefused,
    InvalidRequest,
    Problem,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Chance, Clock, Entry, JobStore, Journal
from chalicelib.domain.ratelimit import GROUPS, LIMITS
from chalicelib.service.intake import IDENTITY, Schema
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.problems import refuse
from chalicelib.service.read import moment
from chalicelib.service.schedule_intake import REASON, WHY
from chalicelib.service.sources import Sources
from chalicelib.service.writing import TRIES

PROVIDERS = tuple(sorted({*LIMITS, *GROUPS}))
UNTIL: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})$",
    "description": "a moment of the future in ISO 8601 with its offset, such as 2026-03-01T12:00:00Z",
}
PAUSE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["reason"],
    "properties": {"reason": REASON, "until": UNTIL},
}
NAMED: Mapping[str, Any] = {
    "scope": {"type": "string", "enum": ["all"]},
    "provider": {"type": "string", "enum": list(PROVIDERS), "description": "A group, or one of its members"},
    "venueId": IDENTITY,
    "type": {"type": "string"},
}
STOP: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["reason"],
    "properties": {**NAMED, "reason": REASON, "until": UNTIL},
}
RESUME: Mapping[str, Any] = {**STOP, "properties": {**NAMED, "reason": REASON}}

Target = tuple[Scope, str]


class Stops:
    """The use cases behind pause, resume and emergency-stop; all of them are an administrator's alone."""

    def __init__(
        self,
        *,
        store: JobStore,
        types: Mapping[str, JobType],
        clock: Clock,
        chance: Chance,
        journal: Journal,
        sources: Sources,
    ) -> None:
        self._store = store
        self._types = {name: each.name for each in types.values() for name in (each.name, *each.aliases)}
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._sources = sources
        self._pause, self._stop, self._why = Schema(PAUSE), Schema(STOP), Schema(WHY)
        self._resume = Schema(RESUME)

    def pause(self, tier: str, body: Mapping[str, Any], principal: Principal) -> list[dict[str, Any]]:
        """Pause a tier, or give its pause another reason and end; return what holds the tier back now.

        Raises Forbidden, InvalidRequest with every problem, ActionRefused (too many), StoreRefused or
        StoreUnsure, as the others do.
        """
        admit(principal)
        until = self._until(body, self._pause.problems(body))
        target = (Scope.TIER, tier_of(tier).value)
        return views(self._place("pause", target, body["reason"], until, principal), of=tier)

    def resume(self, tier: str, body: Mapping[str, Any], principal: Principal) -> list[dict[str, Any]]:
        """End a tier's pause, if there is one; return what still holds the tier back."""
        admit(principal)
        refuse(self._why.problems(body))
        target = (Scope.TIER, tier_of(tier).value)
        return views(self._lift("resume", target, body.get("reason", ""), principal), of=tier)

    def stop(self, body: Mapping[str, Any], principal: Principal) -> list[dict[str, Any]]:
        """Stop everything, a provider, a venue or a type; return all that is stopped or paused now."""
        admit(principal)
        problems = self._stop.problems(body)
        target = self._target(body, problems)
        until = self._until(body, problems)
        return views(self._place("emergency_stop", target, body["reason"], until, principal))

    def lift(self, body: Mapping[str, Any], principal: Principal) -> list[dict[str, Any]]:
        """End a stop, if there is one; return all that still is stopped or paused."""
        admit(principal)
        problems = self._resume.problems(body)
        target = self._target(body, problems)
        refuse(problems)
        return views(self._lift("resume", target, body["reason"], principal))

    def _target(self, body: Mapping[str, Any], problems: list[Problem]) -> Target:
        """Return what a body names; whatever is wrong with that is one problem more."""
        named = [name for name in NAMED if name in body]
        if len(named) != 1:
            problems.append(Problem("body", f"Name exactly one of {', '.join(NAMED)}."))
            return Scope.ALL, ""
        value = body[named[0]]
        match named[0]:
            case "provider":
                return Scope.PROVIDER, value
            case "venueId":
                return Scope.VENUE, value
            case "type":
                if isinstance(value, str) and value not in self._types:
                    known = ", ".join(sorted(set(self._types.values())))
                    problems.append(Problem("type", f"There is no such job type: use one of {known}."))
                return Scope.TYPE, self._types.get(value, "") if isinstance(value, str) else ""
            case _:
                return Scope.ALL, ""

    def _until(self, body: Mapping[str, Any], problems: list[Problem]) -> datetime | None:
        """Return when a stop is to end by itself; raises InvalidRequest with every problem of the body."""
        if "until" not in body or any(each.field == "until" for each in problems):
            refuse(problems)
            return None
        until: datetime | None = None
        try:
            until = datetime.fromisoformat(body["until"]).astimezone(UTC)
        except (ValueError, OverflowError):
            problems.append(Problem("until", f"Send {UNTIL['description']}."))
        if until is not None and until <= self._clock.now():
            problems.append(Problem("until", "Send a moment of the future, or none."))
        refuse(problems)
        return until

    def _place(
        self, action: str, target: Target, reason: str, until: datetime | None, principal: Principal
    ) -> tuple[Control, ...]:
        def decide(standing: Controls, now: datetime) -> Controls:
            after = standing.started(Control(*target, reason, principal.sub, now, until))
            if len(after.in_force(now)) > MOST_IN_FORCE:
                message = f"{MOST_IN_FORCE} stops are in force: resume one first, or stop something larger."
                raise ActionRefused("too_many_stops", message, state=f"{MOST_IN_FORCE} in force")
            return after

        return self._change(action, target, reason, principal, decide)

    def _lift(self, action: str, target: Target, reason: str, principal: Principal) -> tuple[Control, ...]:
        def decide(standing: Controls, now: datetime) -> Controls:
            return standing.lifted(*target, now)

        return self._change(action, target, reason, principal, decide)

    def _change(
        self,
        action: str,
        target: Target,
        reason: str,
        principal: Principal,
        decide: Callable[[Controls, datetime], Controls],
    ) -> tuple[Control, ...]:
        """Save what is decided on the controls as they stand, with its entry; what stands so is left alone."""
        lost = False
        for _ in range(TRIES):
            before, now = self._store.load_controls(), self._clock.now()
            after = decide(before, now)
            if set(after.in_force(now)) == set(before.in_force(now)):
                # Asked for before, or written by a try whose reply was lost.
                return self._followed(target, before, now)
            entry = Entry(
                id=self._chance.entry_id(),
                at=now,
                actor=principal.sub,
                action=action,
                subject=_subject(target),
                venue_id=None,
                reason=reason,
                before=_told(before.standing(*target, now)),
                after=_told(after.standing(*target, now)),
            )
            try:
                if self._store.save_controls(after, entry):
                    self._journal.note(action, subject=entry.subject, actor=principal.sub)
                    return self._followed(target, after, now)
            except StoreUnsure:
                lost = True
        raise StoreUnsure if lost else StoreRefused

    def _followed(self, target: Target, standing: Controls, now: datetime) -> tuple[Control, ...]:
        """Let the event sources follow what stands now, and return what is in force."""
        scope, value = target
        tiers = {Scope.ALL: tuple(Tier), Scope.TIER: tuple(tier for tier in Tier if tier == value)}
        self._sources.follow(tiers.get(scope, ()))
        return standing.in_force(now)


def admit(principal: Principal) -> None:
    """Let an administrator through; raises Forbidden."""
    only_admin(principal, "stop, resume or change limits")


def tier_of(name: str) -> Tier:
    """Return the tier of this name; raises InvalidRequest that lists them."""
    if name not in list(Tier):
        raise InvalidRequest([Problem("tier", f"Send one of {', '.join(Tier)}.")])
    return Tier(name)


def views(controls: tuple[Control, ...], *, of: str | None = None) -> list[dict[str, Any]]:
    """Return controls as callers read them: all, or those that hold a whole tier back."""
    return [
        {
            "scope": each.scope.value,
            "value": each.value or None,
            "reason": each.reason,
            "owner": each.owner,
            "since": moment(each.since),
            "until": moment(each.until),
        }
        for each in controls
        if of is None or each.scope is Scope.ALL or (each.scope is Scope.TIER and each.value == of)
    ]


def _subject(target: Target) -> str:
    scope, value = target
    if scope is Scope.ALL:
        return "all"
    return f"{'queue' if scope is Scope.TIER else scope.value}/{value}"


def _told(control: Control | None) -> str:
    """Return what stood, for the audit log: open, or until when and why it was stopped."""
    if control is None:
        return "open"
    return f"stopped until {moment(control.until) or 'resumed'}: {control.reason}"
