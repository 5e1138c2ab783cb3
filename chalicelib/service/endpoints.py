"""Webhook endpoints as a venue's staff and administrators see and change them; each change with its entry."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from chalicelib.domain.endpoint import (
    DEFAULT,
    ID_PATTERN,
    MOST_URL,
    Endpoint,
    EndpointId,
    EndpointStore,
    Secret,
    default_of,
    describe,
    edit,
    rotate,
)
from chalicelib.domain.errors import (
    ActionRefused,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.job import VenueId
from chalicelib.domain.notice import DELIVERY
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Chance, Clock, Entry, Journal
from chalicelib.service.intake import FORMATS, IDENTITY, OWN_FORMATS, Schema
from chalicelib.service.principal import Principal
from chalicelib.service.problems import refuse
from chalicelib.service.read import moment
from chalicelib.service.schedule_intake import REASON, WHY
from chalicelib.service.writing import TRIES

URL: Mapping[str, Any] = {
    "type": "string",
    "maxLength": MOST_URL,
    "format": "hook-url",
    "description": "Where events are posted: https, a public host by its name, port 443 or 8443.",
}
ENDPOINT: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": URL,
        "description": {
            "type": "string",
            "maxLength": 200,
            "pattern": r"^[^\u0000-\u001F\u007F-\u009F]*$",
            "description": "What it is, in up to 200 printable characters.",
        },
        "active": {
            "type": "boolean",
            "default": True,
            "description": "Whether anything is posted to it; true also enables one that was disabled.",
        },
        "reason": REASON,
    },
}
_ID = re.compile(f"{DEFAULT}|{ID_PATTERN}")
Decide = Callable[[Endpoint], Endpoint]


class Endpoints:
    """The use cases behind /v1/endpoints; on its own machine it takes that machine's URLs, too."""

    def __init__(
        self,
        endpoints: EndpointStore,
        *,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        own_machine: bool,
    ) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._shape = Schema(ENDPOINT, OWN_FORMATS if own_machine else FORMATS)
        self._why = Schema(WHY)

    def create(self, body: Mapping[str, Any], named: str | None, principal: Principal) -> Endpoint:
        """Make an endpoint. Raises Forbidden, InvalidRequest, StoreRefused or StoreUnsure."""
        venue_id = _venue(named, principal)
        refuse(self._shape.problems(body))
        now, entry_id = self._clock.now(), self._chance.entry_id()
        made = Endpoint(
            id=EndpointId(f"ep_{entry_id}"),
            venue_id=venue_id,
            url=None,
            description="",
            secrets=(Secret(self._endpoints.new_secret()),),
            created_at=now,
            created_by=principal.sub,
            updated_at=now,
            updated_by=principal.sub,
            revision=0,
        )
        made = _said(made, body, principal, now)
        entry = self._entry(entry_id, "create_endpoint", made, principal, body, after=made)
        return self._add("create_endpoint", made, entry)

    def read(self, endpoint_id: str, named: str | None, principal: Principal) -> Endpoint:
        """Return an endpoint. Raises Forbidden, InvalidRequest, NotFound or StoreRefused."""
        return self._load(_venue(named, principal), endpoint_id)

    def page(
        self, named: str | None, principal: Principal, *, after: str | None, limit: int
    ) -> tuple[list[Endpoint], EndpointId | None]:
        """Return a venue's endpoints in the order of their ids, and the id to go on after, None at the end."""
        start = None if after is None else EndpointId(after)
        return self._endpoints.page(_venue(named, principal), after=start, limit=limit)

    def change(
        self, endpoint_id: str, body: Mapping[str, Any], named: str | None, principal: Principal
    ) -> Endpoint:
        """Replace what is said of an endpoint. Raises as `create` does, NotFound or ActionRefused."""
        venue_id = _venue(named, principal)
        refuse(self._shape.problems(body))

        def decide(standing: Endpoint) -> Endpoint:
            return _said(_own(standing), body, principal, self._clock.now())

        return self._act("change_endpoint", venue_id, endpoint_id, principal, body, decide)

    def rotate(
        self, endpoint_id: str, body: Mapping[str, Any], named: str | None, principal: Principal
    ) -> Endpoint:
        """Give an endpoint another secret; the default is made, if there is none. Raises as `change` does."""
        venue_id = _venue(named, principal)
        refuse(self._why.problems(body))
        secret = self._endpoints.new_secret()
        if endpoint_id == DEFAULT and self._endpoints.load(venue_id, DEFAULT) is None:
            made = default_of(venue_id, secret, now=self._clock.now())
            entry = self._entry(self._chance.entry_id(), "rotate_secret", made, principal, body, after=made)
            try:
                return self._add("rotate_secret", made, entry)
            except StoreRefused:
                pass  # a delivery was faster: change what it has made

        def decide(standing: Endpoint) -> Endpoint:
            return rotate(standing, secret, actor=principal.sub, now=self._clock.now())

        return self._act("rotate_secret", venue_id, endpoint_id, principal, body, decide)

    def delete(
        self, endpoint_id: str, body: Mapping[str, Any], named: str | None, principal: Principal
    ) -> None:
        """Delete an endpoint; what is on its way to it will be refused. Raises as `change` does."""
        venue_id = _venue(named, principal)
        refuse(self._why.problems(body))
        entry_id, lost = self._chance.entry_id(), False
        for _ in range(TRIES):
            try:
                standing = _own(self._load(venue_id, endpoint_id))
            except NotFound:
                if lost:
                    return None  # it was this request that deleted it
                raise
            entry = self._entry(entry_id, "delete_endpoint", standing, principal, body, before=standing)
            try:
                if self._endpoints.remove(standing, entry):
                    return self._note("delete_endpoint", standing, principal)
            except StoreUnsure:
                lost = True
        raise StoreUnsure if lost else StoreRefused

    def test_event(self, endpoint_id: str, named: str | None, principal: Principal) -> Mapping[str, Any]:
        """Return what to submit for a test event; raises as `read` does, and ActionRefused for the default."""
        endpoint = _own(self._load(_venue(named, principal), endpoint_id))
        data = {
            "endpointId": endpoint.id,
            "event": "endpoint.test",
            "eventId": f"test-{self._chance.entry_id()}",
            "payload": {"endpointId": endpoint.id},
        }
        return {"type": DELIVERY, "data": data, "onBehalfOf": {"venueId": endpoint.venue_id}}

    def _add(self, action: str, made: Endpoint, entry: Entry) -> Endpoint:
        for _ in range(TRIES):
            try:
                added = self._endpoints.add(made, entry)
            except StoreUnsure:
                continue
            if not added and self._endpoints.load(made.venue_id, made.id) != made:
                raise StoreRefused
            self._journal.note(action, endpointId=made.id, venueId=made.venue_id, actor=entry.actor)
            return made
        raise StoreUnsure

    def _act(
        self,
        action: str,
        venue_id: VenueId,
        endpoint_id: str,
        principal: Principal,
        body: Mapping[str, Any],
        decide: Decide,
    ) -> Endpoint:
        """Save what is decided on the endpoint as it stands, with its entry, and return it."""
        lost: Endpoint | None = None  # what we wrote, if its reply was lost
        for _ in range(TRIES):
            before = self._load(venue_id, endpoint_id)
            after = before if before == lost else decide(before)
            if after == before:
                return before
            entry_id = self._chance.entry_id()
            entry = self._entry(entry_id, action, after, principal, body, before=before, after=after)
            try:
                if self._endpoints.swap(before, after, entry):
                    self._note(action, after, principal)
                    return after
                lost = None  # a delivery or another caller was faster: decide again on what it left
            except StoreUnsure:
                lost = after
        raise StoreUnsure if lost is not None else StoreRefused

    def _load(self, venue_id: VenueId, endpoint_id: str) -> Endpoint:
        known = _ID.fullmatch(endpoint_id) is not None
        found = self._endpoints.load(venue_id, EndpointId(endpoint_id)) if known else None
        if found is None:
            raise NotFound("There is no such endpoint.")
        return found

    def _note(self, action: str, endpoint: Endpoint, principal: Principal) -> None:
        self._journal.note(action, endpointId=endpoint.id, venueId=endpoint.venue_id, actor=principal.sub)

    def _entry(
        self,
        entry_id: str,
        action: str,
        about: Endpoint,
        principal: Principal,
        body: Mapping[str, Any],
        *,
        before: Endpoint | None = None,
        after: Endpoint | None = None,
    ) -> Entry:
        return Entry(
            id=entry_id,
            at=self._clock.now(),
            actor=principal.sub,
            action=action,
            subject=f"endpoint/{about.id}",
            venue_id=about.venue_id,
            reason=body.get("reason", ""),
            before=None if before is None else describe(before),
            after=None if after is None else describe(after),
        )


