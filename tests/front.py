"""The service's front over in-memory adapters, and the tokens and requests that tests send to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import jwt
from chalice.test import Client, HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.adapters import Adapters
from chalicelib.domain.dependency import Probe
from chalicelib.domain.emission import Emitter
from chalicelib.domain.endpoint import EndpointStore
from chalicelib.domain.errors import NotSigned
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import Role
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
from chalicelib.domain.topic import Kind, Topic
from chalicelib.jobtypes import discover
from chalicelib.settings import Settings
from chalicelib.settings.environment import Secret
from tests.fakes import (
    ListJournal,
    ManualClock,
    MemoryLeases,
    MemoryQueue,
    MemoryStore,
    SeededChance,
    SequentialCrew,
)
from tests.fakes_alerts import MemoryAlertBook, MemoryOutlets
from tests.fakes_archive import MemoryArchive, MemoryCleaning
from tests.fakes_backlog import MemoryBacklog, MemoryEventSources
from tests.fakes_endpoints import MemoryEndpointStore
from tests.fakes_limiter import MemoryLimiter
from tests.fakes_metrics import MemoryMetrics
from tests.fakes_operations import MemoryOperationStore
from tests.fakes_quotas import MemoryQuotas
from tests.fakes_registry import MemoryQuietBook, MemoryRegistry, MemorySuppressions
from tests.fakes_schedules import MemoryScheduleStore
from tests.fakes_search import MemoryAuditLog, MemoryJobIndex
from tests.fakes_stock import MemoryStockBook

SECRET = "a secret of the tests, of 64 bytes and more so that every HMAC may take it"
ISSUER, AUDIENCE = "tickettoken", "tickettoken-platform"
OWN, OTHER = "venue-1", "venue-2"
ENVIRONMENT: Mapping[str, str] = {
    "STAGE": "test",
    "JWT_SECRET": SECRET,
    "JOBS_TABLE": "jobs",
    "IDEMPOTENCY_KEYS_TABLE": "idempotency-keys",
    "QUEUE_CONTROLS_TABLE": "queue-controls",
    "AUDIT_LOG_TABLE": "audit-log",
    "RATE_LIMITS_TABLE": "rate-limits",
    "SCHEDULES_TABLE": "schedules",
    "QUEUE_METRICS_TABLE": "queue-metrics",
    "ARCHIVE_BUCKET": "archive",
    "ENDPOINTS_TABLE": "endpoints",
    "ALERT_HISTORY_TABLE": "alert-history",
    **{
        f"{tier}_QUEUE_{kind}": f"http://127.0.0.1/000000000000/{tier}-{kind}"
        for tier in ("MONEY", "COMMUNICATION", "BACKGROUND")
        for kind in ("URL", "EXPRESS_URL", "DLQ_URL")
    },
}

SIGNED = {"STRIPE_WEBHOOK_SECRET": "whsec_the_first"}  # what vendors sign their callbacks with
TWILIO = {  # with which it signs its own, too
    "TWILIO_ACCOUNT_SID": f"AC{0:032x}",
    "TWILIO_AUTH_TOKEN": "twilio_the_first",
    "TWILIO_PHONE": "+15005550006",
    "PUBLIC_BASE_URL": "https://queue.example",
}
MANY_REQUESTS = {
    "RATE_LIMIT_MAX_REQUESTS": "1000000"
}  # time stands still in the tests; those of limits set theirs


class NoProviders:
    """The front sends nothing to a provider; a consumer that asked for one would fail its test."""

    @property
    def payments(self) -> Payments:
        raise AssertionError("The front asked for a provider.")

    @property
    def payouts(self) -> Payouts:
        raise AssertionError("The front asked for a provider.")

    @property
    def minter(self) -> Minter:
        raise AssertionError("The front asked for a provider.")

    @property
    def mailer(self) -> Mailer:
        raise AssertionError("The front asked for a provider.")

    @property
    def texts(self) -> Texts:
        raise AssertionError("The front asked for a provider.")

    @property
    def analytics(self) -> Analytics:
        raise AssertionError("The front asked for a provider.")

    @property
    def orders(self) -> Orders:
        raise AssertionError("The front asked for a provider.")

    @property
    def hooks(self) -> Hooks:
        raise AssertionError("The front asked for a provider.")

    @property
    def endpoints(self) -> EndpointStore:
        raise AssertionError("The front asked for a provider.")


class NoTopic:
    """A topic on which nothing is published: whatever comes is somebody else's."""

    def check(self, bulletin: Mapping[str, Any]) -> Kind:
        raise NotSigned

    def confirm(self, bulletin: Mapping[str, Any]) -> None:
        raise NotSigned


