"""Cloning: a new job with an old one's payload, made the way of every job and held to today's rules."""

from collections.abc import Mapping
from typing import Any

from chalicelib.domain.errors import ActionRefused, BatchPending, NotFound, QueueMismatch
from chalicelib.domain.job import Job
from chalicelib.domain.policies import ATTEMPTS
from chalicelib.domain.ports import Chance, Clock, Entry, JobStore, Journal
from chalicelib.domain.steer import clone_refusal
from chalicelib.service.intake import Intake
from chalicelib.service.manage import Order
from chalicelib.service.principal import Principal
from chalicelib.service.submit import Accepted, Submit


class Clone:
    """The use case behind POST /v1/jobs/{id}/clone; the new record and the audit entry are one transaction."""

    def __init__(
        self,
        *,
        store: JobStore,
        intake: Intake,
        submit: Submit,
        clock: Clock,
        chance: Chance,
        journal: Journal,
    ) -> None:
        self._store = store
        self._intake = intake
        self._submit = submit
        self._clock = clock
        self._chance = chance
        self._journal = journal

    def clone(self, order: Order, given: Mapping[str, Any], principal: Principal, key: str | None) -> Accepted:
        """Submit the order's job once more; `given` may have `data`, whose keys replace those of the old one.

        Without a key of the caller's it gets a fresh one: its natural key would find the old job. Raises
        NotFound, QueueMismatch, ActionRefused, BatchPending, what Intake does and what Submit does.
        """
        source = self._load(order)
        body = _body(source, given)
        if key is None and "idempotencyKey" not in body:
            key = f"clone:{self._chance.entry_id()}"
        submission = self._intake.read(body, principal, key)
        accepted = self._submit.submit(submission, audit=lambda job: self._entry(order, source, job))
        if not accepted.deduplicated:
            self._journal.note("clone", jobId=accepted.job.id, actor=order.actor, of=source.id)
        return accepted

    def _load(self, order: Order) -> Job:
        source = self._store.load(order.job_id, order.venue_id)
        if source is None:
            raise NotFound
        if source.stage is not None:
            raise BatchPending
        if order.queue not in (None, source.tier):
            raise QueueMismatch(f"The job is in the queue {source.tier}: name that, or none.")
        refused = clone_refusal(source)
        if refused is not None:
            raise ActionRefused(refused.code, refused.message, state=source.state)
        return source

    def _entry(self, order: Order, source: Job, made: Job) -> Entry:
        return Entry(
            id=self._chance.entry_id(),
            at=self._clock.now(),
            actor=order.actor,
            action="clone",
            subject=source.id,
            venue_id=source.venue_id,
            reason=order.reason,
            before=source.state,
            after=made.id,
        )


def _body(source: Job, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a caller would submit for the same job; an operator's retries have raised no limit of it."""
    behalf: dict[str, str] = {"venueId": source.venue_id}
    behalf |= {} if source.user_id is None else {"userId": source.user_id}
    body = {
        **given,
        "type": source.type,
        "data": {**(source.payload or {}), **given.get("data", {})},
        "options": {"priority": source.priority, "attempts": min(source.max_attempts, ATTEMPTS[-1])},
        "onBehalfOf": behalf,
    }
    told = {"callbackUrl": source.callback_url, "callbackEndpointId": source.callback_endpoint_id}
    return body | {name: value for name, value in told.items() if value is not None}
