"""What can go wrong, as three questions: is it retryable, whose fault is it, what may the caller see.

QueueServiceError
├── CallerError                  the caller's fault; nothing was changed; answered with a 4xx
│   ├── InvalidRequest           fields are wrong; carries every problem at once
│   ├── QueueMismatch            the named queue is not the type's
│   ├── Unauthenticated          no token, or one that does not hold
│   ├── Forbidden                the token is good, its role may not do this
│   ├── NotFound                 unknown, or another venue's: the two are told apart by nobody
│   ├── KeyConflict              the key is held by a job with another payload
│   ├── ActionRefused            the job stands where this may not be done
│   ├── RateLimited              the caller has no more requests in this window
│   └── NotSigned                a callback that its vendor has not signed
├── StoreError                   ours; retryable; answered with a 503
│   ├── BatchPending             whether its batch is accepted is still being decided; nothing was done
│   ├── StoreRefused             surely not applied
│   └── StoreUnsure              perhaps applied: the reply was lost
├── AcceptanceUnknown            the record could be neither written nor read back
├── NotConfigured                this stage has no credentials for what was asked; answered with a 503
├── Poison                       a message that no job can be made of
├── ClaimLost                    another claim has taken the job; whatever we know of it is stale
└── ProviderError                a provider's answer, as the outcome it stands for
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.quota import Standing


@dataclass(frozen=True, slots=True)
class Problem:
    """One field that is wrong: its path in the body and one sentence on what to do."""

    field: str
    message: str


class QueueServiceError(Exception):
    """The base of every error of ours; `code` is stable, the message is one sentence for a person."""

    code = "internal_error"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", 1)[0])

    @property
    def message(self) -> str:
        """The sentence a caller may see."""
        return str(self)


class CallerError(QueueServiceError):
    """The request cannot be carried out as it stands."""

    code = "bad_request"


class InvalidRequest(CallerError):
    """The request is not valid."""

    code = "validation_failed"

    def __init__(self, problems: Sequence[Problem], message: str = "") -> None:
        super().__init__(message or "The request is not valid; see details.")
        self.problems = tuple(problems)


class UnknownType(InvalidRequest):
    """The job type does not exist."""

    code = "unknown_type"


class QueueMismatch(CallerError):
    """The named queue is not the one of this job type."""

    code = "queue_mismatch"


class Unauthenticated(CallerError):
    """A valid bearer token is required."""

    code = "unauthenticated"


class Forbidden(CallerError):
    """The token's role may not do this."""

    code = "forbidden"


class NotFound(CallerError):
    """There is no such job."""

    code = "not_found"


class KeyConflict(CallerError):
    """The idempotency key is held by a job with another payload."""

    code = "idempotency_conflict"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The idempotency key is held by job {job_id}, which has another payload.")
        self.job_id = job_id


class ActionRefused(CallerError):
    """The job stands where this may not be done; `reason` is a stable code, `state` where it stands."""

    def __init__(self, reason: str, message: str, *, state: str, held_by: str | None = None) -> None:
        super().__init__(message)
        self.code = reason
        self.state = state
        self.held_by = held_by


class RateLimited(CallerError):
    """The limit of requests is reached; `standing` is the caller's, `after` when there are more."""

    code = "rate_limited"

    def __init__(self, standing: Standing, after: timedelta) -> None:
        super().__init__(f"The limit of {standing.limit} requests is reached. Repeat the request later.")
        self.standing = standing
        self.after = after


class NotSigned(CallerError):
    """The vendor's signature is missing, does not hold, or is too old."""

    code = "signature_invalid"


class StoreError(QueueServiceError):
    """A table did not do as asked; the same request may be repeated."""

    code = "unavailable"


class BatchPending(StoreError):
    """A batch that this belongs to is still being accepted, or given up. Repeat the request."""

    code = "batch_pending"


class StoreRefused(StoreError):
    """A table refused; nothing was written. Repeat the request."""


class StoreUnsure(StoreError):
    """A table's reply was lost; what was asked may have been done."""


class AcceptanceUnknown(QueueServiceError):
    """Whether the job was accepted is unknown: repeat with the same key."""

    code = "acceptance_unknown"


class NotConfigured(QueueServiceError):
    """This stage has no credentials for it."""

    code = "provider_not_configured"


class Poison(QueueServiceError):
    """No job can be made of the message."""

    code = "poison"


class ClaimLost(QueueServiceError):
    """Another claim has taken the job."""

    code = "claim_lost"


class ProviderError(QueueServiceError):
    """A provider did not do as asked; `reason` is a stable word, `reference` the provider's request id."""

    code = "provider_error"

    def __init__(self, reason: str, message: str, *, reference: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.reference = reference


class NotSent(ProviderError):
    """The request never left: refused connection, unresolved name, no credentials, no time left."""


class TurnedAway(ProviderError):
    """The provider did not take the request up: 401, 429, key in use. Nothing happened because of it."""

    def __init__(
        self, reason: str, message: str, *, reference: str | None = None, after: timedelta | None = None
    ) -> None:
        super().__init__(reason, message, reference=reference)
        self.after = after


class Declined(ProviderError):
    """The provider said no to the request itself; `handle` is its object, where it names one."""

    def __init__(
        self, reason: str, message: str, *, reference: str | None = None, handle: str | None = None
    ) -> None:
        super().__init__(reason, message, reference=reference)
        self.handle = handle


class Ambiguous(ProviderError):
    """The effect may have happened: time-out, broken connection, 5xx; `replayed`: a stored answer, so final."""

    def __init__(
        self, reason: str, message: str, *, reference: str | None = None, replayed: bool = False
    ) -> None:
        super().__init__(reason, message, reference=reference)
        self.replayed = replayed
