import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from local.identity import signing_secret
from local.options import ROOT
from local.rest import Client
from tests.e2e.stacks import PATIENCE, RunningStack, await_state, processes_of

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
# As a person's shell has it: a make within `make test` would say which directory it enters.
SHELL = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
PAYMENT: dict[str, Any] = {
    "type": "payment.process",
    "data": {
        "amount": 4_500,
        "currency": "EUR",
        "customerId": "cus_1",
        "eventId": "ev_1",
        "paymentMethod": "pm_card_visa",
    },
}


def run(*command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=SHELL | {"LOCAL_DIR": str(directory)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def await_none(directory: Path) -> None:
    end = time.monotonic() + PATIENCE
    while (left := processes_of(directory)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def test_the_curl_line_of_the_banner_works_as_it_stands(stack: RunningStack) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    line = stack.line(lambda line: line.startswith("curl") and "/v1/jobs" in line)
    accepted = run(*shlex.split(line), directory=stack.directory)
    assert accepted.returncode == 0, accepted.stderr
    job_id = json.loads(accepted.stdout)["jobId"]
    client = stack.client()
    await_state(client, job_id, "completed")
    client.close()
    assert [effect["operation"] for effect in stack.ledger() if effect["jobId"] == job_id] == ["charge"]


def test_the_banner_holds_the_url_and_a_token_that_the_service_takes(stack: RunningStack) -> None:
    assert stack.line(lambda line: stack.endpoints["api"] in line)
    bearer = stack.line(re.compile(r"[\w-]+\.[\w-]+\.[\w-]+").fullmatch)
    claims = jwt.decode(
        bearer, signing_secret(stack.directory), algorithms=["HS256"], audience="tickettoken-platform"
    )
    assert (claims["role"], claims["venueId"]) == ("admin", "v1")


def test_the_endpoints_are_written_down_while_it_runs(stack: RunningStack) -> None:
    assert stack.endpoints["api"] == f"http://127.0.0.1:{stack.port}"
    assert set(stack.endpoints) == {"api", "aws", "providers"}
    assert stack.endpoints["providers"]["stripe"].startswith("http://127.0.0.1:")


def test_a_port_in_use_is_said_before_anything_starts(stack: RunningStack, tmp_path: Path) -> None:
    refused = run(sys.executable, "-m", "local.run", directory=tmp_path, PORT=str(stack.port))
    assert refused.returncode != 0
    assert f"Port {stack.port} is in use" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_two_stacks_do_not_meet(stack: RunningStack) -> None:
    with RunningStack(stack.directory.with_name("other")) as other:
        client = other.client()
        job_id = client.post("/v1/jobs", PAYMENT).body["jobId"]
        await_state(client, job_id, "completed")
        client.close()
        first = stack.client()
        assert first.get(f"/v1/jobs/{job_id}").status in (401, 404)
        first.close()
    assert (stack.directory / "endpoints.json").exists()


@needs_proc
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(tmp_path: Path, signum: int) -> None:
    with RunningStack(tmp_path) as stack:
        assert len(processes_of(tmp_path)) == 2  # ours and the embedded AWS
        assert stack.end(signum) == 0
        assert processes_of(tmp_path) == []
        assert not (tmp_path / "endpoints.json").exists()


@needs_proc
def test_a_killed_stack_takes_its_child_along(tmp_path: Path) -> None:
    with RunningStack(tmp_path) as stack:
        stack.end(signal.SIGKILL)
        await_none(tmp_path)


def test_accepted_jobs_survive_a_restart(tmp_path: Path) -> None:
    with RunningStack(tmp_path) as first:
        client = first.client()
        soon = client.post("/v1/jobs", PAYMENT | {"options": {"delay": 4_000}})
        assert soon.status == 201, soon
        done = client.post("/v1/jobs", PAYMENT | {"idempotencyKey": "another"}).body["jobId"]
        await_state(client, done, "completed")
        client.close()
        port = first.port
    with RunningStack(tmp_path, port=port) as second:
        assert second.seconds_to_start < 10
        client = second.client()
        await_state(client, soon.body["jobId"], "completed")
        assert client.get(f"/v1/jobs/{done}").body["state"] == "completed"
        again = client.post("/v1/jobs", PAYMENT | {"idempotencyKey": "another"})
        assert (again.status, again.body["jobId"], again.body["deduplicated"]) == (200, done, True)
        client.close()
        charged = [effect["jobId"] for effect in second.ledger() if effect["operation"] == "charge"]
        assert sorted(charged) == sorted([done, soon.body["jobId"]])


def test_without_persistence_nothing_is_left(tmp_path: Path) -> None:
    with RunningStack(tmp_path, PERSIST="0") as stack:
        client = stack.client()
        assert client.post("/v1/jobs", PAYMENT).status == 201
        client.close()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("state")]


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http"), ("PORT", "70000"), ("PERSIST", "yes"), ("AWS", "azure")]
)
def test_an_option_that_makes_no_sense_is_refused(tmp_path: Path, name: str, value: str) -> None:
    refused = run(sys.executable, "-m", "local.run", directory=tmp_path, **{name: value})
    assert refused.returncode == 2
    assert f"{name}={value}" in refused.stderr


def test_an_endpoint_that_does_not_answer_is_said(tmp_path: Path) -> None:
    refused = run(
        sys.executable, "-m", "local.run", directory=tmp_path, PORT="0", AWS_ENDPOINT_URL="http://127.0.0.1:9"
    )
    assert refused.returncode == 1
    assert "http://127.0.0.1:9 could not be used" in refused.stderr


@pytest.mark.parametrize("command", [("make", "token"), (sys.executable, "-m", "local.token")])
def test_a_token_is_all_that_is_printed(tmp_path: Path, command: tuple[str, ...]) -> None:
    printed = run(*command, directory=tmp_path, ROLE="venue_admin", VENUE="v7", SUB="u9").stdout
    claims = jwt.decode(
        printed.removesuffix("\n"),
        signing_secret(tmp_path),
        algorithms=["HS256"],
        audience="tickettoken-platform",
        issuer="tickettoken",
    )
    assert (claims["sub"], claims["role"], claims["venueId"]) == ("u9", "venue_admin", "v7")
    assert claims["exp"] - claims["iat"] <= 24 * 60 * 60


def test_a_token_for_no_role_is_refused(tmp_path: Path) -> None:
    refused = run(sys.executable, "-m", "local.token", directory=tmp_path, ROLE="root")
    assert (refused.returncode, refused.stdout) == (1, "")


def test_the_signing_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert signing_secret(tmp_path) == signing_secret(tmp_path)
    assert (tmp_path / "jwt-secret").stat().st_mode & 0o777 == 0o600


@needs_proc
def test_the_demo_proves_its_sale(tmp_path: Path) -> None:
    sale = run(sys.executable, "-m", "local.demo", directory=tmp_path, N="20", STAND_IN_SILENCE_SECONDS="2")
    assert sale.returncode == 0, sale.stdout + sale.stderr
    rows = dict(re.findall(r"^  (\w[\w ]*?) +(\d+)$", sale.stdout, re.MULTILINE))
    assert rows == {
        "accepted": "109",
        "deduplicated": rows["deduplicated"],
        "completed": "117",
        "declined": "2",
        "charges made": "19",
        "refunds made": "6",
        "payouts made": "1",
        "tickets minted": "19",
        "mails sent": "19",
        "texts sent": "5",
        "webhooks posted": "29",
        "orders fulfilled": "19",
    }
    assert int(rows["deduplicated"]) >= 8
    await_none(tmp_path)


DOCTORED = """
import sys
from local import demo

reckon = demo.reckon
demo.FAULTS = ()
demo.reckon = lambda records, effects: reckon(records, [*effects, effects[0]])
sys.exit(demo.main())
"""


def test_the_demo_fails_when_the_ledger_shows_a_charge_too_many(tmp_path: Path) -> None:
    sale = run(sys.executable, "-c", DOCTORED, directory=tmp_path, N="3")
    assert sale.returncode == 1
    assert "DO NOT agree" in sale.stdout
    assert re.search(r"job_\w+ \(\S+\) is completed and has 2 x", sale.stdout)


def test_what_the_bank_settles_later_completes_by_stripes_callback(stack: RunningStack) -> None:
    """A poll would come after five minutes, which is longer than this test waits."""
    client, stripe = stack.client(), Client(stack.endpoints["providers"]["stripe"])
    data = {**PAYMENT["data"], "paymentMethod": "pm_usBankAccount_processing", "orderId": "settled-later"}
    job_id = client.post("/v1/jobs", {**PAYMENT, "data": data}).body["jobId"]
    waiting = await_state(client, job_id, "retrying")
    assert waiting["result"]["status"] == "processing"
    acted = stripe.post("/_act", {"paymentIntentId": waiting["result"]["paymentIntentId"], "action": "succeed"})
    assert acted.status == 200
    assert await_state(client, job_id, "completed")["result"]["status"] == "succeeded"
    client.close()
    stripe.close()


def test_declined_payment_is_paid_by_another_card_and_the_venue_paid_out(stack: RunningStack) -> None:
    client = stack.client()
    data = {**PAYMENT["data"], "paymentMethod": "pm_card_chargeDeclined", "orderId": "paid-in-the-end"}
    declined = client.post("/v1/jobs", {**PAYMENT, "data": data}).body["jobId"]
    intent = await_state(client, declined, "failed")["providerObject"]
    retry = {"paymentIntentId": intent, "paymentMethod": "pm_card_visa"}
    retried = client.post("/v1/jobs", {"type": "payment.retry", "data": retry}).body["jobId"]
    assert await_state(client, retried, "completed")["result"]["paymentIntentId"] == intent
    payout = {"amount": 4_000, "currency": "EUR", "period": "2026-11", "destination": "acct_venue"}
    jobs = [client.post("/v1/jobs", {"type": "payment.payout", "data": payout}).body["jobId"] for _ in range(2)]
    assert jobs[0] == jobs[1]
    assert await_state(client, jobs[0], "completed")["result"]["status"] == "created"
    client.close()
    moved = [(effect["operation"], effect["idempotencyKey"]) for effect in stack.ledger()]
    assert moved.count(("charge", f"{retried}:confirm:0")) == 1
    assert [each for each in moved if each[0] == "transfer"] == [("transfer", f"{jobs[0]}:payout:0")]


def test_a_text_goes_out_is_told_delivered_and_stops_at_stop(stack: RunningStack) -> None:
    client, stand_ins = stack.client(), Client(stack.endpoints["providers"]["stripe"])
    phone = "+15005550042"
    text: dict[str, Any] = {"type": "sms.send", "data": {"to": phone, "message": "Your table is ready."}}
    job_id = client.post("/v1/jobs", text).body["jobId"]
    job = await_state(client, job_id, "completed")
    assert (job["result"]["segments"], job["result"]["encoding"]) == (1, "GSM-7")
    assert [each["operation"] for each in stack.ledger() if each["jobId"] == job_id] == ["sms"]
    assert stack.line(lambda line: "sms_status" in line and "delivered" in line)
    assert stand_ins.post("/_inbound", {"from": phone, "body": "STOP"}).body == {"status": 200}
    refused = client.post("/v1/jobs", {**text, "data": {**text["data"], "message": "Another."}})
    assert (refused.status, refused.body["details"][0]["field"]) == (400, "data.to")
    assert stand_ins.post("/_inbound", {"from": phone, "body": "Start"}).body == {"status": 200}
    again = client.post("/v1/jobs", {**text, "data": {**text["data"], "message": "Another."}})
    await_state(client, again.body["jobId"], "completed")
    client.close()
    stand_ins.close()
