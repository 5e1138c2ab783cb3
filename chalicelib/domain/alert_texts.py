"""What an alert says: the consequence, in words that can be read and spoken. No personal data is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.alerting import Alert, AlertType, Firing, Word
from chalicelib.domain.heartbeat import PARTS, Silence
from chalicelib.domain.judging import Sight
from chalicelib.domain.money import EXPONENTS

MOMENT = "%d %b %H:%M"
MOST_PARKED = 100  # of a tier that are looked at


@dataclass(frozen=True, slots=True)
class Stake:
    """The money of jobs that were looked at, in minor units by currency; there may be more."""

    jobs: int
    money: Mapping[str, int]


def message(firing: Firing, sight: Sight, stake: Stake, now: datetime) -> str:
    """Return what is wrong, what waits, since when, how long it takes, and how much money that is."""
    told = [_headline(firing, sight, now), *_backlog(firing, sight, now), *_money(stake)]
    return " ".join(f"{each}." for each in told)


def told(alert: Alert, word: Word) -> str:
    """Return what is said of an alert in a notice, and of what."""
    severity, tier = alert.condition.severity.upper(), alert.condition.tier
    match word:
        case Word.ALERT:
            return f"{severity} {tier}: {alert.message}"
        case Word.ESCALATION:
            return f"NOT ACKNOWLEDGED, {severity} {tier}: {alert.message}"
        case Word.RESOLVED:
            since = alert.well_since or alert.created_at
            return f"RESOLVED {tier}: Well since {since:{MOMENT}} UTC. It was: {alert.message}"


TEST = "This is a test of the alerts of queue-service. Nothing is wrong."


def _headline(firing: Firing, sight: Sight, now: datetime) -> str:
    count, most = f"{firing.value:,.0f}", f"{firing.threshold:,.0f}"
    match firing.condition.type:
        case AlertType.QUEUE_DEPTH:
            return f"{count} jobs wait, more than {most}"
        case AlertType.QUEUE_AGE:
            longest, bound = duration(_seconds(firing.value)), duration(_seconds(firing.threshold))
            return f"The oldest job has waited for {longest}, longer than {bound}"
        case AlertType.DEAD_LETTERS:
            return f"{count} jobs failed for good within an hour, more than {most}"
        case AlertType.FAILURE_RATE:
            percent = f"{firing.value:.1f} %"
            return f"{percent} of the jobs that ended within an hour failed, more than {firing.threshold:g} %"
        case AlertType.PARKED:
            many = "100 or more" if firing.value >= MOST_PARKED else count
            return f"Parked jobs: {many}. Nobody knows whether they took effect, so a person must resolve each"
        case AlertType.POISON:
            return f"Messages in the dead-letter queue of which no job can be made: {count}"
        case AlertType.HEARTBEAT:
            return ". ".join(_silence(each, now) for each in sight.silent or ())
        case AlertType.TEST:
            return TEST.rstrip(".")


def _silence(silence: Silence, now: datetime) -> str:
    since = f"{silence.since:{MOMENT}} UTC, {duration(now - silence.since)}"
    return f"No run of {silence.function} has ended well since {since}: {PARTS[silence.function].silence}"


def _backlog(firing: Firing, sight: Sight, now: datetime) -> list[str]:
    told: list[str] = []
    if sight.waiting and firing.condition.type is not AlertType.QUEUE_DEPTH:
        told.append(f"{sight.waiting:,} jobs wait")
    if sight.oldest_due is not None:
        told.append(f"The oldest has been due since {sight.oldest_due:{MOMENT}} UTC{_age(firing, sight, now)}")
    if sight.waiting and sight.ended_per_minute > 0:
        told.append(f"At the present rate they take {duration(_drain(sight.waiting, sight.ended_per_minute))}")
    elif sight.waiting:
        told.append("None has ended within ten minutes")
    return told


def _age(firing: Firing, sight: Sight, now: datetime) -> str:
    if sight.oldest_due is None or firing.condition.type is AlertType.QUEUE_AGE:
        return ""  # it has been said
    return f", {duration(max(now - sight.oldest_due, timedelta(0)))}"


def _money(stake: Stake) -> list[str]:
    if not stake.money:
        return []
    sums = ", ".join(amount(total, currency) for currency, total in sorted(stake.money.items()))
    return [f"At least {sums} with the {stake.jobs} oldest of them"]


def amount(total: int, currency: str) -> str:
    """Return money as people write it: 1,234.50 EUR."""
    exponent = EXPONENTS[currency]
    whole, part = divmod(total, 10**exponent)
    return f"{whole:,}{f'.{part:0{exponent}d}' if exponent else ''} {currency}"


def duration(length: timedelta) -> str:
    """Return a length by its two largest units: 7 min, 2 h 5 min, 3 d 4 h."""
    minutes = length // timedelta(minutes=1)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if count]
    return " ".join(parts[:2]) or "less than a minute"


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def _drain(waiting: int, per_minute: float) -> timedelta:
    return timedelta(minutes=waiting / per_minute)
