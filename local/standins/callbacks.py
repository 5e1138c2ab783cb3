"""STAND-IN, never deployed: what Stripe tells us unasked, signed as Stripe signs it.

An event that is not taken is sent again, but not for days, as Stripe would.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from local.standins.outbox import Outbox, post

KINDS = {"succeeded": "payment_intent.succeeded", "requires_payment_method": "payment_intent.payment_failed"}
TRIES = 5


class Callbacks:
    """Sends events to a URL."""

    def __init__(self, url: str, secret: str, now: Callable[[], datetime]) -> None:
        self._url = url
        self._secret = secret
        self._now = now
        self._outbox = Outbox(TRIES)

    def tell(self, intent: dict[str, Any]) -> None:
        """Have the service told that an intent has moved on."""
        event = {
            "id": f"evt_{secrets.token_hex(12)}",
            "object": "event",
            "created": int(self._now().timestamp()),
            "livemode": False,
            "type": KINDS.get(intent["status"], "payment_intent.updated"),
            "data": {"object": intent},
        }
        body = json.dumps(event).encode()
        self._outbox.put(lambda: self._post(body))

    def stop(self) -> None:
        """Send no more."""
        self._outbox.stop()

    def _post(self, body: bytes) -> int | None:
        at = int(self._now().timestamp())
        made = hmac.new(self._secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": f"t={at},v1={made}"}
        return post(self._url, body, headers)
