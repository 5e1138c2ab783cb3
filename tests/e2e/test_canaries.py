"""The walk of `tests/canaries.py` over the real adapters: what they log, send and keep is searched."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from chalice.test import Client

from app import app
from chalicelib import wiring
from chalicelib.adapters import on_aws
from chalicelib.aws import job_queue
from chalicelib.aws.clients import Clients
from chalicelib.domain.message import encode
from chalicelib.settings import Settings
from chalicelib.worker import FunctionFailed
from local.assembly import SENDER, verify_sender
from local.event_sources import queue_urls
from local.sessions import session
from local.standins import StandIns
from tests.canaries import PERSON, STRIPE_KEY, TWILIO, Walk, leaks, types
from tests.contract.backends import _Body
from tests.contract.conftest import NewStack
from tests.front import SECRET, claims, sign
from tests.functional.test_canaries import LoudJournal
from tests.functional.test_functions import QUEUES, Context

POISON = f"no job: {PERSON}"
TABLES = ("AUDIT_LOG", "RATE_LIMITS", "QUEUE_CONTROLS", "IDEMPOTENCY_KEYS")  # none of them holds a payload


@dataclass
class Wire:
    """What goes to the queues, and tables that answer with a canary while they are broken."""

    sent: list[str] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        told = json.dumps({"__type": "ValidationException", "message": f"The item {PERSON} is not valid."})
        self._answers = cycle([(400, told), (200, f"<html>{PERSON}</html>"), (500, told)])

    def watch(self, client: Any) -> None:
        """See every request of a client of the service's."""
        client.meta.events.register("before-send.*.*", self._see)

    def _see(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        service = event_name.split(".")[1]
        if service == "sqs" and POISON not in str(request.body):
            self.sent.append(f"{request.url} {dict(request.headers)} {request.body!r}")
        if self.broken and service in ("dynamodb", "sqs"):
            status, body = next(self._answers)
            return AWSResponse(request.url, status, {}, _Body(body.encode()))
        return None


class House:
    """The service on the embedded AWS, its queues consumed by hand."""

    def __init__(self, environment: Mapping[str, str], wire: Wire) -> None:
        settings = Settings.from_env(environment)
        self.journal = LoudJournal("json")
        wiring.install(wiring.assemble(settings, replace(on_aws(settings), journal=self.journal), types()))
        self._wire = wire
        aws = session(environment["AWS_ENDPOINT_URL"])
        self._tables, self._sqs = aws.client("dynamodb"), aws.client("sqs")
        self._environment = environment
        self._urls = queue_urls(environment)
        self.walk = Walk(Client(app), self._token, self._consume, self._broken)
        self._sqs.send_message(QueueUrl=self._urls["money-queue"], MessageBody=POISON)

    def close(self) -> None:
        self._tables.close()
        self._sqs.close()

    def kept(self) -> dict[str, str]:
        """Return what stands in each table that holds no payload."""
        names = {name: self._environment[f"{name}_TABLE"] for name in TABLES}
        return {name: json.dumps(self._tables.scan(TableName=table)["Items"]) for name, table in names.items()}

    def _token(self, role: str) -> str:
        sub = "user-1" if role == "user" else "caller-1"
        return sign(claims(datetime.now(UTC), role=role, sub=sub))

    def _consume(self) -> None:
        """Let each function take what its queue has; what it keeps, or breaks with, stays."""
        for queue, (_, _, name) in QUEUES.items():
            url = self._urls[queue]
            answer = self._sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
            )
            messages = answer.get("Messages", [])
            records = [
                {
                    "messageId": each["MessageId"],
                    "receiptHandle": each["ReceiptHandle"],
                    "body": each["Body"],
                    "attributes": each["Attributes"],
                }
                for each in messages
            ]
            self._wire.sent += [json.dumps(each) for each in messages if each["Body"] != POISON]
            if not records:
                continue
            try:
                reply = app.handler_map[name]({"Records": records}, Context())
            except FunctionFailed:
                continue
            failed = {each["itemIdentifier"] for each in reply["batchItemFailures"]}
            for each in messages:
                if each["MessageId"] not in failed:
                    self._sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])

    @contextmanager
    def _broken(self) -> Iterator[None]:
        self._wire.broken = True
        yield
        self._wire.broken = False


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Return the wire under every client that the service makes, and close the clients in the end."""
    seen, made = Wire(), []
    before = Clients._client

    def client(self: Clients, service: str, *, attempts: int) -> Any:
        made.append(before(self, service, attempts=attempts))
        seen.watch(made[-1])
        return made[-1]

    monkeypatch.setattr(Clients, "_client", client)
    yield seen
    for each in made:
        each.close()


@pytest.fixture
def house(new_stack: NewStack, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    stack = new_stack(visibility_timeout=2)
    aws = stack["AWS_ENDPOINT_URL"]
    verify_sender(SENDER, aws)
    with StandIns(ses=aws) as stand_ins:
        environment = {
            **stack,
            "STAGE": "test",
            "JWT_SECRET": SECRET,
            "STRIPE_SECRET_KEY": STRIPE_KEY,
            "STRIPE_API_BASE": stand_ins.url,
            "SES_SENDER": SENDER,
            "AWS_ENDPOINT_URL_SESV2": stand_ins.ses_url,
            **TWILIO,
            "TWILIO_API_BASE": stand_ins.twilio_url,
            "RATE_LIMIT_MAX_REQUESTS": "1000000",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        stand_ins.arm("ses", "decline")
        stand_ins.arm("twilio", "decline")
        stand_ins.arm("ses", "status-500")
        made = House(environment, wire)
        yield made
        made.close()
        service = wiring.service()
        service.execute._providers.texts.close()  # type: ignore[attr-defined]  # the real client's
        service.execute._providers.payments.close()  # type: ignore[attr-defined]  # the real client's
        wiring.install(None)


def found(house: House, wire: Wire) -> list[str]:
    with house.journal.open():
        house.walk.go()
    log = house.journal.written.getvalue()
    return leaks({"the log": log, "the queues": "\n".join(wire.sent), **house.kept()}, house.walk)


def test_no_canary_is_found_anywhere(house: House, wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    assert found(house, wire) == []

    out, err = capfd.readouterr()
    assert leaks({"standard output": out, "standard error": err}, replace(house.walk, answers=[])) == []
    log = house.journal.written.getvalue()
    assert {answer.status for answer in house.walk.answers} >= {
        200,
        201,
        207,
        400,
        401,
        403,
        404,
        409,
        413,
        503,
    }
    told = ("run_failed", "poison", "request_unavailable", "resolve_failed", "clone", "function_failed")
    assert [each for each in told if each not in log] == []
    assert "MessageGroupId" in "\n".join(wire.sent)
    assert all(json.loads(line)["level"] in ("INFO", "WARNING", "ERROR") for line in log.splitlines())


def test_data_in_a_message_is_found_on_the_wire(
    house: House, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        job_queue, "encode", lambda hint: json.dumps({**json.loads(encode(hint)), "who": PERSON})
    )
    assert any(each.startswith("the queues") for each in found(house, wire))


def test_what_an_adapter_is_told_is_found_in_the_log(
    house: House, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.observability._said", str)
    assert any(each.startswith("the log") for each in found(house, wire))
