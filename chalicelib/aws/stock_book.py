"""What a recount reads of jobs and of an index, and the one record of the table of figures that it keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

from pynamodb.expressions.operand import Path

from chalicelib.aws.attributes import (
    Item,
    Value,
    at,
    document,
    millis,
    number,
    read_document,
    read_number,
    read_text,
    text,
)
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.reads import read_items
from chalicelib.aws.records import SEARCH
from chalicelib.aws.tables import JobRecord, MetricRecord, Tables, connect
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, State
from chalicelib.domain.money import stated
from chalicelib.domain.policies import Tier
from chalicelib.domain.search import Partition, Place
from chalicelib.domain.stock import Account, Sighted, Stock, Sums, Walk
from chalicelib.domain.tally import Measure

ACCOUNT = ("stock", "all")


class DynamoStockBook:
    """The record and the reads behind `stock.StockBook`; the client must not retry by itself."""

    def __init__(self, client: Any, tables: Tables) -> None:
        self._client = client
        self._tables = tables
        self._rows = connect(MetricRecord, tables.queue_metrics, client)
        self._jobs = connect(JobRecord, tables.jobs, client)

    def load(self) -> Account:
        """Return what is kept, empty before the first walk."""
        item = read(self._rows.get_item, *ACCOUNT, consistent_read=True).get("Item")
        return Account() if item is None else _account(item)

    def save(self, account: Account) -> bool:
        """Replace the account that has this one's version by one of the next; say whether it was done."""
        stands = Path("vn") == number(account.version) if account.version else Path("pk").does_not_exist()
        try:
            write(self._rows.put_item, *ACCOUNT, attributes=_item(account), condition=stands)
        except ConditionRefused:
            return False
        return True

    def sight(self, job_ids: Sequence[JobId], *, money: bool) -> list[Sighted]:
        """Return how those of these jobs stand that there are, in one call."""
        wanted = {
            "Keys": [{"id": text(each)} for each in job_ids],
            "ProjectionExpression": "st, pl" if money else "st",
        }
        found = read_items(self._client, {self._tables.jobs: wanted})[self._tables.jobs]
        return [_sighted(item) for item in found]

    def count(self, partition: Partition, *, above: JobId | None, limit: int) -> tuple[int, JobId | None]:
        """Count at most `limit` jobs of a partition of the index of what failed, in one query."""
        name = SEARCH[partition.index]
        answer = read(
            self._jobs.query,
            partition.value,
            index_name=partition.index.value,
            exclusive_start_key=None if above is None else {name: text(partition.value), "id": text(above)},
            limit=limit,
            select="COUNT",
        )
        last = answer.get("LastEvaluatedKey")
        return answer["Count"], None if not last else JobId(read_text(last["id"]))


def _sighted(item: Item) -> Sighted:
    try:
        state = State(read_text(item["st"]))
    except ValueError as error:
        raise StoreRefused("A record cannot be read by this version.") from error
    return Sighted(state, stated(read_document(item["pl"])) if "pl" in item else None)


def _item(account: Account) -> dict[str, Value]:
    item = {"vn": number(account.version + 1)}
    if account.stock is not None:
        item["st"] = document(_stock_row(account.stock))
    if account.walk is not None:
        item["wk"] = document(_walk_row(account.walk))
    return item


def _account(item: Item) -> Account:
    return Account(
        stock=_stock(read_document(item["st"])) if "st" in item else None,
        walk=_walk(read_document(item["wk"])) if "wk" in item else None,
        version=read_number(item["vn"]),
    )


def _stock_row(stock: Stock) -> Mapping[str, Any]:
    return {
        "at": millis(stock.counted_at),
        "base": stock.base,
        "states": stock.states,
        "money": stock.money,
    }


def _stock(row: Mapping[str, Any]) -> Stock:
    base: Sums = {
        Tier(tier): {Measure(measure): count for measure, count in sums.items()}
        for tier, sums in row["base"].items()
    }
    states = {
        Tier(tier): {State(state): count for state, count in counts.items()}
        for tier, counts in row["states"].items()
    }
    return Stock(at(row["at"]), base, states, row["money"])


def _walk_row(walk: Walk) -> Mapping[str, Any]:
    after, look = walk.after, None if walk.after is None else walk.after.next_look
    return {
        "stock": _stock_row(walk.stock),
        "at": millis(walk.seen_at),
        "part": walk.part,
        "id": None if after is None else after.id,
        "look": None if look is None else millis(look),
    }


def _walk(row: Mapping[str, Any]) -> Walk:
    look = None if row["look"] is None else at(row["look"])
    after = None if row["id"] is None else Place(JobId(row["id"]), look)
    return Walk(_stock(row["stock"]), at(row["at"]), row["part"], after)
