from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from local.event_sources import Function, Invoker, Mapped, Poller
from local.sessions import session

MESSAGES = 3


class Queue:
    """A queue of the embedded AWS whose messages come back after a second."""

    def __init__(self, stack: Mapping[str, str]) -> None:
        self.url = stack["MONEY_QUEUE_URL"]
        self.sqs = session(stack["AWS_ENDPOINT_URL"]).client("sqs")
        for number in range(MESSAGES):
            self.sqs.send_message(QueueUrl=self.url, MessageBody=f"message-{number}")

    def poll(self, function: Function, reports: list[str] | None = None) -> None:
        report = (reports if reports is not None else []).append
        source = Mapped("consume", function, self.url, "arn:aws:sqs:us-east-1:000000000000:money-queue", 10)
        Poller(source, sqs=self.sqs, invoker=Invoker(timedelta(seconds=60)), report=report).poll()

    def left(self) -> int:
        """How many messages it has still, seen and unseen."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(text) for text in attributes.values())


@pytest.fixture
def queue(new_stack: Callable[..., Mapping[str, str]]) -> Iterator[Queue]:
    queue = Queue(new_stack(visibility_timeout=1))
    yield queue
    queue.sqs.close()


def test_a_batch_has_lambdas_shape_and_is_deleted_once_done(queue: Queue) -> None:
    seen: list[Mapping[str, Any]] = []
    queue.poll(lambda event, _context: seen.extend(event["Records"]))
    assert sorted(record["body"] for record in seen) == [f"message-{number}" for number in range(MESSAGES)]
    for record in seen:
        assert record["eventSource"] == "aws:sqs"
        assert record["attributes"]["ApproximateReceiveCount"] == "1"
        assert {"messageId", "receiptHandle", "eventSourceARN", "awsRegion", "messageAttributes"} <= set(record)
    assert queue.left() == 0


def test_what_the_function_names_as_failed_stays_and_the_rest_goes(queue: Queue) -> None:
    def all_but_the_first(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
        failed = event["Records"][1:]
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}

    queue.poll(all_but_the_first)
    assert queue.left() == MESSAGES - 1


def test_an_unknown_identifier_returns_the_whole_batch(queue: Queue) -> None:
    queue.poll(lambda _event, _context: {"batchItemFailures": [{"itemIdentifier": "nobody"}]})
    assert queue.left() == MESSAGES


def test_an_exception_returns_the_whole_batch_and_is_reported(queue: Queue) -> None:
    def broken(_event: object, _context: object) -> None:
        raise RuntimeError("out of order")

    reports: list[str] = []
    queue.poll(broken, reports)
    assert queue.left() == MESSAGES
    assert "out of order" in reports[0]
