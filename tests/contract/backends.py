"""The backends that the contract suites run on, each behind the same few words."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from time import sleep
from typing import Any, Protocol

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

from chalicelib.aws.audit_log import DynamoAuditLog
from chalicelib.aws.backlog import AwsBacklog
from chalicelib.aws.cleaning import DynamoCleaning
from chalicelib.aws.clients import Clients
from chalicelib.aws.endpoint_store import DynamoEndpointStore
from chalicelib.aws.job_index import DynamoJobIndex
from chalicelib.aws.job_queue import SqsInbox, SqsJobQueue
from chalicelib.aws.job_store import DynamoJobStore
from chalicelib.aws.leases import DynamoLeases
from chalicelib.aws.operation_store import DynamoOperationStore
from chalicelib.aws.quiet_hours import DynamoQuietBook
from chalicelib.aws.rate_limiter import DynamoLimiter
from chalicelib.aws.registry import DynamoRegistry
from chalicelib.aws.schedule_store import DynamoScheduleStore
from chalicelib.aws.suppressions import DynamoSuppressions
from chalicelib.aws.tables import Tables
from chalicelib.aws.venue_register import VenueRegister
from chalicelib.domain.archive import Cleaning
from chalicelib.domain.audit import AuditLog
from chalicelib.domain.backlog import Backlog
from chalicelib.domain.endpoint import EndpointStore
from chalicelib.domain.heartbeat import RunBook
from chalicelib.domain.job import VenueId
from chalicelib.domain.operation import OperationStore
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Inbox, JobQueue, JobStore, Limiter, Received
from chalicelib.domain.quiet import QuietBook
from chalicelib.domain.ratelimit import LIMITS
from chalicelib.domain.schedule import ScheduleStore
from chalicelib.domain.search import JobIndex
from chalicelib.domain.standing import Registry
from chalicelib.domain.suppression import Suppressions
from chalicelib.system import signing_secret
from tests.factories import VENUE
from tests.fakes import MemoryLeases, MemoryQueue, MemoryStore
from tests.fakes_archive import MemoryCleaning
from tests.fakes_backlog import MemoryBacklog
from tests.fakes_endpoints import MemoryEndpointStore
from tests.fakes_limiter import MemoryLimiter
from tests.fakes_operations import MemoryOperationStore
from tests.fakes_registry import MemoryQuietBook, MemoryRegistry, MemorySuppressions
from tests.fakes_schedules import MemoryScheduleStore
from tests.fakes_search import MemoryAuditLog, MemoryJobIndex
from tests.template import table

SHOWN = timedelta(seconds=2)  # visibility time-out of the queues under test


# Venues of which the container has written before: what acceptance costs of one it does not know is told apart.
KNOWN = frozenset({VENUE, VenueId("8f14e45f-ceea-467f-a2d8-1b2c3d4e5f60")})


class Records(Protocol):
    """A backend of the records."""

    @property
    def store(self) -> JobStore: ...

    @property
    def leases(self) -> RunBook: ...

    @property
    def schedules(self) -> ScheduleStore: ...

    @property
    def operations(self) -> OperationStore: ...

    @property
    def index(self) -> JobIndex: ...

    @property
    def audit_log(self) -> AuditLog: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def endpoints(self) -> EndpointStore: ...

    @property
    def suppressions(self) -> Suppressions: ...

    @property
    def quiet_hours(self) -> QuietBook: ...

    @property
    def backlog(self) -> Backlog: ...

    @property
    def cleaning(self) -> Cleaning: ...

    def limiter(self) -> Limiter:
        """Return the limiter as one more container has it."""
        ...

    def audited(self) -> list[str]:
        """Return the ids of all audit entries, in order."""
        ...


class MemoryRecords:
    """The fakes."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.leases = MemoryLeases()
        self.schedules = MemoryScheduleStore(self.store.audit)
        self.operations = MemoryOperationStore(self.store.audit)
        self.index = MemoryJobIndex(self.store)
        self.audit_log = MemoryAuditLog(self.store.audit)
        self.backlog = MemoryBacklog(MemoryQueue(), self.store)
        self.registry = MemoryRegistry()
        self.suppressions = MemorySuppressions(self.registry, self.store.audit)
        self.endpoints = MemoryEndpointStore(self.store.audit)
        self.registry.endpoints = self.endpoints.endpoints
        self.quiet_hours = MemoryQuietBook(self.registry, self.store.audit)
        self.cleaning = MemoryCleaning(self.store)
        self._limiter = MemoryLimiter(LIMITS)
        self.store.limiter = self._limiter

    def limiter(self) -> Limiter:
        return self._limiter

    def audited(self) -> list[str]:
        return sorted(entry.id for entry in [*self.store.audit, *self._limiter.audit])


