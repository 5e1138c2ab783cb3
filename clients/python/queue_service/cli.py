"""queue-service: the command line of operators. `queue-service --help` says all of it."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from queue_service.client import Client
from queue_service.command import Command, EndedEarly, Shown, Stream, Table, Unusable
from queue_service.commands import COMMANDS
from queue_service.completion import SHELLS, candidates, script
from queue_service.errors import ClientError, Refused, StillRunning
from queue_service.show import fields, head, line, table
from queue_service.transport import Patience

URL, TOKEN = "QUEUE_SERVICE_URL", "QUEUE_SERVICE_TOKEN"
LOCAL = "http://127.0.0.1:8000"
USAGE, REFUSED, UNAVAILABLE, RUNNING, INTERRUPTED = 2, 1, 3, 4, 130
EPILOG = f"""examples:
  queue-service queues                                    what waits, since when, what holds it back
  queue-service jobs list --state parked                  what a person must resolve
  queue-service stop --provider stripe --reason 'Down' --until 30m
  queue-service tail --venue v1                           jobs as they come; Ctrl-C ends it
  queue-service jobs list --help                          each command has examples of its own

environment:
  {URL}    where the service is (default: {LOCAL})
  {TOKEN}  the bearer token; or --token-file

exit status:
  0 done, {REFUSED} refused or stopped, {USAGE} wrong usage,
  {UNAVAILABLE} no answer that holds, {RUNNING} still running

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
        return _present(command.run(_client(chosen), chosen), as_json=chosen.json)
    except (Unusable, EndedEarly, ClientError) as error:
        sys.stderr.write(f"queue-service: {error}\n")
        return _status(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough; nothing more may be written, not even at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
        _add_group(groups, name, [command for command in COMMANDS if command.group == name])
    completion = groups.add_parser("completion", help="print a shell's completion")
    completion.add_argument("shell", choices=SHELLS)
    return made


def _add_group(groups: Any, name: str, rows: list[Command]) -> None:
    """Add a group; its row without a name is what the group does by itself."""
    alone = next((row for row in rows if not row.name), None)
    named = [row for row in rows if row.name]
    told = ", ".join(row.name for row in named)
    if alone is None:
        group = groups.add_parser(name, help=told, description=f"{name}: {told}.")
    else:
        also = f"; {told}" if told else ""
        group = groups.add_parser(name, help=f"{alone.about}{also}", **_texts(alone))
        _fill(group, alone)
    if named:
        commands = group.add_subparsers(title="commands", metavar="COMMAND", required=alone is None)
        for row in named:
            _fill(commands.add_parser(row.name, help=row.about, **_texts(row)), row)


def _texts(row: Command) -> dict[str, Any]:
    """Return what stands above and below the options in a command's help."""
    examples = "".join(f"\n  queue-service {example}" for example in row.examples)
    return {
        "description": f"{row.about[:1].upper()}{row.about[1:]}.",
        "epilog": f"examples:{examples}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _fill(command: argparse.ArgumentParser, row: Command) -> None:
    for each in row.options:
        command.add_argument(each.name, **each.settings)
    about = "print the service's JSON"
    # Suppressed: what a command does not say must not unsay what stands before it.
    command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=about)
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
    kinds = {Unusable: USAGE, Refused: REFUSED, EndedEarly: REFUSED, StillRunning: RUNNING}
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), UNAVAILABLE)


def _present(shown: Shown, *, as_json: bool) -> int:
    """Print what a command shows, and return the exit status."""
    if isinstance(shown, Stream):
        return _follow(shown, as_json=as_json)
    if isinstance(shown, Table):
        _say(_json(shown.rows) if as_json else table(shown.rows, shown.columns))
        if shown.note is not None:
            sys.stderr.write(f"{shown.note}\n")
        return 0
    _say(_json(shown) if as_json else fields(shown))
    return 0


def _follow(shown: Stream, *, as_json: bool) -> int:
    """Print things as they come, as JSON one to a line; that somebody has seen enough is no failure."""
    if not as_json:
        _say(head(shown.columns))
    try:
        for row in shown.rows:
            _say(json.dumps(row, ensure_ascii=False) if as_json else line(row, shown.columns))
    except KeyboardInterrupt:
        _say("")
    return 0


def _json(shown: Any) -> str:
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
