"""STAND-IN, never deployed: the life of a PaymentIntent."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from local.standins.books import Books
from local.standins.cards import GENERIC, Accepts, Asks, Declines, Processes, behaviour_of
from local.standins.faults import Faults, Mode, Provider
from local.standins.forms import Refusal, invalid, known_fields, metadata_of, page_of, strike

Intent = dict[str, Any]

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = CONFIRMABLE
THREE_DECIMALS = ("bhd", "jod", "kwd", "omr", "tnd")  # the last digit must be 0
CREATE_FIELDS = (
    "amount", "currency", "customer", "payment_method", "confirm", "description", "off_session", "return_url",
    "automatic_payment_methods", "payment_method_types", "metadata", "statement_descriptor_suffix",
)  # fmt: skip
CONFIRM_FIELDS = ("payment_method", "off_session", "return_url")
CANCEL_FIELDS = ("cancellation_reason",)


class Intents:
    """The calls on PaymentIntents; forms come flat, as they stand in the body (`metadata[job_id]`)."""

    def __init__(self, books: Books, faults: Faults, now: Callable[[], datetime]) -> None:
        self._books = books
        self._faults = faults
        self._now = now

    def create(self, form: Mapping[str, str], key: str | None) -> Intent:
        """Make an intent and, with `confirm`, charge it."""
        known_fields(form, CREATE_FIELDS)
        amount, currency = _amount(form)
        customer, method = form.get("customer"), form.get("payment_method")
        if customer is not None and customer.startswith("cus_missing"):
            invalid(f"No such customer: '{customer}'", "customer", code="resource_missing")
        confirm = form.get("confirm") == "true"
        if confirm and method is None:
            invalid("A payment method is needed to confirm.", "payment_method", code="parameter_missing")
        _known_method(method)
        fault = strike(self._faults, Mode.DECLINE)
        intent = {
            "id": f"pi_{secrets.token_hex(12)}",
            "object": "payment_intent",
            "amount": amount,
            "amount_received": 0,
            "canceled_at": None,
            "capture_method": "automatic_async",
            "created": int(self._now().timestamp()),
            "currency": currency,
            "customer": customer,
            "description": form.get("description"),
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": False,
            "metadata": metadata_of(form),
            "next_action": None,
            "payment_method": method,
            "status": "requires_confirmation" if method else "requires_payment_method",
        }
        return self._charge(intent, key, fault) if confirm else self._save(intent, key)

    def confirm(self, intent_id: str, form: Mapping[str, str], key: str | None) -> Intent:
        """Charge an intent, with another payment method where the call names one."""
        known_fields(form, CONFIRM_FIELDS)
        intent, _ = self._existing(intent_id)
        _known_method(form.get("payment_method"))
        fault = strike(self._faults, Mode.DECLINE)
        if intent["status"] not in CONFIRMABLE:
            _unexpected_state(intent)
        intent["payment_method"] = form.get("payment_method", intent["payment_method"])
        if intent["payment_method"] is None:
            _unexpected_state(intent)
        return self._charge(intent, key, fault)

    def cancel(self, intent_id: str, form: Mapping[str, str]) -> Intent:
        """End an intent that has not been charged."""
        known_fields(form, CANCEL_FIELDS)
        intent, key = self._existing(intent_id)
        strike(self._faults, Mode.DECLINE)
        if intent["status"] not in CANCELABLE:
            _unexpected_state(intent)
        now = int(self._now().timestamp())
        return self._save(intent | {"status": "canceled", "canceled_at": now, "next_action": None}, key)

    def retrieve(self, intent_id: str) -> Intent:
        """Read an intent."""
        return self._existing(intent_id)[0]

    def search(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of intents, newest first."""
        known_fields(form, ("customer", "created", "limit", "starting_after"))
        since, customer = int(form.get("created[gte]", 0)), form.get("customer")
        return page_of(
            "/v1/payment_intents",
            form,
            lambda after, limit: self._books.intents(customer, since, after, limit),
        )

    def act(self, intent_id: str, succeed: bool) -> Intent:
        """Let the customer pass or fail what the bank asks, or let a slow charge come to its end."""
        intent, key = self._existing(intent_id)
        if intent["status"] not in ("requires_action", "processing"):
            _unexpected_state(intent)
        if succeed:
            return self._succeed(intent, key)
        code = "payment_intent_authentication_failure"
        if intent["status"] == "processing":
            code = "payment_intent_payment_attempt_failed"
        return self._fail(intent, key, Declines(code, code, "The payment attempt failed."))

    def _charge(self, intent: Intent, key: str | None, fault: Mode | None) -> Intent:
        behaviour = GENERIC if fault is Mode.DECLINE else behaviour_of(intent["payment_method"])
        match behaviour:
            case Declines():
                failed = self._fail(intent, key, behaviour)
                error = failed["last_payment_error"] | {"payment_intent": failed}
                raise Refusal(402, begun=True, **error)
            case Asks():
                action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
                return self._save(intent | {"status": "requires_action", "next_action": action}, key)
            case Processes():
                changes = {"status": "processing", "latest_charge": _charge_id(), "next_action": None}
                return self._save(intent | changes, key)
            case Accepts() | None:
                return self._succeed(intent, key)

    def _succeed(self, intent: Intent, key: str | None) -> Intent:
        """The money moves: this, and nothing else, is an effect."""
        changes = {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": _charge_id(),
            "last_payment_error": None,
            "next_action": None,
        }
        job, amount = intent["metadata"].get("job_id"), intent["amount"]
        self._books.enter(Provider.STRIPE, "charge", key=key, job=job, amount=amount, at=self._now())
        return self._save(intent | changes, key)

    def _fail(self, intent: Intent, key: str | None, why: Declines) -> Intent:
        error = {
            "type": "card_error",
            "code": why.code,
            "decline_code": why.decline_code,
            "message": why.message,
            "payment_method": {"id": intent["payment_method"], "object": "payment_method"},
        }
        changes = {
            "status": "requires_payment_method",
            "payment_method": None,
            "latest_charge": _charge_id(),
            "last_payment_error": error,
            "next_action": None,
        }
        return self._save(intent | changes, key)

    def _existing(self, intent_id: str) -> tuple[Intent, str | None]:
        found = self._books.intent(intent_id)
        if found is None:
            invalid(f"No such payment_intent: '{intent_id}'", "intent", code="resource_missing", status=404)
        return found

    def _save(self, intent: Intent, key: str | None) -> Intent:
        self._books.save_intent(intent, key)
        return intent


