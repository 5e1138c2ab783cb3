"""STAND-IN, never deployed: Stripe's test payment methods, and what becomes of a charge on each."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Accepts:
    """The charge succeeds."""


@dataclass(frozen=True)
class Declines:
    """The charge is declined with these codes."""

    code: str
    decline_code: str
    message: str = "Your card was declined."


@dataclass(frozen=True)
class Asks:
    """The bank wants a word with the customer first: `requires_action`."""


@dataclass(frozen=True)
class Processes:
    """The charge takes days: `processing`."""


Behaviour = Accepts | Declines | Asks | Processes

GENERIC = Declines("card_declined", "generic_decline")

BEHAVIOURS: Mapping[str, Behaviour] = {
    "pm_card_chargeDeclined": GENERIC,
    "pm_card_visa_chargeDeclined": GENERIC,
    "pm_card_chargeCustomerFail": GENERIC,
    "pm_card_chargeDeclinedInsufficientFunds": Declines(
        "card_declined", "insufficient_funds", "Your card has insufficient funds."
    ),
    "pm_card_chargeDeclinedLostCard": Declines("card_declined", "lost_card"),
    "pm_card_chargeDeclinedStolenCard": Declines("card_declined", "stolen_card"),
    "pm_card_chargeDeclinedFraudulent": Declines("card_declined", "fraudulent"),
    "pm_card_chargeDeclinedExpiredCard": Declines("expired_card", "expired_card", "Your card has expired."),
    "pm_card_chargeDeclinedIncorrectCvc": Declines(
        "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."
    ),
    "pm_card_chargeDeclinedProcessingError": Declines(
        "processing_error", "processing_error", "An error occurred while processing your card."
    ),
    "pm_card_authenticationRequired": Asks(),
    "pm_card_authenticationRequiredOnSetup": Asks(),
    "pm_card_threeDSecureRequired": Asks(),
    "pm_card_threeDSecure2Required": Asks(),
    "pm_usBankAccount_processing": Processes(),
}


def behaviour_of(payment_method: str) -> Behaviour | None:
    """Return what becomes of a charge; None: there is no such payment method.

    Stripe knows only the methods of its account; here every one that looks like one succeeds, but for
    those whose name begins with `pm_missing`.
    """
    if payment_method.startswith("pm_missing") or not payment_method.startswith(("pm_", "card_", "src_")):
        return None
    return BEHAVIOURS.get(payment_method, Accepts())
