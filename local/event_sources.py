"""What AWS does between a queue or a clock and a function: event source mappings and rules, locally.

The functions are those that `app.py` declares, called with events of Lambda's shape and a context that knows
its deadline. A batch's reply is honoured as AWS does: what it names as failed stays in the queue, the rest is
deleted; an exception, a reply of another shape or an unknown identifier returns the whole batch.
"""

import re
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.config import Config
from chalice.app import Chalice, ScheduledEventConfig, SQSEventConfig
from chalice.local import LambdaContext

from local.sessions import session

Function = Callable[[Mapping[str, Any], Any], Any]
Report = Callable[[str], None]

POLLERS = 2  # batches of one queue that may be in hand at a time
WAIT_SECONDS = 1  # of a long poll: as long as a stop may take, since an abandoned poll may still take messages
MEMORY_MB = 512
DRAIN = timedelta(seconds=20)  # for the batches in hand at the end


@dataclass(frozen=True)
class Invoker:
    """Calls a function as Lambda does."""

    timeout: timedelta

    def call(self, name: str, function: Function, event: Mapping[str, Any]) -> Any:
        """Return the function's reply; raises what it raises, TimeoutError when it took longer than it may."""
        context = LambdaContext(name, MEMORY_MB, max_runtime_ms=int(self.timeout.total_seconds() * 1000))
        reply = function(event, context)
        # A thread cannot be killed as Lambda kills; at least its late answer counts for nothing.
        if context.get_remaining_time_in_millis() < 0:
            raise TimeoutError(f"{name} ran longer than its {self.timeout.total_seconds():.0f} s.")
        return reply


@dataclass(frozen=True)
class Mapped:
    """One queue and the function that consumes it."""

    name: str
    function: Function
    queue_url: str
    queue_arn: str
    batch_size: int


