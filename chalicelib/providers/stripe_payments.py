"""Card payments and refunds at Stripe: one client, its errors translated at the edge to `domain/errors.py`.

How intents are made: created and confirmed in one call on the server, since the buyer has already chosen and
the job runs right after the order. Not `off_session`: the buyer is still there, so that a bank's question
becomes `requires_action` and can be answered, where off-session it would be a decline. Every payment method
of the account that needs no redirect is allowed (`allow_redirects: never`), so that no `return_url` is needed.

Amounts go out in Stripe's units, which are the minor units of ISO 4217 but for the krona: Stripe still counts
ISK in hundredths (https://docs.stripe.com/currencies#special-cases). The currencies about which Stripe and
ISO 4217 otherwise disagree (MGA, UGX), and a last digit other than 0 where there are three decimals, are
refused by the schema of the job type.

Of what Stripe says of an error only the code is kept, and the id of the request, under which Stripe's dashboard
has all of it: its words quote ids, addresses and card data, and would stand in every view of the job.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Intent, Money, PaymentOrder, Refund, RefundOrder, Transaction

if TYPE_CHECKING:
    import stripe

T = TypeVar("T")

CONNECT_SECONDS = 2.0
CALL_SECONDS = 9.0  # connecting included
CALL_TIME = timedelta(seconds=10)  # the longest that a call may take, our own part included
PAGE = 100  # intents per page; Stripe's most
HUNDREDTHS = frozenset({"ISK"})  # no decimals in ISO 4217, two at Stripe

UNEXPECTED_STATE = "payment_intent_unexpected_state"
TURNED_AWAY: Mapping[int, str] = {
    401: "provider_not_authenticated",
    403: "provider_not_permitted",
    409: "idempotency_key_in_use",  # by an earlier request that has not ended; or the intent is
    429: "provider_rate_limited",
}
CARD_DECLINED = 402
CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
# By code, what a reader is told; of cards reported lost or stolen no more than that they were declined.
SENTENCES: Mapping[str, str] = {
    "amount_too_large": "The amount is above what Stripe charges.",
    "amount_too_small": "The amount is below what Stripe charges.",
    "authentication_required": "The bank wants the customer to confirm the payment.",
    "charge_already_refunded": "All of the charge has been given back already.",
    "charge_disputed": "The customer has disputed the charge, so it cannot be refunded.",
    "expired_card": "The card has expired.",
    "idempotency_key_in_use": "Another request for this payment has not ended yet.",
    "incorrect_cvc": "The card's security code is incorrect.",
    "incorrect_number": "The card's number is incorrect.",
    "insufficient_funds": "The card has insufficient funds.",
    "parameter_mismatch": "The same key was sent with other parameters before.",
    "payment_intent_unexpected_state": "The payment has moved on since it was read.",
    "processing_error": "The bank could not process the card.",
    "provider_failed": "Stripe failed.",
    "provider_not_authenticated": "Stripe does not take our key.",
    "provider_not_permitted": "Our key may not do this at Stripe.",
    "provider_rate_limited": "Stripe takes no more requests at the moment.",
    "resource_missing": "Stripe knows no customer, payment method or payment of this id.",
}
DECLINED = "The card was declined."
REFUSED = "Stripe refused the request; see its code."


class StripePayments:
    """Implements `ports.Payments`, for any number of threads.

    `api_base` is another address than Stripe's own; `call_seconds` bounds one call. Making one imports the SDK,
    which takes a while.
    """

    def __init__(
        self,
        secret_key: str,
        clock: Clock,
        *,
        api_base: str | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        import requests
        import stripe
        from urllib3 import Timeout

        self._clock = clock
        # One session for all threads: the SDK's own is one per thread, and a batch's threads are new ones.
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace our Authorization
        timeout: Any = Timeout(connect=CONNECT_SECONDS, total=call_seconds)
        addresses: Any = {"api": api_base} if api_base else {}
        stripe.enable_telemetry = False
        client = stripe.StripeClient(
            secret_key,
            base_addresses=addresses,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout, session=self._session),
        )
        self._intents = client.v1.payment_intents
        self._charges = client.v1.charges
        self._refunds = client.v1.refunds

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def create(self, order: PaymentOrder, *, key: str, deadline: datetime) -> Intent:
        """Create and confirm the one intent of a job."""
        params: Any = {
            "amount": _to_stripe(order.money),
            "currency": order.money.currency.lower(),
            "customer": order.customer,
            "payment_method": order.payment_method,
            "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {**order.metadata, "job_id": order.job_id},
        }
        if order.description is not None:
            params["description"] = order.description
        return self._act(lambda: self._intents.create(params, {"idempotency_key": key}), deadline)

    def confirm(self, intent_id: str, payment_method: str, *, key: str, deadline: datetime) -> Intent:
        """Confirm an intent again; the method goes along, as a decline has taken it off the intent."""
        params: Any = {"payment_method": payment_method}
        return self._act(lambda: self._intents.confirm(intent_id, params, {"idempotency_key": key}), deadline)

    def cancel(self, intent_id: str, *, key: str, deadline: datetime) -> Intent:
        """Cancel an intent; one that can no longer be cancelled is returned as it is."""
        try:
            return self._act(lambda: self._intents.cancel(intent_id, {}, {"idempotency_key": key}), deadline)
        except (Declined, TurnedAway) as error:
            if error.reason in TURNED_AWAY.values():
                raise
            return self.retrieve(intent_id, deadline=deadline)

    def retrieve(self, intent_id: str, *, deadline: datetime) -> Intent:
        """Read an intent."""
        return _intent_of(self._look(lambda: self._intents.retrieve(intent_id), deadline))

    def find(self, customer: str, job_id: JobId, *, since: datetime, deadline: datetime) -> Intent | None:
        """Look through all of a customer's intents since a moment for the one of a job; all pages are read.

        Should there be several, the one that succeeded is it.
        """
        params: Any = {
            "customer": customer,
            "created": {"gte": int(since.timestamp())},  # Stripe counts in whole seconds
            "limit": PAGE,
        }
        found: list[Intent] = []
        while True:
            page = self._look(partial(self._intents.list, params), deadline)
            found += [_intent_of(raw) for raw in page.data if _noted(raw, "job_id") == job_id]
            if not page.has_more:
                return max(found, key=lambda intent: intent.status == "succeeded", default=None)
            params["starting_after"] = page.data[-1].id

    def transaction(self, transaction_id: str, *, deadline: datetime) -> Transaction:
        """Read the charge or the intent of this id; raises Declined where there is none."""
        read = self._intents.retrieve if _is_intent(transaction_id) else self._charges.retrieve
        try:
            raw = self._call(lambda: read(transaction_id), deadline)
        except Ambiguous as error:  # it only reads
            raise TurnedAway(error.reason, error.message, reference=error.reference) from error
        return Transaction(raw.id, raw.currency.upper(), _noted(raw, "venue_id"))

    def refund(self, order: RefundOrder, *, key: str, deadline: datetime) -> Refund:
        """Create the one refund of a job."""
        params: Any = {
            **_part_of(order.transaction_id),
            "amount": _to_stripe(order.money),
            "metadata": {**order.metadata, "job_id": order.job_id},
        }
        return _refund_of(self._call(lambda: self._refunds.create(params, {"idempotency_key": key}), deadline))

    def find_refund(self, transaction_id: str, job_id: JobId, *, deadline: datetime) -> Refund | None:
        """Look through all refunds of a transaction for the one of a job; all pages are read."""
        params: Any = {**_part_of(transaction_id), "limit": PAGE}
        found: Refund | None = None
        while True:
            page = self._look(partial(self._refunds.list, params), deadline)
            for raw in page.data:
                if _noted(raw, "job_id") == job_id:
                    found = _refund_of(raw)
            if not page.has_more:
                return found
            params["starting_after"] = page.data[-1].id

    def _act(self, call: "Callable[[], stripe.PaymentIntent]", deadline: datetime) -> Intent:
        return _intent_of(self._call(call, deadline))

    def _look(self, call: Callable[[], T], deadline: datetime) -> T:
        """Make a call that only reads: whatever goes wrong, nothing happened because of it."""
        try:
            return self._call(call, deadline)
        except (NotSent, TurnedAway):
            raise
        except ProviderError as error:
            raise TurnedAway(error.reason, error.message, reference=error.reference) from error

    def _call(self, call: Callable[[], T], deadline: datetime) -> T:
        """Check that there is time, and call: one step, so that nothing starts that cannot end in time."""
        if self._clock.now() + CALL_TIME > deadline:
            raise NotSent("no_time_left", "The invocation ends too soon for a call to Stripe.")
        import stripe

        try:
            return call()
        except stripe.StripeError as error:
            raise _translate(error) from error


def _to_stripe(money: Money) -> int:
    return money.amount * 100 if money.currency in HUNDREDTHS else money.amount


def _from_stripe(amount: int, currency: str) -> Money:
    currency = currency.upper()
    return Money(amount // 100 if currency in HUNDREDTHS else amount, currency)


def _noted(raw: "stripe.PaymentIntent | stripe.Charge | stripe.Refund", name: str) -> str | None:
    """Return what was noted in an object's metadata under a name."""
    return raw.metadata.to_dict().get(name) if raw.metadata else None


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
    code = _code_of(error) if error else None
    return Intent(
        id=raw.id,
        status=raw.status,
        charge_id=charge if charge is None or isinstance(charge, str) else charge.id,
        money=_from_stripe(raw.amount, raw.currency),
        next_action=raw.next_action.to_dict() if raw.next_action else None,
        error_code=code,
        error_message=_sentence(code, DECLINED) if code else None,
        reference=raw.last_response.request_id if raw.last_response else None,
    )


