import json
from datetime import timedelta

import pytest

from chalicelib.domain.heartbeat import Every
from chalicelib.domain.judging import Thresholds
from chalicelib.domain.policies import TIMING, Lane, Tier
from chalicelib.domain.quota import Allowance
from chalicelib.settings import Settings, SettingsError, parse_token_keys
from tests.front import ENVIRONMENT, SECRET, TWILIO

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:queue-service/jwt-AbCdEf"
PROD = {name: value for name, value in ENVIRONMENT.items() if name != "JWT_SECRET"} | {
    "STAGE": "prod",
    "JWT_SECRETS_ARN": ARN,
}


def test_the_environment_is_read_with_its_defaults() -> None:
    settings = Settings.from_env(ENVIRONMENT)
    assert (settings.stage, settings.log_level, settings.log_format) == ("test", "INFO", "json")
    assert settings.tables.jobs == "jobs"
    assert settings.queues.lanes[Tier.MONEY, Lane.EXPRESS].endswith("MONEY-EXPRESS_URL")
    assert settings.queues.dead_letters[Tier.BACKGROUND].endswith("BACKGROUND-DLQ_URL")
    assert (settings.tokens.issuer, settings.tokens.audience) == ("tickettoken", "tickettoken-platform")
    assert (settings.stripe, settings.mail.sender, settings.analytics_bus) == (None, None, None)
    assert settings.timing == TIMING


def test_a_user_has_a_hundred_requests_a_minute_unless_it_is_said_otherwise() -> None:
    assert Settings.from_env(ENVIRONMENT).caller_limit == Allowance(100, timedelta(minutes=1))
    given = {"RATE_LIMIT_MAX_REQUESTS": "7", "RATE_LIMIT_WINDOW_MS": "1500"}
    limit = Settings.from_env({**ENVIRONMENT, **given}).caller_limit
    assert limit == Allowance(7, timedelta(seconds=1.5))
    assert Settings.from_env({**ENVIRONMENT, "ENABLE_RATE_LIMITING": "false"}).caller_limit is None


def test_alerts_begin_where_the_contract_says_unless_it_is_said_otherwise() -> None:
    alerts = Settings.from_env(ENVIRONMENT).alerts
    assert (alerts.thresholds, alerts.topic_arn, alerts.oncall_phone) == (Thresholds(), None, None)
    given = {
        "ALERT_THRESHOLD_MONEY_QUEUE": "0",
        "ALERT_THRESHOLD_COMM_QUEUE": "6",
        "ALERT_THRESHOLD_BACKGROUND_QUEUE": "7",
        "ALERT_THRESHOLD_MONEY_AGE_MINUTES": "20",
        "ALERT_THRESHOLD_FAILURE_RATE": "5",
        "ALERT_THRESHOLD_MINUTELY_SILENCE": "3",
        "ALERT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:alerts",
        "ONCALL_PHONE": "+15005550010",
    }
    alerts = Settings.from_env({**ENVIRONMENT, **given}).alerts
    assert alerts.thresholds == Thresholds(
        depth={Tier.MONEY: 0, Tier.COMMUNICATION: 6, Tier.BACKGROUND: 7},
        age={Tier.MONEY: timedelta(minutes=20), Tier.COMMUNICATION: timedelta(minutes=60)},
        failure_percent=5,
        silence={
            Every.MINUTE: timedelta(minutes=3),
            Every.FIVE_MINUTES: timedelta(minutes=15),
            Every.DAY: timedelta(hours=26),
        },
    )
    assert alerts.topic_arn == given["ALERT_TOPIC_ARN"]
    assert alerts.oncall_phone == given["ONCALL_PHONE"]


def test_functions_tell_cloudwatch_of_their_figures_unless_it_is_switched_off() -> None:
    assert Settings.from_env(ENVIRONMENT).emits_metrics
    assert not Settings.from_env({**ENVIRONMENT, "ENABLE_METRICS": "false"}).emits_metrics


def test_web_pages_and_the_public_url_are_nobody_and_unknown_unless_named() -> None:
    settings = Settings.from_env(ENVIRONMENT)
    assert (settings.cors_origins, settings.public_base_url) == (frozenset(), None)


def test_an_empty_environment_is_refused_with_every_name_that_is_missing() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({})
    missing = {problem.split()[0] for problem in caught.value.problems if "is missing" in problem}
    assert missing == (ENVIRONMENT.keys() - {"JWT_SECRET"}) | {"JWT_SECRETS_ARN"}


