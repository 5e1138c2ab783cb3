"""The backends as fixtures: every test of the contract runs on each of them."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import pytest

from local.emulator import Emulator
from local.sessions import environment
from tests.contract.backends import (
    SHOWN,
    DynamoRecords,
    Faults,
    MemoryQueues,
    MemoryRecords,
    Queues,
    Records,
    SqsQueues,
    client,
    made_tables,
)
from tests.dynamodb_local import DynamoDbLocal, NotInstalled

NewStack = Callable[..., Mapping[str, str]]
_prefixes = count(1)


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """Start Amazon's DynamoDB Local once and return its endpoint."""
    running = DynamoDbLocal()
    try:
        running.start()
    except NotInstalled as error:
        pytest.skip(str(error))
    yield running.endpoint
    running.stop()


@pytest.fixture(scope="session")
def ministack_client(emulator: Emulator) -> Iterator[Any]:
    made = client("dynamodb", environment(emulator.endpoint))
    yield made
    made.close()


@pytest.fixture(scope="session")
def dynamodb_local_client(dynamodb_local: str) -> Iterator[Any]:
    made = client("dynamodb", environment(dynamodb_local))
    yield made
    made.close()


@pytest.fixture
def on_ministack(ministack_client: Any) -> DynamoRecords:
    return DynamoRecords(ministack_client, made_tables(ministack_client, f"t{next(_prefixes)}"))


@pytest.fixture
def on_dynamodb_local(dynamodb_local_client: Any) -> DynamoRecords:
    return DynamoRecords(dynamodb_local_client, made_tables(dynamodb_local_client, f"t{next(_prefixes)}"))


REAL = ["on_ministack", "on_dynamodb_local"]


@pytest.fixture(params=["memory", *REAL])
def records(request: pytest.FixtureRequest) -> Records:
    """Return the records of each backend."""
    if request.param == "memory":
        return MemoryRecords()
    made: DynamoRecords = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=REAL)
def dynamo(request: pytest.FixtureRequest) -> DynamoRecords:
    """Return the records of each backend that really is DynamoDB's."""
    made: DynamoRecords = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def wire(dynamo: DynamoRecords) -> Iterator[Faults]:
    """Return the wire between the store and its tables, for faults."""
    with Faults(dynamo.client, "dynamodb") as faults:
        yield faults


@pytest.fixture
def on_sqs(new_stack: NewStack) -> Iterator[SqsQueues]:
    stack = new_stack(visibility_timeout=int(SHOWN.total_seconds()))
    made = client("sqs", stack)
    yield SqsQueues(made, stack)
    made.close()


@pytest.fixture(params=["memory", "ministack"])
def queues(request: pytest.FixtureRequest) -> Queues:
    """Return the queues of each backend."""
    if request.param == "memory":
        return MemoryQueues()
    made: SqsQueues = request.getfixturevalue("on_sqs")
    return made
