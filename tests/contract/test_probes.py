"""What /health asks, over the real adapters: each thing by its name, an AWS that hangs for a second at most."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import pytest

from chalicelib.adapters import on_aws
from chalicelib.aws import probes
from chalicelib.aws.tables import Tables
from chalicelib.domain.dependency import Probe
from chalicelib.service.health import NEEDED, Health
from chalicelib.settings import Settings
from local.sessions import session
from tests.contract.backends import DynamoRecords, Faults
from tests.contract.conftest import NewStack
from tests.fakes import ListJournal, ManualClock
from tests.front import SECRET

KEYS_ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:queue-service/tests/"


def told(probe: Probe) -> Mapping[str, str | None]:
    return dict(probe.ask())


def on_stack(
    stack: Mapping[str, str], patch: pytest.MonkeyPatch, **settings: str
) -> tuple[Health, list[Probe], ListJournal]:
    """Return the health of a service on a stack, its probes, and its log."""
    for name, value in stack.items():
        patch.setenv(name, value)
    journal = ListJournal()
    made = on_aws(Settings.from_env({**stack, "STAGE": "test", "JWT_SECRET": SECRET, **settings})).probes()
    return Health(probes=lambda: made, clock=ManualClock(), journal=journal, configured={}), list(made), journal


def test_tables_are_asked_in_one_call_and_a_missing_one_is_named(dynamo: DynamoRecords, wire: Faults) -> None:
    names = {f"table/{each.name}" for each in fields(Tables)}
    probe = probes.of_tables(dynamo.client, dynamo.tables)
    assert told(probe) == dict.fromkeys(names)
    assert (wire.calls, set(probe.names)) == (["BatchGetItem"], names)

    missing = replace(dynamo.tables, schedules="no-such-table")
    assert told(probes.of_tables(dynamo.client, missing)) == dict.fromkeys(names) | {
        "table/schedules": "ResourceNotFoundException"
    }


def test_a_table_that_is_asked_too_much_is_named(dynamo: DynamoRecords, wire: Faults) -> None:
    answers: list[dict[str, Any]] = [{"Responses": {}, "UnprocessedKeys": {}} for _ in fields(Tables)]
    answers[1]["UnprocessedKeys"] = {dynamo.tables.idempotency_keys: {"Keys": [{"id": {"S": "ping"}}]}}
    unwell = wire.answer(200, answers[1])
    wire.order("BatchGetItem", unwell, *(wire.answer(200, each) for each in answers))
    found = told(probes.of_tables(dynamo.client, dynamo.tables))
    assert {name: why for name, why in found.items() if why} == {"table/idempotency_keys": "Throttled"}


def test_a_service_on_aws_tells_of_all_that_every_job_needs_and_names_a_missing_queue(
    new_stack: NewStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = new_stack()
    health, _, journal = on_stack(stack, monkeypatch, METRICS_TOKEN=SECRET)
    report = health.check()
    assert report.status == "ok"
    assert set(report.checks) >= NEEDED
    assert len(report.checks) == 9 + 9 + 2

    client = session(stack["AWS_ENDPOINT_URL"]).client("sqs")
    client.delete_queue(QueueUrl=stack["BACKGROUND_QUEUE_EXPRESS_URL"])
    client.close()
    again, _, journal = on_stack(stack, monkeypatch)
    report = again.check()
    assert report.status == "unavailable"
    assert [name for name, state in report.checks.items() if state == "down"] == [
        "queue/background-queue-express"
    ]
    assert [action for action, _ in journal.events] == ["dependency_down"]


def test_a_secret_that_is_there_is_read_and_one_that_is_not_is_down(
    new_stack: NewStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = new_stack()
    client = session(stack["AWS_ENDPOINT_URL"]).client("secretsmanager")
    there = client.create_secret(Name="queue-service/probes", SecretString=SECRET)["ARN"]
    client.close()
    missing = there.replace("probes", "nothing")
    _, made, _ = on_stack(stack, monkeypatch, METRICS_TOKEN_ARN=there, STRIPE_WEBHOOK_SECRET_ARN=missing)
    assert told(made[2]) == {
        "secret/token-keys": None,
        "secret/stripe": "StoreRefused",
        "secret/metrics-token": None,
    }


@contextmanager
def hanging_aws() -> Iterator[str]:
    """An endpoint that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_aws_that_hangs_is_down_within_a_second_and_every_thread_ends_soon(
    new_stack: NewStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = new_stack()
    with hanging_aws() as endpoint:
        moved = {name: url.replace(stack["AWS_ENDPOINT_URL"], endpoint) for name, url in stack.items()}
        health, _, _ = on_stack(moved, monkeypatch, METRICS_TOKEN_ARN=f"{KEYS_ARN}metrics-abcdef")
        threads = threading.active_count()
        started = time.monotonic()
        report = health.check()
        took = time.monotonic() - started
        while threading.active_count() > threads:
            time.sleep(0.01)
        ended = time.monotonic() - started
    assert (report.status, took < 1.0) == ("unavailable", True)
    assert {name for name, state in report.checks.items() if state == "up"} == {"secret/token-keys"}
    assert ended < 2.0