BAD: list[tuple[str, str]] = [
    ("LOG_LEVEL", "LOUD"),
    ("LOG_FORMAT", "xml"),
    ("ENABLE_METRICS", "yes"),
    ("JOBS_TABLE", "jobs table"),
    ("MONEY_QUEUE_URL", "money-queue"),
    ("MONEY_QUEUE_DLQ_URL", "ftp://host/queue"),
    ("BACKGROUND_QUEUE_EXPRESS_URL", "http://[::1"),
    ("JWT_SECRET", "too short to be a secret of 32b"),
    ("JWT_ISSUER", "two words"),
    ("STRIPE_SECRET_KEY", "sk_test with spaces"),
    ("STRIPE_SECRET_KEY_ARN", "not-an-arn"),
    ("STRIPE_API_BASE", "localhost:1234"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_ with spaces"),
    ("STRIPE_WEBHOOK_SECRET_ARN", "not-an-arn"),
    ("SES_SENDER", "nobody"),
    ("SES_TOPIC", "mail-events"),
    ("SES_CONFIGURATION_SET", "two words"),
    ("SNS_BASE", "localhost:1"),
    ("ANALYTICS_BUS", "a bus"),
    ("ARCHIVE_BUCKET", "a bucket"),
    ("TWILIO_ACCOUNT_SID", "AC1"),
    ("TWILIO_AUTH_TOKEN", "two words"),
    ("TWILIO_AUTH_TOKEN_ARN", "not-an-arn"),
    ("TWILIO_PHONE", "0049151"),
    ("TWILIO_API_BASE", "ftp://twilio"),
    ("ONCALL_PHONE", "0049151"),
    ("TRACES", "xray"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ("ALERT_TOPIC_ARN", "arn:aws:sns"),
    ("ALERT_THRESHOLD_MONEY_QUEUE", "-1"),
    ("ALERT_THRESHOLD_COMM_QUEUE", "many"),
    ("ALERT_THRESHOLD_BACKGROUND_QUEUE", "1e3"),
    ("ALERT_THRESHOLD_MONEY_AGE_MINUTES", "0.5"),
    ("ALERT_THRESHOLD_FAILURE_RATE", "101"),
    ("ALERT_THRESHOLD_DAILY_SILENCE", "26 h"),
    ("ORDER_SERVICE_URL", "orders"),
    ("ORDER_SERVICE_TOKEN", "two words"),
    ("ORDER_SERVICE_TOKEN_ARN", "not-an-arn"),
    ("SOLANA_RPC_URL", "rpc.example"),
    ("SOLANA_AUTHORITY_KEY", "0OIl" * 22),
    ("SOLANA_AUTHORITY_KEY", "[1, 2, 3]"),
    ("SOLANA_AUTHORITY_KEY_ARN", "not-an-arn"),
    ("MINT_SECRET", "shorter than 32 bytes"),
    ("MINT_SECRET_ARN", "not-an-arn"),
    ("PUBLIC_BASE_URL", "queue.example"),
    ("RATE_LIMIT_MAX_REQUESTS", "0"),
    ("RATE_LIMIT_MAX_REQUESTS", "1000001"),
    ("RATE_LIMIT_MAX_REQUESTS", "1e3"),
    ("RATE_LIMIT_MAX_REQUESTS", "\u0661\u0660\u0660\u0660\u0660"),  # 10000 in Arabic digits
    ("RATE_LIMIT_WINDOW_MS", "999"),
    ("RATE_LIMIT_WINDOW_MS", "60s"),
    ("QUEUE_TIMING", "{"),
    ("QUEUE_TIMING", '{"no_such_time": 1}'),
    ("QUEUE_TIMING", '{"look_after": -1}'),
    ("QUEUE_TIMING", '{"look_after": "1"}'),
    ("QUEUE_TIMING", '{"look_after": NaN}'),
    ("QUEUE_TIMING", '{"look_after": 1e300}'),
    ("QUEUE_TIMING", '{"look_after": true}'),
    ("QUEUE_TIMING", "[1]"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_by_name_and_never_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**ENVIRONMENT, name: value})
    assert [problem.split()[0] for problem in caught.value.problems] == [name]
    assert value not in str(caught.value) or len(value) < 4


def test_a_stage_must_be_named_as_one() -> None:
    with pytest.raises(SettingsError, match="STAGE is not valid: set it to a lower-case name"):
        Settings.from_env({**PROD, "STAGE": "Prod!"})


def test_every_bad_value_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**ENVIRONMENT, "LOG_LEVEL": "LOUD", "JOBS_TABLE": "", "JWT_SECRET": "short"})
    assert {problem.split()[0] for problem in caught.value.problems} == {
        "LOG_LEVEL",
        "JOBS_TABLE",
        "JWT_SECRET",
    }


def test_a_deployed_stage_takes_its_token_keys_from_the_secret_alone() -> None:
    assert Settings.from_env(PROD).tokens.secrets_arn == ARN
    with pytest.raises(SettingsError, match="JWT_SECRET must not be set"):
        Settings.from_env({**PROD, "JWT_SECRET": SECRET})


def test_a_deployed_stage_keeps_the_times_of_the_protocol() -> None:
    with pytest.raises(SettingsError, match="QUEUE_TIMING must not be set"):
        Settings.from_env({**PROD, "QUEUE_TIMING": '{"look_after": 1}'})


