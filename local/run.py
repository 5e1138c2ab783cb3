"""Run the whole service on this machine until Ctrl-C or SIGTERM: `make run`."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from local.assembly import Endpoints, StartFailed, assembled
from local.identity import signing_secret, token
from local.options import OptionError, Options
from local.server import Api

HOST = "127.0.0.1"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked for the end; like KeyboardInterrupt, no `except Exception` may hold it up."""


def main(arguments: list[str]) -> int:
    """Bring the stack up, say how to use it, and wait to be stopped; `--with-parent` ends with the parent."""
    began = time.monotonic()
    try:
        options = Options.from_env(os.environ)
        api = Api(HOST, options.port)
    except OptionError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError:
        print(
            f"Port {options.port} is in use. End what listens there, or take another one:"
            f" make run PORT={options.port + 1}",
            file=sys.stderr,
        )
        return 1
    try:
        _stop_on_signals()
        if "--with-parent" in arguments:
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        with assembled(options, api, _report) as up, _announced(options, up):
            print(_banner(options, up, time.monotonic() - began), flush=True)
            threading.Event().wait()
    except StartFailed as error:
        print(f"The local stack did not come up: {error}", file=sys.stderr)
        return 1
    except Stopped:
        print("Stopped.", flush=True)
    return 0


def _stop_on_signals() -> None:
    """Raise Stopped at the first signal; those that follow change nothing, the end is on its way."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for each in STOPPING:
            signal.signal(each, signal.SIG_IGN)
        print("\nStopping ...", flush=True)
        raise Stopped

    for each in STOPPING:
        signal.signal(each, stop)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _announced(options: Options, up: Endpoints) -> Iterator[None]:
    """Write endpoints.json while the stack runs; of several stacks it holds the one started last."""
    path = options.directory / "endpoints.json"
    text = json.dumps({"api": up.api, "aws": up.aws, "providers": dict(up.providers)}, indent=2) + "\n"
    written = path.with_name(f"endpoints.{os.getpid()}")
    written.write_text(text)
    written.replace(path)
    try:
        yield
    finally:
        if path.exists() and path.read_text() == text:
            path.unlink()


def _banner(options: Options, up: Endpoints, seconds: float) -> str:
    bearer = token(signing_secret(options.directory))
    kept = f"kept in {_short(up.state)}" if options.persist else "forgotten at the end"
    return f"""
queue-service is up at {up.api} after {seconds:.1f} s.
Stripe, SES, Twilio, Solana and the order service are stand-ins here: no money moves, and no mail, text or mint
leaves this machine. Webhooks are received at {up.providers["hooks"]}, once their secrets
are told to {up.providers["stripe"]}/_hooks.

A token (admin of venue v1, for a day; others: make token ROLE=user VENUE=v1 SUB=u1):
{bearer}

Submit a payment, then look at what came of it and at what the stand-ins really did:
{_curl(up.api, bearer)}
curl -sS {up.api}/v1/jobs/JOB_ID -H "Authorization: Bearer $(make -s token)"
curl -sS {up.providers["stripe"]}/_ledger

Stop: Ctrl-C. Accepted jobs are {kept}.
"""


def _curl(api: str, bearer: str) -> str:
    data = {
        "amount": 4500,
        "currency": "EUR",
        "customerId": "cus_ada",
        "eventId": "ev_1",
        "paymentMethod": "pm_card_visa",
        "orderId": f"order-{int(time.time())}",
    }
    body = json.dumps({"type": "payment.process", "data": data})
    headers = f"-H 'Authorization: Bearer {bearer}' -H 'Content-Type: application/json'"
    return f"curl -sS {api}/v1/jobs {headers} -d '{body}'"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