def _code_of(error: Any) -> str | None:
    """Return the most telling of an error's codes: why the bank declined, else what went wrong."""
    code = getattr(error, "decline_code", None) or getattr(error, "code", None)
    return code if isinstance(code, str) and CODE.fullmatch(code) else None


def _sentence(code: str, otherwise: str = REFUSED) -> str:
    return SENTENCES.get(code, otherwise)


def _translate(error: "stripe.StripeError") -> ProviderError:
    """Say what an error of the SDK stands for: by the answer, or without one by how far the call came."""
    import stripe

    if isinstance(error, stripe.APIConnectionError):
        return _broken(error)
    status = error.http_status or 0
    reference = error.request_id
    if status in TURNED_AWAY or isinstance(error, stripe.RateLimitError):
        reason = TURNED_AWAY.get(status, TURNED_AWAY[429])
        return TurnedAway(reason, _sentence(reason), reference=reference, after=_retry_after(error))
    if isinstance(error, stripe.IdempotencyError):
        return Ambiguous("parameter_mismatch", _sentence("parameter_mismatch"), reference=reference)
    if error.code == UNEXPECTED_STATE:
        # Someone has moved the intent on since it was read: the next attempt reads it again.
        return TurnedAway(UNEXPECTED_STATE, _sentence(UNEXPECTED_STATE), reference=reference)
    if status in (400, CARD_DECLINED, 404):
        reason = _code_of(error.error) or "invalid_request"
        message = _sentence(reason, DECLINED if status == CARD_DECLINED else REFUSED)
        return Declined(reason, message, reference=reference, handle=_handle_of(error))
    replayed = _header(error, "Idempotent-Replayed") == "true"
    return Ambiguous("provider_failed", _sentence("provider_failed"), reference=reference, replayed=replayed)


