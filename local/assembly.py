"""The whole service on one machine: embedded AWS, stand-ins, API, consumers and schedules, up and down as one.

One process of ours; the only child is the embedded AWS, which ends with its parent however that ends.
"""

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local.emulator import Emulator, EmulatorFailed
from local.event_sources import Report, consuming
from local.identity import signing_secret
from local.options import Options
from local.server import Api
from local.sessions import session
from local.standins import StandIns
from local.standins.server import CHAIN_AUTHORITY
from local.standins.twilio_face import OWN as TWILIO_PHONE
from local.standins.twilio_face import TOKEN as TWILIO_TOKEN

SENDER = "tickets@queue-service.test"
ORDER_TOKEN = "order_local"  # noqa: S105 - the stand-in's
MINT_SECRET = "what the addresses on the local chain are made of"  # noqa: S105 - the local chain's
ONCALL_PHONE = "+15005550010"  # nobody's: it rings at the stand-in
TWILIO_ACCOUNT = f"AC{0:032x}"  # the stand-in's
STRIPE_WEBHOOK_SECRET = "whsec_local"  # noqa: S105 - the stand-in's
STRIPE_KEY = "sk_test_local"  # the stand-in's; no real account has it


class StartFailed(Exception):
    """The stack did not come up; the message says what to do."""


@dataclass(frozen=True)
class Endpoints:
    """Where what runs can be reached; base URLs."""

    api: str
    aws: str
    providers: Mapping[str, str]
    state: Path


@contextmanager
def assembled(options: Options, api: Api, report: Report) -> Iterator[Endpoints]:
    """Bring everything up behind the API's socket, and down again at the end; raises StartFailed."""
    with ExitStack() as up:
        up.callback(api.stop)
        state = up.enter_context(_state(options, api.port))
        environment = up.enter_context(_emulator(options, state))
        verify_sender(SENDER, environment["AWS_ENDPOINT_URL"])
        stand_ins = up.enter_context(
            StandIns(
                state=state / "stand-ins.sqlite",
                ses=environment["AWS_ENDPOINT_URL"],
                silence=options.silence,
                twilio_webhook=f"{api.url}/v1/callbacks/twilio",
                stripe_webhook=(f"{api.url}/v1/callbacks/stripe", STRIPE_WEBHOOK_SECRET),
                mail_events=(f"{api.url}/v1/callbacks/ses", environment["SES_TOPIC"]),
            )
        )
        os.environ.update(environment | _settings(options, api.url, stand_ins))
        os.environ["ALERT_TOPIC_ARN"] = environment["ALERT_TOPIC"]
        up.enter_context(_functions(options, api, environment, report))
        _await_ready(api.url)
        yield Endpoints(api.url, environment["AWS_ENDPOINT_URL"], stand_ins.urls, state)


@contextmanager
def _state(options: Options, port: int) -> Iterator[Path]:
    """Give the directory that this port's state is kept in, or one that goes with the stack."""
    if options.persist:
        path = options.directory / "state" / str(port)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    options.directory.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="state-", dir=options.directory))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _emulator(options: Options, state: Path) -> Iterator[dict[str, str]]:
    """Start the embedded AWS, or use the one that is named; give the environment that names what is on it."""
    if options.endpoint:
        os.environ["AWS_ENDPOINT_URL"] = options.endpoint
    visibility = 6 * int(options.function_timeout.total_seconds())
    with Emulator(state / "aws", visibility_timeout=visibility) as emulator:
        try:
            environment = emulator.start()
        except (EmulatorFailed, BotoCoreError, ClientError) as error:
            where = options.endpoint or "the embedded AWS"
            raise StartFailed(f"{where} could not be used: {error}") from error
        yield environment


def verify_sender(sender: str, aws: str) -> None:
    """Let the emulated SES know the sender's domain as verified; it refuses others, as SES does."""
    client = session(aws).client("sesv2")
    try:
        client.create_email_identity(EmailIdentity=sender.rpartition("@")[2])
    except client.exceptions.AlreadyExistsException:
        pass
    finally:
        client.close()


def _settings(options: Options, url: str, stand_ins: StandIns) -> dict[str, str]:
    """Return what the service is told beside its tables and queues; what the caller has set stays."""
    usual = {"LOG_FORMAT": "pretty", "LOG_LEVEL": "INFO", "PUBLIC_BASE_URL": url, "ENABLE_METRICS": "false"}
    return {name: os.environ.get(name) or value for name, value in usual.items()} | {
        "STAGE": "local",
        "JWT_SECRET": signing_secret(options.directory),
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_API_BASE": stand_ins.url,
        "STRIPE_WEBHOOK_SECRET": STRIPE_WEBHOOK_SECRET,
        "SES_SENDER": SENDER,
        "SNS_BASE": stand_ins.ses_url,
        "ORDER_SERVICE_URL": stand_ins.orders_url,
        "ORDER_SERVICE_TOKEN": ORDER_TOKEN,
        "TWILIO_ACCOUNT_SID": TWILIO_ACCOUNT,
        "TWILIO_AUTH_TOKEN": TWILIO_TOKEN,
        "TWILIO_PHONE": TWILIO_PHONE,
        "TWILIO_API_BASE": stand_ins.twilio_url,
        "SOLANA_RPC_URL": stand_ins.chain_url,
        "SOLANA_AUTHORITY_KEY": CHAIN_AUTHORITY,
        "MINT_SECRET": MINT_SECRET,
        "ONCALL_PHONE": ONCALL_PHONE,
        "AWS_ENDPOINT_URL_SESV2": stand_ins.ses_url,
    }


@contextmanager
def _functions(options: Options, api: Api, environment: Mapping[str, str], report: Report) -> Iterator[None]:
    """Serve the API and run every consumer and schedule that app.py declares."""
    from app import app  # imported once the environment is as its settings want it

    api.start(app)
    with consuming(app, environment, timeout=options.function_timeout, every=options.every, report=report):
        yield


def _await_ready(url: str) -> None:
    """Ask the service itself whether it is ready; this also builds what it builds only once."""
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=10):
            return
    except urllib.error.HTTPError as error:
        with error:
            raise StartFailed(f"the service says that it is not ready: {error.read().decode()}") from error
    except OSError as error:
        raise StartFailed(f"the service does not answer: {error}") from error
