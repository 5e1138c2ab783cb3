"""Finding jobs through the indexes of the jobs table; the records are read by `job_store.py`."""

from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path

from chalicelib.aws.attributes import Item, moment, read_moment, read_text, text
from chalicelib.aws.failures import read
from chalicelib.aws.records import agenda_of
from chalicelib.aws.tables import JobRecord, Tables, connect
from chalicelib.domain.job import JobId, Reason, State
from chalicelib.domain.policies import Tier
from chalicelib.domain.search import DeadLetter, Partition, Upcoming, alike, ended


class DynamoJobIndex:
    """The indexes behind `domain.search.JobIndex`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._jobs = connect(JobRecord, tables.jobs, client)

    def newest(self, partition: Partition, *, below: str | None, floor: str | None, limit: int) -> list[JobId]:
        """Return the ids of a partition, highest first."""
        return [JobId(read_text(each["id"])) for each in self._query(partition, below, floor, limit)]

    def upcoming(self, shard: int, tier: Tier, *, after: Upcoming | None, limit: int) -> list[Upcoming]:
        """Return the open jobs of a shard of the agenda, the next to be looked at first."""
        hash_key = agenda_of(tier, shard)
        start = None
        if after is not None:
            start = {"ag": text(hash_key), "nl": moment(after.next_look), "id": text(after.id)}
        answer = read(self._jobs.query, hash_key, index_name="agenda", exclusive_start_key=start, limit=limit)
        return [Upcoming(read_moment(each["nl"]), JobId(read_text(each["id"]))) for each in answer["Items"]]

    def dead_letters(self, tier: Tier, reason: Reason, *, below: str | None, limit: int) -> list[DeadLetter]:
        """Return the dead letters of a tier and reason, the latest accepted first."""
        kind = alike("", State.FAILED).value
        return [
            DeadLetter(
                JobId(read_text(each["id"])), read_text(each["fp"]).removeprefix(kind), read_moment(each["fi"])
            )
            for each in self._query(ended(tier, reason), below, None, limit)
        ]

    def _query(self, partition: Partition, below: str | None, floor: str | None, limit: int) -> list[Item]:
        if floor is not None and below is not None and floor >= below:
            return []  # DynamoDB refuses a range whose ends are the wrong way round
        answer = read(
            self._jobs.query,
            partition.value,
            range_key_condition=_span(below, floor),
            index_name=partition.index.value,
            limit=limit + 1,
            scan_index_forward=False,
        )
        # A range of both ends has its ends in it, and `below` is not wanted.
        return [each for each in answer["Items"] if read_text(each["id"]) != below][:limit]


def _span(below: str | None, floor: str | None) -> Condition | None:
    ids = Path("id")
    if below is None:
        return None if floor is None else ids >= text(floor)
    return ids < text(below) if floor is None else ids.between(text(floor), text(below))
