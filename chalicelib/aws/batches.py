"""Whole batches in DynamoDB: keys and records 25 to a call, and the stages of those that are all or nothing.

A stage's record stands in the jobs table under `stage#<id>`, where the agenda index finds it for `dispatch`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from pynamodb.expressions.operand import Path

from chalicelib.aws import records
from chalicelib.aws.attributes import (
    Item,
    Value,
    document,
    moment,
    read_document,
    read_moment,
    read_text,
    seconds,
    text,
)
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.statements import Applied, Delete, Insert, Outcome, Refused, Unanswered, run
from chalicelib.aws.tables import JobRecord, Tables, connect
from chalicelib.aws.venue_register import VenueRegister
from chalicelib.domain.batch import Stage, StageState
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import Job, JobId, StageId
from chalicelib.domain.keys import Key

STAGE = "stage#"
STAGES = "stages"  # their shard of the agenda


class DynamoBatches:
    """What `ports.JobStore` says of many keys, many jobs and stages; the client must not retry by itself."""

    def __init__(self, client: Any, tables: Tables, register: VenueRegister | None = None) -> None:
        self._client = client
        self._tables = tables
        self._jobs = connect(JobRecord, tables.jobs, client)
        self._register = register or VenueRegister(client, tables)

    def take_keys(self, keys: Sequence[Key]) -> list[bool]:
        """Write idempotency records where there are none, each by itself, in one call per 25."""
        table = self._tables.idempotency_keys
        outcomes = run(self._client, [Insert(table, records.key_item(key)) for key in keys])
        return [isinstance(outcome, Applied) for outcome in outcomes]

    def add_many(self, jobs: Sequence[Job]) -> list[bool | None]:
        """Write jobs, each by itself, in one call per 25; payloads that are kept apart before all records."""
        table = self._tables.jobs
        entered = self._register.entered(job.venue_id for job in jobs)
        apart = {job.id: item for job in jobs if (item := records.payload_item(job)) is not None}
        stored = run(self._client, [Insert(table, item) for item in apart.values()])
        # One that is there already is this one: a job id stands for one payload hash, by its key.
        without = {
            job_id for job_id, outcome in zip(apart, stored, strict=True) if isinstance(outcome, Unanswered)
        }
        ready = [
            replace(job, payload=None, payload_apart=True) if job.id in apart else job
            for job in jobs
            if job.id not in without and job.venue_id in entered
        ]
        outcomes = run(self._client, [Insert(table, records.job_item(job)) for job in ready])
        added = {job.id: _added(outcome) for job, outcome in zip(ready, outcomes, strict=True)}
        return [added.get(job.id) for job in jobs]

    def open_stage(self, stage: Stage) -> None:
        """Write a stage; the same one once more does no harm while it is staged."""
        try:
            self._put_stage(stage, "attribute_not_exists(id) OR ss = :ss", StageState.STAGED)
        except ConditionRefused as refused:
            raise StoreRefused("The batch was given up before it began; repeat the request.") from refused

    def load_stage(self, stage_id: StageId) -> Stage | None:
        """Return a stage."""
        item = read(self._jobs.get_item, STAGE + stage_id, consistent_read=True).get("Item")
        return None if item is None else stage_of(item)

    def move_stage(self, before: Stage, after: Stage) -> Stage | None:
        """Replace a stage if it is still in the state of `before`; return the record that stands now."""
        try:
            self._put_stage(after, "ss = :ss", before.state)
        except ConditionRefused as refused:
            item: Item | None = refused.answer.get("Item")
            return None if item is None else stage_of(item)
        return after

    def due_stages(self, *, until: datetime, limit: int) -> list[StageId]:
        """Return the stages whose look has come, earliest first."""
        answer = read(
            self._jobs.query,
            STAGES,
            range_key_condition=Path("nl") <= moment(until),
            index_name="agenda",
            limit=limit,
        )
        return [StageId(read_text(item["id"]).removeprefix(STAGE)) for item in answer["Items"]]

    def clear_stage(self, stage: Stage) -> bool:
        """Delete the jobs that are on an aborted stage, payloads kept apart included."""
        table, on_it = self._tables.jobs, {"sg": text(stage.id)}
        deletions = [Delete(table, job_id, on_it) for job_id in stage.job_ids]
        deletions += [Delete(table, records.payload_id(job_id), {}) for job_id in stage.job_ids]
        return not any(isinstance(outcome, Unanswered) for outcome in run(self._client, deletions))

    def _put_stage(self, stage: Stage, condition: str, state: StageState) -> None:
        write(
            self._client.put_item,
            TableName=self._tables.jobs,
            Item=stage_item(stage),
            ConditionExpression=condition,
            ExpressionAttributeValues={":ss": text(state)},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )


def stage_item(stage: Stage) -> Mapping[str, Value]:
    """Return the record of a stage."""
    item = {
        "id": text(STAGE + stage.id),
        "ss": text(stage.state),
        "jo": document(stage.job_ids),
        "cr": moment(stage.created_at),
    }
    if stage.next_look is not None:
        item |= {"ag": text(STAGES), "nl": moment(stage.next_look)}
    if stage.expires_at is not None:
        item |= {"xp": moment(stage.expires_at), records.TTL: seconds(stage.expires_at)}
    return item


def stage_of(item: Item) -> Stage:
    """Return the stage of its record."""
    return Stage(
        id=StageId(read_text(item["id"]).removeprefix(STAGE)),
        job_ids=tuple(JobId(each) for each in read_document(item["jo"])),
        created_at=read_moment(item["cr"]),
        state=StageState(read_text(item["ss"])),
        next_look=read_moment(item["nl"]) if "nl" in item else None,
        expires_at=read_moment(item["xp"]) if "xp" in item else None,
    )


def _added(outcome: Outcome) -> bool | None:
    match outcome:
        case Applied():
            return True
        case Refused():
            return False
        case Unanswered():
            return None
    assert_never(outcome)
