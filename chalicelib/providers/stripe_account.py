"""The Stripe account: one client, and its errors translated at the edge to `domain/errors.py`.

Amounts go out in Stripe's units, which are the minor units of ISO 4217 but for the krona: Stripe still counts
ISK in hundredths (https://docs.stripe.com/currencies#special-cases). The currencies about which Stripe and
ISO 4217 otherwise disagree (MGA, UGX), and a last digit other than 0 where there are three decimals, are
refused by the schemas of the job types.

Of what Stripe says of an error only the code is kept, and the id of the request, under which Stripe's dashboard
has all of it: its words quote ids, addresses and card data, and would stand in every view of the job.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Money
from chalicelib.providers.cut_off import cut_off
from chalicelib.providers.http_calls import read_anew

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
UNAUTHENTICATED, CARD_DECLINED = 401, 402
CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
# By code, what a reader is told; of cards reported lost or stolen no more than that they were declined.
SENTENCES: Mapping[str, str] = {
    "amount_too_large": "The amount is above what Stripe charges.",
    "amount_too_small": "The amount is below what Stripe charges.",
    "account_closed": "The account that the money was to go to is closed.",
    "authentication_required": "The bank wants the customer to confirm the payment.",
    "balance_insufficient": "The balance at Stripe is too low for this.",
    "charge_already_refunded": "All of the charge has been given back already.",
    "charge_disputed": "The customer has disputed the charge, so it cannot be refunded.",
    "expired_card": "The card has expired.",
    "idempotency_key_in_use": "Another request for this payment has not ended yet.",
    "incorrect_cvc": "The card's security code is incorrect.",
    "incorrect_number": "The card's number is incorrect.",
    "insufficient_funds": "The card has insufficient funds.",
    "parameter_mismatch": "The same key was sent with other parameters before.",
    "payouts_not_allowed": "Stripe does not allow payouts of this account.",
    "payment_intent_unexpected_state": "The payment has moved on since it was read.",
    "processing_error": "The bank could not process the card.",
    "provider_failed": "Stripe failed.",
    "provider_not_authenticated": "Stripe does not take our key.",
    "provider_not_permitted": "Our key may not do this at Stripe.",
    "provider_rate_limited": "Stripe takes no more requests at the moment.",
    "resource_missing": "Stripe knows no customer, payment method, payment or account of this id.",
    "transfers_not_allowed": "Stripe does not allow transfers of this account.",
}
DECLINED = "The card was declined."
REFUSED = "Stripe refused the request; see its code."


class StripeAccount:
    """The calls on one account, for any number of threads; the base of those who know what to call.

    `token` tells the secret key, read anew if asked to be. `api_base` is another address than Stripe's own;
    `call_seconds` bounds one call. Making one imports the SDK, which takes a while.
    """

    def __init__(
        self,
        token: Callable[[bool], str],
        clock: Clock,
        *,
        api_base: str | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        import requests
        import stripe
        from urllib3 import Timeout

        from chalicelib.providers.bounded_pools import bound

        self._token = token
        self._clock = clock
        # One session for all threads: the SDK's own is one per thread, and a batch's threads are new ones.
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace our Authorization
        for scheme in ("http://", "https://"):
            bound(cast(Any, self._session.get_adapter(scheme)).poolmanager)
        self._call_seconds = call_seconds
        timeout: Any = Timeout(connect=CONNECT_SECONDS, total=call_seconds)
        addresses: Any = {"api": api_base} if api_base else {}
        stripe.enable_telemetry = False
        self._client = stripe.StripeClient(
            "told with each call",
            base_addresses=addresses,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout, session=self._session),
        ).v1

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _find(
        self, page_of: Callable[[Any, Any], Any], params: Any, job_id: JobId, deadline: datetime
    ) -> list[Any]:
        """Return those objects of a listing whose metadata names a job; all pages are read."""
        params = {**params, "limit": PAGE}
        found: list[Any] = []
        while True:
            page = self._look(partial(page_of, params), deadline)
            found += [raw for raw in page.data if noted(raw, "job_id") == job_id]
            if not page.has_more:
                return found
            params["starting_after"] = page.data[-1].id

    def _look(self, call: Callable[[Any], T], deadline: datetime) -> T:
        """Make a call that only reads: whatever goes wrong, nothing happened because of it."""
        try:
            return self._call(call, deadline)
        except (NotSent, TurnedAway):
            raise
        except ProviderError as error:
            raise TurnedAway(error.reason, error.message, reference=error.reference) from error

    def _read(self, call: Callable[[Any], T], deadline: datetime) -> T:
        """Read what somebody else has named; raises Declined where there is no such thing."""
        try:
            return self._call(call, deadline)
        except Ambiguous as error:  # it only reads
            raise TurnedAway(error.reason, error.message, reference=error.reference) from error

    def _call(self, call: Callable[[Any], T], deadline: datetime, *, key: str | None = None) -> T:
        """Check that there is time, and call: one step, so that nothing starts that cannot end in time."""
        options = {"api_key": self._token(False), **({"idempotency_key": key} if key else {})}
        if self._clock.now() + CALL_TIME > deadline:
            raise NotSent("no_time_left", "The invocation ends too soon for a call to Stripe.")
        import stripe

        with cut_off(time.monotonic() + self._call_seconds) as cut:
            try:
                return call(options)
            except stripe.StripeError as error:
                if error.http_status == UNAUTHENTICATED:
                    read_anew(self._token)
                told = _translate(error)
                if cut.over and not isinstance(told, NotSent):
                    told = _late()  # of an answer that was cut off even the status may lack what explains it
                raise told from error


def to_stripe(money: Money) -> int:
    """Return an amount in Stripe's units."""
    return money.amount * 100 if money.currency in HUNDREDTHS else money.amount


