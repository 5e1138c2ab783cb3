"""The commands about jobs."""

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from queue_service.client import Client
from queue_service.command import (
    FROM,
    JOB,
    LIST,
    QUEUES,
    REASON,
    STATES,
    TO,
    WHY,
    Arguments,
    Command,
    Table,
    Unusable,
    ago,
    listed,
    option,
)

RESOLUTIONS = ("completed", "failed", "retry")
COLUMNS = (
    "id",
    "type",
    "venueId",
    "state",
    "reason",
    "attempts",
    "createdAt",
    "error=error.code",
    "nextAttemptAt",
)


def filters(given: Arguments) -> dict[str, str | None]:
    """Return what a list of jobs is narrowed by."""
    return {
        "queue": given.queue,
        "state": given.state,
        "type": given.type,
        "venueId": given.venue,
        "batchId": given.batch,
        "from": ago(getattr(given, "from")),
        "to": ago(given.to),
        "fingerprint": given.fingerprint,
    }


def _list(client: Client, given: Arguments) -> Table:
    return listed(client, "/v1/jobs", "jobs", given, COLUMNS, **filters(given), key=given.key)


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


def _clone(client: Client, given: Arguments) -> Mapping[str, Any]:
    data = None if given.data is None else _data(given.data)
    return client.clone(given.job, data=data, key=given.key, reason=given.reason)


SOME_JOB = "job_01M86YH7Y9QZ8TYAHW9PZY7ZTZ"
FILTERS = (
    option("--queue", "of this queue", choices=QUEUES),
    option("--state", "in this state", choices=STATES),
    option("--type", "of this job type"),
    option("--venue", "of this venue"),
    option("--batch", "of this batch of the venue"),
    FROM,
    TO,
    option("--fingerprint", "dead letters and parked jobs of this type and error, such as email.send:timeout"),
)
KEY = option("--key", "that this idempotency key stands for; with --venue and --type")
JOBS: tuple[Command, ...] = (
    Command(
        "jobs",
        "list",
        "list jobs, the latest accepted first",
        (*FILTERS, KEY, *LIST),
        _list,
        (
            "jobs list --state parked",
            "jobs list --venue v1 --from 2h --all --json",
            "jobs list --venue v1 --type payment.process --key order-77120",
        ),
    ),
    Command(
        "jobs",
        "submit",
        "submit a job",
        (
            option("type", "the job type, such as payment.process"),
            option("data", "its payload: JSON, @file, or - for standard input"),
            option("--key", "idempotency key; without it the job type's natural key counts"),
            option("--venue", "the venue that it is for"),
            option("--user", "the user that it is for"),
            option("--priority", "1 to 10, 10 is most urgent", type=int, metavar="N"),
            option("--attempts", "1 to 10", type=int, metavar="N"),
            option("--wait", "wait so long for what comes of it", type=float, metavar="SECONDS"),
        ),
        _submit,
        ("jobs submit payment.process @payment.json --key order-77120 --wait 30",),
    ),
    Command("jobs", "show", "show a job", (JOB,), _show, (f"jobs show {SOME_JOB} --json",)),
    Command(
        "jobs",
        "wait",
        "wait until a job is at rest, and show it",
        (JOB, option("--timeout", "give up after", type=float, default=300.0, metavar="SECONDS")),
        _wait,
        (f"jobs wait {SOME_JOB} --timeout 60",),
    ),
    Command(
        "jobs",
        "cancel",
        "cancel a waiting job",
        (JOB, REASON),
        _cancel,
        (f"jobs cancel {SOME_JOB} --reason 'Sent twice by the shop'",),
    ),
    Command(
        "jobs",
        "retry",
        "let a failed or cancelled job start anew",
        (JOB, REASON),
        _retry,
        (f"jobs retry {SOME_JOB} --reason 'The card works again'",),
    ),
    Command(
        "jobs", "promote", "let a waiting job run now", (JOB, REASON), _promote, (f"jobs promote {SOME_JOB}",)
    ),
    Command(
        "jobs",
        "resolve",
        "end the doubt about a parked job by what was found out at the provider",
        (
            JOB,
            option("resolution", "failed and retry assert that nothing happened", choices=RESOLUTIONS),
            WHY,
        ),
        _resolve,
        (f"jobs resolve {SOME_JOB} completed --reason 'pi_1 succeeded, seen at Stripe'",),
    ),
    Command(
        "jobs",
        "clone",
        "make a new job of an old one's payload",
        (
            JOB,
            option("--data", "keys that are to be others: JSON, @file, or - for standard input"),
            option("--key", "idempotency key; without it each clone is one more job"),
            REASON,
        ),
        _clone,
        (f"""jobs clone {SOME_JOB} --data '{{"paymentMethod": "pm_card_visa"}}' --key order-77120-again""",),
    ),
)
