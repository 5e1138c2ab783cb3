"""The commands that act on many jobs at once: counted first, then begun, and watched until they end."""

import sys
from collections.abc import Iterator, Mapping
from time import sleep
from typing import Any

from queue_service.client import Client
from queue_service.command import (
    LIST,
    QUEUE,
    REASON,
    Arguments,
    Command,
    EndedEarly,
    Stream,
    Table,
    Unusable,
    listed,
    option,
    present,
    segment,
)
from queue_service.job_commands import FILTERS, filters

Told = Mapping[str, Any]
PROGRESS = {
    "mode": 7,
    "status": 9,
    "matched=progress.matched": 8,
    "done=progress.done": 8,
    "skipped=progress.skipped": 24,
    "money": 20,
    "message": 60,
}
ROWS = (
    "operationId",
    "action",
    "mode",
    "status",
    "matched=progress.matched",
    "done=progress.done",
    "startedBy",
    "createdAt",
    "message",
)


def _bulk(client: Client, given: Arguments) -> Stream:
    wanted = present(**filters(given))
    if not wanted:
        raise Unusable("Name what the jobs have in common, such as --state failed; `jobs list` takes the same.")
    return _carried_out(client, given, "/v1/jobs/bulk", {"action": given.action, "filter": wanted})


def _redrive(client: Client, given: Arguments) -> Stream:
    body = present(fingerprint=given.fingerprint, limit=given.limit, ratePerSecond=given.rate)
    return _carried_out(client, given, f"/v1/queues/{given.queue}/redrive", body)


def _erase(client: Client, given: Arguments) -> Stream:
    body = present(userId=given.user, venueId=given.venue, address=given.address)
    return _carried_out(client, given, "/v1/erasures", body)


def _carried_out(client: Client, given: Arguments, path: str, body: Told) -> Stream:
    """Count what would be done, ask, do it, and show how far it is until it ends."""
    if given.reason is None and not given.preview:
        raise Unusable("Say why, for the audit log: --reason; or only count: --preview.")
    return Stream(_steps(client, given, path, {**body, **present(reason=given.reason)}), PROGRESS)


def _steps(client: Client, given: Arguments, path: str, body: Told) -> Iterator[Told]:
    counted: Told = {}
    for counted in _watched(client, client.call("POST", path, body={**body, "mode": "preview"}), given.every):
        yield counted
    if given.preview:
        return
    count = counted["progress"]["done"]
    if not count:
        sys.stderr.write("There is nothing to do.\n")
        return
    _confirm(f"{counted['action'].capitalize()} {count} jobs?", given)
    begun = client.call("POST", path, body={**body, "mode": "start"})
    mark = begun["operationId"]
    sys.stderr.write(f"Begun; Ctrl-C leaves it running, `queue-service operations stop {mark}` ends it.\n")
    yield from _watched(client, begun, given.every)


def _confirm(question: str, given: Arguments) -> None:
    """Ask, unless that is answered already; where nobody can be asked, `--yes` must be said."""
    if given.yes:
        return
    if not sys.stdin.isatty():
        raise Unusable(f"{question} Say --yes, since nobody can be asked here.")
    sys.stderr.write(f"{question} Type yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise Unusable("Nothing was begun.")


def _watched(client: Client, told: Told, every: float) -> Iterator[Told]:
    """Give an operation whenever it has got on, until it ends. Raises EndedEarly where it was stopped."""
    yield told
    while told["status"] == "running":
        sleep(every)
        before, told = told, _load(client, told["operationId"])
        if told != before:
            yield told
    if told["status"] == "stopped":
        raise EndedEarly(f"Operation {told['operationId']} was stopped. {told['message']}")


def _load(client: Client, operation: str) -> Told:
    told: Told = client.call("GET", f"/v1/operations/{segment(operation)}")
    return told


def _list(client: Client, given: Arguments) -> Table:
    return listed(client, "/v1/operations", "operations", given, ROWS)


def _show(client: Client, given: Arguments) -> Told:
    return _load(client, given.operation)


def _watch(client: Client, given: Arguments) -> Stream:
    return Stream(_watched(client, _load(client, given.operation), given.every), PROGRESS)


def _stop(client: Client, given: Arguments) -> Told:
    path = f"/v1/operations/{segment(given.operation)}/stop"
    told: Told = client.call("POST", path, body=present(reason=given.reason))
    return told


SOME_OPERATION = "op_01M86YH7Y9QZ8TYAHW9PZY7ZTZ"
OPERATION = option("operation", "the operation's id")
EVERY = option("--every", "look again after", type=float, default=2.0, metavar="SECONDS")
BEGIN = (
    REASON,
    option("--preview", "count what would be done, and do nothing", action="store_true"),
    option("--yes", "begin without asking", action="store_true"),
    EVERY,
)
OPERATIONS: tuple[Command, ...] = (
    Command(
        "jobs",
        "bulk",
        "retry or cancel all jobs of a filter: counted first, then done in the background",
        (
            option("action", "what is done to each", choices=("retry", "cancel")),
            *FILTERS,
            *BEGIN,
        ),
        _bulk,
        (
            "jobs bulk cancel --venue v1 --state queued --preview",
            "jobs bulk retry --fingerprint email.send:timeout --reason 'SES is back' --yes",
        ),
    ),
    Command(
        "dlq",
        "redrive",
        "put a queue's dead letters back: one first, then more and more, until they fail again",
        (
            QUEUE,
            option("--fingerprint", "of this group alone, such as payment.process:timeout"),
            option("--limit", "at most so many", type=int, metavar="N"),
            option("--rate", "at most so many in a second (5)", type=int, metavar="N"),
            *BEGIN,
        ),
        _redrive,
        (
            "dlq redrive money --preview",
            "dlq redrive money --fingerprint payment.process:timeout --reason 'The bank is back'",
        ),
    ),
    Command("operations", "list", "list operations, the latest first", LIST, _list, ("operations list",)),
    Command(
        "operations",
        "show",
        "show how far an operation is",
        (OPERATION,),
        _show,
        (f"operations show {SOME_OPERATION}",),
    ),
    Command(
        "operations",
        "watch",
        "follow an operation until it ends",
        (OPERATION, EVERY),
        _watch,
        (f"operations watch {SOME_OPERATION}",),
    ),
    Command(
        "operations",
        "stop",
        "stop an operation; what it has done stays done",
        (OPERATION, REASON),
        _stop,
        (f"operations stop {SOME_OPERATION} --reason 'It is the wrong group'",),
    ),
    Command(
        "erase",
        "",
        "erase a person's data from all jobs that have ended",
        (
            option("--user", "jobs made on behalf of this user"),
            option("--venue", "with --address: the venue whose jobs are searched"),
            option("--address", "a mail address or phone number in their data"),
            *BEGIN,
        ),
        _erase,
        (
            "erase --user user-7 --preview",
            "erase --venue v1 --address ada@example.com --reason 'Asked for by letter'",
        ),
    ),
)
