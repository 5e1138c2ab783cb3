"""What an operator can do, one row per command; `cli.py` makes parser, help and completion of them."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from queue_service.client import Client

Arguments = argparse.Namespace
QUEUES = ("money", "communication", "background")
RESOLUTIONS = ("completed", "failed", "retry")


class Unusable(Exception):
    """What was typed makes no sense; the message says what to type."""


@dataclass(frozen=True)
class Option:
    """One argument of a command, as argparse takes it."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A list of things, and the columns that it is shown in."""

    rows: list[Mapping[str, Any]]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """`queue-service <group> <name>`: what it does with the service, and what it shows then."""

    group: str
    name: str
    about: str
    options: tuple[Option, ...]
    run: Callable[[Client, Arguments], Mapping[str, Any] | Table]


def _option(name: str, about: str, **settings: Any) -> Option:
    return Option(name, {"help": about, **settings})


JOB = _option("job", "the job's id")
SCHEDULE = _option("schedule", "the schedule's id")
REASON = _option("--reason", "why, for the audit log")
LIMIT = _option("--limit", "show at most so many", type=int, default=25, metavar="N")


def _submit(client: Client, given: Arguments) -> Mapping[str, Any]:
    receipt = client.submit(
        given.type,
        _data(given.data),
        key=given.key,
        priority=given.priority,
        attempts=given.attempts,
        venue_id=given.venue,
        user_id=given.user,
    )
    if not given.wait:
        return receipt.raw
    return client.wait(receipt.job_id, timeout=timedelta(seconds=given.wait)).raw


