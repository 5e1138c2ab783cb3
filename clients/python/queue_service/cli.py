"""queue-service: the command line of operators. `queue-service --help` says all of it."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from queue_service.client import Client
from queue_service.commands import COMMANDS, Command, Table, Unusable
from queue_service.completion import SHELLS, candidates, script
from queue_service.errors import ClientError, Refused, StillRunning
from queue_service.show import fields, table
from queue_service.transport import Patience

URL, TOKEN = "QUEUE_SERVICE_URL", "QUEUE_SERVICE_TOKEN"
LOCAL = "http://127.0.0.1:8000"
USAGE, REFUSED, UNAVAILABLE, RUNNING = 2, 1, 3, 4
EPILOG = f"""environment:
  {URL}    where the service is (default: {LOCAL})
  {TOKEN}  the bearer token; or --token-file

exit status:
  0 done, {REFUSED} refused, {USAGE} wrong usage, {UNAVAILABLE} no answer that holds, {RUNNING} still running

completion:
  eval "$(queue-service completion bash)"   (zsh the same; fish: queue-service completion fish | source)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["__complete"]:
        _say("\n".join(candidates(parser(), given[1:])))
        return 0
    chosen = parser().parse_args(given)
    if chosen.shell is not None:
        _say(script(chosen.shell))
        return 0
    command: Command = chosen.command
    try:
        shown = command.run(_client(chosen), chosen)
    except (Unusable, ClientError) as error:
        sys.stderr.write(f"queue-service: {error}\n")
        return _status(error)
    except KeyboardInterrupt:
        return 130
    _say(_text(shown, as_json=chosen.json))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser that COMMANDS make."""
    made = argparse.ArgumentParser(
        "queue-service",
        description="Submit, watch and steer the jobs of queue-service.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--url", help=f"where the service is, instead of {URL}")
    made.add_argument("--token-file", metavar="FILE", help=f"a file that holds the token, instead of {TOKEN}")
    made.add_argument("--timeout-each", type=float, default=35.0, metavar="SECONDS", help="of one request")
    made.add_argument("--tries", type=int, default=6, metavar="N", help="of what is safe to repeat")
    made.set_defaults(shell=None, json=False)
    groups = made.add_subparsers(title="commands", metavar="GROUP", required=True)
    for name in dict.fromkeys(command.group for command in COMMANDS):
        rows = [command for command in COMMANDS if command.group == name]
        told = ", ".join(row.name for row in rows)
        group = groups.add_parser(name, help=told, description=f"{name}: {told}.")
        commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
        for row in rows:
            _add(commands, row)
    completion = groups.add_parser("completion", help="print a shell's completion")
    completion.add_argument("shell", choices=SHELLS)
    return made


def _add(commands: Any, row: Command) -> None:
    command = commands.add_parser(row.name, help=row.about, description=f"{row.about.capitalize()}.")
    for option in row.options:
        command.add_argument(option.name, **option.settings)
    command.add_argument("--json", action="store_true", help="print the service's JSON")
    command.set_defaults(command=row)


def _client(chosen: argparse.Namespace) -> Client:
    url = chosen.url or os.environ.get(URL) or LOCAL
    timeout, patience = timedelta(seconds=chosen.timeout_each), Patience(tries=max(chosen.tries, 1))
    try:
        return Client(url, _token(chosen), timeout=timeout, patience=patience)
    except ValueError as error:
        raise Unusable(str(error)) from None


def _token(chosen: argparse.Namespace) -> str:
    if chosen.token_file is not None:
        try:
            return Path(chosen.token_file).read_text().strip()
        except OSError as error:
            raise Unusable(f"{chosen.token_file} cannot be read: {error.strerror}.") from None
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise Unusable(f"There is no token: set {TOKEN} or name a --token-file. Locally: make token.")
    return token


def _status(error: Exception) -> int:
    kinds = {Unusable: USAGE, Refused: REFUSED, StillRunning: RUNNING}
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), UNAVAILABLE)


def _text(shown: Mapping[str, Any] | Table, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(shown.rows if isinstance(shown, Table) else shown, indent=2, ensure_ascii=False)
    return table(shown.rows, shown.columns) if isinstance(shown, Table) else fields(shown)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
