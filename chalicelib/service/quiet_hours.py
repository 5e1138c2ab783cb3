"""Quiet hours as a venue and the administrators see and set them; each change is one write with its entry."""

import re
from collections.abc import Mapping
from datetime import time
from typing import Any

from chalicelib.domain.errors import Forbidden, NotFound, Problem, StoreRefused, StoreUnsure
from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Chance, Clock, Entry, Journal
from chalicelib.domain.quiet import QuietBook, QuietHours
from chalicelib.service.cron import NoSuchZone, zone
from chalicelib.service.intake import IDENTITY, Schema
from chalicelib.service.principal import Principal
from chalicelib.service.problems import refuse
from chalicelib.service.schedule_intake import REASON, WHY
from chalicelib.service.writing import TRIES

CLOCK: Mapping[str, Any] = {
    "type": "string",
    "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$",
    "description": "a time on the venue's clocks, such as 21:00",
}
USUAL = {"from": "21:00", "to": "08:00"}
QUIET_HOURS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["timeZone"],
    "properties": {
        "timeZone": {"type": "string", "maxLength": 64},
        **{name: {**CLOCK, "default": usual} for name, usual in USUAL.items()},
        "reason": REASON,
    },
}
VENUE = re.compile(IDENTITY["pattern"])


class VenueQuietHours:
    """The use cases behind /v1/venues/{id}/quiet-hours. A venue that has set none has none."""

    def __init__(self, book: QuietBook, *, clock: Clock, chance: Chance, journal: Journal) -> None:
        self._book = book
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._hours, self._why = Schema(QUIET_HOURS), Schema(WHY)

    def of(self, venue_id: str, principal: Principal) -> dict[str, Any]:
        """Return a venue's quiet hours; raises Forbidden, NotFound or StoreRefused."""
        venue = admitted(venue_id, principal)
        return _view(venue, self._book.load(venue))

    def change(self, venue_id: str, body: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Set a venue's quiet hours; raises InvalidRequest, StoreUnsure, and as `of` does."""
        venue = admitted(venue_id, principal)
        refuse(self._hours.problems(body) or _problems(body))
        begins, ends = (time.fromisoformat(body.get(name, usual)) for name, usual in USUAL.items())
        return self._save("set_quiet_hours", venue, QuietHours(body["timeZone"], begins, ends), body, principal)

    def end(self, venue_id: str, body: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Let a venue have no quiet hours; raises as `change` does."""
        venue = admitted(venue_id, principal)
        refuse(self._why.problems(body))
        return self._save("end_quiet_hours", venue, None, body, principal)

    def _save(
        self,
        action: str,
        venue: VenueId,
        after: QuietHours | None,
        body: Mapping[str, Any],
        principal: Principal,
    ) -> dict[str, Any]:
        """Save quiet hours in place of those that stand, with their entry; what stands so is left alone."""
        lost, entry_id = False, self._chance.entry_id()
        for _ in range(TRIES):
            before = self._book.load(venue)
            if before == after:
                return _view(venue, after)
            entry = Entry(
                id=entry_id,
                at=self._clock.now(),
                actor=principal.sub,
                action=action,
                subject=f"venue/{venue}",
                venue_id=venue,
                reason=body.get("reason", ""),
                before=None if before is None else str(before),
                after=None if after is None else str(after),
            )
            try:
                if self._book.swap(venue, before, after, entry):
                    self._journal.note(action, venueId=venue, actor=principal.sub)
                    return _view(venue, after)
            except StoreUnsure:
                lost = True
        raise StoreUnsure if lost else StoreRefused


def admitted(venue_id: str, principal: Principal) -> VenueId:
    """Return the venue that is asked about; raises Forbidden unless it is the caller's, or NotFound."""
    own = principal.role is Role.VENUE_ADMIN and principal.venue_id == venue_id
    if principal.role is not Role.ADMIN and not own:
        raise Forbidden("Only an administrator's token, or the venue's own, may see and set its quiet hours.")
    if VENUE.search(venue_id) is None:
        raise NotFound("There is no such venue.")
    return VenueId(venue_id)


def _problems(body: Mapping[str, Any]) -> list[Problem]:
    problems = []
    try:
        zone(body["timeZone"])
    except NoSuchZone:
        problems.append(Problem("timeZone", "Send the name of an IANA time zone, such as Europe/Berlin."))
    begins, ends = (body.get(name, usual) for name, usual in USUAL.items())
    if begins == ends:
        problems.append(Problem("to", "Send another time than from; DELETE lets a venue have no quiet hours."))
    return problems


def _view(venue: VenueId, hours: QuietHours | None) -> dict[str, Any]:
    told = None
    if hours is not None:
        told = {
            "timeZone": hours.time_zone,
            "from": f"{hours.begins:%H:%M}",
            "to": f"{hours.ends:%H:%M}",
        }
    return {"venueId": venue, "quietHours": told}
