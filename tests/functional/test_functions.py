"""The functions that a queue or a clock calls, as Lambda calls them, over in-memory adapters."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from chalice.app import Cron, Rate, ScheduledEventConfig, SQSEventConfig

from app import app
from chalicelib import adapters, wiring
from chalicelib.aws.clients import Clients
from chalicelib.domain.endpoint import EndpointStore
from chalicelib.domain.errors import ProviderError
from chalicelib.domain.job import JobId
from chalicelib.domain.minting import OnChain, SignedMint, Standing, Ticket
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.providers import (
    Analytics,
    AnalyticsEvent,
    Begun,
    Fulfillment,
    Hook,
    HookAnswer,
    Hooks,
    Intent,
    Mail,
    Mailer,
    Minter,
    Money,
    Orders,
    PaymentOrder,
    Payments,
    Payout,
    PayoutOrder,
    Payouts,
    Refund,
    RefundOrder,
    SentSms,
    Sms,
    Texts,
    Transaction,
)
from chalicelib.jobtypes import discover
from chalicelib.settings import Settings
from chalicelib.teller import Teller
from tests.fakes import ManualClock
from tests.fakes_endpoints import MemoryEndpointStore
from tests.front import ENVIRONMENT, OWN, Front
from tests.functional.test_jobs_api import BODY, MAIL

TRACK: dict[str, Any] = {
    "type": "analytics.track",
    "data": {"eventType": "ticket.viewed", "targetId": "t-1", "timestamp": "2026-11-24T19:30:00Z"},
}
TEXT: dict[str, Any] = {
    "type": "sms.send",
    "data": {"to": "+15005550010", "message": "Your table is ready."},
}
ORDER: dict[str, Any] = {"type": "order.fulfill", "data": {"orderId": "o-1"}}
MINT: dict[str, Any] = {"type": "ticket.mint", "data": dict(discover()["ticket.mint"].example)}
QUEUES = {
    "money-queue": (Tier.MONEY, Lane.MAIN, "consume_money"),
    "money-queue-express": (Tier.MONEY, Lane.EXPRESS, "consume_money_express"),
    "communication-queue": (Tier.COMMUNICATION, Lane.MAIN, "consume_communication"),
    "communication-queue-express": (Tier.COMMUNICATION, Lane.EXPRESS, "consume_communication_express"),
    "background-queue": (Tier.BACKGROUND, Lane.MAIN, "consume_background"),
    "background-queue-express": (Tier.BACKGROUND, Lane.EXPRESS, "consume_background_express"),
}


class Context:
    """What Lambda tells a function of its invocation."""

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Till:
    """Payments that succeed at once."""

    def __init__(self) -> None:
        self.orders: list[PaymentOrder] = []

    def create(self, order: PaymentOrder, *, key: str, deadline: datetime) -> Intent:
        self.orders.append(order)
        return Intent("pi_1", "succeeded", "ch_1", order.money, None, None, None, "req_1")

    def confirm(self, intent_id: str, payment_method: str, *, key: str, deadline: datetime) -> Intent:
        raise AssertionError("Nothing is to be confirmed again.")

    def cancel(self, intent_id: str, *, key: str, deadline: datetime) -> Intent:
        raise AssertionError("Nothing is to be cancelled.")

    def retrieve(self, intent_id: str, *, deadline: datetime) -> Intent:
        raise AssertionError("There is nothing to retrieve.")

    def known(self, intent_id: str, *, deadline: datetime) -> Intent:
        raise AssertionError("Nothing is to be retried.")

    def find(self, customer: str, job_id: JobId, *, since: datetime, deadline: datetime) -> Intent | None:
        raise AssertionError("There is nothing to look for.")

    def transaction(self, transaction_id: str, *, deadline: datetime) -> Transaction:
        raise AssertionError("No transaction is to be read.")

    def refund(self, order: RefundOrder, *, key: str, deadline: datetime) -> Refund:
        raise AssertionError("Nothing is to be refunded.")

    def find_refund(self, transaction_id: str, job_id: JobId, *, deadline: datetime) -> Refund | None:
        raise AssertionError("There is no refund to look for.")


class Bank:
    """Payouts that are made at once."""

    def __init__(self) -> None:
        self.orders: list[PayoutOrder] = []

    def pay_out(self, order: PayoutOrder, *, key: str, deadline: datetime) -> Payout:
        self.orders.append(order)
        return Payout("tr_1", "created")

    def find_payout(self, order: PayoutOrder, *, since: datetime, deadline: datetime) -> Payout | None:
        raise AssertionError("There is no payout to look for.")


class Postbox:
    """Mail that is taken at once."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    def send(self, mail: Mail, *, begun: Begun, deadline: datetime) -> str:
        self.mails.append(mail)
        return "message-1"


