"""What the service answers, typed; `raw` is the JSON itself, with everything that is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

AT_REST = frozenset({"completed", "failed", "parked", "cancelled"})


@dataclass(frozen=True)
class Failure:
    """Why a job failed or is in doubt: a stable code, a sentence, the provider's id of the request."""

    code: str
    message: str
    reference: str | None


@dataclass(frozen=True)
class Receipt:
    """An accepted job; `deduplicated`: an earlier submission with the same key had made it."""

    job_id: str
    queue: str
    type: str
    state: str
    deduplicated: bool
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Receipt":
        """Read the answer to a submission."""
        return cls(raw["jobId"], raw["queue"], raw["type"], raw["status"], raw["deduplicated"], raw)


@dataclass(frozen=True)
class Job:
    """A job as the service shows it. Lists leave `data` empty."""

    id: str
    queue: str
    type: str
    venue_id: str
    state: str
    reason: str | None
    attempts: int
    max_attempts: int
    priority: int
    created_at: datetime
    finished_at: datetime | None
    data: Mapping[str, Any] = field(repr=False)
    result: Mapping[str, Any] | None
    error: Failure | None
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Job":
        """Read a job."""
        finished, error = raw.get("finishedAt"), raw.get("error")
        return cls(
            id=raw["id"],
            queue=raw["queue"],
            type=raw["type"],
            venue_id=raw["venueId"],
            state=raw["state"],
            reason=raw.get("reason"),
            attempts=raw["attempts"],
            max_attempts=raw["maxAttempts"],
            priority=raw["priority"],
            created_at=datetime.fromisoformat(raw["createdAt"]),
            finished_at=None if finished is None else datetime.fromisoformat(finished),
            data=raw.get("data", {}),
            result=raw.get("result"),
            error=Failure(error["code"], error["message"], error.get("reference")) if error else None,
            raw=raw,
        )

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves it any more but an operator."""
        return self.state in AT_REST
