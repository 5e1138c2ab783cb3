"""Alerts: the life of each, from its first minute to its last notice. Pure.

A condition is a type, a severity and a queue. While it goes on it has one alert, which is told on each channel,
then again after each cooldown until somebody acknowledges it, once more and marked where a critical one is not
acknowledged in time, and at last as resolved. It ends once it has been well for a cooldown: one that comes back
earlier has never been away, and nobody is told that it had.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from chalicelib.domain.heartbeat import PARTS
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Entry

ESCALATES_AFTER = timedelta(minutes=15)


class Severity(StrEnum):
    """How bad it is; `info` goes to the log alone."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


COOLDOWN: Mapping[Severity, timedelta] = MappingProxyType(
    {
        Severity.CRITICAL: timedelta(minutes=5),
        Severity.WARNING: timedelta(hours=1),
        Severity.INFO: timedelta(hours=1),
    }
)


class Channel(StrEnum):
    """How people are told, the surest first."""

    LOG = "log"
    SNS = "sns"
    SMS = "sms"
    PHONE = "phone"


TOLD_RESOLVED = (Channel.LOG, Channel.SNS, Channel.SMS)  # those that were told of the alert at all


def channels_of(severity: Severity, tier: Tier) -> tuple[Channel, ...]:
    """Return how an alert is told: a call where it is critical and about money."""
    if severity is Severity.INFO:
        return (Channel.LOG,)
    usual = (Channel.LOG, Channel.SNS, Channel.SMS)
    return (*usual, Channel.PHONE) if (severity, tier) == (Severity.CRITICAL, Tier.MONEY) else usual


class AlertType(StrEnum):
    """What is wrong."""

    QUEUE_DEPTH = "queue_depth"
    QUEUE_AGE = "queue_age"
    DEAD_LETTERS = "dead_letters"
    FAILURE_RATE = "failure_rate"
    PARKED = "parked"
    POISON = "poison"
    HEARTBEAT = "heartbeat"
    TEST = "test"  # by an operator; nothing is wrong


_ALIKE = dict.fromkeys(Tier, Severity.WARNING)
_MONEY_FIRST = {**_ALIKE, Tier.MONEY: Severity.CRITICAL}
# Section 5 of the contract; a tier that is not there has no such alert.
SEVERITIES: Mapping[AlertType, Mapping[Tier, Severity]] = MappingProxyType(
    {
        AlertType.QUEUE_DEPTH: _MONEY_FIRST,
        AlertType.QUEUE_AGE: {Tier.MONEY: Severity.CRITICAL, Tier.COMMUNICATION: Severity.WARNING},
        AlertType.DEAD_LETTERS: {Tier.MONEY: Severity.CRITICAL},
        AlertType.FAILURE_RATE: _ALIKE,
        AlertType.PARKED: _MONEY_FIRST,
        AlertType.POISON: _ALIKE,
        AlertType.HEARTBEAT: {part.tier: _MONEY_FIRST[part.tier] for part in PARTS.values() if part.silence},
    }
)

ONE_BY_ONE = (AlertType.PARKED, AlertType.POISON, AlertType.HEARTBEAT)  # of which one more is news


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """What can go wrong, once at a time; its parts are also its name."""

    type: AlertType
    severity: Severity
    tier: Tier

    def __str__(self) -> str:
        return f"{self.type}#{self.severity}#{self.tier}"

    @classmethod
    def of(cls, text: str) -> "Condition":
        """Read a name; raises ValueError."""
        type_, severity, tier = text.split("#")
        return cls(AlertType(type_), Severity(severity), Tier(tier))


@dataclass(frozen=True, slots=True)
class Firing:
    """A condition that is more than it may be; `jobs` are those that it is about, where they are known.

    `value` and `threshold` are counts, seconds (queue_age) or per cent (failure_rate).
    """

    condition: Condition
    value: float
    threshold: float
    jobs: tuple[JobId, ...] = ()
    venue_id: VenueId | None = None  # whose all of the jobs are


class Word(StrEnum):
    """What a notice is."""

    ALERT = "alert"
    ESCALATION = "escalation"
    RESOLVED = "resolved"


