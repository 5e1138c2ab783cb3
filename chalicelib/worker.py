"""A consumer's batch: messages in, jobs executed, and the ids of the messages that stay in the queue."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from chalicelib.domain.errors import Poison, StoreError
from chalicelib.domain.job import JobId
from chalicelib.domain.message import decode
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Inbox, JobQueue, Journal, Received, Traces
from chalicelib.service.fates import Done, Executes, Fate, Later, Left, Stray


@dataclass(frozen=True, slots=True)
class Worker:
    """What a consumer of one queue needs."""

    tier: Tier
    execute: Executes
    queue: JobQueue
    inbox: Inbox
    journal: Journal

    def run_batch(self, received: Sequence[Received], *, ends: datetime) -> list[str]:
        """Execute the jobs of a batch and return the ids of the messages that are not done with.

        Several messages of one job are made one. A message of which no job can be made goes to the
        dead-letter queue, whatever becomes of the others. One that is to come back has its visibility set
        first; all of them come back when the store does not let the batch begin.
        """
        jobs, keep = self._sort(received)
        receives = {job_id: max(each.receives for each in messages) for job_id, messages in jobs.items()}
        postponed: set[JobId] = set()

        def postpone(fates: Mapping[JobId, Fate]) -> None:
            """Set the visibility of messages that come back, once each and as early as it is known."""
            delays = {
                message.handle: fate.delay
                for job_id, fate in fates.items()
                if isinstance(fate, Later) and job_id not in postponed
                for message in jobs[job_id]
            }
            postponed.update(fates)
            if delays:
                self.inbox.postpone(delays)

        try:
            fates = self.execute.execute(receives, ends=ends, told=postpone) if receives else {}
        except StoreError:
            # Answered message by message: raised, it would bring back the poison that is buried, too.
            self.journal.alarm("batch_left", tier=self.tier)
            return [*keep, *(each.message_id for messages in jobs.values() for each in messages)]
        postpone(fates)
        for job_id, messages in jobs.items():
            match fates[job_id]:
                case Done():
                    pass
                case Later() | Left():
                    keep += [message.message_id for message in messages]
                case Stray():
                    keep += [each.message_id for each in messages if not self._bury(each, "no_such_job")]
                case never:
                    assert_never(never)
        return keep

    def _sort(self, received: Sequence[Received]) -> tuple[dict[JobId, list[Received]], list[str]]:
        """Group messages by job; bury what is poison, and return the ids that could not be buried."""
        jobs: dict[JobId, list[Received]] = {}
        keep: list[str] = []
        for message in received:
            try:
                jobs.setdefault(decode(message.body).job_id, []).append(message)
            except Poison as poison:
                if not self._bury(message, poison.message):
                    keep.append(message.message_id)
        return jobs, keep

    def _bury(self, message: Received, reason: str) -> bool:
        self.journal.alarm("poison", tier=self.tier, messageId=message.message_id, reason=reason)
        return self.queue.bury(self.tier, message.body, reason)


class FunctionFailed(Exception):
    """The function broke; its log says how."""


@contextmanager
def discreet(journal: Journal, function: str, traces: Traces | None = None) -> Iterator[None]:
    """Log what a function breaks with by our own rules: Lambda prints whatever the exception says.

    What was traced meanwhile is sent at the end.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the edge, and nothing is kept back: it fails all the same
        journal.alarm("function_failed", function=function, error=type(error).__name__)
        raise FunctionFailed(f"{FunctionFailed.__doc__}") from None
    finally:
        if traces is not None:
            traces.flush()


def consume(worker: Worker, event: Mapping[str, Any], *, ends: datetime) -> dict[str, Any]:
    """Run a batch as Lambda delivers it and answer which messages of it failed (`ReportBatchItemFailures`)."""
    received = [
        Received(
            message_id=record["messageId"],
            body=record["body"],
            handle=record["receiptHandle"],
            receives=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        for record in event["Records"]
    ]
    keep = worker.run_batch(received, ends=ends)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in keep]}