@dataclass(repr=False)
class Front:
    """The app with its adapters in sight."""

    types: Mapping[str, JobType] = field(default_factory=discover)
    clock: ManualClock = field(default_factory=ManualClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    schedules: MemoryScheduleStore = field(default_factory=MemoryScheduleStore)
    providers: Providers = field(default_factory=NoProviders)
    journal: ListJournal = field(default_factory=ListJournal)
    secrets: dict[str, str] = field(default_factory=dict)  # by ARN
    token_keys: dict[str, str] = field(default_factory=lambda: {"local": SECRET})
    environment: Mapping[str, str] = field(default_factory=dict)  # beside ENVIRONMENT
    mail_topic: Topic | None = field(default_factory=NoTopic)
    emitter: Emitter | None = None
    probes: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        self.queue = MemoryQueue(self.clock)
        self.limiter = self.store.limiter = MemoryLimiter()
        self.quotas = MemoryQuotas()
        self.cleaning = MemoryCleaning(self.store)
        self.archive = MemoryArchive()
        self.metrics = MemoryMetrics()
        self.leases = MemoryLeases()
        self.stock = MemoryStockBook(self.store)
        self.alerts, self.outlets = MemoryAlertBook(self.store.audit), MemoryOutlets()
        self.registry = MemoryRegistry()
        self.suppressions = MemorySuppressions(self.registry, self.store.audit)
        self.schedules.audit = self.store.audit
        self.operations = MemoryOperationStore(self.store.audit)
        self.endpoints = MemoryEndpointStore(self.store.audit)
        self.registry.endpoints = self.endpoints.endpoints
        self.index = MemoryJobIndex(self.store)
        self.backlog = MemoryBacklog(self.queue, self.store)
        self.event_sources = MemoryEventSources()
        self.client = Client(app)
        self._kept: dict[str, str] = {}
        self.secrets_read = 0
        self.adapters = Adapters(
            store=self.store,
            registry=self.registry,
            suppressions=self.suppressions,
            mail_topic=self.mail_topic,
            quiet_hours=MemoryQuietBook(self.registry, self.store.audit),
            index=self.index,
            audit_log=MemoryAuditLog(self.store.audit),
            kept=lambda: (self.cleaning, self.archive),
            backlog=self.backlog,
            event_sources=self.event_sources,
            schedules=self.schedules,
            operations=self.operations,
            endpoints=self.endpoints,
            queue=self.queue,
            inboxes=self.queue.inbox,
            leases=self.leases,
            limiter=self.limiter,
            quotas=self.quotas,
            metrics=self.metrics,
            emitter=self.emitter,
            stock=self.stock,
            alert_book=self.alerts,
            outlets=lambda: self.outlets.all,
            providers=self.providers,
            read_token_keys=lambda: dict(self.token_keys),
            tell=self._tell,
            probes=lambda: self.probes,
            clock=self.clock,
            chance=SeededChance(),
            crew=SequentialCrew(),
            journal=self.journal,
        )
        self.settings = Settings.from_env({**ENVIRONMENT, **MANY_REQUESTS, **SIGNED, **self.environment})
        self.stand_on()

    def stand_on(self, **others: Any) -> None:
        """Have the app stand on other adapters than these fakes, by their names in `Adapters`."""
        wiring.install(wiring.assemble(self.settings, replace(self.adapters, **others), self.types))

    def _tell(self, secret: Secret, anew: bool) -> str:
        if secret.arn is None:
            return secret.value or ""
        if anew or secret.arn not in self._kept:
            self.secrets_read += 1
            self._kept[secret.arn] = self.secrets[secret.arn]
        return self._kept[secret.arn]

    def token(self, role: str = "service", *, sub: str = "service-1", venue: str | None = OWN) -> str:
        """Return a token that holds."""
        return sign(claims(self.clock.now(), role=role, sub=sub, venue=venue))

    def post(
        self, body: object, *, token: str | None = None, key: str | None = None, **headers: str
    ) -> HTTPResponse:
        """Submit a body, whatever it is, as a service unless a token is given."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token()}"}
        sent |= {"Idempotency-Key": key} if key is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.http.post("/v1/jobs", headers=sent, body=raw)

    def get(self, path: str, *, token: str | None = None) -> HTTPResponse:
        """Read a path, as a service unless a token is given."""
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        return self.client.http.get(path, headers=headers)


def claims(
    now: datetime, *, role: str = Role.SERVICE, sub: str = "service-1", venue: str | None = OWN
) -> dict[str, Any]:
    """Return the claims of a token that holds for an hour."""
    times = {"iat": int(now.timestamp()), "exp": int((now + timedelta(hours=1)).timestamp())}
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": sub, "role": role, **times} | (
        {"venueId": venue} if venue is not None else {}
    )


def sign(payload: Mapping[str, Any], secret: str = SECRET, **headers: Any) -> str:
    """Return a token with these claims."""
    return jwt.encode(dict(payload), secret, algorithm="HS256", headers=headers or None)
