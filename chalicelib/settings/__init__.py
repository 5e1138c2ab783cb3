"""The environment, read and checked in one place; the names are those of the specification, section 10."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

from chalicelib.domain.policies import TIMING, Lane, Tier, Timing
from chalicelib.domain.quota import Allowance
from chalicelib.domain.ratelimit import LIMITS, Limit
from chalicelib.settings.alerts import AlertSettings, read_alerts
from chalicelib.settings.environment import (
    ARN,
    LEAST_SECRET_BYTES,
    Reader,
    Secret,
    SettingsError,
    Wanted,
    matching,
    one_of,
    random_secret,
    url,
    whole,
)
from chalicelib.settings.tracing import TraceSettings, read_traces
from chalicelib.settings.vendors import (
    MailSettings,
    OrderServiceSettings,
    SolanaSettings,
    StripeSettings,
    TwilioSettings,
    read_mail,
    read_order_service,
    read_signing_secrets,
    read_solana,
    read_stripe,
    read_twilio,
)

__all__ = ["OWN_MACHINE", "Settings", "SettingsError", "TokenSettings", "parse_token_keys"]

OWN_MACHINE = frozenset(
    {"local", "test"}
)  # stages that run on one machine and may hold secrets in the environment
LONGEST_SECONDS = 10**9
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
CALLER_LIMITS = ("RATE_LIMIT_WINDOW_MS", "RATE_LIMIT_MAX_REQUESTS")
LOG_FORMATS = ("json", "pretty")
STAGE = re.compile(r"[a-z][a-z0-9-]{0,19}")
NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class TableNames:
    """The names of the tables."""

    jobs: str
    idempotency_keys: str
    queue_controls: str
    audit_log: str
    rate_limits: str
    schedules: str
    queue_metrics: str
    endpoints: str
    alert_history: str


@dataclass(frozen=True, slots=True)
class QueueUrls:
    """Where the messages go."""

    lanes: Mapping[tuple[Tier, Lane], str]
    dead_letters: Mapping[Tier, str]


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What a bearer token must hold to; the keys stand in the secret, or behind the ARN."""

    issuer: str
    audience: str
    secret: str | None = field(repr=False)
    secrets_arn: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the service is told by its environment; a provider that is None is not configured."""

    stage: str
    log_level: str
    log_format: str
    emits_metrics: bool  # whether functions tell CloudWatch of their figures
    tables: TableNames
    queues: QueueUrls
    tokens: TokenSettings
    stripe: StripeSettings | None
    mail: MailSettings
    twilio: TwilioSettings | None
    analytics_bus: str | None
    archive_bucket: str
    order_service: OrderServiceSettings | None
    solana: SolanaSettings | None
    signing_secrets: Mapping[str, Secret]  # of callbacks, by vendor
    limits: Mapping[str, Limit] | None  # by provider group; None: nothing is limited
    metrics_token: Secret | None  # the scraper's; None: only an administrator reads the metrics
    caller_limit: Allowance | None  # a user's requests; None: nobody is limited
    public_base_url: str | None
    alerts: AlertSettings
    traces: TraceSettings | None  # None: there are none
    cors_origins: frozenset[str]
    timing: Timing

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the environment; raises SettingsError that names everything wrong with it at once."""
        env = Reader(environ)
        stage = env.required("STAGE", matching(STAGE, "a lower-case name such as dev or prod"))
        own_machine = stage in OWN_MACHINE
        twilio = read_twilio(env, own_machine)
        settings = cls(
            stage=stage,
            log_level=env.optional("LOG_LEVEL", one_of(LOG_LEVELS)) or "INFO",
            log_format=env.optional("LOG_FORMAT", one_of(LOG_FORMATS)) or "json",
            emits_metrics=_is_on(env, "ENABLE_METRICS"),
            tables=_tables(env),
            queues=_queues(env),
            tokens=_tokens(env, own_machine),
            stripe=read_stripe(env, own_machine),
            mail=read_mail(env, own_machine),
            twilio=twilio,
            archive_bucket=env.required("ARCHIVE_BUCKET", matching(NAME, "the name of the archive's bucket")),
            analytics_bus=env.optional("ANALYTICS_BUS", matching(NAME, "the event bus's name")),
            order_service=read_order_service(env, own_machine),
            solana=read_solana(env, own_machine),
            signing_secrets=read_signing_secrets(env, twilio),
            metrics_token=env.secret("METRICS_TOKEN", random_secret),
            limits=_limits(env),
            caller_limit=_caller_limit(env),
            public_base_url=env.optional("PUBLIC_BASE_URL", _base_url),
            alerts=read_alerts(env),
            traces=read_traces(env, stage),
            cors_origins=env.optional("CORS_ORIGINS", _origins) or frozenset(),
            timing=_timing(env, own_machine),
        )
        if env.problems:
            raise SettingsError(env.problems)
        return settings


def _base_url(value: str) -> str:
    return url(("https", "http"), "the URL that callers reach the service at")(value).rstrip("/")


def _origins(value: str) -> frozenset[str]:
    """Return the origins of web pages that may call, each exactly as a browser sends it."""
    origins = frozenset(each.strip() for each in value.split(","))
    if not all(ORIGIN.fullmatch(origin) for origin in origins):
        raise Wanted("origins with commas between them, such as https://shop.example; no path and no *")
    return origins