def _data(text: str) -> Mapping[str, Any]:
    """Return the payload: JSON, or @file, or - for standard input."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except OSError as error:
            raise Unusable(f"{text[1:]} cannot be read: {error.strerror}.") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise Unusable(f"The data is not JSON: {error}.") from None
    if not isinstance(data, dict):
        raise Unusable("The data must be a JSON object.")
    return data


def _show(client: Client, given: Arguments) -> Mapping[str, Any]:
    return client.get(given.job).raw


def _wait(client: Client, given: Arguments) -> Mapping[str, Any]:
    return client.wait(given.job, timeout=timedelta(seconds=given.timeout)).raw


def _cancel(client: Client, given: Arguments) -> Mapping[str, Any]:
    return client.cancel(given.job, reason=given.reason)


def _retry(client: Client, given: Arguments) -> Mapping[str, Any]:
    return client.retry(given.job, reason=given.reason)


def _promote(client: Client, given: Arguments) -> Mapping[str, Any]:
    return client.promote(given.job, reason=given.reason)


def _resolve(client: Client, given: Arguments) -> Mapping[str, Any]:
    return client.resolve(given.job, given.resolution, reason=given.reason)


def _schedules(client: Client, given: Arguments) -> Table:
    rows = list(islice(client.pages("/v1/schedules", "schedules"), given.limit))
    return Table(rows, ("id", "name", "cronExpression", "timeZone", "active", "nextRun"))


def _schedule(client: Client, given: Arguments) -> Mapping[str, Any]:
    shown: Mapping[str, Any] = client.call("GET", f"/v1/schedules/{quote(given.schedule, safe='')}")
    return shown


def _run_schedule(client: Client, given: Arguments) -> Mapping[str, Any]:
    path = f"/v1/schedules/{quote(given.schedule, safe='')}/run"
    done: Mapping[str, Any] = client.call("POST", path, body=_reason(given))
    return done


def _pause(client: Client, given: Arguments) -> Mapping[str, Any]:
    body = {"reason": given.reason} | ({} if given.until is None else {"until": given.until})
    paused: Mapping[str, Any] = client.call("POST", f"/v1/queues/{given.queue}/pause", body=body)
    return paused


def _resume(client: Client, given: Arguments) -> Mapping[str, Any]:
    resumed: Mapping[str, Any] = client.call("POST", f"/v1/queues/{given.queue}/resume", body=_reason(given))
    return resumed


def _stop(client: Client, given: Arguments) -> Table:
    until = {} if given.until is None else {"until": given.until}
    return _stops(client.call("POST", "/v1/rate-limits/emergency-stop", body=_what(given) | until))


def _end_stop(client: Client, given: Arguments) -> Table:
    return _stops(client.call("POST", "/v1/rate-limits/resume", body=_what(given)))


def _what(given: Arguments) -> dict[str, Any]:
    """Return the one thing that is to be stopped or resumed, and why."""
    named = {"provider": given.provider, "venueId": given.venue, "type": given.type}
    what = {name: value for name, value in named.items() if value is not None}
    what |= {"scope": "all"} if given.all else {}
    if len(what) != 1:
        raise Unusable("Name one thing: --provider, --venue, --type or --all.")
    return {**what, "reason": given.reason}


def _stops(answer: Mapping[str, Any]) -> Table:
    return Table(answer["stops"], ("scope", "value", "since", "until", "owner", "reason"))


def _reason(given: Arguments) -> dict[str, Any]:
    return {} if given.reason is None else {"reason": given.reason}


WHY = _option("--reason", "why, for the audit log", required=True)
UNTIL = _option("--until", "ends by itself then: ISO 8601 with its offset", metavar="MOMENT")
QUEUE = _option("queue", "the queue", choices=QUEUES)
WHAT = (
    _option("--provider", "a provider, or a group of them, such as stripe"),
    _option("--venue", "a venue"),
    _option("--type", "a job type"),
    _option("--all", "everything", action="store_true"),
)
COMMANDS: tuple[Command, ...] = (
    Command(
        "jobs",
        "submit",
        "submit a job",
        (
            _option("type", "the job type, such as payment.process"),
            _option("data", "its payload: JSON, @file, or - for standard input"),
            _option("--key", "idempotency key; without it the job type's natural key counts"),
            _option("--venue", "the venue that it is for"),
            _option("--user", "the user that it is for"),
            _option("--priority", "1 to 10, 10 is most urgent", type=int, metavar="N"),
            _option("--attempts", "1 to 10", type=int, metavar="N"),
            _option("--wait", "wait so long for what comes of it", type=float, metavar="SECONDS"),
        ),
        _submit,
    ),
    Command("jobs", "show", "show a job", (JOB,), _show),
    Command(
        "jobs",
        "wait",
        "wait until a job is at rest, and show it",
        (JOB, _option("--timeout", "give up after", type=float, default=300.0, metavar="SECONDS")),
        _wait,
    ),
    Command("jobs", "cancel", "cancel a waiting job", (JOB, REASON), _cancel),
    Command("jobs", "retry", "let a failed or cancelled job start anew", (JOB, REASON), _retry),
    Command("jobs", "promote", "let a waiting job run now", (JOB, REASON), _promote),
    Command(
        "jobs",
        "resolve",
        "end the doubt about a parked job by what was found out at the provider",
        (
            JOB,
            _option("resolution", "failed and retry assert that nothing happened", choices=RESOLUTIONS),
            WHY,
        ),
        _resolve,
    ),
    Command("schedules", "list", "list the schedules", (LIMIT,), _schedules),
    Command("schedules", "show", "show a schedule and its next runs", (SCHEDULE,), _schedule),
    Command("queues", "pause", "begin no job of a queue any more", (QUEUE, WHY, UNTIL), _pause),
    Command("queues", "resume", "end a queue's pause", (QUEUE, REASON), _resume),
    Command("stops", "set", "stop a provider, a venue, a type or everything", (*WHAT, WHY, UNTIL), _stop),
    Command("stops", "lift", "end such a stop", (*WHAT, WHY), _end_stop),
    Command("schedules", "run", "run a schedule now, once", (SCHEDULE, REASON), _run_schedule),
)
