"""Card payments and refunds at Stripe.

How intents are made: created and confirmed in one call on the server, since the buyer has already chosen and
the job runs right after the order. Not `off_session`: the buyer is still there, so that a bank's question
becomes `requires_action` and can be answered, where off-session it would be a decline. Every payment method
of the account that needs no redirect is allowed (`allow_redirects: never`), so that no `return_url` is needed.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chalicelib.domain.errors import Declined, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.providers import Intent, PaymentOrder, Refund, RefundOrder, Transaction
from chalicelib.providers.stripe_account import (
    DECLINED,
    TURNED_AWAY,
    StripeAccount,
    code_of,
    from_stripe,
    noted,
    sentence,
    to_stripe,
)

if TYPE_CHECKING:
    import stripe


class StripePayments(StripeAccount):
    """Implements `providers.Payments`."""

    def create(self, order: PaymentOrder, *, key: str, deadline: datetime) -> Intent:
        """Create and confirm the one intent of a job."""
        params: Any = {
            "amount": to_stripe(order.money),
            "currency": order.money.currency.lower(),
            "customer": order.customer,
            "payment_method": order.payment_method,
            "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {**order.metadata, "job_id": order.job_id},
        }
        if order.description is not None:
            params["description"] = order.description
        return self._act(lambda options: self._client.payment_intents.create(params, options), deadline, key)

    def confirm(self, intent_id: str, payment_method: str, *, key: str, deadline: datetime) -> Intent:
        """Confirm an intent again; the method goes along, as a decline has taken it off the intent."""
        params: Any = {"payment_method": payment_method}
        intents = self._client.payment_intents
        return self._act(lambda options: intents.confirm(intent_id, params, options), deadline, key)

    def cancel(self, intent_id: str, *, key: str, deadline: datetime) -> Intent:
        """Cancel an intent; one that can no longer be cancelled is returned as it is."""
        try:
            intents = self._client.payment_intents
            return self._act(lambda options: intents.cancel(intent_id, {}, options), deadline, key)
        except (Declined, TurnedAway) as error:
            if error.reason in TURNED_AWAY.values():
                raise
            return self.retrieve(intent_id, deadline=deadline)

    def retrieve(self, intent_id: str, *, deadline: datetime) -> Intent:
        """Read an intent."""
        intents = self._client.payment_intents
        return _intent_of(self._look(lambda options: intents.retrieve(intent_id, None, options), deadline))

    def known(self, intent_id: str, *, deadline: datetime) -> Intent:
        """Read an intent that somebody else has named; raises Declined where there is none."""
        intents = self._client.payment_intents
        return _intent_of(self._read(lambda options: intents.retrieve(intent_id, None, options), deadline))

    def find(self, customer: str, job_id: JobId, *, since: datetime, deadline: datetime) -> Intent | None:
        """Look through all of a customer's intents since a moment for the one of a job; all pages are read.

        Should there be several, the one that succeeded is it.
        """
        params: Any = {
            "customer": customer,
            "created": {"gte": int(since.timestamp())},  # Stripe counts in whole seconds
        }
        found = map(_intent_of, self._find(self._client.payment_intents.list, params, job_id, deadline))
        return max(found, key=lambda intent: intent.status == "succeeded", default=None)

    def transaction(self, transaction_id: str, *, deadline: datetime) -> Transaction:
        """Read the charge or the intent of this id; raises Declined where there is none."""
        kind: Any = self._client.payment_intents if _is_intent(transaction_id) else self._client.charges
        raw = self._read(lambda options: kind.retrieve(transaction_id, None, options), deadline)
        return Transaction(raw.id, raw.currency.upper(), noted(raw, "venue_id"))

    def refund(self, order: RefundOrder, *, key: str, deadline: datetime) -> Refund:
        """Create the one refund of a job."""
        params: Any = {
            **_part_of(order.transaction_id),
            "amount": to_stripe(order.money),
            "metadata": {**order.metadata, "job_id": order.job_id},
        }
        refunds = self._client.refunds
        return _refund_of(self._call(lambda options: refunds.create(params, options), deadline, key=key))

    def find_refund(self, transaction_id: str, job_id: JobId, *, deadline: datetime) -> Refund | None:
        """Look through all refunds of a transaction for the one of a job; all pages are read."""
        found = self._find(self._client.refunds.list, _part_of(transaction_id), job_id, deadline)
        return _refund_of(found[-1]) if found else None

    def _act(
        self, call: "Callable[[Any], stripe.PaymentIntent]", deadline: datetime, key: str | None = None
    ) -> Intent:
        return _intent_of(self._call(call, deadline, key=key))


def _is_intent(transaction_id: str) -> bool:
    return transaction_id.startswith("pi_")


def _part_of(transaction_id: str) -> Mapping[str, str]:
    """Return the parameter by which Stripe knows whose refunds are meant."""
    return {"payment_intent" if _is_intent(transaction_id) else "charge": transaction_id}


def _refund_of(raw: "stripe.Refund") -> Refund:
    return Refund(raw.id, raw.status or "pending")


def _intent_of(raw: "stripe.PaymentIntent") -> Intent:
    charge = raw.latest_charge
    error = raw.last_payment_error
    code = code_of(error) if error else None
    return Intent(
        id=raw.id,
        status=raw.status,
        charge_id=charge if charge is None or isinstance(charge, str) else charge.id,
        money=from_stripe(raw.amount, raw.currency),
        next_action=raw.next_action.to_dict() if raw.next_action else None,
        error_code=code,
        error_message=sentence(code, DECLINED) if code else None,
        reference=raw.last_response.request_id if raw.last_response else None,
        job_id=noted(raw, "job_id"),
        venue_id=noted(raw, "venue_id"),
    )
