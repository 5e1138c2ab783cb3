"""STAND-IN, never deployed: Stripe's intents, refunds and payouts, as its documentation says they behave.

Keys as at Stripe: the first answer under an idempotency key is kept for 24 hours once execution has begun,
declines and 500s included, and replayed with `Idempotent-Replayed: true`; other parameters under the same key
are an `idempotency_error`; a call under a key that is in use gets a 409; what fails validation is not kept.
Every customer exists, but for those whose id begins with `cus_missing`.
"""

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from local.standins.books import Books, KeptAnswer
from local.standins.faults import Faults, Mode, Provider
from local.standins.forms import Refusal
from local.standins.intents import Intents
from local.standins.payouts import Payouts
from local.standins.refunds import Refunds
from local.standins.wire import Answer, Request, Silent

KEY_LIFE_SECONDS = 24 * 3600
SLOW_SECONDS = 2.0

ANY_CALL = (Mode.STATUS_429, Mode.STATUS_503, Mode.SLOW)
CALLS_WITH_EFFECT = (*ANY_CALL, Mode.TIMEOUT_BEFORE, Mode.TIMEOUT_AFTER)


class StripeFace:
    """Answers requests under /v1/."""

    def __init__(
        self,
        books: Books,
        faults: Faults,
        now: Callable[[], datetime],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._books = books
        self._faults = faults
        self._now = now
        self._tell = tell  # who is to know that an intent has moved on by itself
        self._intents = Intents(books, faults, now)
        self._refunds = Refunds(books, faults, now)
        self._payouts = Payouts(books, faults, now)
        self._keys = threading.Lock()
        self._keys_in_use: set[str] = set()

    def answer(self, request: Request) -> Answer:
        """Answer one request; raises Silent where a fault says so."""
        secret = _secret_of(request)
        if not secret.startswith(("sk_test_", "rk_test_")):
            return _numbered(_fault(401, "invalid_request_error", "Invalid API Key provided."))
        effect = request.method == "POST"
        fault = self._faults.take(Provider.STRIPE, CALLS_WITH_EFFECT if effect else ANY_CALL)
        match fault:
            case Mode.STATUS_429:
                busy = _fault(429, "invalid_request_error", "Too many requests.", code="rate_limit")
                return _numbered(busy, {"Retry-After": "1"})
            case Mode.STATUS_503:
                return _numbered(_fault(503, "api_error", "The service is unavailable."))
            case Mode.TIMEOUT_BEFORE:
                raise Silent
        pause = SLOW_SECONDS if fault is Mode.SLOW else 0.0
        answer = self._write(request, secret, pause) if effect else self._read(request, pause)
        if fault is Mode.TIMEOUT_AFTER:
            raise Silent
        return _numbered(answer)

    def act(self, order: Any) -> Answer:
        """Play the customer, or the bank: `{paymentIntentId, action: succeed | fail}`."""
        action = order.get("action") if isinstance(order, dict) else None
        if action not in ("succeed", "fail"):
            return Answer(400, {"error": "action is one of: succeed, fail."})
        try:
            with self._books.change():
                intent = self._intents.act(str(order.get("paymentIntentId")), action == "succeed")
        except Refusal as refusal:
            return refusal.answer
        self._tell(intent)
        return Answer(200, intent)

    def _read(self, request: Request, pause: float) -> Answer:
        time.sleep(pause)
        try:
            return self._route(request, dict(parse_qsl(request.query)), None)
        except Refusal as refusal:
            return refusal.answer

    def _write(self, request: Request, secret: str, pause: float) -> Answer:
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        key = request.headers.get("idempotency-key")
        if key is None:
            time.sleep(pause)
            with self._books.change():
                return self._execute(request, form, None)[0]
        account_key = f"{secret}:{key}"
        with self._keys:
            if account_key in self._keys_in_use:
                message = "Another request with this idempotency key is in progress."
                return _fault(409, "idempotency_error", message, code="idempotency_key_in_use")
            self._keys_in_use.add(account_key)
        try:
            time.sleep(pause)
            return self._once(request, form, key, account_key)
        finally:
            with self._keys:
                self._keys_in_use.discard(account_key)

    def _once(self, request: Request, form: dict[str, str], key: str, account_key: str) -> Answer:
        """Execute, or replay what was answered to the same request before."""
        fingerprint = hashlib.sha256(json.dumps([request.path, sorted(form.items())]).encode()).hexdigest()
        now = self._now().timestamp()
        with self._books.change():
            kept = self._books.kept(account_key)
            if kept is not None and now - kept.at < KEY_LIFE_SECONDS:
                if kept.fingerprint != fingerprint:
                    message = "Keys can only be used with the parameters they were first used with."
                    return _fault(400, "idempotency_error", message)
                return Answer(kept.status, kept.body, {"Idempotent-Replayed": "true"})
            answer, begun = self._execute(request, form, key)
            if begun and not isinstance(answer.body, bytes):
                kept = KeptAnswer(fingerprint, answer.status, dict(answer.body), now)
                self._books.keep(account_key, kept)
            return answer

    def _execute(self, request: Request, form: dict[str, str], key: str | None) -> tuple[Answer, bool]:
        """Return the answer, and whether execution began, so that it is kept under the key."""
        try:
            return self._route(request, form, key), True
        except Refusal as refusal:
            return refusal.answer, refusal.begun

    def _route(self, request: Request, form: dict[str, str], key: str | None) -> Answer:
        match [request.method, *request.path.strip("/").split("/")]:
            case ["POST", "v1", "payment_intents"]:
                return Answer(200, self._intents.create(form, key))
            case ["POST", "v1", "payment_intents", intent_id, "confirm"]:
                return Answer(200, self._intents.confirm(intent_id, form, key))
            case ["POST", "v1", "payment_intents", intent_id, "cancel"]:
                return Answer(200, self._intents.cancel(intent_id, form))
            case ["GET", "v1", "payment_intents", intent_id]:
                return Answer(200, self._intents.retrieve(intent_id))
            case ["GET", "v1", "payment_intents"]:
                return Answer(200, self._intents.search(form))
            case ["POST", "v1", "refunds"]:
                return Answer(200, self._refunds.create(form, key))
            case ["GET", "v1", "refunds"]:
                return Answer(200, self._refunds.search(form))
            case ["POST", "v1", "transfers"]:
                return Answer(200, self._payouts.transfer(form, key))
            case ["GET", "v1", "transfers"]:
                return Answer(200, self._payouts.transfers(form))
            case ["POST", "v1", "payouts"]:
                return Answer(200, self._payouts.pay_out(form, key))
            case ["GET", "v1", "payouts"]:
                return Answer(200, self._payouts.payouts(form))
            case ["GET", "v1", "charges", charge_id]:
                return Answer(200, self._refunds.charge(charge_id))
        return _fault(404, "invalid_request_error", f"Unrecognized request URL ({request.method}).")


def _secret_of(request: Request) -> str:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret if scheme == "Bearer" else ""


def _fault(status: int, kind: str, message: str, *, code: str | None = None) -> Answer:
    error = {"type": kind, "message": message} | ({"code": code} if code else {})
    return Answer(status, {"error": error})


def _numbered(answer: Answer, headers: dict[str, str] | None = None) -> Answer:
    number = {"Request-Id": f"req_{secrets.token_hex(7)}"}
    return Answer(answer.status, answer.body, number | dict(answer.headers) | (headers or {}))
