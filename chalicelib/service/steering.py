"""Steering: what a person may ask to be made of one job, checked and handed to `manage`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.errors import Forbidden, InvalidRequest
from chalicelib.domain.job import Job, JobId
from chalicelib.domain.policies import Role, Tier
from chalicelib.domain.steer import Resolution
from chalicelib.service.clone import Clone
from chalicelib.service.intake import ENVELOPE, Schema
from chalicelib.service.manage import Manage, Order
from chalicelib.service.principal import Principal
from chalicelib.service.schedule_intake import REASON

QUEUE: Mapping[str, Any] = {
    "enum": [tier.value for tier in Tier],
    "description": "Checked if it is sent: it must be the job's.",
}
STEER: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"queue": QUEUE, "reason": REASON},
}
RESOLVE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["resolution", "reason"],
    "properties": {
        **STEER["properties"],
        "resolution": {
            "enum": [resolution.value for resolution in Resolution],
            "description": "What was found out; `failed` and `retry` assert that nothing happened.",
        },
    },
}
CLONE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **STEER["properties"],
        "data": {"type": "object", "description": "Keys of the payload that are to be others, whole."},
        "idempotencyKey": ENVELOPE["properties"]["idempotencyKey"],
    },
}
RESOLVED: Mapping[Resolution, str] = {
    Resolution.COMPLETED: "The job is completed, as an operator has found.",
    Resolution.FAILED: "The job has failed, as an operator has found.",
    Resolution.RETRY: "The job starts anew.",
}


@dataclass(frozen=True, slots=True)
class Steered:
    """What a job is now, and a sentence that says so."""

    job: Job
    message: str


class Steering:
    """The use cases behind DELETE /v1/jobs/{id} and its retry, promote, resolve and clone.

    Each raises Forbidden before it looks at anything else, InvalidRequest with every problem, and what
    `Manage` raises; a venue's job is there for its own venue and the administrators alone.
    """

    def __init__(self, manage: Manage, clone: Clone) -> None:
        self._manage = manage
        self._clone = clone
        self._steer, self._resolve, self._copy = Schema(STEER), Schema(RESOLVE), Schema(CLONE)

    def cancel(self, job_id: str, body: Mapping[str, Any], principal: Principal) -> Steered:
        """Cancel a job of which surely nothing has happened."""
        order = _order(job_id, body, principal, self._steer)
        return Steered(self._manage.cancel(order), "The job is cancelled.")

    def retry(self, job_id: str, body: Mapping[str, Any], principal: Principal) -> Steered:
        """Let a failed or cancelled job start anew."""
        order = _order(job_id, body, principal, self._steer)
        return Steered(self._manage.retry(order), "The job starts anew.")

    def promote(self, job_id: str, body: Mapping[str, Any], principal: Principal) -> Steered:
        """Let a waiting job run now."""
        order = _order(job_id, body, principal, self._steer)
        return Steered(self._manage.promote(order), "The job is due now.")

    def resolve(self, job_id: str, body: Mapping[str, Any], principal: Principal) -> Steered:
        """End the doubt about a parked job."""
        order = _order(job_id, body, principal, self._resolve)
        resolution = Resolution(body["resolution"])
        return Steered(self._manage.resolve(order, resolution), RESOLVED[resolution])

    def clone(self, job_id: str, body: Mapping[str, Any], principal: Principal, key: str | None) -> Steered:
        """Make a new job of an old one; with a key, the same one however often it is asked for."""
        order = _order(job_id, body, principal, self._copy)
        given = {name: body[name] for name in ("data", "idempotencyKey") if name in body}
        made = self._clone.clone(order, given, principal, key)
        message = "The key stands for this job already." if made.deduplicated else f"It is a clone of {job_id}."
        return Steered(made.job, message)


def _order(job_id: str, body: Mapping[str, Any], principal: Principal, schema: Schema) -> Order:
    if principal.role not in (Role.VENUE_ADMIN, Role.ADMIN):
        raise Forbidden("A token of this role may not steer jobs.")
    if principal.role is Role.VENUE_ADMIN and principal.venue_id is None:
        raise Forbidden("The token names no venue, so it may not steer jobs.")
    problems = schema.problems(body)
    if problems:
        raise InvalidRequest(problems)
    return Order(
        job_id=JobId(job_id),
        venue_id=principal.venue_id if principal.role is Role.VENUE_ADMIN else None,
        actor=principal.sub,
        reason=body.get("reason", ""),
        queue=Tier(body["queue"]) if "queue" in body else None,
    )
