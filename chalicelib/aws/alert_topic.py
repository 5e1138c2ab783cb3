"""The SNS topic of alerts: every one is published there, whatever becomes of the on-call phone."""

from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.vendors import BY_STATUS, CALL_TIME, NOT_THE_REQUEST, UNANSWERED, unanswered
from chalicelib.domain.alerting import Notice
from chalicelib.domain.errors import Ambiguous, NotSent, TurnedAway
from chalicelib.domain.ports import Clock

MOST_CHARACTERS = 100  # of a subject, which is ASCII


class AlertTopic:
    """Implements `alerting.Outlet` for one topic, for any number of threads."""

    def __init__(self, client: Any, arn: str, clock: Clock) -> None:
        self._client = client
        self._arn = arn
        self._clock = clock

    def send(self, notice: Notice, *, deadline: datetime) -> None:
        """Publish a notice; its subscribers may filter by severity, type, queue and word."""
        # Check and call are one step, so that no call starts that cannot end in time.
        if self._clock.now() + CALL_TIME > deadline:
            raise NotSent("no_time_left", "The invocation ends too soon for a call to SNS.")
        condition = notice.condition
        about = {
            "severity": condition.severity,
            "type": condition.type,
            "queue": condition.tier,
            "word": notice.word,
        }
        try:
            self._client.publish(
                TopicArn=self._arn,
                Subject=f"{condition.severity.upper()} {condition.type} {condition.tier} {notice.word}"[
                    :MOST_CHARACTERS
                ],
                Message=notice.written,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": str(value)} for name, value in about.items()
                },
            )
        except ClientError as error:
            raise _refused(error) from error
        except UNANSWERED as error:
            raise unanswered(error, "SNS") from error


def _refused(error: ClientError) -> TurnedAway | Ambiguous:
    code = error.response.get("Error", {}).get("Code", "")
    metadata = error.response.get("ResponseMetadata", {})
    status, reference = metadata.get("HTTPStatusCode", 0), metadata.get("RequestId")
    reason = NOT_THE_REQUEST.get(code) or BY_STATUS.get(status)
    if reason is None and 400 <= status < 500:
        reason = "topic_refused"
    if reason is None:
        return Ambiguous("provider_failed", "SNS failed.", reference=reference)
    return TurnedAway(reason, "SNS did not take the alert.", reference=reference)
