"""The durable records in DynamoDB: jobs, their keys, the controls, and the audit log.

Calls and write units: accepting a job is two puts (key, record), one unit each while the record stays
within 1 KB. A batch is one read over two tables, one conditional batch to claim and one to finish. A claim
touches no index. A payload above 1 KB is written once, before its record; when a job of a type without an
archive ends, the payload's TTL is set to the record's, which is the one other time that it is paid for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, assert_never

from pynamodb.expressions.operand import Path

from chalicelib.aws import records
from chalicelib.aws.attributes import Item, Value, moment, number, seconds, text
from chalicelib.aws.audit_log import noted, write_noted
from chalicelib.aws.batches import DynamoBatches
from chalicelib.aws.failures import ConditionRefused, read, transact, write
from chalicelib.aws.rate_limiter import removals
from chalicelib.aws.reads import READS, read_items
from chalicelib.aws.records import CONTROLS_ID, Difference, findable, payload_id
from chalicelib.aws.statements import Applied, Outcome, Refused, Statement, Unanswered, expression, run
from chalicelib.aws.tables import ControlRecord, KeyRecord, Tables, connect
from chalicelib.aws.venue_register import VenueRegister
from chalicelib.domain.controls import Controls
from chalicelib.domain.errors import StoreError, StoreRefused
from chalicelib.domain.job import Job, JobId, KeyId, VenueId, same_write
from chalicelib.domain.keys import Key
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Change, Entry, KeyTaken, Outdated, Release, Saved, SaveResult, Unsure

T = TypeVar("T")

SAME_KEY = "(jb = :jb AND ph = :ph AND cr = :cr)"


class DynamoJobStore(DynamoBatches):
    """The records behind `ports.JobStore`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables, register: VenueRegister | None = None) -> None:
        super().__init__(client, tables, register)
        self._keys = connect(KeyRecord, tables.idempotency_keys, client)
        self._controls = connect(ControlRecord, tables.queue_controls, client)

    def take_key(self, key: Key, *, instead_of: Key | None = None) -> Key | None:
        """Write an idempotency record if there is none, or if the one there still is `instead_of`."""
        condition, values = "attribute_not_exists(id)", {}
        if instead_of is not None:
            condition, values = f"{condition} OR {SAME_KEY}", _told_apart(instead_of)
        refused = self._put(self._tables.idempotency_keys, records.key_item(key), condition, values)
        if refused is None:
            return None
        held = records.key(refused)
        return None if held.job_id == key.job_id else held

    def load_key(self, key_id: KeyId) -> Key | None:
        """Return an idempotency record."""
        item = read(self._keys.get_item, key_id, consistent_read=True).get("Item")
        return None if item is None else records.key(item)

    def add(self, job: Job) -> bool:
        """Write a job that does not exist yet, its payload first where that is kept apart."""
        self._register.enter(job.venue_id)
        item = records.job_item(self._apart(job))
        return self._put(self._tables.jobs, item, "attribute_not_exists(id)") is None

    def add_audited(self, job: Job, entry: Entry) -> bool:
        """Write a job that does not exist yet with its audit entry, both or neither."""
        self._register.enter(job.venue_id)
        put = {
            "TableName": self._tables.jobs,
            "Item": records.job_item(self._apart(job)),
            "ConditionExpression": "attribute_not_exists(id)",
        }
        return write_noted(self._client, self._tables, {"Put": put}, entry)

    def load(self, job_id: JobId, venue_id: VenueId | None) -> Job | None:
        """Return a job, whole, if it exists and belongs to the venue."""
        if not findable(job_id):
            return None
        item: Item | None = read(self._jobs.get_item, job_id, consistent_read=True).get("Item")
        job = None if item is None else records.job(item)
        if job is None or venue_id not in (None, job.venue_id):
            return None
        return self._whole(job) if job.payload_apart else job

    def load_batch(self, job_ids: Sequence[JobId]) -> tuple[Mapping[JobId, Job], Controls]:
        """Return the jobs of a batch and the controls, in one call."""
        ids = [job_id for job_id in job_ids if findable(job_id)]
        found: dict[JobId, Job] = {}
        controls = Controls()
        for part in _parts(ids, READS - 1) if ids else [[]]:
            jobs, others = self._read_jobs(part, controls=True)
            found.update({job.id: job for job in map(records.job, jobs)})
            controls = records.controls(next(iter(others), None))
        return found, controls

    def load_payloads(self, jobs: Sequence[Job]) -> Mapping[JobId, Mapping[str, Any]]:
        """Return the payloads of jobs that keep theirs apart; one whose retention is over is left out."""
        owners = {payload_id(job.id): job.id for job in jobs if job.payload_apart}
        items = [item for part in _parts(list(owners), READS) for item in self._read_jobs(part)[0]]
        return {owners[item["id"]["S"]]: records.payload(item) for item in items}

    def save_many(self, changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        """Apply each change by itself, in one call per 25; what is given back goes with the last of them."""
        alone = [self._swap(each) for each in changes if each.follow is None]
        freed = [] if release is None else removals(self._tables, release)
        outcomes = run(self._client, [*alone, *freed])
        batched = iter([_result(outcome) for outcome in outcomes[: len(alone)]])
        results = [next(batched) if each.follow is None else self._save_followed(each) for each in changes]
        self._expire_payloads(changes, results)
        return results

    def save_looks(self, looks: Sequence[Change]) -> list[SaveResult]:
        """Move the looks of jobs, each only if it is still where `before` saw it."""
        statements = [
            Statement(
                self._tables.jobs,
                change.before.id,
                records.look_difference(change.before, change.after),
                {name: value for name, value in records.look(change.before).items() if name != "ag"},
            )
            for change in looks
        ]
        return [_result(outcome) for outcome in run(self._client, statements)]

    def save_audited(
        self,
        change: Change,
        entry: Entry,
        *,
        take_back: Key | None = None,
        instead_of: Key | None = None,
    ) -> SaveResult | KeyTaken:
        """Apply an operator's change and write its audit entry, both or neither."""
        parts = [{"Update": expression(self._swap(change))}, noted(self._tables, entry)]
        parts += [self._taken_back(take_back, instead_of)] if take_back is not None else []
        if change.after.payload_apart and change.after.due != change.before.due:  # it starts anew
            parts.append({"Update": expression(self._keep_payload(change.after))})
        if change.after.payload_apart and change.after.erased_at != change.before.erased_at:
            blank = Difference({"pl": records.NOTHING})
            apart = Statement(self._tables.jobs, payload_id(change.after.id), blank, {})
            parts.append({"Update": expression(apart)})
        own, parts = len(parts), [*parts, *self._follow(change)]
        try:
            transact(self._client, parts)
        except ConditionRefused as refused:
            return _refusal(refused.answer["CancellationReasons"][:own], has_key=take_back is not None)
        except StoreError:
            return Unsure()
        self._expire_payloads([change], [Saved()])
        return Saved()

    def agenda(self, shard: int, tier: Tier, *, until: datetime, limit: int) -> list[JobId]:
        """Return the open jobs of a shard whose look has come, earliest first."""
        answer = read(
            self._jobs.query,
            records.agenda_of(tier, shard),
            range_key_condition=Path("nl") <= moment(until),
            index_name="agenda",
            limit=limit,
        )
        return [JobId(item["id"]["S"]) for item in answer["Items"]]

    def load_controls(self) -> Controls:
        """Return what operators hold back."""
        return records.controls(read(self._controls.get_item, CONTROLS_ID, consistent_read=True).get("Item"))

    def save_controls(self, controls: Controls, entry: Entry) -> bool:
        """Replace the controls, if those that stand are one version older, with their audit entry."""
        put: dict[str, Any] = {
            "TableName": self._tables.queue_controls,
            "Item": records.controls_item(controls),
            "ConditionExpression": "attribute_not_exists(id)",
        }
        if controls.version > 1:
            put["ConditionExpression"] = "vn = :vn"
            put["ExpressionAttributeValues"] = {":vn": number(controls.version - 1)}
        try:
            write(self._client.transact_write_items, TransactItems=[{"Put": put}, noted(self._tables, entry)])
        except ConditionRefused:
            return False
        return True

    def _apart(self, job: Job) -> Job:
        """Write a payload that is too large for the record, and return what the record is to be."""
        payload = records.payload_item(job)
        if payload is None:
            return job
        # One that is there already is this one: a job id stands for one payload hash, by its key.
        self._put(self._tables.jobs, payload, "attribute_not_exists(id)")
        return replace(job, payload=None, payload_apart=True)

    def _put(
        self, table: str, item: Mapping[str, Value], condition: str, values: Mapping[str, Value] | None = None
    ) -> Item | None:
        """Write an item on a condition; return None if it was written, else the item that stands instead."""
        try:
            write(
                self._client.put_item,
                TableName=table,
                Item=item,
                ConditionExpression=condition,
                **({"ExpressionAttributeValues": values} if values else {}),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionRefused as refused:
            standing: Item = refused.answer["Item"]
            return standing
        return None

    def _whole(self, job: Job) -> Job | None:
        payload = self.load_payloads([job]).get(job.id)
        if payload is None and job.expires_at is None:
            raise StoreRefused(f"The payload of job {job.id} is missing.")
        return None if payload is None else replace(job, payload=payload)

    def _read_jobs(self, ids: Iterable[str], *, controls: bool = False) -> tuple[list[Item], list[Item]]:
        """Return items of the jobs table and, if wanted, the controls' record, read consistently."""
        wanted: Mapping[str, Any] = {
            table: {"Keys": [{"id": text(each)} for each in keys], "ConsistentRead": True}
            for table, keys in (
                (self._tables.jobs, list(ids)),
                (self._tables.queue_controls, [CONTROLS_ID] * controls),
            )
            if keys
        }
        found = read_items(self._client, wanted)
        return found.get(self._tables.jobs, []), found.get(self._tables.queue_controls, [])

    def _expire_payloads(self, changes: Sequence[Change], results: Sequence[SaveResult]) -> None:
        """Let the payloads of ended jobs expire with their records.

        If this fails they are kept for longer than need be, and no more than KEPT_PAST_DUE.
        """
        ended = [
            change.after
            for change, result in zip(changes, results, strict=True)
            if change.after.payload_apart and change.after.expires_at is not None and _stands(change, result)
        ]
        run(self._client, [self._keep_payload(job, until=job.expires_at) for job in ended])

    def _save_followed(self, change: Change) -> SaveResult:
        """Apply a change and write the job that follows it, both or neither."""
        try:
            transact(self._client, [{"Update": expression(self._swap(change))}, *self._follow(change)])
        except ConditionRefused as refused:
            [job, *_] = refused.answer["CancellationReasons"]
            return _outdated(job) if job["Code"] == "ConditionalCheckFailed" else Unsure()
        except StoreError:
            return Unsure()
        return Saved()

    def _follow(self, change: Change) -> list[dict[str, Any]]:
        """Return the parts of a transaction that write the job that follows a change, if one does."""
        if change.follow is None:
            return []
        job, payload = change.follow, records.payload_item(change.follow)
        if payload is not None:
            job = replace(job, payload=None, payload_apart=True)
        items = [records.job_item(job), *([] if payload is None else [payload])]
        new = {"TableName": self._tables.jobs, "ConditionExpression": "attribute_not_exists(id)"}
        return [{"Put": {**new, "Item": item}} for item in items]

    def _swap(self, change: Change) -> Statement:
        return Statement(
            self._tables.jobs,
            change.before.id,
            records.difference(change.before, change.after),
            {"vn": number(change.before.version)},
        )

    def _taken_back(self, key: Key, ghost: Key | None) -> dict[str, Any]:
        condition, values = "attribute_not_exists(id) OR jb = :own", {":own": text(key.job_id)}
        if ghost is not None:
            condition, values = f"{condition} OR {SAME_KEY}", values | _told_apart(ghost)
        return {
            "Put": {
                "TableName": self._tables.idempotency_keys,
                "Item": records.key_item(key),
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _keep_payload(self, job: Job, *, until: datetime | None = None) -> Statement:
        """Keep a payload until its record goes; by default for as long as that of a job just accepted."""
        end = until or job.due + records.KEPT_PAST_DUE
        return Statement(self._tables.jobs, payload_id(job.id), Difference({records.TTL: seconds(end)}), {})


def _told_apart(key: Key) -> dict[str, Value]:
    """Return the values of SAME_KEY: what tells one record of a key from all others."""
    item = records.key_item(key)
    return {f":{name}": item[name] for name in ("jb", "ph", "cr")}


def _parts(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


def _result(outcome: Outcome) -> SaveResult:
    match outcome:
        case Applied():
            return Saved()
        case Refused():
            return Outdated(None if outcome.item is None else replace(records.job(outcome.item), payload=None))
        case Unanswered():
            return Unsure()
    assert_never(outcome)


def _stands(change: Change, result: SaveResult) -> bool:
    """Whether the change is on the record now, written by this try or by an earlier one."""
    match result:
        case Saved():
            return True
        case Outdated():
            return result.current is not None and same_write(change.after, result.current)
        case Unsure():
            return False
    assert_never(result)


def _outdated(reason: Mapping[str, Any]) -> SaveResult:
    """Return what a transaction means that was cancelled because its job has changed."""
    return _result(Refused(reason.get("Item")))


def _refusal(reasons: Sequence[Mapping[str, Any]], *, has_key: bool) -> SaveResult | KeyTaken:
    """Return what a cancelled transaction means, from its parts in order: job, entry, any key, any payload."""
    refused = [reason["Code"] == "ConditionalCheckFailed" for reason in reasons]
    if refused[1]:
        return Saved()  # by an earlier try: the entry is never written without the change
    if refused[0]:
        return _outdated(reasons[0])
    if has_key and refused[2]:
        return KeyTaken(records.key(reasons[2]["Item"]).job_id)
    # A payload that is gone ended with its job's retention: there is nothing left to start anew.
    return Outdated(None) if any(refused[2:]) else Unsure()
