"""STAND-IN, never deployed: Stripe's transfers to connected accounts, and payouts to the account's own bank.

Both are made at once; a transfer has no status, a payout is `pending` for ever. Every account exists, but for
those whose id begins with `acct_missing`. Where `decline` is armed the balance is too low.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from local.standins.books import Books
from local.standins.faults import Faults, Mode, Provider
from local.standins.forms import Refusal, invalid, known_fields, metadata_of, page_of, strike

TRANSFER_FIELDS = ("amount", "currency", "destination", "transfer_group", "description", "metadata")
PAYOUT_FIELDS = ("amount", "currency", "description", "metadata", "method", "statement_descriptor")
WHOLE_UNITS = ("huf", "isk", "twd", "ugx")  # paid out without their hundredths


class Payouts:
    """The calls on transfers and payouts."""

    def __init__(self, books: Books, faults: Faults, now: Callable[[], datetime]) -> None:
        self._books = books
        self._faults = faults
        self._now = now

    def transfer(self, form: Mapping[str, str], key: str | None) -> dict[str, Any]:
        """Move money to a connected account."""
        known_fields(form, TRANSFER_FIELDS)
        destination = form.get("destination", "")
        if not destination:
            invalid("Missing required param: destination.", "destination", code="parameter_missing")
        if destination.startswith("acct_missing"):
            invalid(f"No such destination: '{destination}'", "destination", code="resource_missing")
        transfer = {
            **self._begun(form, "tr", "transfer"),
            "amount_reversed": 0,
            "destination": destination,
            "reversed": False,
            "transfer_group": form.get("transfer_group"),
        }
        return self._enter(transfer, key)

    def pay_out(self, form: Mapping[str, str], key: str | None) -> dict[str, Any]:
        """Send money to the account's own bank."""
        known_fields(form, PAYOUT_FIELDS)
        if form.get("currency", "").lower() in WHOLE_UNITS and not form.get("amount", "").endswith("00"):
            invalid("Invalid amount: it must be divisible by 100.", "amount")
        payout = {
            **self._begun(form, "po", "payout"),
            "automatic": False,
            "method": form.get("method", "standard"),
            "status": "pending",
        }
        return self._enter(payout, key)

    def transfers(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of transfers, newest first."""
        known_fields(form, ("transfer_group", "destination", "created", "limit", "starting_after"))
        return self._page("/v1/transfers", "transfer", form)

    def payouts(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of payouts, newest first."""
        known_fields(form, ("created", "limit", "starting_after", "status"))
        return self._page("/v1/payouts", "payout", form)

    def _begun(self, form: Mapping[str, str], prefix: str, kind: str) -> dict[str, Any]:
        """Return what both begin as, once the balance is found to be high enough."""
        text, currency = form.get("amount", ""), form.get("currency", "").lower()
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            invalid("Invalid positive integer", "amount", code="parameter_invalid_integer")
        if len(currency) != 3 or not currency.isalpha():
            invalid(f"Invalid currency: {currency}", "currency")
        if strike(self._faults, Mode.DECLINE) is Mode.DECLINE:
            message = "You have insufficient available funds in your Stripe account."
            kinds = {"type": "invalid_request_error", "code": "balance_insufficient"}
            raise Refusal(400, begun=True, message=message, **kinds)
        return {
            "id": f"{prefix}_{secrets.token_hex(12)}",
            "object": kind,
            "amount": int(text),
            "created": int(self._now().timestamp()),
            "currency": currency,
            "description": form.get("description"),
            "livemode": False,
            "metadata": metadata_of(form),
        }

    def _enter(self, made: dict[str, Any], key: str | None) -> dict[str, Any]:
        job, amount = made["metadata"].get("job_id"), made["amount"]
        self._books.enter(Provider.STRIPE, made["object"], key=key, job=job, amount=amount, at=self._now())
        self._books.save_payout(made)
        return made

    def _page(self, url: str, kind: str, form: Mapping[str, str]) -> dict[str, Any]:
        since, group = int(form.get("created[gte]", 0)), form.get("transfer_group")
        return page_of(url, form, lambda after, limit: self._books.payouts(kind, group, since, after, limit))
