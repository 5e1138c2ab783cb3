"""What the service is told of its alerts: from when on there is one, and who is told of it."""

from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.heartbeat import Every
from chalicelib.domain.judging import Thresholds
from chalicelib.domain.policies import Tier
from chalicelib.settings.environment import Reader, matching, whole
from chalicelib.settings.vendors import E164, TOPIC

DEPTHS = {
    Tier.MONEY: "ALERT_THRESHOLD_MONEY_QUEUE",
    Tier.COMMUNICATION: "ALERT_THRESHOLD_COMM_QUEUE",
    Tier.BACKGROUND: "ALERT_THRESHOLD_BACKGROUND_QUEUE",
}
SILENCES = {  # in minutes
    Every.MINUTE: "ALERT_THRESHOLD_MINUTELY_SILENCE",
    Every.FIVE_MINUTES: "ALERT_THRESHOLD_FIVE_MINUTELY_SILENCE",
    Every.DAY: "ALERT_THRESHOLD_DAILY_SILENCE",
}
MONEY_AGE, FAILURE_RATE = "ALERT_THRESHOLD_MONEY_AGE_MINUTES", "ALERT_THRESHOLD_FAILURE_RATE"


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The thresholds, the topic that every alert is published on, and the phone of who is on call."""

    thresholds: Thresholds
    topic_arn: str | None  # None: none is published
    oncall_phone: str | None  # None: nobody is texted or called


def read_alerts(env: Reader) -> AlertSettings:
    """Read what there is to know of alerts."""
    usual = Thresholds()
    depth = {tier: env.optional(name, whole(0, 10**9)) for tier, name in DEPTHS.items()}
    minutes = env.optional(MONEY_AGE, whole(0, 10**6))  # before five they are not seen
    percent = env.optional(FAILURE_RATE, whole(0, 100))
    silence = {every: env.optional(name, whole(1, 10**6)) for every, name in SILENCES.items()}
    age = {} if minutes is None else {Tier.MONEY: timedelta(minutes=minutes)}
    return AlertSettings(
        thresholds=Thresholds(
            depth={tier: usual.depth[tier] if most is None else most for tier, most in depth.items()},
            age={**usual.age, **age},
            dead_letters=usual.dead_letters,
            failure_percent=usual.failure_percent if percent is None else float(percent),
            silence={
                every: usual.silence[every] if most is None else timedelta(minutes=most)
                for every, most in silence.items()
            },
        ),
        topic_arn=env.optional("ALERT_TOPIC_ARN", matching(TOPIC, "the ARN of the SNS topic of alerts")),
        oncall_phone=env.optional("ONCALL_PHONE", matching(E164, "a number such as +15005550010")),
    )
