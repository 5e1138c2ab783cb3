"""The embedded AWS: it comes up whole, keeps what it has, and never outlives who started it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local import stack
from local.emulator import Emulator, EmulatorFailed
from local.sessions import session
from local.stack import create_stack

ROOT = Path(__file__).parents[2]
NAMES = {
    *("JOBS_TABLE", "IDEMPOTENCY_KEYS_TABLE", "QUEUE_CONTROLS_TABLE", "AUDIT_LOG_TABLE"),
    *("RATE_LIMITS_TABLE", "SCHEDULES_TABLE", "QUEUE_METRICS_TABLE", "ENDPOINTS_TABLE", "ANALYTICS_BUS"),
    "ARCHIVE_BUCKET",
    *("ALERT_HISTORY_TABLE", "ALERT_TOPIC"),
    *("SES_TOPIC", "SES_CONFIGURATION_SET"),
    *(
        f"{tier}_QUEUE{suffix}_URL"
        for tier in ("MONEY", "COMMUNICATION", "BACKGROUND")
        for suffix in ("", "_EXPRESS", "_DLQ")
    ),
    *("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Emulator, dict[str, str]]]:
    with Emulator(tmp_path) as running:
        yield running, running.start()


def call(endpoint: str, service: str, operation: str, **request: Any) -> Any:
    client = session(endpoint).client(service)
    try:
        return getattr(client, operation)(**request)
    finally:
        client.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid: int, within: float = 10) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end and alive(pid):
        time.sleep(0.05)
    return not alive(pid)


def test_stack_of_the_template_is_there(started: tuple[Emulator, dict[str, str]]) -> None:
    emulator, environment = started

    assert set(environment) == NAMES
    for name, value in environment.items():
        if name.endswith("_TABLE"):
            call(emulator.endpoint, "dynamodb", "describe_table", TableName=value)
        if name.endswith("_URL") and name != "AWS_ENDPOINT_URL":
            call(emulator.endpoint, "sqs", "get_queue_attributes", QueueUrl=value)


def test_records_may_expire(started: tuple[Emulator, dict[str, str]]) -> None:
    emulator, environment = started

    for name in ("JOBS_TABLE", "IDEMPOTENCY_KEYS_TABLE"):
        answer = call(emulator.endpoint, "dynamodb", "describe_time_to_live", TableName=environment[name])
        assert answer["TimeToLiveDescription"] == {
            "TimeToLiveStatus": "ENABLED",
            "AttributeName": "expires_at",
        }


def test_visibility_time_out_is_the_one_asked_for(started: tuple[Emulator, dict[str, str]]) -> None:
    emulator, _ = started
    stack = create_stack(emulator.endpoint, stage="quick", visibility_timeout=3)

    answer = call(
        emulator.endpoint,
        "sqs",
        "get_queue_attributes",
        QueueUrl=stack["MONEY_QUEUE_EXPRESS_URL"],
        AttributeNames=["VisibilityTimeout"],
    )
    assert answer["Attributes"] == {"VisibilityTimeout": "3"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_it_listens_on_loopback_alone(started: tuple[Emulator, dict[str, str]]) -> None:
    emulator, _ = started
    port = int(emulator.endpoint.rpartition(":")[2])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]

    assert [row[1] for row in listening if row[3] == "0A" and row[1].endswith(f":{port:04X}")] == [
        f"0100007F:{port:04X}"
    ]


def test_second_start_has_what_the_first_had_and_is_up_within_ten_seconds(tmp_path: Path) -> None:
    with Emulator(tmp_path) as first:
        environment = first.start()
        call(
            first.endpoint,
            "sqs",
            "send_message",
            QueueUrl=environment["MONEY_QUEUE_URL"],
            MessageBody="kept",
        )
    began = time.monotonic()
    with Emulator(tmp_path) as second:
        environment = second.start()
        took = time.monotonic() - began
        answer = call(second.endpoint, "sqs", "receive_message", QueueUrl=environment["MONEY_QUEUE_URL"])

    assert [message["Body"] for message in answer["Messages"]] == ["kept"]
    assert took < 10


def test_stopped_emulator_leaves_no_process(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path)
    emulator.start()
    pid = emulator.pid
    assert pid is not None
    assert alive(pid)

    emulator.stop()
    emulator.stop()
    assert not alive(pid)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_emulator_ends_with_its_parent_however_that_ends(tmp_path: Path, death: signal.Signals) -> None:
    program = (
        "import sys, time; from pathlib import Path; from local.emulator import Emulator\n"
        f"e = Emulator(Path({str(tmp_path)!r})); e.start(); print(e.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(death)

    assert ends(pid)
    assert (tmp_path / "dynamodb.json").exists(), "its state was saved all the same"


def test_taken_port_is_a_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmulatorFailed, match=rf"Port {port} is in use"):
            Emulator(tmp_path, port=port).start()


def test_missing_environment_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.emulator.PYTHON", tmp_path / "bin" / "python")

    with pytest.raises(EmulatorFailed, match="make setup"):
        Emulator(tmp_path).start()


def test_process_that_cannot_start_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.emulator.PYTHON", Path(sys.executable))  # has no ministack

    with pytest.raises(EmulatorFailed, match=r"emulator\.log"):
        Emulator(tmp_path).start()


def test_endpoint_of_the_environment_is_used_and_nothing_is_started(
    started: tuple[Emulator, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, _ = started
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)

    other = Emulator(tmp_path / "other", stage="elsewhere")
    environment = other.start()
    assert (other.pid, environment["AWS_ENDPOINT_URL"]) == (None, running.endpoint)
    assert environment["JOBS_TABLE"] == "queue-service-elsewhere-jobs"
    other.stop()
    call(running.endpoint, "dynamodb", "describe_table", TableName=environment["JOBS_TABLE"])


def test_state_kept_from_an_older_template_is_brought_up_to_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "template.yaml"
    older.write_text(without_rate_limits(stack.TEMPLATE.read_text()))
    with monkeypatch.context() as then:
        then.setattr(stack, "TEMPLATE", older)
        then.setattr(stack, "EXPIRING", ("JobsTable",))
        with Emulator(tmp_path / "state") as emulator:
            before = emulator.start()
            put(before, "a job accepted before the change")

    with Emulator(tmp_path / "state") as emulator:
        after = emulator.start()
        assert set(after) - set(before) == {"RATE_LIMITS_TABLE"}
        assert kept(after) == ["a job accepted before the change"]


def without_rate_limits(template: str) -> str:
    """Return a template as it was before it had the table of the limits."""
    template = re.sub(r"  RateLimitsTable:\n    Type.*?\n\n", "", template, flags=re.DOTALL)
    return re.sub(r"  RateLimitsTable(Arn)?: \{Value.*\n", "", template)


def put(environment: Mapping[str, str], job_id: str) -> None:
    with dynamodb(environment) as client:
        client.put_item(TableName=environment["JOBS_TABLE"], Item={"id": {"S": job_id}})


def kept(environment: Mapping[str, str]) -> list[str]:
    with dynamodb(environment) as client:
        return [item["id"]["S"] for item in client.scan(TableName=environment["JOBS_TABLE"])["Items"]]


@contextmanager
def dynamodb(environment: Mapping[str, str]) -> Iterator[Any]:
    client = session(environment["AWS_ENDPOINT_URL"]).client("dynamodb")
    yield client
    client.close()
