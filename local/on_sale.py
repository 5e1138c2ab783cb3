"""What is asked of the service in an on-sale; who does what is a matter of the buyer's number. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.reckoning import Record

BAD_CARD, GOOD_CARD = "pm_card_chargeDeclined", "pm_card_visa"
WALLET = "4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T"
MAIL_DATA = {"customerName": "Ada", "eventName": "On Sale", "total": "25.00 EUR"}


@dataclass(frozen=True)
class Request:
    """One thing that somebody wants, however often and at how many places it is asked for.

    `amount` is the money that it moves, in minor units; None: it moves none.
    """

    buyer: int | None
    body: Mapping[str, Any]
    amount: int | None = None
    in_turn: int = 1
    at_once: int = 1
    entered_as: str | None = None  # the job that the ledger names, where it is another


def purchase(buyer: int, sale: str, endpoint: str) -> Request:
    """Return a buyer's payment; one in ten has a card that is declined, some hurry, some ask again.

    The venue's endpoint is told how every other one ends.
    """
    amount = 2_500 + 100 * (buyer % 40)
    body = {
        "type": "payment.process",
        "data": {
            "amount": amount,
            "currency": "EUR",
            "customerId": f"cus_{buyer}",
            "eventId": sale,
            "paymentMethod": BAD_CARD if buyer % 10 == 3 else GOOD_CARD,
            "orderId": f"order-{buyer}",
        },
        "options": {"priority": 9 if buyer % 8 == 0 else 8},
    }
    # Some callers name a key, the others leave it to the natural one.
    keyed = {"idempotencyKey": f"{sale}-purchase-{buyer}"} if buyer % 3 else {}
    told = {"callbackEndpointId": endpoint} if buyer % 2 else {}
    return Request(
        buyer,
        body | keyed | told,
        amount,
        in_turn=2 if buyer % 5 == 0 else 1,
        at_once=3 if buyer % 7 == 0 else 1,
    )


def another_try(buyer: int, declined: Record) -> list[Request]:
    """Return how a buyer whose card was declined pays after all: every other one, with another card."""
    if buyer % 20 != 3:
        return []
    data = {"paymentIntentId": declined.provider_object, "paymentMethod": GOOD_CARD}
    body = {"type": "payment.retry", "data": data}
    return [Request(buyer, body, declined.amount, at_once=2, entered_as=declined.id)]


def afterwards(buyer: int, paid: Record, sale: str, endpoint: str) -> list[Request]:
    """Return what follows a payment: all that a buyer gets, and of some the half given back, in two parts."""
    requests = [
        Request(buyer, _confirmation(buyer, sale), in_turn=2 if buyer % 11 == 0 else 1),
        Request(buyer, {"type": "order.fulfill", "data": {"orderId": f"{sale}-{buyer}"}}),
    ]
    requests += [Request(buyer, _ticket(buyer, sale)), Request(buyer, _hook(buyer, sale, endpoint))]
    if buyer % 4 == 0:
        requests.append(Request(buyer, _text(buyer), at_once=2 if buyer % 8 == 0 else 1))
    if buyer % 9 == 0:
        intent, half = paid.result["paymentIntentId"], (paid.amount or 0) // 2
        requests += [_refund(buyer, intent, part) for part in (half // 2, half - half // 2 + 1)]
    return requests


def _confirmation(buyer: int, sale: str) -> Mapping[str, Any]:
    return {
        "type": "email.send",
        "data": {
            "to": f"buyer-{buyer}@example.com",
            "template": "order_confirmation",
            "data": MAIL_DATA | {"orderId": f"order-{buyer}"},
        },
        "options": {"attempts": 10},
        "idempotencyKey": f"{sale}-confirmation-{buyer}",
    }


def _ticket(buyer: int, sale: str) -> Mapping[str, Any]:
    return {
        "type": "ticket.mint",
        "data": {
            "eventId": sale,
            "ticketId": f"ticket-{buyer}",
            "walletAddress": WALLET,
            "metadata": {"name": f"On Sale, {buyer}", "uri": f"https://tickets.example.com/{buyer}.json"},
        },
    }


def _hook(buyer: int, sale: str, endpoint: str) -> Mapping[str, Any]:
    return {
        "type": "webhook.deliver",
        "data": {
            "endpointId": endpoint,
            "event": "order.paid",
            "eventId": f"{sale}-{buyer}",
            "payload": {"orderId": f"order-{buyer}"},
        },
    }


def _text(buyer: int) -> Mapping[str, Any]:
    return {
        "type": "sms.send",
        "data": {
            "to": f"+1555{buyer:07}",
            "template": "ticket_delivery",
            "data": {"eventName": "On Sale"},
            "urgent": True,
        },
        "options": {"attempts": 10},
    }


def _refund(buyer: int, intent: str, amount: int) -> Request:
    data = {
        "transactionId": intent,
        "amount": amount,
        "currency": "EUR",
        "reason": "requested_by_customer",
    }
    return Request(buyer, {"type": "payment.refund", "data": data}, amount, at_once=2 if buyer % 2 else 1)


def payout(sale: str, records: Sequence[Record]) -> Request:
    """Return what pays the venue out at last: asked for three times at once, and made once."""
    amount = takings(records)
    data = {"amount": amount, "currency": "EUR", "payoutId": sale, "destination": "acct_venue"}
    return Request(None, {"type": "payment.payout", "data": data}, amount, in_turn=2, at_once=3)


def takings(records: Sequence[Record]) -> int:
    """Return what was paid and not given back, in minor units."""
    signs = {"payment.process": 1, "payment.retry": 1, "payment.refund": -1}
    return sum(
        signs.get(record.type, 0) * (record.amount or 0) for record in records if record.state == "completed"
    )