class Phone:
    """Texts that are taken at once."""

    def __init__(self) -> None:
        self.texts: list[Sms] = []

    def send(self, sms: Sms, *, begun: Begun, deadline: datetime) -> SentSms:
        self.texts.append(sms)
        return SentSms("SM1", "queued", 1, "USD")


class Bus:
    """Events that are taken at once."""

    def __init__(self) -> None:
        self.events: list[AnalyticsEvent] = []

    def put(self, events: Sequence[AnalyticsEvent], *, deadline: datetime) -> list[str | ProviderError]:
        self.events += events
        return ["event-1" for _ in events]


class Warehouse:
    """Orders that are fulfilled at once."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, str]] = []

    def fulfill(self, order: Fulfillment, *, key: str, deadline: datetime) -> Mapping[str, Any]:
        self.orders.append((order.job_id, key))
        return {"status": 201}


class Receiver:
    """A receiver that takes every event at once."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []

    def post(self, hook: Hook, *, deadline: datetime) -> HookAnswer:
        self.hooks.append(hook)
        return HookAnswer(204, timedelta(0), None, None)


class Ledger:
    """A chain on which every mint is final at once."""

    def __init__(self) -> None:
        self.tickets: dict[JobId, Ticket] = {}
        self.minted: list[JobId] = []

    def read(self, ticket: Ticket, *, sent: str | None, deadline: datetime) -> OnChain:
        self.tickets[ticket.job_id] = ticket
        standing = Standing.MINTED if ticket.job_id in self.minted else Standing.ABSENT
        return OnChain(standing, 1, "mint-1", "account-1", sent, 1, 10_000)

    def prepare(self, ticket: Ticket, *, deadline: datetime) -> SignedMint:
        return SignedMint(ticket.job_id, "mint-1", "signature-1", "blockhash-1", 150, b"")

    def submit(self, mint: SignedMint, *, begun: Begun, deadline: datetime) -> None:
        self.minted.append(mint.job_id)


@dataclass
class Both:
    payments: Payments = field(default_factory=Till)
    payouts: Payouts = field(default_factory=Bank)
    mailer: Mailer = field(default_factory=Postbox)
    texts: Texts = field(default_factory=Phone)
    analytics: Analytics = field(default_factory=Bus)
    orders: Orders = field(default_factory=Warehouse)
    hooks: Hooks = field(default_factory=Receiver)
    endpoints: EndpointStore = field(default_factory=MemoryEndpointStore)
    minter: Minter = field(default_factory=Ledger)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front(providers=Both())
    wiring.install(None)


def consume(front: Front, queue: str) -> list[str]:
    """Hand what a queue holds to its function, delete what is done with, and return what is not."""
    tier, lane, name = QUEUES[queue]
    received = front.queue.receive(tier, lane)
    records = [
        {
            "messageId": each.message_id,
            "receiptHandle": each.handle,
            "body": each.body,
            "attributes": {"ApproximateReceiveCount": str(each.receives)},
        }
        for each in received
    ]
    answer: dict[str, Any] = app.handler_map[name]({"Records": records}, Context())
    failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
    for each in received:
        if each.message_id not in failed:
            front.queue.delete(tier, lane, each.message_id)
    return failed


TICK: dict[str, Any] = {
    "version": "0",
    "account": "",
    "region": "",
    "detail": {},
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "",
    "id": "",
    "resources": [],
}


def run_dispatch() -> None:
    app.handler_map["dispatch"](TICK, Context())


def run_recount() -> None:
    app.handler_map["recount"](TICK, Context())


def run_monitor() -> None:
    app.handler_map["monitor"](TICK, Context())


