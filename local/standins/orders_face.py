"""STAND-IN, never deployed: an order service that fulfils an order once per `Idempotency-Key`.

The first answer under a key is kept and given again; what is turned away at the door is not. Another body under
the same key is a 422. Tokens that begin with `order_` are good.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from datetime import datetime

from local.standins.books import Books, KeptAnswer
from local.standins.faults import Faults, Mode, Provider
from local.standins.wire import Answer, Request, Silent

PATH = "/orders/fulfillments"
SLOW_SECONDS = 2.0


class OrdersFace:
    """Answers POST /orders/fulfillments."""

    def __init__(self, books: Books, faults: Faults, now: Callable[[], datetime]) -> None:
        self._books = books
        self._faults = faults
        self._now = now

    def answer(self, request: Request) -> Answer:
        """Answer one request; raises Silent where a fault says so."""
        if (request.method, request.path) != ("POST", PATH):
            return _refusal(404, "not_found")
        if not request.headers.get("authorization", "").startswith("Bearer order_"):
            return _refusal(401, "unauthenticated")
        key = request.headers.get("idempotency-key")
        if not key:
            return _refusal(400, "key_required")
        fault = self._faults.take(Provider.ORDERS, tuple(Mode))
        match fault:
            case Mode.STATUS_429:
                return Answer(429, {"code": "too_many_requests"}, {"Retry-After": "1"})
            case Mode.STATUS_500:
                return _refusal(500, "internal")
            case Mode.STATUS_503:
                return Answer(503, {"code": "unavailable"}, {"Retry-After": "1"})
            case Mode.TIMEOUT_BEFORE:
                raise Silent
            case Mode.SLOW:
                time.sleep(SLOW_SECONDS)
        answer = self._once(request, key, refuse=fault is Mode.DECLINE)
        if fault is Mode.TIMEOUT_AFTER:
            raise Silent
        return answer

    def _once(self, request: Request, key: str, *, refuse: bool) -> Answer:
        """Fulfil the order, or repeat what was answered under the key."""
        fingerprint = hashlib.sha256(request.body).hexdigest()
        name = f"orders:{key}"
        with self._books.change():
            kept = self._books.kept(name)
            if kept is not None:
                same = kept.fingerprint == fingerprint
                return Answer(kept.status, kept.body) if same else _refusal(422, "key_reused")
            order = json.loads(request.body)
            if refuse:
                answer = _refusal(409, "order_cancelled")
            else:
                fulfillment = {"fulfillmentId": f"ful_{secrets.token_hex(8)}", "orderId": order["orderId"]}
                answer = Answer(201, fulfillment)
                self._books.enter(
                    Provider.ORDERS,
                    "fulfillment",
                    key=key,
                    job=order.get("jobId"),
                    amount=None,
                    at=self._now(),
                )
            at = self._now().timestamp()
            self._books.keep(name, KeptAnswer(fingerprint, answer.status, json.loads(answer.rendered()), at))
            return answer


def _refusal(status: int, code: str) -> Answer:
    return Answer(status, {"code": code})
