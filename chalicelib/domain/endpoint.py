"""Webhook endpoints: where a venue's events are posted, how they are signed, and what failing makes of one.

    enabled ── 410 Gone ────────────────────> disabled: gone
       │ ───── five days of failures alone ─> disabled: failing
       └ ───── by hand ─────────────────────> disabled: by_hand ── by hand ─> enabled

A venue's own secret, for URLs that are given with a job, is that of an endpoint without a URL called `default`:
it is made when it is first needed, and the venue learns the secret by changing it.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, Protocol
from urllib.parse import urlsplit

from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry

EndpointId = NewType("EndpointId", str)

DEFAULT = EndpointId("default")
ID_PATTERN = "^ep_[A-Za-z0-9_]{1,61}$"
OLD_SIGNS_FOR = timedelta(hours=24)  # a secret that has been changed signs beside the new one
MOST_SECRETS = 3  # that sign at a time
FAILS_FOR = timedelta(days=5)  # and not one success: then it is disabled

MOST_URL = 2048
PORTS = frozenset({None, 443, 8443})  # None: the scheme's own
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_VISIBLE = re.compile(r"[!-~]+")
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter: numbers there are an address, however they are written.
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z]){_LABEL}")
_NOT_PUBLIC = re.compile(r".*\.(?:localhost|local|localdomain|internal|intranet|lan|home|corp|home\.arpa)")


def is_hook_url(text: str, *, loopback: bool = False) -> bool:
    """Whether events may be posted to a URL, as far as it says itself; what its host resolves to is seen then.

    https to a public host by its name, on port 443 or 8443, with neither credentials nor a fragment; with
    `loopback` also http and any port of this machine.
    """
    if len(text) > MOST_URL or _VISIBLE.fullmatch(text) is None or "\\" in text or "#" in text:
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if "@" in parts.netloc:
        return False
    if loopback and host in LOOPBACK_HOSTS:
        return parts.scheme in ("http", "https") and port != 0
    public = len(host) <= 253 and _NAME.fullmatch(host) is not None and not _NOT_PUBLIC.fullmatch(host)
    return public and parts.scheme == "https" and port in PORTS


class Disabled(StrEnum):
    """Why nothing is posted to an endpoint any more."""

    BY_HAND = "by_hand"
    GONE = "gone"  # it answered 410
    FAILING = "failing"  # for FAILS_FOR


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing secret, `whsec_…`; `until`: one that has been changed, and signs until then."""

    value: str = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as it stands; `url` is None of the default alone. `secrets`: the newest first."""

    id: EndpointId
    venue_id: VenueId
    url: str | None
    description: str
    secrets: tuple[Secret, ...]
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    disabled: Disabled | None = None
    failing_since: datetime | None = None  # the first failure after the last success
    revision: int = 1


def default_of(venue_id: VenueId, secret: str, *, now: datetime) -> Endpoint:
    """Return a venue's default as it is first made."""
    by = "queue-service"
    return Endpoint(DEFAULT, venue_id, None, "", (Secret(secret),), now, by, now, by)


def edit(
    endpoint: Endpoint, *, url: str | None, description: str, active: bool, actor: str, now: datetime
) -> Endpoint:
    """Return an endpoint as its venue wants it; enabling it, or another URL, forgets its failures."""
    disabled = None if active else endpoint.disabled or Disabled.BY_HAND
    anew = url != endpoint.url or (active and endpoint.disabled is not None)
    after = replace(
        endpoint,
        url=url,
        description=description,
        disabled=disabled,
        failing_since=None if anew else endpoint.failing_since,
    )
    return endpoint if after == endpoint else _moved(after, actor, now)


def rotate(endpoint: Endpoint, secret: str, *, actor: str, now: datetime) -> Endpoint:
    """Return an endpoint with another secret; those before sign beside it until their time is over."""
    old = [each if each.until else replace(each, until=now + OLD_SIGNS_FOR) for each in endpoint.secrets]
    living = [each for each in old if each.until is not None and each.until > now]
    secrets = (Secret(secret), *living)[:MOST_SECRETS]
    return _moved(replace(endpoint, secrets=secrets), actor, now)


def signing(endpoint: Endpoint, now: datetime) -> tuple[str, ...]:
    """Return the secrets that sign at this moment, the newest first."""
    return tuple(each.value for each in endpoint.secrets if each.until is None or each.until > now)


def after_success(endpoint: Endpoint) -> Endpoint:
    """Return what a delivery makes of an endpoint: itself, unless it had been failing."""
    return endpoint if endpoint.failing_since is None else _next(replace(endpoint, failing_since=None))


def after_failure(endpoint: Endpoint, *, gone: bool, now: datetime) -> Endpoint:
    """Return what a failed delivery makes of an endpoint: itself, unless it is the first or one too many."""
    since = endpoint.failing_since or now
    failing = Disabled.FAILING if now - since >= FAILS_FOR else None
    disabled = endpoint.disabled or (Disabled.GONE if gone else failing)
    after = replace(endpoint, failing_since=since, disabled=disabled)
    return endpoint if after == endpoint else _next(after)


def describe(endpoint: Endpoint) -> str:
    """Return what the audit log says of an endpoint: no secret, and no path, which may hold one."""
    state = "enabled" if endpoint.disabled is None else f"disabled ({endpoint.disabled})"
    host = urlsplit(endpoint.url).hostname if endpoint.url else None
    return f"{host or 'no URL'}, {state}"


def _moved(endpoint: Endpoint, actor: str, now: datetime) -> Endpoint:
    return _next(replace(endpoint, updated_at=now, updated_by=actor))


def _next(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, revision=endpoint.revision + 1)


class EndpointStore(Protocol):
    """The durable endpoints. A write that comes with an audit entry is one transaction with it."""

    def new_secret(self) -> str:
        """Return a signing secret that nobody has."""
        ...

    def add(self, endpoint: Endpoint, entry: Entry | None = None) -> bool:
        """Write an endpoint; False: the venue has one of this id. Raises StoreRefused or StoreUnsure."""
        ...

    def load(self, venue_id: VenueId, endpoint_id: EndpointId) -> Endpoint | None:
        """Return an endpoint of a venue. Read consistently. Raises StoreRefused."""
        ...

    def swap(self, before: Endpoint, after: Endpoint, entry: Entry | None = None) -> bool:
        """Replace an endpoint if the stored revision is still `before`'s, and say whether it was.

        Raises StoreRefused or StoreUnsure.
        """
        ...

    def remove(self, endpoint: Endpoint, entry: Entry) -> bool:
        """Delete an endpoint if the stored revision is still this one's. Answers and raises as `swap` does."""
        ...

    def page(
        self, venue_id: VenueId, *, after: EndpointId | None, limit: int
    ) -> tuple[list[Endpoint], EndpointId | None]:
        """Return a venue's endpoints in the order of their ids, and the id to go on after; None: the last.

        Read consistently. Raises StoreRefused.
        """
        ...
