"""The ports of the providers: what the core asks of those who charge cards, send mail and texts.

Check and start are one step of each call that may have an effect: one that cannot end by the deadline raises
NotSent. They raise only errors of `domain/errors.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from chalicelib.domain.endpoint import EndpointStore
from chalicelib.domain.errors import ProviderError
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.minting import OnChain, SignedMint, Ticket


@dataclass(frozen=True, slots=True)
class Begun:
    """Proof that the record says `begun`: a blind effect cannot be started without it."""

    job_id: JobId
    fence: int


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of an ISO 4217 currency (upper case)."""

    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """What a payment job asks for; frozen across attempts and generations."""

    job_id: JobId
    money: Money
    customer: str
    payment_method: str
    description: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Intent:
    """A PaymentIntent as the provider told it: `status` is Stripe's word."""

    id: str
    status: str
    charge_id: str | None
    money: Money
    next_action: Mapping[str, Any] | None
    error_code: str | None
    error_message: str | None
    reference: str | None  # the provider's request id
    job_id: str | None = None  # the job that made it, and its venue; None where it names none
    venue_id: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """A charge as far as a refund must know it; `venue_id` is None where it names none."""

    id: str
    currency: str  # upper case
    venue_id: str | None


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """What a refund job asks for; frozen across attempts and generations."""

    job_id: JobId
    transaction_id: str
    money: Money
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as the provider told it: `status` is Stripe's word."""

    id: str
    status: str


class Payments(Protocol):
    """Card payments. Check and start are one step: a call that cannot end by `deadline` raises NotSent.

    `create`, `confirm`, `cancel` and `refund` have an effect and raise any ProviderError; the others only read
    and raise NotSent or TurnedAway, `known` and `transaction` Declined as well.
    """

    def create(self, order: PaymentOrder, *, key: str, deadline: datetime) -> Intent:
        """Create and confirm the one intent of a job."""
        ...

    def confirm(self, intent_id: str, payment_method: str, *, key: str, deadline: datetime) -> Intent:
        """Confirm an intent again."""
        ...

    def cancel(self, intent_id: str, *, key: str, deadline: datetime) -> Intent:
        """Cancel an intent; one that has succeeded is returned as it is."""
        ...

    def retrieve(self, intent_id: str, *, deadline: datetime) -> Intent:
        """Read an intent."""
        ...

    def known(self, intent_id: str, *, deadline: datetime) -> Intent:
        """Read an intent that somebody else has named; raises Declined where there is none."""
        ...

    def find(self, customer: str, job_id: JobId, *, since: datetime, deadline: datetime) -> Intent | None:
        """Look through all of a customer's intents since a moment for the one of a job; all pages are read."""
        ...

    def transaction(self, transaction_id: str, *, deadline: datetime) -> Transaction:
        """Read the charge or the intent of this id; raises Declined where there is none."""
        ...

    def refund(self, order: RefundOrder, *, key: str, deadline: datetime) -> Refund:
        """Create the one refund of a job."""
        ...

    def find_refund(self, transaction_id: str, job_id: JobId, *, deadline: datetime) -> Refund | None:
        """Look through all refunds of a transaction for the one of a job; all pages are read."""
        ...


@dataclass(frozen=True, slots=True)
class PayoutOrder:
    """What a payout job asks for; frozen across attempts and generations.

    To `destination`, a connected account, it is a transfer; without one a payout to the platform's bank.
    """

    job_id: JobId
    money: Money
    destination: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Payout:
    """A payout or a transfer as the provider told it.

    `status` is Stripe's word; a transfer has none of its own and is `created` or `reversed`.
    """

    id: str
    status: str


class Payouts(Protocol):
    """Money to venues. Check and start are one step: a call that cannot end by `deadline` raises NotSent."""

    def pay_out(self, order: PayoutOrder, *, key: str, deadline: datetime) -> Payout:
        """Create the one payout, or transfer, of a job; raises any ProviderError."""
        ...

    def find_payout(self, order: PayoutOrder, *, since: datetime, deadline: datetime) -> Payout | None:
        """Look through all payouts since a moment, or all transfers of its group, for the one of a job.

        All pages are read. Raises NotSent or TurnedAway.
        """
        ...


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail, rendered."""

    job_id: JobId
    to: str
    subject: str
    text: str
    html: str
    reply_to: str | None


class Mailer(Protocol):
    """Mail. Check and start are one step: a call that cannot end by `deadline` raises NotSent."""

    def send(self, mail: Mail, *, begun: Begun, deadline: datetime) -> str:
        """Hand a mail over and return the provider's message id; raises any ProviderError."""
        ...


