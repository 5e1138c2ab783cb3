"""The stand-ins keep their word: keys as Stripe's, every fault mode, the ledger, the restart."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from local.standins import StandIns
from tests.fakes import ManualClock

FORM = {
    "amount": "1250",
    "currency": "eur",
    "customer": "cus_1",
    "payment_method": "pm_card_visa",
    "confirm": "true",
    "metadata[job_id]": "job_1",
}
SECRET = "sk_test_1"
ROOT = Path(__file__).parents[2]


class Caller:
    """A plain HTTP client of a stand-in, with one connection that is kept alive."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def ask(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.getheaders())

    def stripe(
        self, path: str, form: Mapping[str, str] | None = None, key: str | None = None, secret: str = SECRET
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        headers = {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": key} if key else {})
        if form is None:
            return self.ask("GET", path, **headers)
        return self.ask("POST", path, urlencode(form), **headers)

    def create(self, key: str | None = None, **changes: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        return self.stripe("/v1/payment_intents", FORM | changes, key)

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def caller(stand_ins: StandIns) -> Iterator[Caller]:
    with closing(Caller(stand_ins.url)) as made:
        yield made


def arm(caller: Caller, mode: str, provider: str = "stripe", count: int = 1) -> None:
    order = json.dumps({"provider": provider, "mode": mode, "count": count})
    status, _, _ = caller.ask("POST", "/_faults", order)
    assert status == 200


def ledger(caller: Caller) -> list[dict[str, Any]]:
    effects: list[dict[str, Any]] = caller.ask("GET", "/_ledger")[1]["effects"]
    return effects


# --- keys


def test_same_key_and_parameters_replay_the_first_answer(caller: Caller) -> None:
    first, second = caller.create("k"), caller.create("k")
    assert second[:2] == first[:2]
    assert "Idempotent-Replayed" not in first[2]
    assert second[2]["Idempotent-Replayed"] == "true"
    assert first[2]["Request-Id"] != second[2]["Request-Id"]
    assert len(ledger(caller)) == 1


def test_without_a_key_every_call_charges(caller: Caller) -> None:
    caller.create()
    caller.create()
    assert len(ledger(caller)) == 2


def test_decline_is_replayed(caller: Caller) -> None:
    first = caller.create("k", payment_method="pm_card_chargeDeclined")
    second = caller.create("k", payment_method="pm_card_chargeDeclined")
    assert first[0] == 402
    assert first[1]["error"]["payment_intent"]["status"] == "requires_payment_method"
    assert second[:2] == first[:2]
    assert second[2]["Idempotent-Replayed"] == "true"


def test_other_parameters_under_a_key_are_refused(caller: Caller) -> None:
    caller.create("k")
    status, body, _ = caller.create("k", amount="1300")
    assert (status, body["error"]["type"]) == (400, "idempotency_error")
    assert len(ledger(caller)) == 1


def test_key_is_forgotten_after_a_day(caller: Caller, clock: ManualClock) -> None:
    caller.create("k")
    clock.advance(timedelta(hours=23, minutes=59))
    assert "Idempotent-Replayed" in caller.create("k")[2]
    clock.advance(timedelta(minutes=1))
    assert "Idempotent-Replayed" not in caller.create("k")[2]
    assert len(ledger(caller)) == 2


@pytest.mark.parametrize(
    "change", [{"amount": "0"}, {"currency": "euro"}, {"customer": "cus_missing"}, {"colour": "red"}]
)
def test_what_fails_validation_is_not_kept_under_the_key(caller: Caller, change: dict[str, str]) -> None:
    assert caller.create("k", **change)[0] == 400
    assert caller.create("k")[0] == 200


def test_key_in_use_is_a_conflict(stand_ins: StandIns, caller: Caller) -> None:
    arm(caller, "slow")
    with closing(Caller(stand_ins.url)) as other:
        slow = threading.Thread(target=other.create, args=("k",))
        slow.start()
        time.sleep(0.3)
        status, body, _ = caller.create("k")
        slow.join()
    assert (status, body["error"]["code"]) == (409, "idempotency_key_in_use")
    assert len(ledger(caller)) == 1


def test_keys_of_two_accounts_do_not_meet(caller: Caller) -> None:
    for secret in ("sk_test_1", "sk_test_2"):
        caller.stripe("/v1/payment_intents", FORM, "k", secret)
    assert len(ledger(caller)) == 2


@pytest.mark.parametrize("secret", ["", "sk_live_1", "pk_test_1"])
def test_bad_secret_is_turned_away(caller: Caller, secret: str) -> None:
    assert caller.stripe("/v1/payment_intents", FORM, "k", secret)[0] == 401
    assert caller.create("k")[0] == 200


def test_threads_under_one_key_charge_once(stand_ins: StandIns, caller: Caller) -> None:
    statuses: list[int] = []

    def call() -> None:
        with closing(Caller(stand_ins.url)) as own:
            statuses.append(own.create("k")[0])

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 409}
    assert len(ledger(caller)) == 1


# --- intents


def test_every_page_is_needed_to_see_all_of_a_customers_intents(caller: Caller) -> None:
    made = [caller.create()[1]["id"] for _ in range(12)]
    caller.create(customer="cus_2")
    seen: list[str] = []
    query = {"customer": "cus_1", "limit": "5"}
    while True:
        page = caller.stripe(f"/v1/payment_intents?{urlencode(query)}")[1]
        seen += [intent["id"] for intent in page["data"]]
        if not page["has_more"]:
            break
        query["starting_after"] = seen[-1]
    assert seen == made[::-1]


def test_intents_are_listed_from_a_moment_on(caller: Caller, clock: ManualClock) -> None:
    caller.create()
    clock.advance(timedelta(minutes=1))
    late = caller.create()[1]
    page = caller.stripe(f"/v1/payment_intents?created[gte]={late['created']}")[1]
    assert [intent["id"] for intent in page["data"]] == [late["id"]]


@pytest.mark.parametrize(("action", "status"), [("succeed", "succeeded"), ("fail", "requires_payment_method")])
@pytest.mark.parametrize("method", ["pm_card_threeDSecure2Required", "pm_usBankAccount_processing"])
def test_customer_can_be_played(caller: Caller, method: str, action: str, status: str) -> None:
    intent = caller.create("k", payment_method=method)[1]
    assert ledger(caller) == []
    order = json.dumps({"paymentIntentId": intent["id"], "action": action})
    assert caller.ask("POST", "/_act", order)[1]["status"] == status
    assert [row["idempotencyKey"] for row in ledger(caller)] == (["k"] if action == "succeed" else [])


def test_intent_that_succeeded_can_be_neither_confirmed_nor_cancelled(caller: Caller) -> None:
    intent = caller.create()[1]
    for verb in ("confirm", "cancel"):
        status, body, _ = caller.stripe(f"/v1/payment_intents/{intent['id']}/{verb}", {})
        assert (status, body["error"]["code"]) == (400, "payment_intent_unexpected_state")
    assert len(ledger(caller)) == 1


# --- faults


@pytest.mark.parametrize(
    ("mode", "status", "kept"),
    [("status-500", 500, True), ("status-503", 503, False), ("status-429", 429, False), ("decline", 402, True)],
)
def test_fault_that_answers_has_no_effect(caller: Caller, mode: str, status: int, kept: bool) -> None:
    arm(caller, mode)
    assert caller.create("k")[0] == status
    assert ledger(caller) == []
    again, _, headers = caller.create("k")
    assert again == (status if kept else 200)
    assert ("Idempotent-Replayed" in headers) is kept


def test_rate_limit_says_when_to_come_back(caller: Caller) -> None:
    arm(caller, "status-429")
    assert caller.create()[2]["Retry-After"] == "1"


@pytest.mark.parametrize(("mode", "effects"), [("timeout-before-apply", 0), ("timeout-after-apply", 1)])
def test_time_out_before_and_after_the_effect(
    stand_ins: StandIns, caller: Caller, mode: str, effects: int
) -> None:
    arm(caller, mode)
    with closing(Caller(stand_ins.url, timeout=0.3)) as impatient, pytest.raises(TimeoutError):
        impatient.create("k")
    assert len(ledger(caller)) == effects
    assert ("Idempotent-Replayed" in caller.create("k")[2]) is bool(effects)
    assert len(ledger(caller)) == 1


def test_slow_answers_all_the_same(caller: Caller) -> None:
    arm(caller, "slow")
    began = time.monotonic()
    assert caller.create()[0] == 200
    assert time.monotonic() - began >= 2


@pytest.mark.parametrize("provider", ["stripe", "ses"])
def test_refused_connection_is_refused_by_the_kernel_and_only_as_often_as_ordered(
    stand_ins: StandIns, provider: str
) -> None:
    struck, spared = (stand_ins.url, stand_ins.ses_url)[:: 1 if provider == "stripe" else -1]
    with closing(Caller(spared)) as caller:
        arm(caller, "refuse-connection", provider, count=2)
        address = (urlsplit(struck).hostname, urlsplit(struck).port)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
        deadline = time.monotonic() + 5
        while caller.ask("GET", "/_faults")[1]["faults"] and time.monotonic() < deadline:
            time.sleep(0.01)
        socket.create_connection(address).close()


def test_refused_connections_cut_those_that_are_open(stand_ins: StandIns, caller: Caller) -> None:
    caller.create()
    with closing(Caller(stand_ins.ses_url)) as other:
        arm(other, "refuse-connection")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        caller.create()
    assert len(stand_ins.effects()) == 1


def test_port_comes_and_goes_without_ever_breaking_a_call_that_it_took(stand_ins: StandIns) -> None:
    met: set[type] = set()
    for round_ in range(400):
        if round_ % 7 == 0:
            stand_ins.arm("stripe", "refuse-connection", 1 + round_ % 2)
        with closing(Caller(stand_ins.url)) as caller:
            try:
                assert caller.create()[0] == 200
            except OSError as error:
                met.add(type(error))
    assert met == {ConnectionRefusedError}


def test_reset_opens_a_closed_port(stand_ins: StandIns) -> None:
    stand_ins.arm("stripe", "refuse-connection", 1000)
    with closing(Caller(stand_ins.ses_url)) as other:
        assert other.ask("POST", "/_reset")[0] == 200
        deadline = time.monotonic() + 5
        while other.ask("GET", "/_faults")[1]["faults"] and time.monotonic() < deadline:
            time.sleep(0.01)
    with closing(Caller(stand_ins.url)) as caller:
        assert caller.create()[0] == 200


def test_fault_strikes_as_often_as_ordered(caller: Caller) -> None:
    arm(caller, "status-429", count=2)
    assert caller.ask("GET", "/_faults")[1]["faults"] == [
        {"provider": "stripe", "mode": "status-429", "count": 2}
    ]
    assert [caller.create()[0] for _ in range(3)] == [429, 429, 200]
    assert caller.ask("GET", "/_faults")[1]["faults"] == []


@pytest.mark.parametrize(
    "order",
    [
        {"provider": "stripe", "mode": "explode"},
        {"provider": "acme", "mode": "slow"},
        {"provider": "stripe", "mode": "slow", "count": 0},
        {"provider": "stripe", "mode": "slow", "count": True},
        [],
    ],
)
def test_senseless_order_is_told_what_makes_sense(caller: Caller, order: Any) -> None:
    status, body, _ = caller.ask("POST", "/_faults", json.dumps(order))
    assert status == 400
    assert "timeout-after-apply" in body["modes"]
    assert caller.ask("GET", "/_faults")[1]["faults"] == []


def test_order_that_is_no_json_is_a_400(caller: Caller) -> None:
    assert caller.ask("POST", "/_faults", "{")[0] == 400


def test_reset_forgets_everything(caller: Caller) -> None:
    caller.create("k")
    arm(caller, "decline")
    assert caller.ask("POST", "/_reset")[0] == 200
    assert ledger(caller) == []
    status, _, headers = caller.create("k")
    assert (status, "Idempotent-Replayed" in headers) == (200, False)


# --- the ledger and the process


def test_ledger_tells_of_each_charge(caller: Caller, clock: ManualClock) -> None:
    caller.create("k")
    assert ledger(caller) == [
        {
            "provider": "stripe",
            "operation": "charge",
            "idempotencyKey": "k",
            "jobId": "job_1",
            "amount": 1250,
            "at": clock.now().isoformat(timespec="milliseconds"),
        }
    ]


def test_restart_keeps_keys_intents_and_ledger(tmp_path: Path) -> None:
    state = tmp_path / "stand-ins.sqlite"
    with StandIns(state=state) as first, closing(Caller(first.url)) as caller:
        intent = caller.create("k")[1]
    with StandIns(state=state) as second, closing(Caller(second.url)) as caller:
        assert caller.stripe(f"/v1/payment_intents/{intent['id']}")[1] == intent
        assert "Idempotent-Replayed" in caller.create("k")[2]
        assert len(ledger(caller)) == 1


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_process_says_where_it_serves_and_outlives_its_end(tmp_path: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "local.standins", "--state", str(tmp_path / "state")]
    for charges in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        with process.stdout, closing(Caller(json.loads(process.stdout.readline())["stripe"])) as caller:
            caller.create()
            assert len(ledger(caller)) == charges
            process.send_signal(ending)
            process.wait(10)
        assert process.returncode == (0 if ending is signal.SIGTERM else -signal.SIGKILL)


def test_process_whose_port_is_taken_says_so(stand_ins: StandIns) -> None:
    port = str(urlsplit(stand_ins.url).port)
    command = [sys.executable, "-m", "local.standins", "--port", port]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=20)
    assert ended.returncode == 1
    assert port in ended.stderr