@pytest.mark.parametrize("name", ["STRIPE_API_BASE", "TWILIO_API_BASE", "ORDER_SERVICE_URL", "SOLANA_RPC_URL"])
def test_a_deployed_stage_speaks_to_vendors_over_https_alone(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({**PROD, name: "http://vendor.example"})


def test_a_test_may_shorten_the_times() -> None:
    given = json.dumps({"look_after": 0.5, "most_receives": 7})
    timing = Settings.from_env({**ENVIRONMENT, "QUEUE_TIMING": given}).timing
    assert (timing.look_after, timing.most_receives) == (timedelta(seconds=0.5), 7)
    assert timing.look_cap == TIMING.look_cap


def test_stripe_is_configured_by_its_key_or_where_its_key_is() -> None:
    by_key = Settings.from_env({**ENVIRONMENT, "STRIPE_SECRET_KEY": "sk_test_1"}).stripe
    assert by_key is not None
    assert by_key.secret_key.value == "sk_test_1"
    by_arn = Settings.from_env({**PROD, "STRIPE_SECRET_KEY_ARN": ARN}).stripe
    assert by_arn is not None
    assert by_arn.secret_key.arn == ARN
    with pytest.raises(SettingsError, match="STRIPE_SECRET_KEY must not be set"):
        Settings.from_env({**ENVIRONMENT, "STRIPE_SECRET_KEY": "sk", "STRIPE_SECRET_KEY_ARN": ARN})


def test_callbacks_are_let_in_by_a_secret_or_where_it_is() -> None:
    assert Settings.from_env(ENVIRONMENT).signing_secrets == {}
    by_value = Settings.from_env({**ENVIRONMENT, "STRIPE_WEBHOOK_SECRET": "whsec_1"})
    assert by_value.signing_secrets["stripe"].value == "whsec_1"
    assert "whsec_1" not in repr(by_value)
    by_arn = Settings.from_env({**PROD, "STRIPE_WEBHOOK_SECRET_ARN": ARN})
    assert by_arn.signing_secrets["stripe"].arn == ARN


def test_twilio_is_configured_by_account_token_and_number() -> None:
    by_value = Settings.from_env({**ENVIRONMENT, **TWILIO})
    assert by_value.twilio is not None
    assert by_value.twilio.api_base == "https://api.twilio.com"
    assert by_value.signing_secrets["twilio"] == by_value.twilio.auth_token
    assert TWILIO["TWILIO_AUTH_TOKEN"] not in repr(by_value)
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE"):
        settings = Settings.from_env({**ENVIRONMENT, **TWILIO, name: ""})
        assert (settings.twilio, settings.signing_secrets) == (None, {})


def test_minting_needs_a_node_a_key_and_a_secret() -> None:
    given = {
        "SOLANA_RPC_URL": "https://rpc.example/?api-key=abc",
        "SOLANA_AUTHORITY_KEY": str([7] * 64),
        "MINT_SECRET": "m" * 32,
    }
    settings = Settings.from_env({**ENVIRONMENT, **given})
    assert settings.solana is not None
    assert not [value for value in given.values() if value in repr(settings)]
    for name in given:
        assert Settings.from_env({**ENVIRONMENT, **given, name: ""}).solana is None
    by_arn = Settings.from_env({**PROD, **{f"{name}_ARN": ARN for name in given}}).solana
    assert by_arn is not None
    assert {by_arn.rpc_url.arn, by_arn.authority_key.arn, by_arn.mint_secret.arn} == {ARN}


def test_secrets_are_left_out_of_what_settings_print() -> None:
    settings = Settings.from_env({**ENVIRONMENT, "STRIPE_SECRET_KEY": "sk_test_secret"})
    assert SECRET not in repr(settings)
    assert "sk_test_secret" not in repr(settings)


def test_token_keys_are_read_with_the_one_that_signs() -> None:
    keys = {"2026-01": "a" * 32, "2026-02": "b" * 32}
    assert parse_token_keys(json.dumps({"current": "2026-02", "keys": keys})) == keys


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 32,
        "[]",
        "{}",
        json.dumps({"current": "k", "keys": {}}),
        json.dumps({"current": "gone", "keys": {"k": "a" * 32}}),
        json.dumps({"current": "k", "keys": {"k": "a" * 31}}),
        json.dumps({"current": "k", "keys": {"k": "a" * 32, "weak": "b"}}),
        json.dumps({"current": "k", "keys": {"k": 32}}),
        json.dumps({"current": "k", "keys": ["k"]}),
        json.dumps({"current": [], "keys": {"k": "a" * 32}}),
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_a_secret_with_a_weak_or_missing_key_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="JWT_SECRETS_ARN"):
        parse_token_keys(text)


def test_another_host_stands_in_for_sns_on_ones_own_machine_alone() -> None:
    told = {"SES_TOPIC": "arn:aws:sns:eu-central-1:123456789012:t", "SNS_BASE": "http://127.0.0.1:1/"}
    topic = Settings.from_env({**ENVIRONMENT, **told}).mail.topic
    assert topic is not None
    assert (topic.arn, topic.sns_base) == (told["SES_TOPIC"], "http://127.0.0.1:1")
    with pytest.raises(SettingsError, match="SNS_BASE must not be set"):
        Settings.from_env({**PROD, **told, "SNS_BASE": "https://sns.example"})