@dataclass(frozen=True, slots=True)
class Sms:
    """One text to one phone; `to` is E.164."""

    job_id: JobId
    to: str
    text: str


@dataclass(frozen=True, slots=True)
class SentSms:
    """A text as the provider took it; `status` is Twilio's word. `segments` is None where it does not say."""

    id: str
    status: str
    segments: int | None
    price_unit: str | None


class Texts(Protocol):
    """Text messages. Check and start are one step: a call that cannot end by `deadline` raises NotSent."""

    def send(self, sms: Sms, *, begun: Begun, deadline: datetime) -> SentSms:
        """Hand a text over; raises any ProviderError. Declined `unsubscribed`: the phone wants no more."""
        ...


MOST_EVENTS = 10  # of one call; EventBridge's most


@dataclass(frozen=True, slots=True)
class AnalyticsEvent:
    """One event for the analysts; its receivers know it by the job's id, however often it comes."""

    job_id: JobId
    kind: str
    at: datetime
    detail: Mapping[str, Any]


class Analytics(Protocol):
    """The bus of analytics events. Check and start are one step: a call that cannot end in time is none."""

    def put(self, events: Sequence[AnalyticsEvent], *, deadline: datetime) -> list[str | ProviderError]:
        """Put up to MOST_EVENTS events on the bus, those of one job or of several, in one call.

        Says of each, in order, its id on the bus or why it is not there. Raises any ProviderError about all
        of them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fulfillment:
    """What the order service is asked to do; frozen across attempts and generations."""

    job_id: JobId
    venue_id: VenueId
    data: Mapping[str, Any]


class Orders(Protocol):
    """The order service. Check and start are one step: a call that cannot end by `deadline` raises NotSent."""

    def fulfill(self, order: Fulfillment, *, key: str, deadline: datetime) -> Mapping[str, Any]:
        """Have an order fulfilled, once per key, and return what the service says; raises any ProviderError."""
        ...


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook: `body` is posted to the byte as it is signed, `id` is the same however often it is sent."""

    id: str
    url: str
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)  # each makes a signature


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What a receiver answered: its status, how long it took, when it wants to be asked again."""

    status: int
    took: timedelta
    after: timedelta | None
    reference: str | None  # the receiver's request id; what else it says may quote what it was sent


class Hooks(Protocol):
    """Webhooks to whoever a caller names: to public addresses alone, and no redirect is followed."""

    def post(self, hook: Hook, *, deadline: datetime) -> HookAnswer:
        """Sign and post, and return the answer whatever its status.

        Check and start are one step. Raises NotSent, Declined where the URL or its address is not allowed, or
        Ambiguous.
        """
        ...


class Minter(Protocol):
    """Tickets on a chain. Check and start are one step: a call that cannot end by `deadline` raises NotSent.

    `read` and `prepare` have no effect and raise NotSent, TurnedAway or Declined.
    """

    def read(self, ticket: Ticket, *, sent: str | None, deadline: datetime) -> OnChain:
        """Read what stands at the ticket's address; `sent` is the signature of a transaction that may have."""
        ...

    def prepare(self, ticket: Ticket, *, deadline: datetime) -> SignedMint:
        """Sign the one transaction that mints a ticket, with a fresh blockhash; nothing leaves."""
        ...

    def submit(self, mint: SignedMint, *, begun: Begun, deadline: datetime) -> None:
        """Broadcast it and give the chain some seconds to make it final; raises any ProviderError."""
        ...


class Providers(Protocol):
    """One client per vendor and container, each built when first asked for."""

    @property
    def payments(self) -> Payments:
        """Card payments."""
        ...

    @property
    def payouts(self) -> Payouts:
        """Money to the venues."""
        ...

    @property
    def mailer(self) -> Mailer:
        """Mail."""
        ...

    @property
    def texts(self) -> Texts:
        """Text messages."""
        ...

    @property
    def analytics(self) -> Analytics:
        """The bus of analytics events."""
        ...

    @property
    def orders(self) -> Orders:
        """The order service."""
        ...

    @property
    def hooks(self) -> Hooks:
        """Webhooks."""
        ...

    @property
    def endpoints(self) -> EndpointStore:
        """Where webhooks go, and the secrets that sign them."""
        ...

    @property
    def minter(self) -> Minter:
        """Tickets on a chain."""
        ...