def test_every_queue_has_its_function_and_the_clock_calls_the_others_mostly_every_minute() -> None:
    queues = {each.queue: each.name for each in app.event_sources if isinstance(each, SQSEventConfig)}
    assert queues == {queue: name for queue, (_, _, name) in QUEUES.items()}
    clocks = [each for each in app.event_sources if isinstance(each, ScheduledEventConfig)]
    assert {each.name for each in clocks} == {
        "dispatch",
        "run_schedules",
        "run_operations",
        "monitor",
        "recount",
        "cleanup",
    }
    for clock in clocks:
        expression = clock.schedule_expression
        assert isinstance(expression, Rate | Cron)
        others = {"cleanup": "cron(0 3 * * ? *)", "recount": "rate(5 minutes)"}
        assert expression.to_string() == others.get(clock.name, "rate(1 minute)")


def test_functions_are_declared_where_they_deploy() -> None:
    assert {each.handler_string.partition(".")[0] for each in app.event_sources} == {"app"}


def test_a_payment_goes_from_its_request_to_completed(front: Front) -> None:
    job_id = front.post(BODY).json_body["jobId"]
    assert consume(front, "money-queue") == []
    view = front.get(f"/v1/jobs/{job_id}").json_body
    assert (view["state"], view["progress"], view["attempts"]) == ("completed", 100, 1)
    assert view["result"]["chargeId"] == "ch_1"
    assert front.queue.waiting() == 0
    assert isinstance(front.providers.payments, Till)
    assert [order.money for order in front.providers.payments.orders] == [Money(4500, "EUR")]


def test_a_mail_goes_from_its_request_to_completed(front: Front) -> None:
    job_id = front.post({**MAIL, "options": {"priority": 8}}).json_body["jobId"]
    assert consume(front, "communication-queue") == []  # it is urgent, so it is not there
    assert consume(front, "communication-queue-express") == []
    assert front.get(f"/v1/jobs/{job_id}").json_body["state"] == "completed"
    assert isinstance(front.providers.mailer, Postbox)
    assert [mail.to for mail in front.providers.mailer.mails] == ["ada@example.com"]


def test_an_analytics_event_goes_from_its_request_to_completed(front: Front) -> None:
    job_id = front.post(TRACK).json_body["jobId"]
    assert consume(front, "background-queue") == []
    view = front.get(f"/v1/jobs/{job_id}").json_body
    assert (view["state"], view["result"]) == ("completed", {"eventBridgeId": "event-1"})
    assert isinstance(front.providers.analytics, Bus)
    assert [event.job_id for event in front.providers.analytics.events] == [job_id]


def test_a_text_goes_from_its_request_to_completed(front: Front) -> None:
    job_id = front.post(TEXT).json_body["jobId"]
    assert consume(front, "communication-queue") == []
    view = front.get(f"/v1/jobs/{job_id}").json_body
    told = {"sid": "SM1", "status": "queued", "segments": 1, "encoding": "GSM-7", "priceUnit": "USD"}
    assert (view["state"], view["result"], view["providerObject"]) == ("completed", told, "SM1")
    assert isinstance(front.providers.texts, Phone)
    assert front.providers.texts.texts == [Sms(job_id, "+15005550010", "Your table is ready.")]


def test_an_order_goes_from_its_request_to_completed(front: Front) -> None:
    job_id = front.post(ORDER).json_body["jobId"]
    assert consume(front, "money-queue") == []
    view = front.get(f"/v1/jobs/{job_id}").json_body
    assert (view["state"], view["result"]) == ("completed", {"status": 201})
    assert isinstance(front.providers.orders, Warehouse)
    assert front.providers.orders.orders == [(job_id, f"{job_id}:fulfill:0")]


def test_a_mint_goes_from_its_request_to_completed_for_the_venue_it_was_submitted_for(front: Front) -> None:
    job_id = front.post(MINT).json_body["jobId"]
    assert consume(front, "money-queue") == []
    view = front.get(f"/v1/jobs/{job_id}").json_body
    assert (view["state"], view["result"]["mintAddress"], view["providerObject"]) == (
        "completed",
        "mint-1",
        "mint-1",
    )
    assert isinstance(front.providers.minter, Ledger)
    assert front.providers.minter.minted == [job_id]
    assert [ticket.venue_id for ticket in front.providers.minter.tickets.values()] == [OWN]


