"""What waits, by SQS's own counts and by the index of the overdue."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.aws.attributes import read_moment, read_text
from chalicelib.aws.failures import read
from chalicelib.aws.job_queue import FAILURES
from chalicelib.aws.tables import JobRecord, Tables, connect
from chalicelib.domain.backlog import Depth, TierDepth
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId
from chalicelib.domain.policies import Lane, Tier

WAITING = "ApproximateNumberOfMessages"
IN_FLIGHT = "ApproximateNumberOfMessagesNotVisible"
DELAYED = "ApproximateNumberOfMessagesDelayed"


class AwsBacklog:
    """The counts behind `domain.backlog.Backlog`; the table's client must not retry by itself."""

    def __init__(
        self,
        sqs: Any,
        urls: Mapping[tuple[Tier, Lane], str],
        dead_letters: Mapping[Tier, str],
        dynamodb: Any,
        tables: Tables,
    ) -> None:
        self._sqs = sqs
        self._urls = urls
        self._dead_letters = dead_letters
        self._jobs = connect(JobRecord, tables.jobs, dynamodb)

    def depth(self, tier: Tier) -> TierDepth:
        """Count the messages of a tier: one call per queue."""
        lanes = {lane: self._depth(self._urls[tier, lane]) for lane in Lane}
        poison = self._depth(self._dead_letters[tier])
        return TierDepth(lanes, poison.waiting + poison.in_flight + poison.delayed)

    def oldest_due(self, tier: Tier) -> datetime | None:
        """Return when the oldest open job that was missed once was to run."""
        answer = read(self._jobs.query, tier.value, index_name="overdue", limit=1)
        return next((read_moment(item["du"]) for item in answer["Items"]), None)

    def overdue(self, tier: Tier, *, limit: int) -> list[JobId]:
        """Return the open jobs that were missed once, the longest due first."""
        answer = read(self._jobs.query, tier.value, index_name="overdue", limit=limit)
        return [JobId(read_text(item["id"])) for item in answer["Items"]]

    def _depth(self, url: str) -> Depth:
        wanted = [WAITING, IN_FLIGHT, DELAYED]
        try:
            answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)
        except FAILURES as error:
            raise StoreRefused("A queue does not answer.") from error
        return Depth(*(int(answer["Attributes"][name]) for name in wanted))
