"""A consumer's batch with its spans: one for each job and delivery, and below it the calls to providers.

Each batch has a use case of its own, made over the job types, the records and the log as this batch is to
see them. So nothing of a trace is kept anywhere else, and batches side by side never meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, cast

from opentelemetry.trace import Span, SpanKind, StatusCode

from chalicelib.domain.controls import Controls
from chalicelib.domain.errors import ProviderError
from chalicelib.domain.job import Job, JobId
from chalicelib.domain.jobtype import JobType, Work
from chalicelib.domain.outcome import Outcome, Retry, Unknown, outcome_of
from chalicelib.domain.ports import JobStore, Journal
from chalicelib.domain.providers import Providers
from chalicelib.service.fates import Fate, Left, MakeExecute, Tell
from chalicelib.tracing.ports import TracedProviders, facts_of
from chalicelib.tracing.spans import Facts, Spans, tell

Fact = str | int | float | None


class TracedExecute:
    """The use case behind the consumers; `make` makes it over what a batch is traced by."""

    def __init__(
        self, make: MakeExecute, store: JobStore, journal: Journal, types: Mapping[str, JobType], spans: Spans
    ) -> None:
        self._make = make
        self._store = store
        self._journal = journal
        self._types = types
        self._spans = spans

    def execute(
        self, receives: Mapping[JobId, int], *, ends: datetime, told: Tell = lambda _: None
    ) -> dict[JobId, Fate]:
        """Do what is due of these jobs, as `Execute` does."""
        batch = {job_id: self._begin(job_id, count) for job_id, count in receives.items()}
        fates: dict[JobId, Fate] = {}
        try:
            made = self._make(
                cast(JobStore, _BatchStore(self._store, batch)),
                _BatchJournal(self._journal, batch),
                {
                    name: replace(each, run=partial(self._run, each, batch))
                    for name, each in self._types.items()
                },
            )
            fates = made.execute(receives, ends=ends, told=told)
            return fates
        finally:
            for job_id, span in batch.items():
                fate = fates.get(job_id, Left())
                tell(span, {"message.fate": type(fate).__name__.lower()})
                span.end()

    def _begin(self, job_id: JobId, receives: int) -> Span:
        facts = {"message.receives": receives}
        return self._spans.below_first("consume", job_id, facts, kind=SpanKind.CONSUMER)

    def _run(self, job_type: JobType, batch: Mapping[JobId, Span], work: Work, providers: Providers) -> Outcome:
        """Let the job type do its work, and tell what came of it."""
        span = batch[work.job.id]
        facts: Facts = {
            "job.id": work.job.id,
            "job.attempt": work.job.attempts,
            "provider": job_type.provider,
        }
        tell(span, facts)
        seen = cast(Providers, TracedProviders(providers, facts, span, self._spans))
        try:
            outcome = job_type.run(work, seen)
        except ProviderError as error:
            _tell_outcome(span, outcome_of(error))
            raise
        except Exception as error:
            span.set_status(StatusCode.ERROR)
            tell(span, {"error.type": type(error).__name__})
            raise
        _tell_outcome(span, outcome)
        return outcome


def _tell_outcome(span: Span, outcome: Outcome) -> None:
    failure = getattr(outcome, "failure", None)
    reason = getattr(outcome, "reason", None) if failure is None else failure.code
    tell(span, {"job.outcome": type(outcome).__name__.lower(), "job.reason": reason})
    if isinstance(outcome, Retry | Unknown):
        span.set_status(StatusCode.ERROR)


class _BatchStore:
    """The records, where a batch's spans learn what their jobs are."""

    def __init__(self, store: JobStore, batch: Mapping[JobId, Span]) -> None:
        self._store = store
        self._batch = batch

    def __getattr__(self, call: str) -> Any:
        return getattr(self._store, call)

    def load_batch(self, job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], Controls]:
        jobs, controls = self._store.load_batch(job_ids)
        for job_id, job in jobs.items():
            tell(self._batch[job_id], {**facts_of(job), "job.state": job.state.value})
        return jobs, controls


class _BatchJournal:
    """The log; what it is told of a job of the batch becomes an event of the job's span."""

    def __init__(self, journal: Journal, batch: Mapping[JobId, Span]) -> None:
        self._journal = journal
        self._batch = batch

    def note(self, action: str, **facts: Fact) -> None:
        self._journal.note(action, **facts)
        self._add(action, facts)

    def alarm(self, action: str, **facts: Fact) -> None:
        self._journal.alarm(action, **facts)
        self._add(action, facts)

    def _add(self, action: str, facts: Mapping[str, Fact]) -> None:
        span = self._batch.get(JobId(str(facts.get("jobId"))))
        if span is None:
            return
        told = {name: fact for name, fact in facts.items() if fact is not None and name != "jobId"}
        span.add_event(action, told)
        if "state" in told:
            tell(span, {"job.state": told["state"]})