Notices = Mapping[tuple[Channel, Word], datetime]


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode of a condition; `told` is when each notice was last claimed, which precedes its sending."""

    id: str
    condition: Condition
    message: str
    value: float
    threshold: float
    created_at: datetime
    jobs: tuple[JobId, ...] = ()
    venue_id: VenueId | None = None  # whose it is; None: the platform's, or of several
    told: Notices = field(default_factory=dict)
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    well_since: datetime | None = None
    ended_at: datetime | None = None
    version: int = 1

    @property
    def cooldown(self) -> timedelta:
        """How long a channel is left alone after a notice, and how long an alert must be well to have ended."""
        return COOLDOWN[self.condition.severity]

    def last_told(self, channel: Channel) -> datetime | None:
        """Return when the alert was last told on a channel, escalated or not."""
        moments = (self.told.get((channel, word)) for word in (Word.ALERT, Word.ESCALATION))
        return max((each for each in moments if each is not None), default=None)


def alert_id(condition: Condition, now: datetime) -> str:
    """Return the id of an alert that begins now; ids sort by when they began."""
    return f"{moment_id(now)}-{condition.type}-{condition.severity}-{condition.tier}"


def moment_id(moment: datetime) -> str:
    """Return what the ids of alerts of this moment begin with."""
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}"


def began(firing: Firing, message: str, now: datetime) -> Alert:
    """Return the alert that a condition begins with."""
    return Alert(
        id=alert_id(firing.condition, now),
        condition=firing.condition,
        message=message,
        value=firing.value,
        threshold=firing.threshold,
        created_at=now,
        jobs=firing.jobs,
        venue_id=firing.venue_id,
    )


def goes_on(alert: Alert, firing: Firing, message: str) -> Alert:
    """Return an alert as its condition stands; what was acknowledged stays what it was, or becomes less."""
    known = alert.acknowledged_at is not None
    return replace(
        alert,
        message=message,
        value=min(alert.value, firing.value) if known else firing.value,
        jobs=tuple(job for job in alert.jobs if job in firing.jobs) if known else firing.jobs,
        venue_id=firing.venue_id,
        well_since=None,
    )


def is_another(alert: Alert, firing: Firing) -> bool:
    """Whether what fires is not what the alert is about: that has ended, or more came once it was acknowledged.

    Each parked job, poison message and silent function is somebody's; of the rest more is no news.
    """
    if alert.ended_at is not None:
        return True
    if alert.acknowledged_at is None or firing.condition.type not in ONE_BY_ONE:
        return False
    return firing.value > alert.value or not set(firing.jobs) <= set(alert.jobs)


def is_well(alert: Alert, now: datetime) -> Alert:
    """Return an alert whose condition is well: it has ended once that has lasted a cooldown."""
    if alert.well_since is None:
        return replace(alert, well_since=now)
    if alert.ended_at is None and now - alert.well_since >= alert.cooldown:
        return replace(alert, ended_at=now)
    return alert


def due(alert: Alert, now: datetime) -> list[tuple[Channel, Word]]:
    """Return the notices that are to be sent now."""
    if alert.ended_at is not None:
        told = (channel for channel in TOLD_RESOLVED if alert.last_told(channel) is not None)
        return [(each, Word.RESOLVED) for each in told if (each, Word.RESOLVED) not in alert.told]
    if alert.acknowledged_at is not None or alert.well_since is not None:
        return []
    words = (
        (each, _word(alert, each, now)) for each in channels_of(alert.condition.severity, alert.condition.tier)
    )
    return [(channel, word) for channel, word in words if word is not None]


def _word(alert: Alert, channel: Channel, now: datetime) -> Word | None:
    late = now - alert.created_at >= ESCALATES_AFTER and alert.condition.severity is Severity.CRITICAL
    if late and (channel, Word.ESCALATION) not in alert.told:
        return Word.ESCALATION
    last = alert.last_told(channel)
    return Word.ALERT if last is None or now - last >= alert.cooldown else None


def claimed(alert: Alert, channel: Channel, word: Word, now: datetime) -> Alert:
    """Return the alert with a notice as told, which is written before it is sent."""
    return replace(alert, told={**alert.told, (channel, word): now})


def given_back(alert: Alert, channel: Channel, word: Word, before: datetime | None) -> Alert:
    """Return the alert with a notice as it was told before, because it could not be sent."""
    told = {each: at for each, at in alert.told.items() if each != (channel, word)}
    return replace(alert, told=told if before is None else {**told, (channel, word): before})


def replaced(alert: Alert, now: datetime) -> Alert:
    """Return an alert that gives way to another of its condition; nobody is told that it was resolved."""
    return replace(alert, ended_at=alert.ended_at or now)


def trial(severity: Severity, message: str, by: str, now: datetime, *, unique: str) -> Alert:
    """Return the alert that an operator tests the channels with: acknowledged and ended from the first."""
    firing = Firing(Condition(AlertType.TEST, severity, Tier.MONEY), 0, 0)
    ended = replaced(acknowledged(began(firing, message, now), by, now), now)
    return replace(ended, id=f"{ended.id}-{unique}")


def acknowledged(alert: Alert, by: str, now: datetime) -> Alert:
    """Return the alert as somebody's who looks after it."""
    return replace(alert, acknowledged_by=by, acknowledged_at=now)


@dataclass(frozen=True, slots=True)
class Notice:
    """What is sent on a channel; `text` can be spoken, `link` is for who can read."""

    alert_id: str
    condition: Condition
    word: Word
    text: str
    link: str | None

    @property
    def written(self) -> str:
        """The text, with the link if there is one."""
        return self.text if self.link is None else f"{self.text} {self.link}"


class Outlet(Protocol):
    """The port of one channel. Check and start are one step: a call that cannot end in time is none."""

    def send(self, notice: Notice, *, deadline: datetime) -> None:
        """Send a notice; raises any ProviderError."""
        ...


class AlertBook(Protocol):
    """The port of the alerts; all raise StoreRefused, those that write also StoreUnsure."""

    def standing(self) -> Mapping[Condition, Alert]:
        """Return the alerts that are not closed, read consistently, in two calls at most."""
        ...

    def begin(self, alert: Alert) -> bool:
        """Write the first version of an alert, unless its condition has one that is not closed."""
        ...

    def add(self, alert: Alert, entry: Entry) -> bool:
        """Write an alert that has ended already, with its audit entry; False: there is one of this id."""
        ...

    def swap(self, before: Alert, after: Alert, entry: Entry | None = None) -> bool:
        """Replace an alert if the stored version is still `before`'s; `after` gets the next one.

        An audit entry is written with it. Says whether it was done.
        """
        ...

    def close(self, alert: Alert) -> bool:
        """Let a condition begin anew, with an alert that has ended, if the stored version is still this one.

        Says whether it was done. The alert expires 90 days after its end.
        """
        ...

    def load(self, alert_id: str) -> Alert | None:
        """Return an alert, read consistently."""
        ...

    def since(self, moment: datetime) -> list[Alert]:
        """Return the alerts that began at this moment or later, the latest first, at most MOST_LISTED."""
        ...

    def unacknowledged(self) -> list[Alert]:
        """Return the latest alerts that nobody has acknowledged, from an index; at most MOST_LISTED."""
        ...


MOST_LISTED = 500
