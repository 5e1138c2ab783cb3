"""The commands about addresses that nothing is sent to."""

from collections.abc import Mapping
from typing import Any

from queue_service.client import Client
from queue_service.command import LIST, WHY, Arguments, Command, Table, Unusable, listed, option, segment

PATH = "/v1/suppressions"
COLUMNS = ("id", "channel", "cause", "since", "detail", "jobId")


def _list(client: Client, given: Arguments) -> Table:
    narrowed = {"channel": given.channel, "address": given.address}
    return listed(client, PATH, "suppressions", given, COLUMNS, **narrowed)


def _lift(client: Client, given: Arguments) -> Mapping[str, Any]:
    found = client.call("GET", PATH, query={"address": given.address})["suppressions"]
    if not found:
        raise Unusable(f"{given.address} is not suppressed.")
    path = f"{PATH}/{segment(found[0]['id'])}"
    lifted: Mapping[str, Any] = client.call("DELETE", path, body={"reason": given.reason})
    return lifted


WHOSE = "a mail address, a phone number such as +491512345678, or a suppression's id"
SUPPRESSIONS: tuple[Command, ...] = (
    Command(
        "suppressions",
        "list",
        "list the addresses that nothing is sent to, and why",
        (
            option("--channel", "mail's unless it is said", choices=("email", "sms")),
            option("--address", WHOSE),
            *LIST,
        ),
        _list,
        ("suppressions list --channel sms --all", "suppressions list --address ada@example.com"),
    ),
    Command(
        "suppressions",
        "lift",
        "let things be sent to an address again",
        (option("address", WHOSE), WHY),
        _lift,
        ("suppressions lift ada@example.com --reason 'Her mailbox is there again'",),
    ),
)