def _charge_id() -> str:
    return f"ch_{secrets.token_hex(12)}"


def _amount(form: Mapping[str, str]) -> tuple[int, str]:
    text, currency = form.get("amount", ""), form.get("currency", "").lower()
    if not text.isascii() or not text.isdigit():
        invalid(f"Invalid integer: {text}", "amount", code="parameter_invalid_integer")
    if not 1 <= int(text) <= 99_999_999:
        invalid("Amount must be between 1 and 99999999.", "amount", code="amount_too_large")
    if len(currency) != 3 or not currency.isalpha():
        invalid(f"Invalid currency: {currency}", "currency")
    if (currency in THREE_DECIMALS and int(text) % 10) or (currency == "isk" and int(text) % 100):
        invalid("Invalid amount.", "amount", code="invalid_charge_amount_no_decimal_compatible")
    return int(text), currency


def _known_method(method: str | None) -> None:
    if method is not None and behaviour_of(method) is None:
        invalid(f"No such PaymentMethod: '{method}'", "payment_method", code="resource_missing")


def _unexpected_state(intent: Intent) -> NoReturn:
    raise Refusal(
        400,
        begun=True,
        type="invalid_request_error",
        code="payment_intent_unexpected_state",
        message=f"This PaymentIntent has a status of {intent['status']}, which does not allow this.",
        payment_intent=intent,
    )
