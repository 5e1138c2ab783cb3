"""Batches: many jobs in one request, each by itself, or with `stopOnError` all of them or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.domain.errors import (
    AcceptanceUnknown,
    CallerError,
    Forbidden,
    InvalidRequest,
    Problem,
    QueueServiceError,
    StoreError,
)
from chalicelib.domain.policies import Role, Tier
from chalicelib.domain.ports import Chance
from chalicelib.service.intake import Intake, Schema
from chalicelib.service.principal import Principal
from chalicelib.service.submit import Accepted, Submission, Submit
from chalicelib.service.submit_together import NotTogether, SubmitTogether

MOST_JOBS = 100
BATCH_ID = {"type": "string", "pattern": "^[!-~]{1,128}$", "description": "1 to 128 printable ASCII characters"}
BATCH: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["jobs"],
    "properties": {
        "queue": {
            "enum": [tier.value for tier in Tier],
            "description": "Checked against each job that names none itself.",
        },
        "jobs": {"type": "array", "minItems": 1, "maxItems": MOST_JOBS, "items": {"type": "object"}},
        "options": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "stopOnError": {
                    "type": "boolean",
                    "default": False,
                    "description": "All jobs or none: one that cannot be accepted stops the batch.",
                },
                "validateAll": {
                    "type": "boolean",
                    "default": True,
                    "description": "With stopOnError: false ends the report at the first invalid job.",
                },
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Order:
    """A batch as its caller sent it; `together` is `stopOnError`, `report_all` is `validateAll`."""

    id: str
    queue: str | None
    jobs: Sequence[Mapping[str, Any]]
    together: bool
    report_all: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What came of each job, by its place; `failed_at` is the one that stopped a batch of all or nothing."""

    order: Order
    accepted: Mapping[int, Accepted]
    failed: Mapping[int, QueueServiceError]
    failed_at: int | None = None

    @property
    def may_be_repeated(self) -> bool:
        """Whether some job was kept out by us and not by what it is."""
        return any(isinstance(error, StoreError | AcceptanceUnknown) for error in self.failed.values())


class Batch:
    """The use case behind POST /v1/jobs/batch."""

    def __init__(self, intake: Intake, submit: Submit, together: SubmitTogether, chance: Chance) -> None:
        self._intake = intake
        self._submit = submit
        self._together = together
        self._chance = chance
        self._schema = Schema(BATCH)
        self._id = Schema(BATCH_ID)

    def read(self, body: Mapping[str, Any], principal: Principal, *, batch_id: str | None) -> Order:
        """Return the batch that a body asks for, its jobs not looked at yet.

        Raises Forbidden or InvalidRequest.
        """
        if principal.role is Role.USER:
            raise Forbidden("A token of this role may not submit jobs.")
        if principal.role is Role.VENUE_ADMIN and principal.venue_id is None:
            raise Forbidden("The token names no venue, so it may not submit jobs.")
        problems = self._schema.problems(body)
        if batch_id is not None:
            problems += [Problem("X-Batch-Id", problem.message) for problem in self._id.problems(batch_id)]
        if problems:
            raise InvalidRequest(problems)
        options = body.get("options", {})
        return Order(
            id=batch_id or f"batch_{self._chance.claim_id()}",
            queue=body.get("queue"),
            jobs=body["jobs"],
            together=options.get("stopOnError", False),
            report_all=options.get("validateAll", True),
        )

    def carry_out(self, order: Order, principal: Principal) -> Done:
        """Accept what can be accepted of a batch, or with `together` all of it or nothing.

        Raises Forbidden when the caller may submit no job of it. With `together` also StoreRefused (nothing
        was accepted) and AcceptanceUnknown (repeat with the same keys).
        """
        submissions, failed = self._validate(order, principal)
        if failed and all(isinstance(error, Forbidden) for error in failed.values()) and not submissions:
            raise Forbidden(failed[0].message)
        if order.together:
            return self._all_or_nothing(order, submissions, failed)
        verdicts = self._submit.submit_each(list(submissions.values())) if submissions else []
        accepted: dict[int, Accepted] = {}
        for place, verdict in zip(submissions, verdicts, strict=True):
            if isinstance(verdict, Accepted):
                accepted[place] = verdict
            else:
                failed[place] = verdict
        return Done(order, accepted, failed)

    def _validate(
        self, order: Order, principal: Principal
    ) -> tuple[dict[int, Submission], dict[int, QueueServiceError]]:
        """Return the valid submissions and the errors of the others, by place.

        Nothing is accepted before every job was looked at. A caller of all or nothing who does not want the
        whole report is told of the first error alone.
        """
        submissions: dict[int, Submission] = {}
        failed: dict[int, QueueServiceError] = {}
        default = {} if order.queue is None else {"queue": order.queue}
        for place, body in enumerate(order.jobs):
            try:
                submission = self._intake.read({**default, **body}, principal, None)
            except QueueServiceError as error:
                failed[place] = error
                if order.together and not order.report_all:
                    break
            else:
                submissions[place] = replace(submission, batch_id=order.id, batch_index=place)
        return submissions, failed

    def _all_or_nothing(
        self, order: Order, submissions: Mapping[int, Submission], failed: Mapping[int, QueueServiceError]
    ) -> Done:
        if failed:
            failed = {**failed, **(self._unmet(submissions) if order.report_all else {})}
            return Done(order, {}, failed, failed_at=min(failed))
        try:
            accepted = self._together.submit(list(submissions.values()))
        except NotTogether as error:
            causes = error.causes if order.report_all else {error.place: error.cause}
            return Done(order, {}, causes, failed_at=error.place)
        return Done(order, dict(enumerate(accepted)), {})

    def _unmet(self, submissions: Mapping[int, Submission]) -> dict[int, QueueServiceError]:
        """Return what else is wrong with a batch that is not accepted: the needs of its valid jobs."""
        places = list(submissions)
        unmet = self._together.refusals(list(submissions.values()))
        return {places[at]: error for at, error in unmet.items() if isinstance(error, CallerError)}
