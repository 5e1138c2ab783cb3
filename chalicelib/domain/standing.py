"""What must stand for a job to be accepted, and again before it runs: facts in the store that its data names.

A job type says what it needs of them (`JobType.needs`); all needs of a batch are looked up in one call, and a
type that needs nothing costs none.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, assert_never

from chalicelib.domain.endpoint import DEFAULT, Endpoint, EndpointId
from chalicelib.domain.errors import Problem
from chalicelib.domain.job import VenueId
from chalicelib.domain.outcome import Failure, Refused
from chalicelib.domain.quiet import QuietHours

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Channel(StrEnum):
    """How somebody is reached."""

    EMAIL = "email"
    SMS = "sms"


@dataclass(frozen=True, slots=True)
class Address:
    """A mail address or a phone number, known by its digest alone, so that what is kept under it shows nobody.

    The digest keeps an address out of sight, not out of the reach of one who tries all there are.
    """

    channel: Channel
    digest: str  # SHA-256 of the normalised address, in hex

    @property
    def id(self) -> str:
        """The address as records and operators name it."""
        return f"{self.channel}-{self.digest}"


def mail_address(text: str) -> Address:
    """Return a mail address; case makes no other one, since no mailbox that people use tells them apart.

    A plus-address stays one of its own: who complains of one has not complained of all.
    """
    return _address(Channel.EMAIL, text.strip().lower())


def phone_number(text: str) -> Address:
    """Return a phone number in E.164, however it is spaced. Raises ValueError for any other."""
    plain = re.sub(r"[\s().\-]", "", text)
    if not _E164.fullmatch(plain):
        raise ValueError("not a phone number in E.164")
    return _address(Channel.SMS, plain)


def read_address(address_id: str) -> Address:
    """Return the address of an id. Raises ValueError if it is none."""
    channel, _, digest = address_id.partition("-")
    if not _DIGEST.fullmatch(digest):
        raise ValueError("not the id of an address")
    return Address(Channel(channel), digest)


def _address(channel: Channel, plain: str) -> Address:
    return Address(channel, hashlib.sha256(plain.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class ToAddress:
    """The address in this field of the body must not be suppressed."""

    field: str
    address: Address


@dataclass(frozen=True, slots=True)
class AtEndpoint:
    """The webhook endpoint that this field of the body names must exist in the venue and not be disabled."""

    field: str
    venue_id: VenueId
    endpoint_id: EndpointId


@dataclass(frozen=True, slots=True)
class SignedFor:
    """The venue's own signing secret must be known, if it has one; that keeps no job out."""

    venue_id: VenueId
    endpoint_id: EndpointId = DEFAULT


@dataclass(frozen=True, slots=True)
class QuietAt:
    """The quiet hours of the venue must be known; they keep no job out, they put it off."""

    venue_id: VenueId


Need = ToAddress | AtEndpoint | SignedFor | QuietAt
KEEP_OUT = (ToAddress, AtEndpoint)  # those that are asked about before a job is accepted


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says of needs."""

    suppressed: Collection[Address] = frozenset()
    endpoints: Mapping[tuple[VenueId, EndpointId], Endpoint] = field(default_factory=dict)  # that exist
    quiet_hours: Mapping[VenueId, QuietHours] = field(default_factory=dict)  # of the venues that have any


class Registry(Protocol):
    """What the store knows of addresses, endpoints and quiet hours."""

    def look_up(self, needs: Collection[Need]) -> Standing:
        """Return what stands of these needs, in one call per hundred of them. Raises StoreRefused.

        Read consistently.
        """
        ...


@dataclass(frozen=True, slots=True)
class Objection:
    """A need that is not met: a stable code, the field of the body, a sentence that never repeats the value."""

    code: str
    field: str
    message: str

    @property
    def problem(self) -> Problem:
        """It as a caller is told of it."""
        return Problem(self.field, self.message)


SUPPRESSED: Mapping[Channel, str] = {
    Channel.EMAIL: "Mail to this address is suppressed: it bounced for good, or its reader complained.",
    Channel.SMS: "Messages to this number are suppressed: its owner asked for none.",
}
UNKNOWN_ENDPOINT = "This venue has no such endpoint."
DISABLED_ENDPOINT = "This endpoint is disabled: enable it first."


def objections(needs: Sequence[Need], standing: Standing) -> list[Objection]:
    """Return what stands in a job's way; pure."""
    found = (_objection(need, standing) for need in needs)
    return [each for each in found if each is not None]


def _objection(need: Need, standing: Standing) -> Objection | None:
    match need:
        case ToAddress():
            if need.address in standing.suppressed:
                return Objection("suppressed", need.field, SUPPRESSED[need.address.channel])
            return None
        case AtEndpoint():
            endpoint = standing.endpoints.get((need.venue_id, need.endpoint_id))
            if endpoint is None:
                return Objection("unknown_endpoint", need.field, UNKNOWN_ENDPOINT)
            if endpoint.disabled is None:
                return None
            return Objection("disabled_endpoint", need.field, DISABLED_ENDPOINT)
        case SignedFor() | QuietAt():
            return None
    assert_never(need)


def refused(found: Sequence[Objection]) -> Refused:
    """Return the outcome of a job that was accepted before this stood in its way; nothing was sent."""
    first = found[0]
    return Refused(Failure(first.code, first.message))
