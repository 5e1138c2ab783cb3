"""Alerts on the local stack, from what goes wrong until the text, the call and the SNS message arrive: once."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.reckoning import is_alert
from local.rest import Client
from local.sessions import session
from tests.e2e.stacks import PATIENCE, RunningStack, await_state
from tests.e2e.test_front_door import PAYMENT

MAIL = {"to": "ada@example.com", "template": "refund_notice", "data": {"amount": "1.00 EUR"}}
SOON: dict[str, Any] = {  # a monitor a second, and seconds for the minutes of the protocol
    "SCHEDULE_SECONDS": "1",
    "QUEUE_TIMING": json.dumps({"look_after": 1}),
    "ALERT_THRESHOLD_MONEY_QUEUE": "5",
    "ALERT_THRESHOLD_MONEY_AGE_MINUTES": "0",
}
SETTLED = 5.0  # seconds in which a second notice would have come


class Watched:
    """A stack, and all that people are told: by text, by call, and on the topic."""

    def __init__(self, stack: RunningStack) -> None:
        self.client = stack.client()
        self._stack = stack
        made = session(stack.endpoints["aws"])
        sns, self._sqs = made.client("sns"), made.client("sqs")
        self._inbox = self._sqs.create_queue(QueueName="subscriber")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._inbox, AttributeNames=["QueueArn"])
        [topic] = [each["TopicArn"] for each in sns.list_topics()["Topics"] if "alerts" in each["TopicArn"]]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
        sns.close()
        self.bulletins: list[dict[str, Any]] = []

    def close(self) -> None:
        self.client.close()
        self._sqs.close()

    def fault(self, provider: str, mode: str, count: int) -> None:
        stand_ins = Client(self._stack.endpoints["providers"]["stripe"])
        order = {"provider": provider, "mode": mode, "count": count}
        assert stand_ins.post("/_faults", order).status == 200
        stand_ins.close()

    def litter(self) -> None:
        """Put in a queue what no job can be made of."""
        [url] = [url for url in self._sqs.list_queues()["QueueUrls"] if url.endswith("background-queue")]
        self._sqs.send_message(QueueUrl=url, MessageBody="rubbish")

    def told(self) -> Counter[str]:
        """How often the on-call phone was texted and called; no job is behind either."""
        return Counter(each["operation"] for each in self._stack.ledger() if is_alert(each))

    def published(self) -> Counter[tuple[str, str]]:
        """What came on the topic so far: types and words."""
        answer = self._sqs.receive_message(QueueUrl=self._inbox, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._inbox, ReceiptHandle=message["ReceiptHandle"])
            self.bulletins.append(json.loads(message["Body"]))
        names = (
            {name: each["Value"] for name, each in one["MessageAttributes"].items()} for one in self.bulletins
        )
        return Counter((each["type"], each["word"]) for each in names)

    def alert(self, kind: str) -> dict[str, Any]:
        [found] = [each for each in self.client.get("/v1/alerts").body["alerts"] if each["alertType"] == kind]
        alert: dict[str, Any] = found
        return alert


def until(ready: Callable[[], bool], seen: Callable[[], object], *, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not ready():
        assert time.monotonic() < end, seen()
        time.sleep(0.1)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with RunningStack(tmp_path, **SOON) as running:
        made = Watched(running)
        yield made
        made.close()


def test_age_parked_depth_and_poison_reach_the_phone_and_the_topic_once_each(watched: Watched) -> None:
    client = watched.client

    # A payment that a stopped provider holds back grows old; Twilio is down for its first text and call.
    assert (
        client.post("/v1/rate-limits/emergency-stop", {"provider": "stripe", "reason": "A test"}).status == 200
    )
    watched.fault("twilio", "status-503", 2)
    paid = client.post("/v1/jobs", PAYMENT).body["jobId"]
    until(lambda: watched.published()["queue_age", "alert"] == 1, watched.published)
    until(lambda: watched.told() == {"sms": 1, "call": 1}, watched.told)
    old = watched.alert("queue_age")
    assert "At least 45.00 EUR with the 1 oldest of them." in old["message"]
    assert all(old["toldAt"].values())

    # A mail of which nobody knows whether it left is parked: a warning, so nobody is called.
    watched.fault("ses", "timeout-after-apply", 1)
    mail = client.post("/v1/jobs", {"type": "email.send", "data": MAIL}).body["jobId"]
    await_state(client, mail, "parked")
    until(lambda: watched.published()["parked", "alert"] == 1, watched.published)
    until(lambda: watched.told() == {"sms": 2, "call": 1}, watched.told)

    # Once acknowledged, and once Stripe is let go, a slow one lets payments pile up.
    assert client.post(f"/v1/alerts/{old['id']}/acknowledge", {}).status == 200
    watched.fault("stripe", "slow", 80)
    assert client.post("/v1/rate-limits/resume", {"provider": "stripe", "reason": "A test"}).status == 200
    await_state(client, paid, "completed")
    data = PAYMENT["data"]
    jobs = [{**PAYMENT, "data": {**data, "orderId": f"order-{n}"}} for n in range(80)]
    assert client.post("/v1/jobs/batch", {"jobs": jobs}).status == 201
    until(lambda: watched.published()["queue_depth", "alert"] == 1, watched.published)
    until(lambda: watched.told() == {"sms": 3, "call": 2}, watched.told)

    # Twilio is down for longer: the topic and the log have it, and the text is due until it goes.
    watched.fault("twilio", "status-503", 5)
    watched.litter()
    until(lambda: watched.published()["poison", "alert"] == 1, watched.published)
    told = watched.alert("poison")["toldAt"]
    assert {channel for channel, at in told.items() if at is not None} >= {"log", "sns"}
    assert watched.told() == {"sms": 3, "call": 2}
    until(lambda: watched.told() == {"sms": 4, "call": 2}, watched.told)

    time.sleep(SETTLED)
    assert watched.told() == {"sms": 4, "call": 2}
    kinds = ("queue_age", "parked", "queue_depth", "poison")
    assert watched.published() == {(kind, "alert"): 1 for kind in kinds}


def test_a_test_rings_and_is_in_the_history(watched: Watched) -> None:
    answer = watched.client.post("/v1/alerts/test", {"severity": "critical"})
    assert [each["sent"] for each in answer.body["results"]] == [True] * 4, answer
    assert watched.told() == {"sms": 1, "call": 1}
    until(lambda: watched.published() == {("test", "alert"): 1}, watched.published)
    assert watched.alert("test")["id"] == answer.body["alertId"]
