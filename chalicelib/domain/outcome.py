"""What one attempt came to: six values, matched exhaustively by `settle`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not complete: a stable code, a sentence, the provider's request id."""

    code: str
    message: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """The effect was observed."""

    result: Mapping[str, Any]
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """This attempt had no effect and may be repeated.

    `clears_doubt` only after a look-up or a definitive answer to the same young key: it says that no
    earlier attempt had an effect either. `after` is the provider's own wish.
    """

    failure: Failure
    after: timedelta | None = None
    clears_doubt: bool = False
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no to the request itself; no attempt will change that."""

    failure: Failure
    clears_doubt: bool = False
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The effect may have happened."""

    failure: Failure
    handle: str | None = None


QUIET = "quiet_hours"  # the reason of who waits as its venue wants it to, which is no delay


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Not now: a limit, a stop, a pause, quiet hours; no attempt was made and none is charged.

    `why` stands on the record while the job waits, where a reader could not find it out otherwise.
    """

    reason: str
    delay: timedelta
    why: Failure | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider has it and is not done; polled without charging an attempt."""

    result: Mapping[str, Any]
    handle: str | None = None


Outcome = Completed | Retry | Refused | Unknown | HeldBack | Pending


def outcome_of(error: ProviderError, *, answered_key: bool = False) -> Outcome:
    """Translate a provider's error; `answered_key`: it is the answer to this job's own young key."""
    failure = Failure(error.reason, error.message, error.reference)
    match error:
        case Declined():
            return Refused(failure, clears_doubt=answered_key, handle=error.handle)
        case TurnedAway():
            return Retry(failure, after=error.after)
        case NotSent():
            return Retry(failure)
        case Ambiguous():
            return Unknown(failure)
    return Unknown(failure)
