"""How far the cleanup is, in the table of figures, and the deletions that only it may make.

Rows: `venues` are the register, a mark for each retention on them; `leftovers` stand in the order in which they
are to be looked at again; `cleanup` are the places of walks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pynamodb.expressions.operand import Path

from chalicelib.aws import records
from chalicelib.aws.attributes import Item, Value, at, document, millis, number, read_text, seconds, text
from chalicelib.aws.audit_log import entry_item, noted
from chalicelib.aws.failures import PAUSES, ConditionRefused, read, transact, write
from chalicelib.aws.statements import Applied, Delete, run
from chalicelib.aws.tables import JobRecord, MetricRecord, Tables, connect
from chalicelib.aws.venue_register import VENUES
from chalicelib.domain.archive import Leftover, Venue
from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.job import Job, JobId, VenueId
from chalicelib.domain.ports import Entry

LEFTOVERS, PLACES = "leftovers", "cleanup"
MARK = "d"  # before the days of a retention
MOST_WRITES = 25
ROUNDS = 6  # of a batch of which a part is not taken


class DynamoCleaning:
    """The rows behind `archive.Cleaning`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._rows = connect(MetricRecord, tables.queue_metrics, client)
        self._jobs = connect(JobRecord, tables.jobs, client)

    def venues(self, *, after: VenueId | None, limit: int) -> list[Venue]:
        """Return venues from the register, in order."""
        beyond = None if after is None else Path("sk") > text(after)
        answer = read(self._rows.query, VENUES, range_key_condition=beyond, consistent_read=True, limit=limit)
        return [_venue(item) for item in answer["Items"]]

    def oldest(self, venue_id: VenueId, *, above: JobId | None, below: JobId, limit: int) -> list[JobId]:
        """Return a venue's jobs between two ids, in the order of their acceptance."""
        ids = Path("id")
        span = ids < text(below) if above is None else ids.between(text(above), text(below))
        answer = read(self._jobs.query, venue_id, range_key_condition=span, index_name="venue", limit=limit + 1)
        # A range of both ends has its ends in it, and neither is wanted.
        found = [JobId(read_text(each["id"])) for each in answer["Items"]]
        return [each for each in found if each not in (above, below)][:limit]

    def mark(self, venue_id: VenueId, days: int, done: JobId) -> None:
        """Note up to which job all is done of a venue and a retention."""
        actions = [Path(f"{MARK}{days}").set(text(done))]
        write(self._rows.update_item, VENUES, venue_id, actions=actions)

    def leftovers(self, *, after: Leftover | None, until: datetime, limit: int) -> list[Leftover]:
        """Return what is to be looked at again by a moment, earliest first."""
        row, end = Path("sk"), text(f"{millis(until) + 1:015d}")
        span = row < end if after is None else row.between(_row(after)["sk"], end)
        answer = read(
            self._rows.query, LEFTOVERS, range_key_condition=span, consistent_read=True, limit=limit + 1
        )
        # A range of both ends has its first one in it.
        return [each for each in map(_leftover, answer["Items"]) if each != after][:limit]

    def note(self, leftovers: Sequence[Leftover]) -> None:
        """Note what is to be looked at again."""
        self._write_all(
            self._tables.queue_metrics, [{"PutRequest": {"Item": _row(each)}} for each in leftovers]
        )

    def forget(self, leftovers: Sequence[Leftover]) -> None:
        """Take notes away."""
        self._write_all(
            self._tables.queue_metrics, [{"DeleteRequest": {"Key": _row(each)}} for each in leftovers]
        )

    def place(self, name: str) -> str | None:
        """Return how far a walk was."""
        item = read(self._rows.get_item, PLACES, name, consistent_read=True).get("Item")
        return None if item is None else read_text(item["at"])

    def set_place(self, name: str, place: str | None) -> None:
        """Note how far a walk is; None: it begins anew."""
        if place is None:
            write(self._rows.delete_item, PLACES, name)
        else:
            write(self._rows.put_item, PLACES, name, attributes={"at": text(place)})

    def delete(self, jobs: Sequence[Job]) -> list[bool]:
        """Delete records, each if it still has the version that was read, and payloads kept apart.

        A payload whose record has gone before it in vain is collected by its TTL.
        """
        table = self._tables.jobs
        outcomes = run(self._client, [Delete(table, job.id, {"vn": number(job.version)}) for job in jobs])
        done = [isinstance(outcome, Applied) for outcome in outcomes]
        apart = [job for job, gone in zip(jobs, done, strict=True) if gone and job.payload_apart]
        run(self._client, [Delete(table, records.payload_id(job.id), {}) for job in apart])
        return done

    def delete_entries(self, entries: Iterable[Entry]) -> None:
        """Delete audit entries."""
        keys = [
            {"day": text(each.at.astimezone(UTC).date().isoformat()), "id": text(each.id)} for each in entries
        ]
        self._write_all(self._tables.audit_log, [{"DeleteRequest": {"Key": key}} for key in keys])

    def tell(self, entry: Entry) -> None:
        """Write an audit entry of what is done to the archive alone."""
        self._put(self._tables.audit_log, entry_item(entry))

    def restore(self, job: Job, note: Leftover, entry: Entry) -> bool:
        """Write a job from the archive, whole, where none of its id stands, with a note and an audit entry."""
        items = [records.job_item(replace(job, payload=None) if job.payload_apart else job)]
        if job.payload_apart and job.payload is not None:
            end = (job.expires_at or note.at) + timedelta(days=1)  # never before its record
            whole = {"id": text(records.payload_id(job.id)), "pl": document(job.payload)}
            self._put(self._tables.jobs, whole | {records.TTL: seconds(end)})
        new = {"TableName": self._tables.jobs, "ConditionExpression": "attribute_not_exists(id)"}
        parts: list[dict[str, Any]] = [{"Put": {**new, "Item": item}} for item in items]
        parts += [{"Put": {"TableName": self._tables.queue_metrics, "Item": _row(note)}}]
        try:
            transact(self._client, [*parts, noted(self._tables, entry)])
        except ConditionRefused:
            return False
        return True

    def _put(self, table: str, item: Mapping[str, Value]) -> None:
        write(self._client.put_item, TableName=table, Item=item)

    def _write_all(self, table: str, requests: Sequence[Mapping[str, Any]]) -> None:
        """Make puts and deletions that may be made twice, 25 to a call. Raises StoreRefused or StoreUnsure."""
        for start in range(0, len(requests), MOST_WRITES):
            left: Any = {table: requests[start : start + MOST_WRITES]}
            for _ in range(ROUNDS + len(PAUSES)):
                left = write(self._client.batch_write_item, RequestItems=left).get("UnprocessedItems") or {}
                if not left:
                    break
            else:
                raise StoreUnsure


def _venue(item: Item) -> Venue:
    marks = {
        int(name.removeprefix(MARK)): JobId(read_text(value))
        for name, value in item.items()
        if name.startswith(MARK) and name.removeprefix(MARK).isdigit()
    }
    return Venue(VenueId(read_text(item["sk"])), marks)


def _row(leftover: Leftover) -> dict[str, Value]:
    return {"pk": text(LEFTOVERS), "sk": text(f"{millis(leftover.at):015d}#{leftover.job_id}")}


def _leftover(item: Item) -> Leftover:
    moment, _, job_id = read_text(item["sk"]).partition("#")
    return Leftover(at(int(moment)), JobId(job_id))