class Poller:
    """Takes batches from one queue and hands them to its function."""

    def __init__(self, source: Mapped, *, sqs: Any, invoker: Invoker, report: Report) -> None:
        self._source = source
        self._sqs = sqs
        self._invoker = invoker
        self._report = report

    def poll(self) -> int:
        """Take one batch, if there is any within a second, and return how many messages it had."""
        source = self._source
        answer = self._sqs.receive_message(
            QueueUrl=source.queue_url,
            MaxNumberOfMessages=source.batch_size,
            WaitTimeSeconds=WAIT_SECONDS,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: Sequence[Mapping[str, Any]] = answer.get("Messages", ())
        if messages:
            self._delete(self._consumed(messages))
        return len(messages)

    def _consumed(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Let the function have the batch and return the messages that it is done with."""
        event = {"Records": [_record(message, self._source.queue_arn) for message in messages]}
        try:
            reply = self._invoker.call(self._source.name, self._source.function, event)
        except Exception:  # noqa: BLE001  # as Lambda: whatever a function raises returns its batch
            self._report(f"{self._source.name} failed; its batch returns.\n{traceback.format_exc()}")
            return []
        failed = failed_of(reply, [message["MessageId"] for message in messages])
        return [message for message in messages if message["MessageId"] not in failed]

    def _delete(self, messages: Sequence[Mapping[str, Any]]) -> None:
        if not messages:
            return
        entries = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        answer = self._sqs.delete_message_batch(QueueUrl=self._source.queue_url, Entries=entries)
        for failure in answer.get("Failed", ()):
            self._report(f"A message of {self._source.name} was not deleted: {failure.get('Message')}")


def failed_of(reply: Any, message_ids: Sequence[str]) -> set[str]:
    """Return which messages of a batch its function reports as failed, by the rules of Lambda."""
    if reply is None or reply == {}:
        return set()
    everything = set(message_ids)
    if not isinstance(reply, dict):
        return everything
    failures = reply.get("batchItemFailures")
    if failures is None:
        return set()
    if not isinstance(failures, list) or not all(isinstance(failure, dict) for failure in failures):
        return everything
    named = [failure.get("itemIdentifier") for failure in failures]
    return set(named) if all(each in message_ids for each in named) else everything


def _record(message: Mapping[str, Any], queue_arn: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {
            name: {
                "stringValue": value.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }


class EventSources:
    """Every queue and schedule of an app, each in threads of its own."""

    def __init__(
        self,
        app: Chalice,
        *,
        sqs: Any,
        queue_urls: Mapping[str, str],
        timeout: timedelta,
        every: timedelta | None,
        report: Report,
    ) -> None:
        """`queue_urls` by the names that app.py gives the queues; `every` replaces the schedules' own rates."""
        self._app = app
        self._sqs = sqs
        self._queue_urls = queue_urls
        self._invoker = Invoker(timeout)
        self._every = every
        self._report = report
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, *, schedules: bool = True) -> None:
        """Start to poll and, unless told otherwise, to run the schedules, each of them at once."""
        for source in self._app.event_sources:
            if isinstance(source, SQSEventConfig):
                poller = Poller(self._mapped(source), sqs=self._sqs, invoker=self._invoker, report=self._report)
                for number in range(POLLERS):
                    self._thread(f"{source.name}-{number}", self._keep_polling, poller)
            elif isinstance(source, ScheduledEventConfig) and schedules:
                self._thread(source.name, self._keep_running, source.name, self._every or rate_of(source))

    def stop(self, patience: timedelta) -> None:
        """Poll no more and let the batches in hand end; what lasts longer comes back, as after a crash."""
        self._stopping.set()
        end = time.monotonic() + patience.total_seconds()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _thread(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _mapped(self, source: SQSEventConfig) -> Mapped:
        url = self._queue_urls[source.queue or ""]
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        function = self._app.handler_map[source.name]
        return Mapped(source.name, function, url, attributes["QueueArn"], source.batch_size)

    def _keep_polling(self, poller: Poller) -> None:
        while not self._stopping.is_set():
            try:
                poller.poll()
            except Exception as error:  # noqa: BLE001  # a queue that does not answer is asked again, as AWS does
                self._report(f"{threading.current_thread().name}: {type(error).__name__}: {error}")
                self._stopping.wait(1)

    def _keep_running(self, name: str, every: timedelta) -> None:
        while not self._stopping.is_set():
            try:
                self._invoker.call(name, self._app.handler_map[name], _tick(name))
            except Exception:  # noqa: BLE001  # as Lambda: a failed run is logged and the next one comes
                self._report(f"{name} failed.\n{traceback.format_exc()}")
            self._stopping.wait(every.total_seconds())


@contextmanager
def consuming(
    app: Chalice,
    environment: Mapping[str, str],
    *,
    timeout: timedelta,
    every: timedelta | None = None,
    schedules: bool = True,
    report: Report,
) -> Iterator[None]:
    """Run every consumer and schedule of an app, on the queues that the environment names, until the end."""
    client = session(environment["AWS_ENDPOINT_URL"]).client(
        "sqs", config=Config(max_pool_connections=32, connect_timeout=2, read_timeout=10)
    )
    sources = EventSources(
        app, sqs=client, queue_urls=queue_urls(environment), timeout=timeout, every=every, report=report
    )
    try:
        sources.start(schedules=schedules)
        yield
    finally:
        sources.stop(DRAIN)
        client.close()


def queue_urls(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the queues' URLs by the names that app.py gives them: MONEY_QUEUE_URL is money-queue's."""
    return {
        name.removesuffix("_URL").replace("_", "-").lower(): url
        for name, url in environment.items()
        if "_QUEUE_" in name and name.endswith("_URL")
    }


def rate_of(source: ScheduledEventConfig) -> timedelta:
    """Return how often a scheduled function runs; what runs at a time of day does here daily from the start on.

    Raises ValueError for any other cron expression.
    """
    expression = source.schedule_expression
    text = expression if isinstance(expression, str) else expression.to_string()
    if re.fullmatch(r"cron\(\d+ \d+ \* \* \? \*\)", text):
        return timedelta(days=1)
    words = text.removeprefix("rate(").removesuffix(")").split()
    if not text.startswith("rate(") or len(words) != 2:
        raise ValueError(f"The local stack runs rate(...) schedules; {source.name} has {text}.")
    unit = words[1].removesuffix("s") + "s"
    return timedelta(**{unit: int(words[0])})


def _tick(name: str) -> dict[str, Any]:
    """Return an event as EventBridge's rules send it."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": [f"arn:aws:events:us-east-1:000000000000:rule/{name}"],
        "detail": {},
    }
