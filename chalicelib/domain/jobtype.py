"""A job type: a named kind of work, all that differs from one to the next, in one row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.claim import Leave
from chalicelib.domain.endpoint import Endpoint
from chalicelib.domain.errors import Problem
from chalicelib.domain.job import Job, UserId, VenueId
from chalicelib.domain.outcome import Outcome
from chalicelib.domain.policies import TIERS, TIMING, EffectClass, Policy, RetryStrategy, Role, Tier, Timing
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Begun, Providers
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.standing import Need, Objection
from chalicelib.domain.suppression import Cause


@dataclass(frozen=True, slots=True)
class Facts:
    """What a natural key may be made of."""

    venue_id: VenueId
    user_id: UserId | None
    data: Mapping[str, Any]
    accepted_at: datetime


def _unheard(action: str, **facts: str | int | float | None) -> None:
    """Take an alarm where nobody listens."""


@dataclass(frozen=True)
class Work:
    """One attempt in a job type's hands.

    `leave` says what it may do about the effect. `begin` writes `begun` to the record and must have been
    called before an effect of class B or C; it may note the provider's object. A type that starts an
    effect in spite of a LOOK_ONLY leave breaks the contract. `objections` is what stood in the way of the
    type's needs when the batch was claimed; who starts an effect looks at them first (`standing.refused`).
    `quiet_hours` and `endpoint` are the venue's, if the type needs to know and there are any. `alarm` is the
    journal's.
    """

    job: Job
    data: Mapping[str, Any]
    leave: Leave
    deadline: datetime
    clock: Clock
    timing: Timing
    begin: Callable[[str | None], Begun]
    objections: Sequence[Objection] = ()
    quiet_hours: QuietHours | None = None
    endpoint: Endpoint | None = None
    alarm: Callable[..., None] = _unheard

    def key(self, operation: str) -> str:
        """Return the provider key of an operation: the same for every attempt of a generation."""
        return f"{self.job.id}:{operation}:{self.job.generation}"

    def absence_counts(self) -> bool:
        """Whether a look-up that finds nothing proves that there is nothing."""
        doubt = self.job.doubt
        return doubt is None or self.clock.now() - doubt >= self.timing.absence_after


def needs_nothing(_venue_id: VenueId, _data: Mapping[str, Any]) -> Sequence[Need]:
    """Return no needs: most types have none."""
    return ()


def none_more(_data: Mapping[str, Any]) -> Sequence[Problem]:
    """Return no problems: the schema says all."""
    return ()


Submitters = frozenset[Role]
EVERY_SUBMITTER: Submitters = frozenset({Role.SERVICE, Role.ADMIN, Role.VENUE_ADMIN})
PLATFORM_ONLY: Submitters = frozenset({Role.SERVICE, Role.ADMIN})


@dataclass(frozen=True)
class JobType:
    """One row of the table of job types; a file in `chalicelib/jobtypes` makes one and names it JOB_TYPE."""

    name: str
    aliases: tuple[str, ...]
    tier: Tier
    provider: str
    effect_class: EffectClass
    schema: Mapping[str, Any]  # JSON Schema 2020-12 of `data`; unknown keys are always refused
    natural_key: Callable[[Facts], tuple[object, ...]]
    key_period: timedelta
    retention: timedelta
    archive: str | None
    in_flight: int
    retry: RetryStrategy
    run: Callable[[Work, Providers], Outcome]
    run_time: timedelta  # the longest that one run may take, all its calls together
    submitters: Submitters = EVERY_SUBMITTER
    attempts: int | None = None  # None: the tier's
    needs: Callable[[VenueId, Mapping[str, Any]], Sequence[Need]] = needs_nothing  # of valid data
    problems: Callable[[Mapping[str, Any]], Sequence[Problem]] = none_more  # of data that the schema allows
    # Codes of a refusal upon which the addresses that the job needs are suppressed, and for which cause.
    suppresses: Mapping[str, Cause] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)

    @property
    def most_attempts(self) -> int:
        """The attempts of a job that does not say itself."""
        return self.attempts or TIERS[self.tier].attempts

    def policy(self, timing: Timing = TIMING) -> Policy:
        """What `claim` and `settle` must know of this type."""
        return Policy(
            effect_class=self.effect_class,
            retry=self.retry,
            attempts=self.most_attempts,
            window=TIERS[self.tier].window,
            retention=self.retention,
            archive=self.archive,
            timing=timing,
        )
