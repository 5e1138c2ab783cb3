"""Suppressions: addresses that nothing is sent to any more, until an operator lifts it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Entry
from chalicelib.domain.standing import Address, Channel


class Cause(StrEnum):
    """Why nothing is sent to an address."""

    BOUNCE = "bounce"  # for good: there is no such mailbox
    COMPLAINT = "complaint"  # its reader called a mail of ours unwanted
    OPTED_OUT = "opted_out"  # its owner wrote STOP


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address, why it is suppressed and since when; `detail` is the vendor's word for it."""

    address: Address
    cause: Cause
    since: datetime
    detail: str | None = None
    job_id: JobId | None = None  # of the message that brought it about


def lifted(suppression: Suppression, *, entry_id: str, at: datetime, actor: str, reason: str) -> Entry:
    """Return the audit entry of a suppression that is lifted."""
    return Entry(
        id=entry_id,
        at=at,
        actor=actor,
        action="lift_suppression",
        subject=f"suppression/{suppression.address.id}",
        venue_id=None,
        reason=reason,
        before=suppression.cause,
        after=None,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of suppressions ended."""

    since: datetime
    address: Address


class Suppressions(Protocol):
    """The suppressed addresses, without the addresses themselves (see `standing.Address`)."""

    def add(self, suppression: Suppression) -> bool:
        """Suppress an address, and say whether it was not yet; the first cause stands.

        Raises StoreRefused or StoreUnsure; the same call may be made again.
        """
        ...

    def load(self, address: Address) -> Suppression | None:
        """Return what stands of an address. Read consistently. Raises StoreRefused."""
        ...

    def lift(self, suppression: Suppression, entry: Entry) -> bool:
        """Lift a suppression if it still is this one, with the audit entry, both or neither.

        Says whether it was done. Raises StoreRefused or StoreUnsure.
        """
        ...

    def page(self, channel: Channel, *, after: Place | None, limit: int) -> list[Suppression]:
        """Return suppressions of a channel, the latest first.

        From an index, which lags behind the rows. Raises StoreRefused.
        """
        ...
