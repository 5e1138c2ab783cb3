"""STAND-IN, never deployed: a receiver of webhooks that believes what the standard's own library verifies.

It is told secrets by `POST /_hooks {"secret": "whsec_…"}` and takes what one of them has signed, each
`webhook-id` once, however often it comes; all else is a 401, as long as it knows no secret everything.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from local.standins.books import Books, KeptAnswer
from local.standins.faults import BadOrder, Faults, Mode, Provider
from local.standins.wire import Answer, Request, Silent

PATH = "/hooks"
SLOW_SECONDS = 2.0
HUGE = 5_000_000  # bytes
SECRETS = "hooks:secrets"
AT_THE_DOOR: Mapping[Mode, Answer] = {
    Mode.STATUS_429: Answer(429, {"code": "too_many_requests"}, {"Retry-After": "1"}),
    Mode.STATUS_500: Answer(500, {"code": "internal"}),
    Mode.STATUS_503: Answer(503, {"code": "unavailable"}, {"Retry-After": "1"}),
    Mode.DECLINE: Answer(410, {"code": "gone"}),
    Mode.REDIRECT: Answer(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"}),
}


class HooksFace:
    """Answers POST /hooks."""

    def __init__(self, books: Books, faults: Faults, now: Callable[[], datetime]) -> None:
        self._books = books
        self._faults = faults
        self._now = now

    def trust(self, order: Any) -> Answer:
        """Take another secret for good; raises BadOrder."""
        secret = order.get("secret") if isinstance(order, dict) else None
        if not isinstance(secret, str):
            raise BadOrder("A JSON object {secret} is required.")
        try:
            Webhook(secret)
        except Exception as error:
            raise BadOrder("secret is whsec_ and base64.") from error
        secrets = [*self._secrets(), secret]
        self._books.keep(SECRETS, KeptAnswer("", 0, {"secrets": secrets}, self._now().timestamp()))
        return Answer(200, {"secrets": len(secrets)})

    def answer(self, request: Request) -> Answer:
        """Answer one request; raises Silent where a fault says so."""
        if (request.method, request.path) != ("POST", PATH):
            return Answer(404, {"code": "not_found"})
        fault = self._faults.take(Provider.HOOKS, tuple(Mode))
        if fault is not None and fault in AT_THE_DOOR:
            return AT_THE_DOOR[fault]
        if fault is Mode.TIMEOUT_BEFORE:
            raise Silent
        if fault is Mode.SLOW:
            time.sleep(SLOW_SECONDS)
        if not self._verifies(request):
            return Answer(401, {"code": "signature_invalid"})
        self._take(request.headers["webhook-id"])
        if fault is Mode.TIMEOUT_AFTER:
            raise Silent
        return Answer(200, b"x" * HUGE) if fault is Mode.HUGE else Answer(200, {"taken": True})

    def _verifies(self, request: Request) -> bool:
        for secret in self._secrets():
            try:
                Webhook(secret).verify(request.body, dict(request.headers))
            except (WebhookVerificationError, ValueError):
                continue
            return True
        return False

    def _take(self, webhook_id: str) -> None:
        """Enter a delivery in the ledger, the first time that it comes."""
        name = f"hooks:{webhook_id}"
        with self._books.change():
            if self._books.kept(name) is not None:
                return
            at = self._now()
            self._books.keep(name, KeptAnswer("", 200, {}, at.timestamp()))
            self._books.enter(Provider.HOOKS, "delivery", key=webhook_id, job=webhook_id, amount=None, at=at)

    def _secrets(self) -> list[str]:
        kept = self._books.kept(SECRETS)
        return [] if kept is None else list(kept.body["secrets"])
