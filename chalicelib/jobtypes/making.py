"""Making the one object of a job at Stripe: an intent, a refund, a payout. What their job types do alike.

Class A: a call whose answer was lost is repeated with the same key while that is young, else the object is
looked for. In the first generation its key keeps it one; a later one looks first, as an earlier key may have
made it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Ambiguous, ProviderError
from chalicelib.domain.jobtype import Work
from chalicelib.domain.outcome import Failure, Outcome, Refused, outcome_of
from chalicelib.jobtypes.at_stripe import MAY_START, absent, failure_of

T = TypeVar("T")


@dataclass(frozen=True)
class Making(Generic[T]):
    """How a job's one object is made and found, and what each makes of the job."""

    operation: str  # of its key; `<operation>-anew` is that of its second and last one
    make: Callable[[str], T]  # under a key
    find: Callable[[], T | None]
    made: Callable[[T], Outcome]
    found: Callable[[T], Outcome]
    missing: Failure
    objection: Callable[[], Failure | None] = lambda: None  # asked before anything is made


def make_once(work: Work, making: Making[T]) -> Outcome:
    """Make the job's one object, or find the one that there is."""
    try:
        found = None if _its_key_keeps_it_one(work) else making.find()
        if found is not None:
            return making.found(found)
        if not (work.leave in MAY_START or (work.leave is Leave.LOOK_UP and work.absence_counts())):
            return absent(work, making.missing)
        no = making.objection()
    except ProviderError as error:
        return outcome_of(error)
    return Refused(no) if no is not None else _make(work, making, making.operation)


def since_first_claim(work: Work) -> datetime:
    """Return since when there may be an object of the job: an earlier generation may have made it."""
    return (work.job.processed_at or work.job.created_at) - work.timing.clock_skew


def _its_key_keeps_it_one(work: Work) -> bool:
    return work.leave in MAY_START and work.job.generation == 0


def _make(work: Work, making: Making[T], operation: str) -> Outcome:
    """Make the object; an answer of Stripe's is definitive, as it is to this job's own key."""
    try:
        made = making.make(work.key(operation))
    except Ambiguous as error:
        return _look_behind(work, making, error, operation) if error.replayed else outcome_of(error)
    except ProviderError as error:
        return outcome_of(error, answered_key=True)
    return making.made(made)


def _look_behind(work: Work, making: Making[T], error: Ambiguous, operation: str) -> Outcome:
    """A kept 5xx says nothing of the object and will never say more: look for it in the same run.

    Once it is proven that there is none, that key can make none either: the job goes on under its second and
    last one, frozen like the first.
    """
    try:
        found = making.find()
    except ProviderError as failed:
        return outcome_of(failed)
    if found is not None:
        return making.found(found)
    if operation == making.operation and work.absence_counts() and work.leave in MAY_START:
        return _make(work, making, f"{operation}-anew")
    return absent(work, failure_of(error))