def _broken(error: "stripe.APIConnectionError") -> ProviderError:
    """Translate a call without an answer: NotSent only where the connection never came about."""
    import requests
    from urllib3.exceptions import MaxRetryError, NewConnectionError

    cause = error.__cause__
    never_left = (requests.ConnectTimeout, requests.exceptions.InvalidURL, requests.exceptions.MissingSchema)
    if isinstance(cause, never_left):
        return NotSent("connection_failed", "Stripe could not be reached.")
    inner = cause.args[0] if cause is not None and cause.args else None
    if isinstance(inner, MaxRetryError) and isinstance(inner.reason, NewConnectionError):
        return NotSent("connection_failed", "Stripe could not be reached.")
    if isinstance(cause, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return NotSent("certificate_refused", "Stripe's certificate does not hold.")
    if isinstance(cause, requests.Timeout):
        return Ambiguous("provider_timeout", "Stripe did not answer in time.")
    return Ambiguous("connection_broken", "The connection to Stripe broke before it answered.")


def _handle_of(error: "stripe.StripeError") -> str | None:
    intent = getattr(error.error, "payment_intent", None)
    return intent.id if intent is not None else None


def _header(error: "stripe.StripeError", name: str) -> str | None:
    return (error.headers or {}).get(name)


def _retry_after(error: "stripe.StripeError") -> timedelta | None:
    text = _header(error, "Retry-After") or ""
    return timedelta(seconds=int(text)) if text.isascii() and text.isdigit() else None
