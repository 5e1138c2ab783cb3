"""The tables, as pynamodb defines them, and its connection to them.

What must exist on AWS stands in infra/template.yaml; a test holds the two to each other. pynamodb makes the
single-item reads, the queries and the leases. What it cannot do goes to the same client directly: it drops
the record that a refused condition returns, and has neither batches of conditional writes nor one read over
two tables.
"""
# ruff: noqa: D106 - what a pynamodb Meta is need not be said seven times

from dataclasses import dataclass
from typing import Any

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.connection import Connection, TableConnection
from pynamodb.connection.base import MetaTable
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model


@dataclass(frozen=True, slots=True)
class Tables:
    """What the tables are called in this stage."""

    jobs: str
    idempotency_keys: str
    queue_controls: str
    audit_log: str
    rate_limits: str
    schedules: str
    queue_metrics: str
    endpoints: str
    alert_history: str


class AgendaIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Open jobs by tier and shard, and by the moment at which `dispatch` wants to see them. Sparse."""

    class Meta:
        index_name = "agenda"
        projection = KeysOnlyProjection()

    ag = UnicodeAttribute(hash_key=True)
    nl = NumberAttribute(range_key=True)


class OverdueIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Open jobs that were missed once, by tier and by the moment they were due. Sparse."""

    class Meta:
        index_name = "overdue"
        projection = KeysOnlyProjection()

    od = UnicodeAttribute(hash_key=True)
    du = NumberAttribute(range_key=True)


class VenueIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """All jobs of a venue, in the order of their acceptance. Nothing that it holds ever moves."""

    class Meta:
        index_name = "venue"
        projection = KeysOnlyProjection()

    ve = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class UserIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Jobs made on behalf of a user. Sparse."""

    class Meta:
        index_name = "user"
        projection = KeysOnlyProjection()

    us = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class BatchIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Jobs that came in a batch, by venue and batch. Sparse."""

    class Meta:
        index_name = "batch"
        projection = KeysOnlyProjection()

    bt = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class SearchIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Failed and parked jobs, by tier and how they ended. Sparse.

    With the fingerprint and the end, so that a thousand dead letters are grouped by one query, not ten reads.
    """

    class Meta:
        index_name = "search"
        projection = IncludeProjection(["fp", "fi"])

    sx = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class VenueSearchIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Failed and parked jobs of a venue. Sparse."""

    class Meta:
        index_name = "venue_search"
        projection = KeysOnlyProjection()

    vx = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class FingerprintIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Dead letters and parked jobs, by type and error. Sparse."""

    class Meta:
        index_name = "fingerprint"
        projection = KeysOnlyProjection()

    fp = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class JobRecord(Model):
    """A job; or, with the id `<job id>#payload`, a payload that is kept apart."""

    class Meta:
        table_name = "jobs"

    id = UnicodeAttribute(hash_key=True)
    agenda = AgendaIndex()
    overdue = OverdueIndex()
    venue = VenueIndex()
    user = UserIndex()
    batch = BatchIndex()
    search = SearchIndex()
    venue_search = VenueSearchIndex()
    fingerprint = FingerprintIndex()


class KeyRecord(Model):
    """An idempotency key."""

    class Meta:
        table_name = "idempotency-keys"

    id = UnicodeAttribute(hash_key=True)


class SuppressedIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Suppressed addresses by channel and by when they were. Sparse."""

    class Meta:
        index_name = "suppressed"
        projection = AllProjection()

    sc = UnicodeAttribute(hash_key=True)
    sa = NumberAttribute(range_key=True)


class ControlRecord(Model):
    """The controls (one record), a run lease, or an address that is suppressed."""

    class Meta:
        table_name = "queue-controls"

    id = UnicodeAttribute(hash_key=True)
    suppressed = SuppressedIndex()


class LimitRecord(Model):
    """A provider group's bucket, or what a caller has asked for lately."""

    class Meta:
        table_name = "rate-limits"

    id = UnicodeAttribute(hash_key=True)


class SubjectIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Audit entries by what was acted on; whole, since an entry is small and is what is asked for."""

    class Meta:
        index_name = "subject"
        projection = AllProjection()

    sj = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class AuditRecord(Model):
    """What an operator did, by day."""

    class Meta:
        table_name = "audit-log"

    day = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)
    subject = SubjectIndex()


class DueIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Schedules in which something waits, by the moment from which it does. Sparse."""

    class Meta:
        index_name = "due"
        projection = KeysOnlyProjection()

    dq = UnicodeAttribute(hash_key=True)
    wk = NumberAttribute(range_key=True)


class ScheduleRecord(Model):
    """A schedule; all are in one partition, so that a list of them is a query."""

    class Meta:
        table_name = "schedules"

    kd = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)
    due = DueIndex()


class MetricRecord(Model):
    """A figure of the service itself: `pk` is its kind, `sk` its place in it."""

    class Meta:
        table_name = "queue-metrics"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class EndpointRecord(Model):
    """A webhook endpoint, by venue."""

    class Meta:
        table_name = "endpoints"

    ve = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class UnacknowledgedIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call] # pynamodb's is untyped
    """Alerts that nobody has acknowledged, by when they began. Sparse."""

    class Meta:
        index_name = "unacknowledged"
        projection = AllProjection()

    un = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)


class AlertRecord(Model):
    """An alert; or what names the alert of a condition that is not closed."""

    class Meta:
        table_name = "alert-history"

    kd = UnicodeAttribute(hash_key=True)
    id = UnicodeAttribute(range_key=True)
    unacknowledged = UnacknowledgedIndex()


class _Shared(Connection):
    """pynamodb's connection over our client, so that there is one pool and one set of time-outs."""

    def __init__(self, client: Any) -> None:
        super().__init__(region=client.meta.region_name)
        self._ours = client

    @property
    def client(self) -> Any:
        return self._ours


def connect(model: type[Model], name: str, client: Any) -> TableConnection:
    """Return pynamodb's connection to the table of a model, by the name that it has in this stage."""
    # The names stand in the environment, so the schema is taken from the model and nothing else is.
    schema = model._get_schema()
    table = TableConnection(name)
    table.connection = _Shared(client)
    table.connection.add_meta_table(
        MetaTable(
            {
                "TableName": name,
                "KeySchema": schema["key_schema"],
                "AttributeDefinitions": schema["attribute_definitions"],
                "GlobalSecondaryIndexes": [
                    {"IndexName": index["index_name"], "KeySchema": index["key_schema"]}
                    for index in schema["global_secondary_indexes"]
                ],
            }
        )
    )
    return table
