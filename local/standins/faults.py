"""STAND-IN, never deployed: the faults that a test or a demo orders of a provider."""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

MOST = 100_000
E = TypeVar("E", bound=StrEnum)


class Provider(StrEnum):
    """Whose face a fault is ordered of."""

    STRIPE = "stripe"
    SES = "ses"
    ORDERS = "orders"
    TWILIO = "twilio"
    HOOKS = "hooks"
    SOLANA = "solana"


class Mode(StrEnum):
    """What goes wrong. `count` calls are struck, in the order in which the faults were armed."""

    REFUSE_CONNECTION = "refuse-connection"  # the port is closed: ECONNREFUSED, nothing was sent
    STATUS_429 = "status-429"  # turned away at the door, Retry-After: 1
    STATUS_500 = "status-500"  # fails before its effect; Stripe keeps the answer under the key and replays it
    STATUS_503 = "status-503"  # fails at the door: nothing ran and nothing is kept
    DECLINE = "decline"  # the card or the mail is refused
    TIMEOUT_BEFORE = "timeout-before-apply"  # no effect, no answer
    TIMEOUT_AFTER = "timeout-after-apply"  # the effect takes place, the answer is lost
    SLOW = "slow"  # the answer takes two seconds
    REDIRECT = "redirect"  # hooks alone: the receiver sends its callers to where they must not go
    HUGE = "huge-answer"  # hooks alone: five megabytes


OF_HOOKS = (Mode.REDIRECT, Mode.HUGE)


class BadOrder(ValueError):
    """The order of a fault makes no sense; the message says what would."""


@dataclass
class _Armed:
    provider: Provider
    mode: Mode
    count: int


class Faults:
    """What is armed, in order; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []

    def arm(self, order: Any) -> tuple[Provider, Mode, int]:
        """Arm `{provider, mode, count = 1}` and return it; raises BadOrder.

        A refused connection is not kept here: whoever listens sees to it at once.
        """
        if not isinstance(order, dict):
            raise BadOrder("A JSON object {provider, mode, count} is required.")
        provider = _one_of(Provider, order.get("provider"), "provider")
        mode = _one_of(Mode, order.get("mode"), "mode")
        if mode in OF_HOOKS and provider is not Provider.HOOKS:
            raise BadOrder(f"{mode} is a fault of {Provider.HOOKS} alone.")
        count = order.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
            raise BadOrder(f"count is a whole number from 1 to {MOST}.")
        if mode is not Mode.REFUSE_CONNECTION:
            with self._lock:
                self._armed.append(_Armed(provider, mode, count))
        return provider, mode, count

    def take(self, provider: Provider, modes: Collection[Mode]) -> Mode | None:
        """Use up one strike of the first fault of a provider that is among `modes`."""
        with self._lock:
            for armed in self._armed:
                if armed.provider is provider and armed.mode in modes:
                    armed.count -= 1
                    if not armed.count:
                        self._armed.remove(armed)
                    return armed.mode
        return None

    def listing(self) -> list[dict[str, Any]]:
        """Return what is armed still."""
        with self._lock:
            return [{"provider": a.provider, "mode": a.mode, "count": a.count} for a in self._armed]

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._armed.clear()


def _one_of(kind: type[E], value: Any, name: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise BadOrder(f"{name} is one of: {', '.join(kind)}.") from None