def _venue(named: str | None, principal: Principal) -> VenueId:
    """Return the venue whose endpoints these are. Raises Forbidden or InvalidRequest."""
    if principal.role not in (Role.VENUE_ADMIN, Role.ADMIN):
        raise Forbidden("A token of this role may not see or change endpoints.")
    if named is not None and Schema(IDENTITY).problems(named):
        raise InvalidRequest([Problem("venueId", f"Send this: {IDENTITY['description']}.")])
    if principal.role is Role.VENUE_ADMIN:
        if principal.venue_id is None or named not in (None, principal.venue_id):
            raise Forbidden("A venue's token may see and change the endpoints of its own venue alone.")
        return principal.venue_id
    venue_id = named or principal.venue_id
    if venue_id is None:
        raise InvalidRequest([Problem("venueId", "Name the venue: the token names none.")])
    return VenueId(venue_id)


def _own(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that callers may change; raises ActionRefused for the default."""
    if endpoint.id == DEFAULT:
        message = "The endpoint `default` has no URL and is always there; only its secret may be changed."
        raise ActionRefused("default_endpoint", message, state="enabled")
    return endpoint


def _said(endpoint: Endpoint, body: Mapping[str, Any], principal: Principal, now: datetime) -> Endpoint:
    return edit(
        endpoint,
        url=body["url"],
        description=body.get("description", ""),
        active=body.get("active", True),
        actor=principal.sub,
        now=now,
    )


def row(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as callers see it: never its secrets."""
    until = max((each.until for each in endpoint.secrets if each.until), default=None)
    return {
        "id": endpoint.id,
        "venueId": endpoint.venue_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "active": endpoint.disabled is None,
        "disabled": endpoint.disabled,
        "failingSince": moment(endpoint.failing_since),
        "oldSecretUntil": moment(until),
        "createdAt": moment(endpoint.created_at),
        "createdBy": endpoint.created_by,
        "updatedAt": moment(endpoint.updated_at),
        "updatedBy": endpoint.updated_by,
    }


def with_secret(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint with its newest secret, which is shown this once."""
    return row(endpoint) | {"secret": endpoint.secrets[0].value}