@dataclass(frozen=True)
class DynamoRecords:
    """The DynamoDB adapters, and the client below them to look at items with."""

    client: Any
    tables: Tables
    known: frozenset[VenueId] = KNOWN

    @property
    def store(self) -> DynamoJobStore:
        register = VenueRegister(self.client, self.tables, self.known)
        return DynamoJobStore(self.client, self.tables, register)

    @property
    def leases(self) -> DynamoLeases:
        return DynamoLeases(self.client, self.tables.queue_controls)

    @property
    def schedules(self) -> DynamoScheduleStore:
        return DynamoScheduleStore(self.client, self.tables)

    @property
    def operations(self) -> DynamoOperationStore:
        return DynamoOperationStore(self.client, self.tables)

    @property
    def index(self) -> DynamoJobIndex:
        return DynamoJobIndex(self.client, self.tables)

    @property
    def audit_log(self) -> DynamoAuditLog:
        return DynamoAuditLog(self.client, self.tables)

    @property
    def registry(self) -> DynamoRegistry:
        return DynamoRegistry(self.client, self.tables)

    @property
    def endpoints(self) -> DynamoEndpointStore:
        return DynamoEndpointStore(self.client, self.tables, signing_secret)

    @property
    def suppressions(self) -> DynamoSuppressions:
        return DynamoSuppressions(self.client, self.tables)

    @property
    def quiet_hours(self) -> DynamoQuietBook:
        return DynamoQuietBook(self.client, self.tables)

    @property
    def backlog(self) -> AwsBacklog:
        return AwsBacklog(None, {}, {}, self.client, self.tables)  # it is asked about records alone

    @property
    def cleaning(self) -> DynamoCleaning:
        return DynamoCleaning(self.client, self.tables)

    def limiter(self) -> Limiter:
        return DynamoLimiter(self.client, self.tables, LIMITS)

    def audited(self) -> list[str]:
        items = self.client.scan(TableName=self.tables.audit_log)["Items"]
        return sorted(item["id"]["S"] for item in items)

    def item(self, item_id: str) -> dict[str, Any] | None:
        """Return an item of the jobs table as it is stored."""
        key = {"id": {"S": item_id}}
        answer = self.client.get_item(TableName=self.tables.jobs, Key=key, ConsistentRead=True)
        item: dict[str, Any] | None = answer.get("Item")
        return item

    def indexed(self, name: str, hash_key: str, value: str) -> list[str]:
        """Return the ids under a hash key of an index, in its order."""
        answer = self.client.query(
            TableName=self.tables.jobs,
            IndexName=name,
            KeyConditionExpression=f"{hash_key} = :value",
            ExpressionAttributeValues={":value": {"S": value}},
        )
        return [item["id"]["S"] for item in answer["Items"]]


def made_tables(client: Any, prefix: str) -> Tables:
    """Make the template's tables where there is no CloudFormation."""
    names = {"JobsTable": "jobs", "IdempotencyKeysTable": "keys"}
    names |= {"QueueControlsTable": "controls", "AuditLogTable": "audit", "RateLimitsTable": "limits"}
    names |= {"SchedulesTable": "schedules", "QueueMetricsTable": "queue-metrics"}
    names |= {"EndpointsTable": "endpoints", "AlertHistoryTable": "alert-history"}
    for logical, name in names.items():
        client.create_table(TableName=f"{prefix}-{name}", **table(logical))
    return Tables(*(f"{prefix}-{name}" for name in names.values()))


class Queues(Protocol):
    """A backend of the queues."""

    @property
    def queue(self) -> JobQueue: ...

    @property
    def backlog(self) -> Backlog: ...

    def inbox(self, tier: Tier, lane: Lane) -> Inbox: ...

    def receive(self, tier: Tier, lane: Lane) -> list[Received]:
        """Return the messages that a consumer is given now."""
        ...

    def buried(self, tier: Tier) -> list[str]:
        """Return the bodies in a dead-letter queue."""
        ...

    def wait(self, by: timedelta) -> None:
        """Let time pass."""
        ...


