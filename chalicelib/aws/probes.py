"""Whether the tables, the queues and the secrets answer: calls that change nothing, each made once.

Their clients must give up soon. What the service behind an endpoint says of one name is told of that name; an
endpoint that says nothing raises, and is asked no more: it would say as little of the next.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.attributes import text
from chalicelib.aws.tables import Tables
from chalicelib.domain.dependency import Probe
from chalicelib.domain.errors import QueueServiceError
from chalicelib.domain.policies import Lane, Tier

PATIENCE = 0.6  # seconds, of a connection and of an answer
SECRETS_STAND = timedelta(minutes=5)  # each reading of one is charged
KEYS: Mapping[str, tuple[str, ...]] = {
    "jobs": ("id",),
    "idempotency_keys": ("id",),
    "queue_controls": ("id",),
    "audit_log": ("id", "day"),
    "rate_limits": ("id",),
    "schedules": ("kd", "id"),
    "queue_metrics": ("pk", "sk"),
    "endpoints": ("ve", "id"),
    "alert_history": ("kd", "id"),
}


def of_tables(client: Any, tables: Tables) -> Probe:
    """Ask each for an item that it has not: all in one call, and each by itself if that is not well."""
    reads = {
        f"table/{name}": {table: {"Keys": [{key: text("ping") for key in KEYS[name]}]}}
        for name, table in asdict(tables).items()
    }
    together = {table: keys for read in reads.values() for table, keys in read.items()}

    def attempt(wanted: Mapping[str, Any]) -> str | None:
        try:
            answer = client.batch_get_item(RequestItems=wanted)
        except ClientError as error:
            return _code(error)
        return "Throttled" if answer.get("UnprocessedKeys") else None

    def ask() -> Iterator[tuple[str, str | None]]:
        well = attempt(together) is None
        return ((name, None if well else attempt(read)) for name, read in reads.items())

    return Probe(tuple(reads), ask)


def of_queues(client: Any, lanes: Mapping[tuple[Tier, Lane], str], dead_letters: Mapping[Tier, str]) -> Probe:
    """Ask each queue for its name, one after another."""
    urls: dict[str, str] = {}
    for tier in Tier:
        urls[f"queue/{tier}-queue"] = lanes[tier, Lane.MAIN]
        urls[f"queue/{tier}-queue-express"] = lanes[tier, Lane.EXPRESS]
        urls[f"queue/{tier}-queue-dlq"] = dead_letters[tier]

    def attempt(url: str) -> str | None:
        try:
            client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        except ClientError as error:
            return _code(error)
        return None

    return Probe(tuple(urls), lambda: ((name, attempt(url)) for name, url in urls.items()))


def of_secrets(reads: Mapping[str, Callable[[], object]]) -> Probe:
    """Read secrets, by name, one after another, and keep nothing of them."""

    def attempt(read: Callable[[], object]) -> str | None:
        try:
            read()
        except QueueServiceError as error:
            if isinstance(error.__cause__, BotoCoreError):
                raise
            return type(error).__name__
        return None

    named = {f"secret/{name}": partial(attempt, read) for name, read in reads.items()}
    return Probe(tuple(named), lambda: ((name, read()) for name, read in named.items()), SECRETS_STAND)


def _code(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code or "ClientError"
