"""The ports on which a job's acceptance and its messages pass, and the providers, each with its spans."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode

from chalicelib.domain.errors import ProviderError
from chalicelib.domain.job import Job
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import (
    Change,
    Entry,
    JobQueue,
    JobStore,
    KeyTaken,
    Message,
    Release,
    Saved,
    SaveResult,
)
from chalicelib.tracing.spans import Facts, Spans, tell

# What these return, or make, is named by the provider; what others return a caller may have named.
MAKE = frozenset({"create", "refund", "pay_out", "send"})


class TracedStore:
    """The records; a job's trace begins with the write that accepts it, once that surely stands."""

    def __init__(self, store: JobStore, spans: Spans) -> None:
        self._store = store
        self._spans = spans

    def __getattr__(self, call: str) -> Any:
        """Return a call that accepts nothing, as it is."""
        return getattr(self._store, call)

    def add(self, job: Job) -> bool:
        """Write a job."""
        began = time.time_ns()
        added = self._store.add(job)
        self._accept([job] if added else [], began)
        return added

    def add_audited(self, job: Job, entry: Entry) -> bool:
        """Write a job that an operator has made."""
        began = time.time_ns()
        added = self._store.add_audited(job, entry)
        self._accept([job] if added else [], began)
        return added

    def add_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        """Write jobs."""
        began = time.time_ns()
        added = self._store.add_many(jobs)
        self._accept((job for job, done in zip(jobs, added, strict=True) if done), began)
        return added

    def save_many(self, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        """Apply changes, which may bring new jobs or take jobs off the stage of their batch."""
        began = time.time_ns()
        results = self._store.save_many(changes, release)
        stand = (change for change, result in zip(changes, results, strict=True) if isinstance(result, Saved))
        self._accept((job for change in stand for job in _accepted(change)), began)
        return results

    def save_audited(self, change: Change, entry: Entry, **keys: Any) -> SaveResult | KeyTaken:
        """Apply an operator's change, which may bring a new job."""
        began = time.time_ns()
        result = self._store.save_audited(change, entry, **keys)
        self._accept(_accepted(change) if isinstance(result, Saved) else [], began)
        return result

    def _accept(self, jobs: Iterable[Job], began: int) -> None:
        for job in jobs:
            if job.stage is None:
                self._spans.first("accept", job.id, facts_of(job), began=began)


def _accepted(change: Change) -> list[Job]:
    """Return the jobs that are accepted by a change: one that it brings, or one that leaves its stage."""
    left = [change.after] if change.before.stage is not None else []
    return left if change.follow is None else [*left, change.follow]


def facts_of(job: Job) -> Facts:
    """Return what a span tells of the job that it is about."""
    return {"job.type": job.type, "job.queue": job.tier.value, "job.lane": job.lane.value}


class TracedQueue:
    """The sending side of the queues: a span for each message."""

    def __init__(self, queue: JobQueue, spans: Spans) -> None:
        self._queue = queue
        self._spans = spans

    def send(self, messages: Sequence[Message]) -> list[bool]:
        """Send messages."""
        begun = [self._begin(message) for message in messages]
        went: list[bool] = []
        try:
            went = self._queue.send(messages)
        finally:
            for place, span in enumerate(begun):
                if not (place < len(went) and went[place]):
                    span.set_status(StatusCode.ERROR)
                    tell(span, {"job.reason": "not_surely_sent"})
                span.end()
        return went

    def bury(self, tier: Tier, body: str, reason: str) -> bool:
        """Put poison away; it is no job's."""
        return self._queue.bury(tier, body, reason)

    def _begin(self, message: Message) -> Span:
        facts: Facts = {
            "job.queue": message.tier.value,
            "job.lane": message.lane.value,
            "message.delay_seconds": message.delay.total_seconds(),
        }
        return self._spans.below_first("send", message.job_id, facts, kind=SpanKind.PRODUCER)


class TracedProviders:
    """The providers as one attempt sees them: a span for each call, below that of the attempt."""

    def __init__(self, providers: Any, facts: Facts, attempt: Span, spans: Spans) -> None:
        self._providers = providers
        self._facts = facts
        self._attempt = attempt
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        """Return a provider's client; the endpoints are a table of ours."""
        client = getattr(self._providers, name)
        return client if name == "endpoints" else _TracedClient(client, partial(self._call, name))

    def _call(self, name: str, operation: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        span = self._spans.below(self._attempt, f"{name}.{operation}", self._facts, kind=SpanKind.CLIENT)
        try:
            answer = call(*given, **named)
            if operation in MAKE:
                tell(span, _named(answer))
            return answer
        except Exception as error:
            span.set_status(StatusCode.ERROR)
            tell(span, _failed(error))
            raise
        finally:
            span.end()


class _TracedClient:
    def __init__(self, client: Any, traced: Callable[..., Any]) -> None:
        self._client = client
        self._traced = traced

    def __getattr__(self, operation: str) -> Any:
        return partial(self._traced, operation, getattr(self._client, operation))


def _named(answer: Any) -> Facts:
    """Return the ids by which the provider knows what it has made."""
    return {
        "provider.object": answer if isinstance(answer, str) else getattr(answer, "id", None),
        "provider.request": getattr(answer, "reference", None),
    }


def _failed(error: Exception) -> Facts:
    """Return what is told of a failed call: no text of an exception, which may quote anything."""
    if not isinstance(error, ProviderError):
        return {"error.type": type(error).__name__}
    return {
        "error.type": type(error).__name__,
        "job.reason": error.reason,
        "provider.request": error.reference,
    }