def _tables(env: Reader) -> TableNames:
    table = matching(NAME, "the table's name")
    return TableNames(
        jobs=env.required("JOBS_TABLE", table),
        idempotency_keys=env.required("IDEMPOTENCY_KEYS_TABLE", table),
        queue_controls=env.required("QUEUE_CONTROLS_TABLE", table),
        audit_log=env.required("AUDIT_LOG_TABLE", table),
        rate_limits=env.required("RATE_LIMITS_TABLE", table),
        schedules=env.required("SCHEDULES_TABLE", table),
        queue_metrics=env.required("QUEUE_METRICS_TABLE", table),
        endpoints=env.required("ENDPOINTS_TABLE", table),
        alert_history=env.required("ALERT_HISTORY_TABLE", table),
    )


def _queues(env: Reader) -> QueueUrls:
    queue_url = url(("https", "http"), "the queue's URL")
    lanes: dict[tuple[Tier, Lane], str] = {}
    dead_letters: dict[Tier, str] = {}
    for tier in Tier:
        name = tier.upper()
        lanes[tier, Lane.MAIN] = env.required(f"{name}_QUEUE_URL", queue_url)
        lanes[tier, Lane.EXPRESS] = env.required(f"{name}_QUEUE_EXPRESS_URL", queue_url)
        dead_letters[tier] = env.required(f"{name}_QUEUE_DLQ_URL", queue_url)
    return QueueUrls(lanes, dead_letters)


def _tokens(env: Reader, own_machine: bool) -> TokenSettings:
    arn = matching(ARN, "the ARN of the secret that holds the token keys")
    if own_machine:
        secret: str | None = env.required("JWT_SECRET", random_secret)
        secrets_arn = None
        env.forbid("JWT_SECRETS_ARN", "this stage takes its key from JWT_SECRET")
    else:
        secret = None
        secrets_arn = env.required("JWT_SECRETS_ARN", arn)
        env.forbid("JWT_SECRET", "only the stages local and test may; use JWT_SECRETS_ARN")
    word = matching(re.compile(r"\S{1,255}"), "a word without spaces")
    return TokenSettings(
        issuer=env.optional("JWT_ISSUER", word) or "tickettoken",
        audience=env.optional("JWT_AUDIENCE", word) or "tickettoken-platform",
        secret=secret,
        secrets_arn=secrets_arn,
    )


def _limits(env: Reader) -> Mapping[str, Limit] | None:
    """Return what each provider group bears; RATE_LIMIT_<PROVIDER> sets its calls per second."""
    known = {f"RATE_LIMIT_{group.upper()}": group for group in LIMITS}
    for name in env.named("RATE_LIMIT_"):
        if name not in known and name not in CALLER_LIMITS:
            env.problems.append(f"{name} names no provider: use one of {', '.join(known)}.")
    limits = dict(LIMITS)
    for name, group in known.items():
        per_second = env.optional(name, _per_second)
        if per_second is not None:
            limits[group] = replace(limits[group], per_second=per_second)
    return limits if _limiting(env) else None


def _caller_limit(env: Reader) -> Allowance | None:
    """Return how many requests a user has in each window."""
    allowance = Allowance(
        requests=env.optional("RATE_LIMIT_MAX_REQUESTS", whole(1, 1_000_000)) or 100,
        window=timedelta(milliseconds=env.optional("RATE_LIMIT_WINDOW_MS", whole(1_000, 3_600_000)) or 60_000),
    )
    return allowance if _limiting(env) else None


def _limiting(env: Reader) -> bool:
    return _is_on(env, "ENABLE_RATE_LIMITING")


def _is_on(env: Reader, name: str) -> bool:
    """Return whether something is wanted; it is unless it is switched off."""
    return env.optional(name, one_of(("true", "false"))) != "false"


def _per_second(value: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", value) or float(value) == 0:
        raise Wanted("a number of calls per second above 0, such as 25 or 0.5")
    return float(value)


def _timing(env: Reader, own_machine: bool) -> Timing:
    """Return the times of the protocol; a stage on one machine may shorten them, so that tests take seconds."""
    if not own_machine:
        env.forbid("QUEUE_TIMING", "only the stages local and test may change the protocol's times")
        return TIMING
    return env.optional("QUEUE_TIMING", _read_timing) or TIMING


def _read_timing(value: str) -> Timing:
    kinds = {each.name: type(getattr(TIMING, each.name)) for each in fields(Timing)}
    wanted = f"a JSON object that gives seconds for any of {', '.join(sorted(kinds))}"
    try:
        given = json.loads(value)
    except (ValueError, RecursionError):
        raise Wanted(wanted) from None
    if not isinstance(given, dict) or not given.keys() <= kinds.keys():
        raise Wanted(wanted)
    if not all(type(number) in (int, float) and 0 <= number <= LONGEST_SECONDS for number in given.values()):
        raise Wanted(wanted)
    times: dict[str, Any] = {
        name: int(number) if kinds[name] is int else timedelta(seconds=number) for name, number in given.items()
    }
    return Timing(**times)


def parse_token_keys(text: str) -> Mapping[str, str]:
    """Return the keys by `kid` of the secret `{"current": kid, "keys": {kid: key}}`; raises SettingsError.

    `current` is for whoever signs; it is checked because a signer whose key is not on the list is a mistake.
    """
    try:
        secret = json.loads(text)
        current, keys = secret["current"], dict(secret["keys"])
        usable = current in keys
    except (ValueError, TypeError, KeyError, RecursionError):
        usable, keys = False, {}
    if not usable:
        raise SettingsError(['JWT_SECRETS_ARN must hold {"current": kid, "keys": {kid: key, ...}}.'])
    if not all(isinstance(key, str) and len(key.encode()) >= LEAST_SECRET_BYTES for key in keys.values()):
        raise SettingsError(
            [f"JWT_SECRETS_ARN holds a key that is not a string of at least {LEAST_SECRET_BYTES} bytes."]
        )
    return keys
