"""Money to the venues at Stripe: transfers to connected accounts, payouts to the platform's own bank."""

from datetime import datetime
from typing import Any

from chalicelib.domain.providers import Payout, PayoutOrder
from chalicelib.providers.stripe_account import StripeAccount, to_stripe
from chalicelib.providers.stripe_payments import StripePayments


class StripePayouts(StripeAccount):
    """Implements `providers.Payouts`."""

    def pay_out(self, order: PayoutOrder, *, key: str, deadline: datetime) -> Payout:
        """Create the one payout, or transfer, of a job."""
        params: Any = {
            "amount": to_stripe(order.money),
            "currency": order.money.currency.lower(),
            "metadata": {**order.metadata, "job_id": order.job_id},
        }
        if order.destination is not None:
            params |= {"destination": order.destination, **_group_of(order)}
        kind = self._kind(order)
        return _payout_of(self._call(lambda options: kind.create(params, options), deadline, key=key))

    def find_payout(self, order: PayoutOrder, *, since: datetime, deadline: datetime) -> Payout | None:
        """Look for a job's transfer in its group, or for its payout among all since a moment."""
        # Stripe counts in whole seconds.
        params = _group_of(order) if order.destination else {"created": {"gte": int(since.timestamp())}}
        found = self._find(self._kind(order).list, params, order.job_id, deadline)
        return _payout_of(found[-1]) if found else None

    def _kind(self, order: PayoutOrder) -> Any:
        """Return the calls on what the order asks for."""
        return self._client.transfers if order.destination is not None else self._client.payouts


class Stripe(StripePayments, StripePayouts):
    """All that jobs do at Stripe, over the one client of a container."""


def _group_of(order: PayoutOrder) -> dict[str, str]:
    return {"transfer_group": order.job_id}


def _payout_of(raw: Any) -> Payout:
    if raw.object == "transfer":
        return Payout(raw.id, "reversed" if raw.reversed else "created")
    return Payout(raw.id, raw.status)