class MemoryQueues:
    """The fakes, on a clock that is moved."""

    def __init__(self) -> None:
        self.queue = MemoryQueue()
        self.backlog = MemoryBacklog(self.queue, MemoryStore())

    def inbox(self, tier: Tier, lane: Lane) -> Inbox:
        return self.queue.inbox(tier, lane)

    def receive(self, tier: Tier, lane: Lane) -> list[Received]:
        return self.queue.receive(tier, lane, visibility=SHOWN)

    def buried(self, tier: Tier) -> list[str]:
        return list(self.queue.dead.get(tier, []))

    def wait(self, by: timedelta) -> None:
        self.queue.clock.advance(by)


class SqsQueues:
    """The SQS adapters on real time."""

    def __init__(self, client: Any, environment: Mapping[str, str]) -> None:
        self.client = client
        suffixes = {Lane.MAIN: "", Lane.EXPRESS: "_EXPRESS"}
        self.urls = {
            (tier, lane): environment[f"{tier.upper()}_QUEUE{suffix}_URL"]
            for tier in Tier
            for lane, suffix in suffixes.items()
        }
        self.dead_letters = {tier: environment[f"{tier.upper()}_QUEUE_DLQ_URL"] for tier in Tier}
        self.queue = SqsJobQueue(client, self.urls, self.dead_letters)
        nameless = Tables(*(each.name for each in fields(Tables)))
        # It is asked about queues alone, so that any client will do for the tables.
        self.backlog = AwsBacklog(client, self.urls, self.dead_letters, client, nameless)

    def inbox(self, tier: Tier, lane: Lane) -> Inbox:
        return SqsInbox(self.client, self.urls[tier, lane])

    def receive(self, tier: Tier, lane: Lane) -> list[Received]:
        found = self._receive(self.urls[tier, lane])
        return [
            Received(
                each["MessageId"],
                each["Body"],
                each["ReceiptHandle"],
                int(each["Attributes"]["ApproximateReceiveCount"]),
            )
            for each in found
        ]

    def buried(self, tier: Tier) -> list[str]:
        return [each["Body"] for each in self._receive(self.dead_letters[tier])]

    def wait(self, by: timedelta) -> None:
        sleep(by.total_seconds())

    def _receive(self, url: str) -> list[Any]:
        answer = self.client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        )
        messages: list[Any] = answer.get("Messages", [])
        return messages


class Faults:
    """Faults on the wire of one botocore client, below everything that its user can see."""

    def __init__(self, client: Any, service: str) -> None:
        self._client = client
        self._event = f"before-send.{service}"
        self.calls: list[str] = []
        self._orders: dict[str, list[Callable[[Any], Any]]] = {}

    def __enter__(self) -> "Faults":
        self._client.meta.events.register(self._event, self._before_send)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.meta.events.unregister(self._event, self._before_send)

    def order(self, operation: str, *faults: Callable[[Any], Any]) -> None:
        """Let the next calls of an operation meet these faults, one each; later ones go through."""
        self._orders.setdefault(operation, []).extend(faults)

    def lose_reply(self, request: Any) -> Any:
        """Deliver the request, and never its reply."""
        self._client._endpoint.http_session.send(request)
        raise ReadTimeoutError(endpoint_url=request.url)

    def lose_request(self, request: Any) -> Any:
        """Deliver nothing, and look like a lost reply."""
        raise ReadTimeoutError(endpoint_url=request.url)

    def answer(self, status: int, body: Mapping[str, Any]) -> Callable[[Any], Any]:
        """Answer without delivering the request."""

        def reply(request: Any) -> Any:
            return AWSResponse(request.url, status, {}, _Body(json.dumps(body).encode()))

        return reply

    def throttle(self, request: Any) -> Any:
        """Answer as a table does that is asked too much."""
        name = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
        return self.answer(400, {"__type": name, "message": "too much"})(request)

    def fail(self, request: Any) -> Any:
        """Answer as a service does that is broken."""
        return self.answer(500, {"__type": "InternalServerError", "message": "broken"})(request)

    def _before_send(self, request: Any, event_name: str, **_: Any) -> Any:
        operation = event_name.rsplit(".", 1)[-1]
        self.calls.append(operation)
        orders = self._orders.get(operation)
        return orders.pop(0)(request) if orders else None


class _Body:
    """The raw body of a made-up answer."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Any:
        yield self._content


def client(service: str, environment: Mapping[str, str]) -> Any:
    """Return the deployed code's own client of a service, made in this environment."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        # Fifty threads on two cores wait longer for an emulator than anybody for AWS.
        patched.setattr("chalicelib.aws.clients.READ_TIMEOUT", 60.0)
        return getattr(Clients(), service)
