"""Every command of docs/runbook.md, run as it stands there on the local stack, in trouble of its kind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib.settings import parse_token_keys
from local.identity import signing_secret, token
from local.options import ROOT
from local.rest import Client
from local.sessions import session
from local.stack import create_stack
from tests.acceptance.works import TIMING
from tests.e2e.prometheus import RunningPrometheus
from tests.e2e.stacks import PATIENCE, RunningStack, await_state
from tests.e2e.test_front_door import PAYMENT
from tests.front import Front, claims, sign

RUNBOOK = ROOT / "docs" / "runbook.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDLESS = re.compile(r"^queue-service (?:tail --|dlq redrive .* --yes)", re.MULTILINE)
WATCHED = 10.0  # seconds, before somebody has seen enough
VENUE, STORMY = "v1", "v9"
MAIL: dict[str, Any] = {
    "type": "email.send",
    "data": {
        "to": "ada@example.com",
        "template": "order_confirmation",
        "data": {"orderId": "order-1", "eventName": "Night", "total": "45.00 EUR"},
    },
}
# Counted by the time that the last test looks: a minute is added up twenty seconds after its end.
ORDER = {"type": "order.fulfill", "data": {"orderId": "order-1"}}
COUNTED_WITHIN = 90.0  # seconds
SCRAPER = "what the tests' Prometheus shows at the door"
NEEDED = ("curl", "jq", "openssl", "timeout")


@dataclass
class Trouble:
    """A stack, and what a scene does to it."""

    stack: RunningStack
    client: Client
    aws: Any  # makes clients of the emulator

    def submit(self, body: Any = PAYMENT, venue: str = VENUE, **more: Any) -> str:
        """Submit one more job and return its id."""
        behalf = {"venueId": venue, "userId": more.pop("user", "user-1")}
        told = {**body, "idempotencyKey": f"key-{time.monotonic_ns()}", "onBehalfOf": behalf, **more}
        answer = self.client.post("/v1/jobs", told)
        assert answer.status == 201, answer
        job_id: str = answer.body["jobId"]
        return job_id

    def fault(self, provider: str, mode: str, count: int = 1) -> None:
        """Order faults of a provider's stand-in."""
        with closing(Client(self.stack.endpoints["providers"]["stripe"])) as stand_ins:
            assert (
                stand_ins.post("/_faults", {"provider": provider, "mode": mode, "count": count}).status == 200
            )

    def read(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status == 200, answer
        return answer.body

    def ends(self, job_id: str, state: str = "completed") -> None:
        await_state(self.client, job_id, state)

    def audited(self, subject: str) -> list[str]:
        """Return what was done to something, first things first."""
        return [each["action"] for each in reversed(self.read(f"/v1/audit?subject={subject}")["entries"])]

    def charges(self, job_id: str) -> int:
        effects = self.stack.ledger()
        return sum(each["operation"] == "charge" and each["jobId"] == job_id for each in effects)


Scene = Callable[[Trouble], Generator[dict[str, str], str, None]]  # variables for a block; its output


def before_anything(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    yield {}
    seen = yield {}
    assert "oldestAge" in seen
    assert "maxPerSecond" in seen
    assert '"status":"ok"' in seen.replace(" ", "")


def alerted(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    def unacknowledged() -> list[str]:
        alerts = trouble.read("/v1/alerts")["alerts"]
        return [each["id"] for each in alerts if each["alertType"] == "parked" and not each["acknowledged"]]

    trouble.fault("ses", "timeout-after-apply")
    trouble.ends(trouble.submit(MAIL), "parked")
    await_that(lambda: bool(unacknowledged()))
    [alert] = unacknowledged()
    assert alert in (yield {"ALERT": alert})
    assert unacknowledged() == []
    seen = yield {}
    assert "phone" in seen
    assert "Nobody was told" not in seen


def silent(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    def well() -> set[str]:
        functions = trouble.read("/v1/metrics/summary")["functions"]
        return {each["name"] for each in functions if each["status"] == "ok"}

    await_that(lambda: well() >= {"dispatch", "monitor", "run_schedules", "run_operations"})
    seen = yield {}
    assert '"lastRunAt"' in seen
    assert "oldestAge" in seen


def stuck(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    trouble.client.post("/v1/queues/money/pause", {"reason": "The bank is down"})
    trouble.client.post("/v1/rate-limits/emergency-stop", {"provider": "stripe", "reason": "Stripe is down"})
    job = trouble.submit()
    seen = yield {}
    assert "The bank is down" in seen
    assert "stopped" in seen
    yield {}
    trouble.ends(job)
    assert trouble.read("/v1/rate-limits/stripe")["limit"]["maxPerSecond"] == 50


def provider_down(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    yield {}
    job = trouble.submit()
    time.sleep(3)
    assert trouble.read(f"/v1/jobs/{job}")["attempts"] == 0
    yield {}
    trouble.ends(job)
    assert (trouble.read(f"/v1/jobs/{job}")["attempts"], trouble.charges(job)) == (1, 1)
    yield {}
    assert trouble.read("/v1/rate-limits/stripe")["limit"]["maxPerSecond"] == 25


def parked(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    trouble.fault("ses", "timeout-after-apply", 3)
    jobs = [trouble.submit(MAIL) for _ in range(3)]
    for job in jobs:
        trouble.ends(job, "parked")
    assert jobs[0] in (yield {"JOB": jobs[0]})
    for job, how in zip(jobs, ("completed", "retry", "failed"), strict=True):
        yield {"JOB": job}
        trouble.ends(job, "failed" if how == "failed" else "completed")
        assert trouble.audited(job) == [f"resolve_{how}"]


def a_dead_letter(trouble: Trouble) -> str:
    trouble.fault("stripe", "status-429")
    job = trouble.submit(options={"attempts": 1})
    trouble.ends(job, "failed")
    return job


def dead_letters(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    jobs = [a_dead_letter(trouble) for _ in range(3)]
    code = trouble.read(f"/v1/jobs/{jobs[0]}")["error"]["code"]
    told = {"FINGERPRINT": f"payment.process:{code}", "JOB": jobs[0]}
    assert told["FINGERPRINT"] in (yield told)
    assert "completed" in (yield told)
    assert '"done": 2' in (yield told)
    assert trouble.read(f"/v1/jobs/{jobs[1]}")["state"] == "failed"
    assert "redrive" in (yield told)
    begun = trouble.read("/v1/operations")["operations"][0]
    assert (begun["mode"], begun["status"], begun["progress"]["done"]) == ("start", "running", 1)
    stopped = trouble.client.post(f"/v1/operations/{begun['operationId']}/stop", {})
    assert stopped.body["status"] == "stopped"
    for job in (jobs[0], jobs[2]):  # the canary is the latest
        trouble.ends(job)
        assert trouble.charges(job) == 1


def poison(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    sqs = trouble.aws.client("sqs")
    try:
        [money] = [url for url in sqs.list_queues()["QueueUrls"] if url.endswith("money-queue")]
        sqs.send_message(QueueUrl=money, MessageBody="{")
        await_that(lambda: trouble.read("/v1/queues/money")["poison"] == 1)
        seen = yield {"DLQ_URL": f"{money}-dlq"}
        assert '"reason"' in seen
        handle = re.search(r'"ReceiptHandle": "([^"]+)"', seen)
        assert handle is not None
        yield {"DLQ_URL": f"{money}-dlq", "HANDLE": handle[1]}
        assert trouble.read("/v1/queues/money")["poison"] == 0
    finally:
        sqs.close()


def storm(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    told = {"VENUE": STORMY}
    first = trouble.submit(venue=STORMY)
    trouble.ends(first)
    assert (yield told).count(first) == 2
    yield told
    held = [trouble.submit(venue=STORMY) for _ in range(3)]
    other = trouble.submit()
    trouble.ends(other)
    time.sleep(1.1)  # what matches is what was accepted before it was asked for
    yield told
    for job in held:
        trouble.ends(job, "cancelled")
    yield told
    trouble.ends(trouble.submit(venue=STORMY))
    assert [trouble.charges(job) for job in held] == [0] * 3


def wrong_deployment(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    yield {}
    job = trouble.submit()
    yield {}
    mail = trouble.submit(MAIL)
    yield {}
    for each in (job, mail):
        assert trouble.read(f"/v1/jobs/{each}")["attempts"] == 0
    yield {}
    trouble.ends(job)
    trouble.ends(mail)


def leaked_key(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    leaked = "leaked " * 10
    secrets = trouble.aws.client("secretsmanager")

    def keys() -> dict[str, str]:
        found = secrets.get_secret_value(SecretId="token-keys")["SecretString"]
        front.token_keys = dict(parse_token_keys(found))
        return front.token_keys

    front = Front()
    now = front.clock.now()
    try:
        held = json.dumps({"current": "k1", "keys": {"k1": leaked}})
        secrets.create_secret(Name="token-keys", SecretString=held)
        assert list(keys().values()) == [leaked]
        bearer = sign(claims(now, role="admin"), leaked)
        assert front.get("/v1/queues", token=bearer).status_code == 200
        told = {"TOKEN_SECRET": "token-keys", "ACTOR": "u1"}
        yield told
        [key] = keys().values()
        assert key != leaked
        front.clock.advance(timedelta(minutes=5))
        assert front.get("/v1/queues", token=bearer).status_code == 401
        assert front.get("/v1/queues", token=sign(claims(now, role="admin"), key)).status_code == 200
        assert "u1" in (yield told)
        time.sleep(1.1)  # the next key is named by its second
        yield told
        assert len(keys()) == 2
        assert key in keys().values()
    finally:
        secrets.close()


def lost_message(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    job = trouble.submit(options={"delay": 3_600_000})  # none has been sent for it
    assert job in (yield {"JOB": job})
    trouble.ends(job)


def wrong_schedule(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    template = {**MAIL, "venueId": VENUE}
    body = {"name": "nightly", "cronExpression": "0 3 1 1 *", "timeZone": "UTC", "job": template}
    schedule = trouble.client.post("/v1/schedules", body).body["id"]
    made = trouble.submit(MAIL, options={"delay": 3_600_000})
    time.sleep(1.1)
    told = {"SCHEDULE": schedule, "VENUE": VENUE}
    assert "nightly" in (yield told)
    assert not trouble.read(f"/v1/schedules/{schedule}")["active"]
    yield told
    trouble.ends(made, "cancelled")
    assert trouble.read(f"/v1/schedules/{schedule}")["active"]
    await_that(lambda: trouble.read(f"/v1/schedules/{schedule}")["lastRun"] is not None)


def webhooks_not_taken(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    made = trouble.client.post(
        f"/v1/endpoints?venueId={VENUE}", {"url": trouble.stack.endpoints["providers"]["hooks"]}
    ).body
    with closing(Client(trouble.stack.endpoints["providers"]["stripe"])) as stand_ins:
        assert stand_ins.post("/_hooks", {"secret": made["secret"]}).status == 200
    trouble.fault("hooks", "decline")
    event = {"endpointId": made["id"], "event": "order.paid", "eventId": "evt-1", "payload": {}}
    job = trouble.submit({"type": "webhook.deliver", "data": event})
    trouble.ends(job, "failed")
    time.sleep(1.1)
    told = {"VENUE": VENUE, "ENDPOINT": made["id"]}
    seen = yield told
    assert "gone" in seen
    assert job in seen
    yield told
    trouble.ends(job)
    assert trouble.read(f"/v1/endpoints/{made['id']}?venueId={VENUE}")["active"]
    assert "whsec_" in (yield told)


def old_job(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    job = trouble.submit(user="user-9")
    trouble.ends(job)
    stage = create_stack(trouble.stack.endpoints["aws"])
    make_old(trouble, job, stage)
    settings = stage | {"STAGE": "local", "JWT_SECRET": signing_secret(trouble.stack.directory)}
    told = settings | {"JOB": job, "PERSON": "user-9", "VENUE": VENUE, "ADDRESS": "ada@example.com"}
    seen = yield told  # the stack's own cleanup runs every second, so it may have been first
    assert f"payment_archive/payment.process/2026/01/02/{job}-" in seen
    assert " 0 damaged." in seen
    assert trouble.client.get(f"/v1/jobs/{job}").status == 404
    assert "1 restored" in (yield told)
    trouble.ends(job)
    assert trouble.audited(job)[-1] == "restore"
    seen = yield told
    assert "1 jobs erased in 1 objects." in seen
    assert " 0 damaged." in seen


def make_old(trouble: Trouble, job_id: str, stage: dict[str, str]) -> None:
    """Have a job look as if it had ended on 2 January 2026 and been put off then."""
    with closing(trouble.aws.client("dynamodb")) as tables:
        long_ago = {"N": str(int(datetime(2026, 1, 2, tzinfo=UTC).timestamp() * 1000))}
        tables.update_item(
            TableName=stage["JOBS_TABLE"],
            Key={"id": {"S": job_id}},
            UpdateExpression="SET fi = :then, cr = :then",
            ExpressionAttributeValues={":then": long_ago},
        )
        row = {"pk": {"S": "leftovers"}, "sk": {"S": f"{0:015d}#{job_id}"}}
        tables.put_item(TableName=stage["QUEUE_METRICS_TABLE"], Item=row)


def suppressed(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    to = "bounce+runbook@simulator.amazonses.com"
    mail = {**MAIL, "data": {**MAIL["data"], "to": to}}
    late = trouble.submit(mail, options={"delay": 3_000})
    trouble.ends(trouble.submit(mail))
    trouble.ends(late, "failed")
    assert "bounce" in (yield {"ADDRESS": to, "JOB": late})
    yield {"ADDRESS": to, "JOB": late}
    trouble.ends(late)


def erased(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    one, other = trouble.submit(MAIL, user="user-7"), trouble.submit(MAIL, user="user-8")
    for job in (one, other):
        trouble.ends(job)
    time.sleep(1.1)
    told = {"PERSON": "user-7", "VENUE": VENUE, "ADDRESS": "ada@example.com"}
    yield told
    assert trouble.read(f"/v1/jobs/{one}")["data"] == {}
    assert trouble.read(f"/v1/jobs/{other}")["data"] != {}
    yield told
    assert trouble.read(f"/v1/jobs/{other}")["data"] == {}


def aws_down(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    assert "ok" in (yield {})
    assert "money" in (yield {})


def by_curl(trouble: Trouble) -> Generator[dict[str, str], str, None]:
    assert '"queues"' in (yield {})
    job = a_dead_letter(trouble)
    yield {"JOB": job}
    trouble.ends(job)
    trouble.fault("ses", "timeout-after-apply")
    mail = trouble.submit(MAIL)
    trouble.ends(mail, "parked")
    yield {"JOB": mail}
    trouble.ends(mail)


SCENES: dict[str, Scene] = {
    "Before anything": before_anything,
    "An alert has come": alerted,
    "A scheduled function is silent": silent,
    "The money queue is stuck": stuck,
    "A provider is down or misbehaves": provider_down,
    "Jobs are parked": parked,
    "Dead letters": dead_letters,
    "Poison in a dead-letter queue": poison,
    "One venue's storm": storm,
    "A wrong deployment": wrong_deployment,
    "A token key has leaked": leaked_key,
    "Messages are lost": lost_message,
    "A schedule goes wrong": wrong_schedule,
    "A venue's webhooks are not taken": webhooks_not_taken,
    "A person's data must go": erased,
    "An old job is wanted, or must be erased": old_job,
    "Somebody gets no mail or no texts": suppressed,
    "AWS is down": aws_down,
    "Without the command line": by_curl,
}


def sections() -> dict[str, list[str]]:
    """Return the blocks of commands of each section."""
    _, *parts = re.split(r"^## (.+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {
        heading: [block for _, block in FENCE.findall(text)]
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def await_that(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    timing = json.dumps({**json.loads(TIMING), "hold_by_visibility": 2})
    place = tmp_path_factory.mktemp("stack")
    with RunningStack(
        place, PERSIST="0", SCHEDULE_SECONDS="1", QUEUE_TIMING=timing, METRICS_TOKEN=SCRAPER
    ) as running:
        with closing(running.client()) as client:
            assert client.post("/v1/jobs", ORDER).status == 201
        yield running


@pytest.fixture
def trouble(stack: RunningStack) -> Iterator[Trouble]:
    with closing(stack.client()) as client:
        yield Trouble(stack, client, session(stack.endpoints["aws"]))


@pytest.fixture
def shell(stack: RunningStack, tmp_path: Path) -> Callable[..., str]:
    """Return what runs a block as an operator's shell does, and returns what it printed."""
    tools = {"queue-service": " -m queue_service", "aws": " -m tests.e2e.aws_line", "python": ""}
    for name, module in tools.items():
        tool = tmp_path / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        tool.chmod(0o755)
    surroundings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}",
        "QUEUE_SERVICE_URL": stack.endpoints["api"],
        "QUEUE_SERVICE_TOKEN": token(signing_secret(stack.directory)),
        "AWS_ENDPOINT_URL": stack.endpoints["aws"],
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    prelude = sections()["Before anything"][0]

    def run(block: str, variables: dict[str, str]) -> str:
        # Somebody has seen enough of what has no end; `timeout` is their Ctrl-C.
        script = ENDLESS.sub(f"timeout --preserve-status -s INT {WATCHED} \\g<0>", block)
        interruptible = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            done = subprocess.run(
                ["/bin/sh", "-eu", "-c", f"{prelude}\n{script}"],
                env=surroundings | variables,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        finally:
            signal.signal(signal.SIGINT, interruptible)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_every_section_has_its_scene_and_every_command_stands_in_a_block() -> None:
    text = RUNBOOK.read_text()
    assert list(sections()) == list(SCENES)
    assert {language for language, _ in FENCE.findall(text)} == {"sh"}
    assert text.count("```") == 2 * len(FENCE.findall(text))
    told = FENCE.sub("", text)
    assert re.findall(r"`(?:queue-service|aws|curl|api) [^`]*`", told) == []
    assert re.findall(r"^    \S", told, re.MULTILINE) == []  # an indented block would not be run


@pytest.mark.parametrize("heading", SCENES)
def test_the_commands_do_what_the_runbook_says(
    heading: str, trouble: Trouble, shell: Callable[..., str]
) -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"the runbook uses {', '.join(missing)}: install it")
    blocks, scene = sections()[heading], SCENES[heading](trouble)
    variables = next(scene)
    for place, block in enumerate(blocks, start=1):
        printed = shell(block, variables)
        try:
            variables = scene.send(printed)
        except StopIteration:
            assert place == len(blocks), f"The scene ends before this block:\n{blocks[place]}"
            return
    pytest.fail("The scene waits for a block that the runbook does not have.")


def test_a_prometheus_scrapes_the_stack_and_knows_how_a_job_ended(stack: RunningStack, tmp_path: Path) -> None:
    """It stands here because the stack has run for long enough to have counted."""
    fulfilled = 'sum(job_results_total{queue_name="money-queue",job_type="order.fulfill",result="success"})'
    end = time.monotonic() + COUNTED_WITHIN
    with RunningPrometheus(tmp_path / "prometheus", stack.endpoints["api"], SCRAPER) as prometheus:
        while prometheus.value(fulfilled) != 1:
            assert time.monotonic() < end, prometheus.value(fulfilled)
            time.sleep(0.2)
        assert prometheus.value('min(up{job="queue-service"})') == 1