def from_stripe(amount: int, currency: str) -> Money:
    """Return what an amount in Stripe's units is in ours."""
    currency = currency.upper()
    return Money(amount // 100 if currency in HUNDREDTHS else amount, currency)


def noted(raw: Any, name: str) -> str | None:
    """Return what was noted in an object's metadata under a name."""
    return raw.metadata.to_dict().get(name) if raw.metadata else None


def code_of(error: Any) -> str | None:
    """Return the most telling of an error's codes: why the bank declined, else what went wrong."""
    code = getattr(error, "decline_code", None) or getattr(error, "code", None)
    return code if isinstance(code, str) and CODE.fullmatch(code) else None


def sentence(code: str, otherwise: str = REFUSED) -> str:
    """Return what a reader is told of an error with this code."""
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
        return TurnedAway(reason, sentence(reason), reference=reference, after=_retry_after(error))
    if isinstance(error, stripe.IdempotencyError):
        return Ambiguous("parameter_mismatch", sentence("parameter_mismatch"), reference=reference)
    if error.code == UNEXPECTED_STATE:
        # Someone has moved the intent on since it was read: the next attempt reads it again.
        return TurnedAway(UNEXPECTED_STATE, sentence(UNEXPECTED_STATE), reference=reference)
    if status in (400, CARD_DECLINED, 404):
        reason = code_of(error.error) or "invalid_request"
        message = sentence(reason, DECLINED if status == CARD_DECLINED else REFUSED)
        return Declined(reason, message, reference=reference, handle=_handle_of(error))
    replayed = _header(error, "Idempotent-Replayed") == "true"
    return Ambiguous("provider_failed", sentence("provider_failed"), reference=reference, replayed=replayed)


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
        return _late()
    return Ambiguous("connection_broken", "The connection to Stripe broke before it answered.")


def _late() -> ProviderError:
    return Ambiguous("provider_timeout", "Stripe did not answer in time.")


def _handle_of(error: "stripe.StripeError") -> str | None:
    intent = getattr(error.error, "payment_intent", None)
    return intent.id if intent is not None else None


def _header(error: "stripe.StripeError", name: str) -> str | None:
    return (error.headers or {}).get(name)


def _retry_after(error: "stripe.StripeError") -> timedelta | None:
    text = _header(error, "Retry-After") or ""
    return timedelta(seconds=int(text)) if text.isascii() and text.isdigit() else None
