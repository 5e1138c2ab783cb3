"""Charging an intent that there is: what payment.process and payment.retry do alike.

An intent can be charged only once, under whichever key and by however many jobs at once. So it is read first,
and a call whose answer was lost does no harm: what it came to stands in the intent. A job whose intent has
succeeded is completed, whoever charged it; a decline that it shows may be another job's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chalicelib.domain.errors import Ambiguous, ProviderError
from chalicelib.domain.job import Poll
from chalicelib.domain.jobtype import Work
from chalicelib.domain.outcome import (
    Completed,
    Failure,
    Outcome,
    Pending,
    Refused,
    Retry,
    Unknown,
    outcome_of,
)
from chalicelib.domain.providers import Intent, Payments
from chalicelib.jobtypes.at_stripe import MAY_START, absent, failure_of, until_absence_counts

CONFIRMABLE = frozenset({"requires_payment_method", "requires_confirmation"})


def go_on(work: Work, payments: Payments, intent: Intent) -> Outcome:
    """Charge an intent that was read just now, if this attempt may, or say how far it is."""
    if intent.status in CONFIRMABLE and work.leave in MAY_START:
        return _confirm(work, payments, intent)
    return outcome_in(work, payments, intent, definitive=work.absence_counts())


def _confirm(work: Work, payments: Payments, intent: Intent, operation: str = "confirm") -> Outcome:
    """Charge the intent that there is; the decline it may show is an earlier call's.

    Behind a kept 5xx it goes on under its second and last key: the intent was read just now, a replay changes
    nothing, and one intent is charged once under any key.
    """
    method = work.data["paymentMethod"]
    try:
        confirmed = payments.confirm(intent.id, method, key=work.key(operation), deadline=work.deadline)
    except Ambiguous as error:
        if not error.replayed:
            return Unknown(failure_of(error), handle=intent.id)
        if operation == "confirm" and work.absence_counts():
            return _confirm(work, payments, intent, "confirm-anew")
        return replace(absent(work, failure_of(error)), handle=intent.id)
    except ProviderError as error:
        outcome = outcome_of(error, answered_key=True)
        return replace(outcome, handle=intent.id) if isinstance(outcome, Retry | Refused) else outcome
    return outcome_in(work, payments, confirmed, definitive=True)


def outcome_in(work: Work, payments: Payments, intent: Intent, *, definitive: bool) -> Outcome:
    """Say what the state of an intent makes of the job; `definitive`: no call for it is still under way."""
    match intent.status:
        case "succeeded":
            return Completed(_result(intent), handle=intent.id)
        case "processing":
            return Pending(_result(intent), handle=intent.id)
        case "requires_action":
            return _await_action(work, payments, intent)
        case "canceled":
            why = Failure("payment_intent_canceled", "The intent was cancelled: submit a new job.")
            return Refused(why, clears_doubt=True, handle=intent.id)
        case "requires_payment_method" | "requires_confirmation":
            return _not_charged(work, intent, definitive=definitive)
    why = Failure("unexpected_status", f"The intent is {intent.status}.", intent.reference)
    return Unknown(why, handle=intent.id)


def _not_charged(work: Work, intent: Intent, *, definitive: bool) -> Outcome:
    message = intent.error_message or "The intent has not been charged."
    failure = Failure(intent.error_code or "not_charged", message, intent.reference)
    if not definitive:
        return Retry(failure, after=until_absence_counts(work), handle=intent.id)
    own_decline = intent.error_code is not None and intent.job_id == work.job.id
    if own_decline or work.job.poll is Poll.PENDING:
        return Refused(failure, clears_doubt=True, handle=intent.id)
    return Retry(failure, clears_doubt=True, handle=intent.id)


def _await_action(work: Work, payments: Payments, intent: Intent) -> Outcome:
    """Let the customer answer the bank; whoever has not done so after a day is not waited for."""
    since = work.job.poll_since
    if since is None or work.clock.now() - since < work.timing.poll_for:
        return Pending(_result(intent), handle=intent.id)
    # A key for each attempt: cancelling twice does no harm, and a kept 5xx would bar it for a day.
    key = work.key(f"cancel-{work.job.fence}")
    try:
        ended = payments.cancel(intent.id, key=key, deadline=work.deadline)
    except ProviderError as error:
        # Whatever it was: as long as the intent lives the customer may still be charged.
        return Retry(failure_of(error), after=getattr(error, "after", None), handle=intent.id)
    match ended.status:
        case "succeeded":
            return Completed(_result(ended), handle=ended.id)
        case "canceled":
            why = Failure("action_not_taken", "The customer did not answer the bank in time.", ended.reference)
            return Refused(why, clears_doubt=True, handle=ended.id)
    why = Failure("not_cancelled", f"The intent is {ended.status}.", ended.reference)
    return Retry(why, handle=ended.id)


def _result(intent: Intent) -> Mapping[str, Any]:
    result: dict[str, Any] = {"paymentIntentId": intent.id, "status": intent.status}
    if intent.charge_id is not None:
        result["chargeId"] = intent.charge_id
    if intent.next_action is not None:
        result["nextAction"] = _next_action(intent.next_action)
    return result


def _next_action(action: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep the kind and, where there is one, the page; Stripe.js reads the rest from the intent itself."""
    kind = str(action.get("type"))
    url = (action.get(kind) or {}).get("url")
    return {"type": kind, "url": url} if url else {"type": kind}
