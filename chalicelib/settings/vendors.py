"""What the service is told of its vendors; one that is not told all it needs is not configured."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chalicelib.settings.environment import Reader, Secret, matching, random_secret, url

SOLANA_KEY = re.compile(r"[1-9A-HJ-NP-Za-km-z]{64,88}|\[\s*(\d{1,3}\s*,\s*){63}\d{1,3}\s*\]")

ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")
TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]{1,40}:\d{12}:[A-Za-z0-9_-]{1,256}")
E164 = re.compile(r"\+[1-9][0-9]{6,14}")


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """The Stripe account."""

    secret_key: Secret
    api_base: str | None


@dataclass(frozen=True, slots=True)
class OrderServiceSettings:
    """The order service, and our token there."""

    url: str
    token: Secret


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """The topic that SES publishes what becomes of mails on; `sns_base` stands in for SNS."""

    arn: str
    sns_base: str | None


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Who mail comes from, and how it is heard what becomes of it."""

    sender: str | None  # None: SES is not configured
    configuration_set: str | None
    topic: TopicSettings | None


@dataclass(frozen=True, slots=True)
class TwilioSettings:
    """The Twilio account, and the number that texts and calls come from."""

    account_sid: str
    auth_token: Secret
    phone: str
    api_base: str


@dataclass(frozen=True, slots=True)
class SolanaSettings:
    """The chain's node, the key that pays for mints, and the secret that their addresses are made of."""

    rpc_url: Secret  # those who run nodes put our key in it
    authority_key: Secret
    mint_secret: Secret  # for ever the same: with another one every ticket would have another address


def read_stripe(env: Reader, own_machine: bool) -> StripeSettings | None:
    """Read the Stripe account."""
    secret_key = env.secret("STRIPE_SECRET_KEY", matching(re.compile(r"\S+"), "a key without spaces"))
    api_base = env.optional("STRIPE_API_BASE", _vendor_url(own_machine))
    return None if secret_key is None else StripeSettings(secret_key, api_base)


def read_mail(env: Reader, own_machine: bool) -> MailSettings:
    """Read what there is to know of mail; another host may stand in for SNS on one's own machine alone."""
    name = matching(re.compile(r"[A-Za-z0-9_-]{1,64}"), "the configuration set's name")
    arn = env.optional("SES_TOPIC", matching(TOPIC, "the ARN of the SNS topic of mail's events"))
    if not own_machine:
        env.forbid("SNS_BASE", "only the stages local and test may let another host stand in for SNS")
    base = env.optional("SNS_BASE", _vendor_url(own_machine))
    return MailSettings(
        sender=env.optional("SES_SENDER", matching(ADDRESS, "an e-mail address that SES may send from")),
        configuration_set=env.optional("SES_CONFIGURATION_SET", name),
        topic=None if arn is None else TopicSettings(arn, base.rstrip("/") if base else None),
    )


def read_order_service(env: Reader, own_machine: bool) -> OrderServiceSettings | None:
    """Read where the order service is."""
    base = env.optional("ORDER_SERVICE_URL", _vendor_url(own_machine))
    token = env.secret("ORDER_SERVICE_TOKEN", matching(re.compile(r"[!-~]+"), "a token without spaces"))
    return None if base is None or token is None else OrderServiceSettings(base, token)


def read_solana(env: Reader, own_machine: bool) -> SolanaSettings | None:
    """Read what minting needs; without all three of it nothing is minted."""
    rpc_url = env.secret("SOLANA_RPC_URL", _vendor_url(own_machine))
    key = matching(SOLANA_KEY, "a secret key, in base 58 or as the list of 64 numbers of solana-keygen")
    authority_key = env.secret("SOLANA_AUTHORITY_KEY", key)
    mint_secret = env.secret("MINT_SECRET", random_secret)
    if rpc_url is None or authority_key is None or mint_secret is None:
        return None
    return SolanaSettings(rpc_url, authority_key, mint_secret)


def read_twilio(env: Reader, own_machine: bool) -> TwilioSettings | None:
    """Read the Twilio account."""
    sid = env.optional("TWILIO_ACCOUNT_SID", matching(re.compile(r"AC[0-9a-f]{32}"), "AC and 32 hex digits"))
    token = env.secret("TWILIO_AUTH_TOKEN", matching(re.compile(r"[!-~]+"), "a token without spaces"))
    phone = env.optional("TWILIO_PHONE", matching(E164, "a number such as +15005550006"))
    api_base = env.optional("TWILIO_API_BASE", _vendor_url(own_machine)) or "https://api.twilio.com"
    if sid is None or token is None or phone is None:
        return None
    return TwilioSettings(sid, token, phone, api_base.rstrip("/"))


def read_signing_secrets(env: Reader, twilio: TwilioSettings | None) -> Mapping[str, Secret]:
    """Read the secrets that vendors sign their callbacks with, by vendor; one without any is left out."""
    secrets = {
        "stripe": env.secret(
            "STRIPE_WEBHOOK_SECRET", matching(re.compile(r"[!-~]+"), "a secret without spaces")
        ),
        "twilio": twilio.auth_token if twilio is not None else None,
    }
    return {vendor: secret for vendor, secret in secrets.items() if secret is not None}


def _vendor_url(own_machine: bool) -> Callable[[str], str]:
    schemes = ("http", "https") if own_machine else ("https",)
    return url(schemes, f"a URL ({' or '.join(schemes)})")
