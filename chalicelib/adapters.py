"""The adapters: what stands behind the ports, made by plain constructor calls.

What belongs to AWS or to one provider is imported where it is made, so that a host over other adapters loads
none of it, and the API no provider's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar, cast

from chalicelib.domain.alerting import AlertBook, Channel, Outlet
from chalicelib.domain.archive import Archive, Cleaning
from chalicelib.domain.audit import AuditLog
from chalicelib.domain.backlog import Backlog, EventSources
from chalicelib.domain.dependency import Probe
from chalicelib.domain.emission import Emitter
from chalicelib.domain.endpoint import EndpointStore
from chalicelib.domain.heartbeat import RunBook
from chalicelib.domain.operation import OperationStore
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import (
    Chance,
    Clock,
    Crew,
    Inbox,
    JobQueue,
    JobStore,
    Journal,
    Limiter,
    Quotas,
)
from chalicelib.domain.providers import (
    Analytics,
    Hooks,
    Mailer,
    Minter,
    Orders,
    Payments,
    Payouts,
    Providers,
    Texts,
)
from chalicelib.domain.quiet import QuietBook
from chalicelib.domain.schedule import ScheduleStore
from chalicelib.domain.search import JobIndex
from chalicelib.domain.standing import Registry
from chalicelib.domain.stock import StockBook
from chalicelib.domain.suppression import Suppressions
from chalicelib.domain.tally import Metrics
from chalicelib.domain.topic import Topic
from chalicelib.observability import EmbeddedMetrics, PowertoolsJournal
from chalicelib.outlets import Outlets
from chalicelib.providers.unconfigured import Unconfigured
from chalicelib.settings import OWN_MACHINE, Settings, parse_token_keys
from chalicelib.settings.environment import Secret
from chalicelib.system import SystemChance, SystemClock, ThreadCrew, signing_secret
from chalicelib.teller import Teller

if TYPE_CHECKING:
    from chalicelib.aws.clients import Clients
    from chalicelib.aws.tables import Tables
    from chalicelib.providers.stripe_payouts import Stripe

T = TypeVar("T")

BUILDING = RLock()  # botocore's session does not bear two threads that make clients


@dataclass(frozen=True)
class Adapters:
    """What stands behind the ports."""

    store: JobStore
    registry: Registry
    suppressions: Suppressions
    mail_topic: Topic | None  # None: SES tells us nothing
    quiet_hours: QuietBook
    index: JobIndex
    audit_log: AuditLog
    kept: Callable[[], tuple[Cleaning, Archive]]  # made when asked for: S3's client is heavy
    backlog: Backlog
    event_sources: EventSources | None  # None: there are no mappings to open and close
    schedules: ScheduleStore
    operations: OperationStore
    endpoints: EndpointStore
    queue: JobQueue
    inboxes: Callable[[Tier, Lane], Inbox]
    leases: RunBook
    limiter: Limiter | None  # None: nothing is limited
    quotas: Quotas
    metrics: Metrics
    emitter: Emitter | None  # None: CloudWatch is told of nothing
    stock: StockBook
    alert_book: AlertBook
    outlets: Callable[[], Mapping[Channel, Outlet]]  # of the channels that are configured; never the log
    providers: Providers
    read_token_keys: Callable[[], Mapping[str, str]]
    tell: Callable[[Secret, bool], str]  # a secret; True: read anew
    probes: Callable[[], Sequence[Probe]]  # made when asked for, of clients that give up soon
    clock: Clock
    chance: Chance
    crew: Crew
    journal: Journal


def on_aws(settings: Settings) -> Adapters:
    """Make the adapters that this stage runs on; nothing connects yet."""
    from chalicelib.aws.audit_log import DynamoAuditLog
    from chalicelib.aws.backlog import AwsBacklog
    from chalicelib.aws.clients import Clients
    from chalicelib.aws.job_index import DynamoJobIndex
    from chalicelib.aws.job_store import DynamoJobStore
    from chalicelib.aws.leases import DynamoLeases
    from chalicelib.aws.operation_store import DynamoOperationStore
    from chalicelib.aws.schedule_store import DynamoScheduleStore
    from chalicelib.aws.tables import Tables

    clients, clock = Clients(), SystemClock()
    tell, tables, queues = Teller(clients, BUILDING), Tables(**asdict(settings.tables)), settings.queues
    registry, suppressions, quiet_hours, endpoints = _facts(clients, tables)
    metrics, stock, alert_book = _figures(clients, tables)
    (queue, inboxes), (limiter, quotas) = _queues(settings, clients), _limits(settings, clients, tables)
    return Adapters(
        store=DynamoJobStore(clients.dynamodb, tables),
        registry=registry,
        suppressions=suppressions,
        mail_topic=_mail_topic(settings, clock),
        quiet_hours=quiet_hours,
        index=DynamoJobIndex(clients.dynamodb, tables),
        audit_log=DynamoAuditLog(clients.dynamodb, tables),
        kept=partial(_kept, settings, clients, tables),
        backlog=AwsBacklog(clients.sqs, queues.lanes, queues.dead_letters, clients.dynamodb, tables),
        event_sources=_event_sources(settings, clients),
        schedules=DynamoScheduleStore(clients.dynamodb, tables),
        operations=DynamoOperationStore(clients.dynamodb, tables),
        endpoints=endpoints,
        queue=queue,
        inboxes=inboxes,
        leases=DynamoLeases(clients.dynamodb, tables.queue_controls),
        limiter=limiter,
        quotas=quotas,
        metrics=metrics,
        stock=stock,
        emitter=EmbeddedMetrics(settings.stage) if settings.emits_metrics else None,
        alert_book=alert_book,
        outlets=Outlets(settings, clients, clock, tell, BUILDING),
        providers=LiveProviders(settings, clients, clock, tell, endpoints),
        read_token_keys=partial(_read_token_keys, settings, clients),
        tell=tell,
        probes=partial(_probes, settings, clients, tables),
        clock=clock,
        chance=SystemChance(clock),
        crew=ThreadCrew(),
        journal=PowertoolsJournal(level=settings.log_level, style=settings.log_format),
    )


def _event_sources(settings: Settings, clients: "Clients") -> EventSources | None:
    from chalicelib.aws.event_sources import LambdaEventSources

    return None if settings.stage in OWN_MACHINE else LambdaEventSources(clients, settings.queues.lanes)


def _queues(settings: Settings, clients: "Clients") -> tuple[JobQueue, Callable[[Tier, Lane], Inbox]]:
    from chalicelib.aws.job_queue import SqsInbox, SqsJobQueue

    urls = settings.queues.lanes
    queue = SqsJobQueue(clients.sqs, urls, settings.queues.dead_letters)
    return queue, lambda tier, lane: SqsInbox(clients.sqs, urls[tier, lane])


def _limits(settings: Settings, clients: "Clients", tables: "Tables") -> tuple[Limiter | None, Quotas]:
    from chalicelib.aws.quotas import DynamoQuotas
    from chalicelib.aws.rate_limiter import DynamoLimiter

    client, limits = clients.dynamodb, settings.limits
    limiter = None if limits is None else DynamoLimiter(client, tables, limits)
    return limiter, DynamoQuotas(client, tables.rate_limits)


def _facts(clients: "Clients", tables: "Tables") -> tuple[Registry, Suppressions, QuietBook, EndpointStore]:
    """Return what jobs need of the store, and how it gets there."""
    from chalicelib.aws.endpoint_store import DynamoEndpointStore
    from chalicelib.aws.quiet_hours import DynamoQuietBook
    from chalicelib.aws.registry import DynamoRegistry
    from chalicelib.aws.suppressions import DynamoSuppressions

    client = clients.dynamodb
    return (
        DynamoRegistry(client, tables),
        DynamoSuppressions(client, tables),
        DynamoQuietBook(client, tables),
        DynamoEndpointStore(client, tables, signing_secret),
    )


def _figures(clients: "Clients", tables: "Tables") -> tuple[Metrics, StockBook, AlertBook]:
    from chalicelib.aws.alert_store import DynamoAlertBook
    from chalicelib.aws.meter import MeteredMetrics
    from chalicelib.aws.metrics_store import DynamoMetrics
    from chalicelib.aws.stock_book import DynamoStockBook

    client = clients.dynamodb
    metrics = MeteredMetrics(DynamoMetrics(client, tables), clients.meter)
    return metrics, DynamoStockBook(client, tables), DynamoAlertBook(client, tables)


def _mail_topic(settings: Settings, clock: Clock) -> Topic | None:
    topic = settings.mail.topic
    if topic is None:
        return None
    from chalicelib.providers.sns_topic import SnsTopic

    return SnsTopic(topic.arn, clock, base=topic.sns_base)


def _kept(settings: Settings, clients: "Clients", tables: "Tables") -> tuple[Cleaning, Archive]:
    from chalicelib.aws.cleaning import DynamoCleaning
    from chalicelib.aws.s3_archive import S3Archive

    with BUILDING:
        return DynamoCleaning(clients.dynamodb, tables), S3Archive(clients.s3, settings.archive_bucket)


def _read_token_keys(settings: Settings, clients: "Clients") -> Mapping[str, str]:
    tokens = settings.tokens
    if tokens.secrets_arn is None:
        return {"local": tokens.secret or ""}
    from chalicelib.aws.secrets import Secrets

    with BUILDING:
        return parse_token_keys(Secrets(clients.secrets).refresh(tokens.secrets_arn))


def _probes(settings: Settings, clients: "Clients", tables: "Tables") -> Sequence[Probe]:
    """Return what asks the tables, the queues and the secrets that the API itself reads."""
    from chalicelib.aws import probes

    with BUILDING:
        quick = clients.impatient(probes.PATIENCE)
        dynamodb, sqs = quick.dynamodb, quick.sqs
    tell = Teller(quick, BUILDING)
    secrets = dict(settings.signing_secrets)
    if settings.metrics_token is not None:
        secrets["metrics-token"] = settings.metrics_token
    reads = {name: partial(tell, secret, True) for name, secret in secrets.items()}
    return (
        probes.of_tables(dynamodb, tables),
        probes.of_queues(sqs, settings.queues.lanes, settings.queues.dead_letters),
        probes.of_secrets({"token-keys": partial(_read_token_keys, settings, quick), **reads}),
    )


class LiveProviders:
    """One client per vendor and container, made when first asked for; the jobs of a batch ask side by side."""

    def __init__(
        self,
        settings: Settings,
        clients: "Clients",
        clock: Clock,
        tell: Callable[[Secret, bool], str],
        endpoints: EndpointStore,
    ) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._tell = tell
        self._made: dict[str, Any] = {}

    @property
    def payments(self) -> Payments:
        """Stripe's intents and refunds."""
        return self._once("stripe", self._stripe)

    @property
    def payouts(self) -> Payouts:
        """Stripe's payouts and transfers."""
        return self._once("stripe", self._stripe)

    @property
    def mailer(self) -> Mailer:
        """SES."""
        return self._once("mailer", self._ses)

    @property
    def texts(self) -> Texts:
        """Twilio."""
        return self._once("texts", self._twilio)

    @property
    def analytics(self) -> Analytics:
        """EventBridge."""
        return self._once("analytics", self._event_bridge)

    @property
    def orders(self) -> Orders:
        """The order service."""
        return self._once("orders", self._order_service)

    @property
    def hooks(self) -> Hooks:
        """Webhooks."""
        return self._once("hooks", self._webhook_sender)

    @property
    def endpoints(self) -> EndpointStore:
        """Where webhooks go."""
        return self._endpoints

    @property
    def minter(self) -> Minter:
        """Solana; raises StoreError when a secret of it cannot be read."""
        return self._once("minter", self._solana)

    def _once(self, name: str, make: Callable[[], T]) -> T:
        with BUILDING:
            if name not in self._made:
                self._made[name] = make()
            made: T = self._made[name]
            return made

    def _stripe(self) -> "Stripe":
        stripe = self._settings.stripe
        if stripe is None:
            return cast("Stripe", Unconfigured("Stripe"))
        from chalicelib.providers.stripe_payouts import Stripe

        return Stripe(self._teller(stripe.secret_key), self._clock, api_base=stripe.api_base)

    def _ses(self) -> Mailer:
        mail = self._settings.mail
        if mail.sender is None:
            return cast(Mailer, Unconfigured("SES"))
        from chalicelib.aws.ses_mailer import SesMailer

        return SesMailer(
            self._clients.sesv2, mail.sender, self._clock, configuration_set=mail.configuration_set
        )

    def _twilio(self) -> Texts:
        account = self._settings.twilio
        if account is None:
            return cast(Texts, Unconfigured("Twilio"))
        from chalicelib.providers.twilio_messages import TwilioAccount, TwilioMessages

        base = self._settings.public_base_url
        status_callback = None if base is None else f"{base}/v1/callbacks/twilio"
        made = TwilioAccount(account, self._teller(account.auth_token), self._clock)
        return TwilioMessages(made, status_callback=status_callback)

    def _event_bridge(self) -> Analytics:
        bus = self._settings.analytics_bus
        if bus is None:
            return cast(Analytics, Unconfigured("EventBridge"))
        from chalicelib.aws.event_bus import EventBridgeBus

        return EventBridgeBus(self._clients.events, bus, self._clock)

    def _order_service(self) -> Orders:
        service = self._settings.order_service
        if service is None:
            return cast(Orders, Unconfigured("The order service"))
        from chalicelib.providers.order_service import OrderService

        return OrderService(service.url, self._teller(service.token), self._clock)

    def _webhook_sender(self) -> Hooks:
        from chalicelib.providers.webhook_sender import WebhookSender

        return WebhookSender(self._clock, loopback=self._settings.stage in OWN_MACHINE)

    def _solana(self) -> Minter:
        solana = self._settings.solana
        if solana is None:
            return cast(Minter, Unconfigured("Solana"))
        from chalicelib.providers.solana_minter import SolanaMinter

        authority, secret = (self._tell(each, False) for each in (solana.authority_key, solana.mint_secret))
        return SolanaMinter(self._teller(solana.rpc_url), authority, secret, self._clock)

    def _teller(self, secret: Secret) -> Callable[[bool], str]:
        """Return what tells a secret, read anew when asked to; a secret behind an ARN is kept meanwhile."""
        return partial(self._tell, secret)
