"""Bulletins: what was published on a topic of ours, signed by whoever runs topics."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol


class Kind(StrEnum):
    """What a bulletin is."""

    NOTIFICATION = "Notification"
    SUBSCRIBED = "SubscriptionConfirmation"
    UNSUBSCRIBED = "UnsubscribeConfirmation"


class Topic(Protocol):
    """The one topic whose bulletins are taken here."""

    def check(self, bulletin: Mapping[str, Any]) -> Kind:
        """Return what a bulletin is, once it is known to be of this topic, recent and rightly signed.

        Raises NotSigned, or StoreRefused when nobody can tell: the sender is to send it again.
        """
        ...

    def confirm(self, bulletin: Mapping[str, Any]) -> None:
        """Confirm a subscription that a checked bulletin asks about. Raises NotSigned or StoreRefused."""
        ...
