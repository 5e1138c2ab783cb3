"""The commands about alerts."""

from collections.abc import Mapping
from typing import Any

from queue_service.client import Client
from queue_service.command import REASON, Arguments, Command, Table, option, present, segment

PATH = "/v1/alerts"
SEVERITIES, CHANNELS = ("critical", "warning", "info"), ("log", "sns", "sms", "phone")
COLUMNS = ("createdAt", "severity", "queue", "alertType", "acknowledgedBy", "resolvedAt", "id", "message")


def _list(client: Client, given: Arguments) -> Table:
    query = {"severity": given.severity, "limit": given.limit}
    return Table(client.call("GET", PATH, query=query)["alerts"], COLUMNS)


def _acknowledge(client: Client, given: Arguments) -> Mapping[str, Any]:
    path = f"{PATH}/{segment(given.alert)}/acknowledge"
    alert: Mapping[str, Any] = client.call("POST", path, body=present(reason=given.reason))
    return alert


def _test(client: Client, given: Arguments) -> Table:
    body = present(severity=given.severity, channel=given.channel, reason=given.reason)
    results = client.call("POST", f"{PATH}/test", body=body)["results"]
    failed = [each["channel"] for each in results if not each["sent"]]
    note = f"Nobody was told by {', '.join(failed)}." if failed else None
    return Table(results, ("channel", "sent", "error=error.code", "message=error.message"), note)


ALERTS: tuple[Command, ...] = (
    Command(
        "alerts",
        "list",
        "list the alerts of 24 hours, and all that nobody has acknowledged",
        (
            option("--severity", "those alone", choices=SEVERITIES),
            option("--limit", "show at most so many (50)", type=int, metavar="N"),
        ),
        _list,
        ("alerts list --severity critical",),
    ),
    Command(
        "alerts",
        "ack",
        "acknowledge an alert, so that it is told no more until it is over",
        (option("alert", "the alert's id"), REASON),
        _acknowledge,
        ("alerts ack 20260301T120000000-queue_depth-critical-money --reason 'On it'",),
    ),
    Command(
        "alerts",
        "test",
        "really send a test, on all channels of a severity or on one",
        (
            option("severity", "as if it were so bad", choices=SEVERITIES),
            option("--channel", "on that one alone", choices=CHANNELS),
            REASON,
        ),
        _test,
        ("alerts test critical", "alerts test warning --channel sms"),
    ),
)
