"""STAND-IN, never deployed: Stripe's refunds, and its charges as far as a refund must know them.

A refund succeeds at once. More than is left of a charge is refused as Stripe refuses it: without a code, or as
`charge_already_refunded` where nothing is left.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from local.standins.books import Books
from local.standins.faults import Faults, Provider
from local.standins.forms import invalid, known_fields, metadata_of, page_of, strike
from local.standins.intents import Intent

CREATE_FIELDS = ("charge", "payment_intent", "amount", "reason", "metadata")
LIST_FIELDS = ("charge", "payment_intent", "limit", "starting_after")
REASONS = ("duplicate", "fraudulent", "requested_by_customer")


class Refunds:
    """The calls on refunds and charges; forms come flat, as they stand in the body (`metadata[job_id]`)."""

    def __init__(self, books: Books, faults: Faults, now: Callable[[], datetime]) -> None:
        self._books = books
        self._faults = faults
        self._now = now

    def create(self, form: Mapping[str, str], key: str | None) -> dict[str, Any]:
        """Give back a part of a charge, or all that is left of it."""
        known_fields(form, CREATE_FIELDS)
        charge = self._charge_of(form)
        if form.get("reason", REASONS[0]) not in REASONS:
            invalid(f"Invalid reason: must be one of {', '.join(REASONS)}", "reason")
        left = charge["amount"] - charge["amount_refunded"]
        if left <= 0:
            invalid(f"Charge {charge['id']} has already been refunded.", None, code="charge_already_refunded")
        text = form.get("amount", str(left))
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            invalid("Invalid positive integer", "amount", code="parameter_invalid_integer")
        if int(text) > left:
            invalid(f"Refund amount ({text}) is greater than unrefunded amount on charge ({left})", "amount")
        strike(self._faults)
        refund = {
            "id": f"re_{secrets.token_hex(12)}",
            "object": "refund",
            "amount": int(text),
            "charge": charge["id"],
            "created": int(self._now().timestamp()),
            "currency": charge["currency"],
            "metadata": metadata_of(form),
            "payment_intent": charge["payment_intent"],
            "reason": form.get("reason"),
            "status": "succeeded",
        }
        job = refund["metadata"].get("job_id")
        self._books.enter(Provider.STRIPE, "refund", key=key, job=job, amount=int(text), at=self._now())
        self._books.save_refund(refund)
        return refund

    def search(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of refunds, newest first."""
        known_fields(form, LIST_FIELDS)
        whose = self._charge_of(form)["id"] if form.keys() & {"charge", "payment_intent"} else None
        return page_of("/v1/refunds", form, lambda after, limit: self._books.refunds(whose, after, limit))

    def charge(self, charge_id: str) -> dict[str, Any]:
        """Read a charge."""
        intent = self._books.intent_of(charge_id)
        if intent is None:
            invalid(f"No such charge: '{charge_id}'", "charge", code="resource_missing", status=404)
        return self._charge(intent)

    def _charge_of(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the charge that a form names, by its own id or by its intent's."""
        if "charge" in form:
            charge = self.charge(form["charge"])
        elif "payment_intent" in form:
            intent_id = form["payment_intent"]
            found = self._books.intent(intent_id)
            if found is None:
                invalid(
                    f"No such payment_intent: '{intent_id}'",
                    "payment_intent",
                    code="resource_missing",
                    status=404,
                )
            charge = self._charge(found[0])
        else:
            invalid("One of charge, payment_intent must be given.", "charge", code="parameter_missing")
        if charge["status"] != "succeeded":
            invalid("This payment has no successful charge to refund.", "payment_intent")
        return charge

    def _charge(self, intent: Intent) -> dict[str, Any]:
        charge_id = intent["latest_charge"]
        return {
            "id": charge_id,
            "object": "charge",
            "amount": intent["amount"],
            "amount_refunded": self._books.refunded(charge_id) if charge_id else 0,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "metadata": intent["metadata"],
            "payment_intent": intent["id"],
            "status": "succeeded" if intent["status"] == "succeeded" else "failed",
        }