def test_a_message_of_no_job_is_buried(front: Front) -> None:
    front.queue.put(Tier.BACKGROUND, Lane.MAIN, "rubbish")
    assert consume(front, "background-queue") == []
    assert front.queue.dead == {Tier.BACKGROUND: ["rubbish"]}


def test_dispatch_sends_what_is_due_far_from_its_acceptance(front: Front) -> None:
    front.post({**BODY, "options": {"delay": 3_600_000}})
    assert front.queue.waiting() == 0
    run_dispatch()
    assert front.queue.waiting() == 0
    front.clock.advance(timedelta(hours=1))
    run_dispatch()
    assert consume(front, "money-queue") == []
    assert front.get("/v1/jobs/job_000001").json_body["state"] == "completed"


@pytest.mark.parametrize(
    ("body", "queue"),
    [
        (BODY, "money-queue"),
        (MAIL, "communication-queue"),
        (TRACK, "background-queue"),
        (ORDER, "money-queue"),
        (TEXT, "communication-queue"),
        (MINT, "money-queue"),
    ],
)
def test_a_provider_without_credentials_fails_its_jobs_and_never_pretends(
    body: dict[str, Any], queue: str
) -> None:
    clock = ManualClock()
    clients = Clients()
    tell = Teller(clients, adapters.BUILDING)
    settings = Settings.from_env(ENVIRONMENT)
    providers = adapters.LiveProviders(settings, clients, clock, tell, MemoryEndpointStore())
    front = Front(clock=clock, providers=providers)
    front.post({**body, "options": {"attempts": 1}})
    consume(front, queue)
    view = front.get("/v1/jobs/job_000001").json_body
    assert (view["state"], view["reason"], view["error"]["code"]) == (
        "failed",
        "exhausted",
        "provider_not_configured",
    )


def test_all_that_is_done_at_stripe_goes_over_one_client_of_a_container() -> None:
    clients, clock = Clients(), ManualClock()
    settings = Settings.from_env({**ENVIRONMENT, "STRIPE_SECRET_KEY": "sk_test_1"})
    made = adapters.LiveProviders(
        settings, clients, clock, Teller(clients, adapters.BUILDING), MemoryEndpointStore()
    )
    payments: Any = made.payments
    payouts: Any = made.payouts
    assert payouts is payments
    payments.close()


def test_cleanup_archives_what_has_been_kept_for_long_enough(front: Front) -> None:
    job_id = front.post(BODY).json_body["jobId"]
    assert consume(front, "money-queue") == []
    front.clock.advance(timedelta(days=91))
    app.handler_map["cleanup"](TICK, Context())
    assert job_id not in front.store.jobs
    assert any(job_id in name for name in front.archive.objects)


def erase(front: Front, **person: str) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {front.token('admin')}"}
    body = json.dumps({"mode": "start", "reason": "Asked for by letter", **person}).encode()
    assert front.client.http.post("/v1/erasures", headers=headers, body=body).status_code == 202


@pytest.mark.parametrize("person", [{"userId": "user-1"}, {"venueId": "venue-1", "address": "ADA@example.com"}])
def test_cleanup_erases_a_person_in_the_archive_once_it_is_done_in_the_table(
    front: Front, person: dict[str, str]
) -> None:
    data = {"orderId": "o-1", "note": "ada@example.com"}
    body = {"type": "order.fulfill", "data": data, "onBehalfOf": {"venueId": "venue-1", "userId": "user-1"}}
    front.post(body)
    other = {**body, "data": {**data, "orderId": "o-2", "note": "bob"}, "onBehalfOf": {"venueId": "venue-1"}}
    front.post(other)
    consume(front, "money-queue")
    front.clock.advance(timedelta(days=91))
    app.handler_map["cleanup"](TICK, Context())
    erase(front, **person)
    app.handler_map["cleanup"](TICK, Context())
    [lines] = [gzip.decompress(each) for name, each in front.archive.objects.items() if name.endswith(".gz")]
    told = [json.loads(line) for line in lines.splitlines()]
    assert sorted(str(each["payload"].get("note")) for each in told) == ["None", "bob"]
    objects = dict(front.archive.objects)
    app.handler_map["cleanup"](TICK, Context())
    assert front.archive.objects == objects
    assert [each.action for each in front.store.audit].count("erase_archive") == 1
