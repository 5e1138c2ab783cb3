"""The buckets of the provider groups in DynamoDB: one record each, changed by compare-and-swap.

A batch is let through in one write. The bucket as this container last left it is tried first, which is right
wherever one consumer works; where it was not, the refused condition tells how the bucket stands, and the next
batch reads before it writes. Giving back removes one holding and needs no version: it can only free.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.aws.attributes import Item, Value, at, document, millis, moment, number, read_document, text
from chalicelib.aws.audit_log import noted
from chalicelib.aws.failures import ConditionRefused, read, write
from chalicelib.aws.statements import Removal, run
from chalicelib.aws.tables import Tables
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import Lane
from chalicelib.domain.ports import Entry, Release
from chalicelib.domain.ratelimit import Admission, Ask, Bucket, Holding, Limit, Share, Slot, admit

PREFIX = "bucket#"
TRIES = 6  # against other consumers' writes; after that the batch is told to come back


class DynamoLimiter:
    """The limiter behind `ports.Limiter`; `limits` holds where no operator has set another."""

    def __init__(self, client: Any, tables: Tables, limits: Mapping[str, Limit]) -> None:
        self._client = client
        self._tables = tables
        self._limits = limits
        self._left: dict[str, Bucket] = {}  # as this container left them, while nobody else wrote

    def reserve(
        self, group: str, asks: Sequence[Ask], *, owner: str, until: datetime, now: datetime
    ) -> Admission:
        """Let through what fits of a batch, rate and slots in one write."""
        bucket = self._left.pop(group, None)
        alone = bucket is not None
        bucket = bucket or self._read(group)
        for _ in range(TRIES):
            admission = admit(bucket, asks, owner=owner, until=until, now=now)
            if not admission.news:
                return admission
            try:
                self._write(group, bucket, admission.bucket, owner)
            except ConditionRefused as refused:
                alone = False
                bucket = self._bucket(group, refused.answer.get("Item"))
                continue
            if alone or bucket.version == 0:
                self._left[group] = admission.bucket
            return admission
        raise StoreRefused("The limiter is being written by many at once.")

    def give_back(self, release: Release) -> None:
        """End what an owner holds; a failure leaves it to run out."""
        run(self._client, removals(self._tables, release))
        self.given_back(release)

    def given_back(self, release: Release) -> None:
        """Note that this was ended by `JobStore.save_many`."""
        for group in release.groups:
            self._forget(group, release.owner)

    def buckets(self) -> Mapping[str, Bucket]:
        """Return the bucket of every known group as it stands."""
        keys = [{"id": text(PREFIX + group)} for group in self._limits]
        table = self._tables.rate_limits
        answer = read(self._client.batch_get_item, RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
        if answer.get("UnprocessedKeys"):
            raise StoreRefused
        found = {item["id"]["S"].removeprefix(PREFIX): item for item in answer["Responses"].get(table, ())}
        return {group: self._bucket(group, found.get(group)) for group in self._limits}

    def save(self, group: str, bucket: Bucket, entry: Entry) -> bool:
        """Replace a bucket whose version is one older, with the audit entry."""
        self._left.pop(group, None)
        update = self._update(group, bucket.version - 1, bucket) | self._condition(bucket.version - 1)
        update["UpdateExpression"] += ", li = :li, fl = if_not_exists(fl, :none)"
        update["ExpressionAttributeValues"] |= {":li": _limit_value(bucket.limit), ":none": {"M": {}}}
        try:
            write(
                self._client.transact_write_items,
                TransactItems=[{"Update": update}, noted(self._tables, entry)],
            )
        except ConditionRefused:
            return False
        return True

    def _read(self, group: str) -> Bucket:
        answer = read(
            self._client.get_item, TableName=self._tables.rate_limits, Key={"id": text(PREFIX + group)}
        )
        return self._bucket(group, answer.get("Item"))

    def _write(self, group: str, before: Bucket, after: Bucket, owner: str) -> None:
        """Write what a batch made of a bucket; raises ConditionRefused, StoreRefused or StoreUnsure."""
        update = self._update(group, before.version, after) | self._condition(before.version)
        values = update["ExpressionAttributeValues"]
        names: dict[str, str] = {}
        mine = after.holdings.get(owner)
        if before.version == 0:
            update["UpdateExpression"] += ", fl = :fl"
            values[":fl"] = {"M": {owner: _holding_value(mine)} if mine else {}}
        else:
            if mine is not None:
                update["UpdateExpression"] += ", fl.#mine = :mine"
                names["#mine"], values[":mine"] = owner, _holding_value(mine)
            gone = [name for name in before.holdings if name not in after.holdings and name != owner]
            if gone:
                update["UpdateExpression"] += " REMOVE " + ", ".join(
                    f"fl.#gone{index}" for index in range(len(gone))
                )
                names |= {f"#gone{index}": name for index, name in enumerate(gone)}
        if names:
            update["ExpressionAttributeNames"] = names
        write(self._client.update_item, **update, ReturnValuesOnConditionCheckFailure="ALL_OLD")

    def _update(self, group: str, version: int, after: Bucket) -> dict[str, Any]:
        values: dict[str, Value] = {
            ":next": number(version + 1),
            ":at": moment(after.at),
            ":lv": number(_thousandths(after.level)),
            ":vs": _venues_value(after.venues),
        }
        return {
            "TableName": self._tables.rate_limits,
            "Key": {"id": text(PREFIX + group)},
            "UpdateExpression": "SET vn = :next, ta = :at, lv = :lv, vs = :vs",
            "ExpressionAttributeValues": values if version == 0 else values | {":vn": number(version)},
        }

    def _condition(self, version: int) -> dict[str, Any]:
        return {"ConditionExpression": "vn = :vn" if version else "attribute_not_exists(id)"}

    def _bucket(self, group: str, item: Item | None) -> Bucket:
        """Return the bucket of a record; a full one where there is none yet."""
        limit = self._limits[group]
        if item is None:
            return Bucket(limit, at(0))
        return Bucket(
            limit=_limit(read_document(item["li"]), limit.reserve) if "li" in item else limit,
            at=at(int(item["ta"]["N"])),
            level=int(item["lv"]["N"]) / 1000,
            venues={VenueId(venue): _share(*row) for venue, row in read_document(item["vs"]).items()},
            holdings={owner: _holding(value) for owner, value in item["fl"]["M"].items()},
            version=int(item["vn"]["N"]),
        )

    def _forget(self, group: str, owner: str) -> None:
        left = self._left.get(group)
        if left is not None:
            kept = {name: held for name, held in left.holdings.items() if name != owner}
            self._left[group] = replace(left, holdings=kept)


def removals(tables: Tables, release: Release) -> list[Removal]:
    """Return the writes that end what an owner holds; they need no version, since they can only free."""
    return [Removal(tables.rate_limits, PREFIX + group, "fl", release.owner) for group in release.groups]


def _thousandths(level: float) -> int:
    return math.ceil(level * 1000)  # rounding never lets more through


def _venues_value(venues: Mapping[VenueId, Share]) -> Value:
    rows = {
        venue: [_thousandths(share.level), millis(share.denied_at) if share.denied_at else None]
        for venue, share in venues.items()
    }
    return document(rows)


def _share(level: int, denied_at: int | None) -> Share:
    return Share(level / 1000, None if denied_at is None else at(denied_at))


def _holding_value(held: Holding | None) -> Value:
    slots = [[slot.job_type, slot.venue_id, slot.lane, slot.count] for slot in held.slots] if held else []
    return document([millis(held.until) if held else 0, slots])


def _holding(value: Value) -> Holding:
    until, slots = json.loads(value["S"])
    return Holding(
        at(until), tuple(Slot(kind, VenueId(venue), Lane(lane), n) for kind, venue, lane, n in slots)
    )


def _limit_value(limit: Limit) -> Value:
    cooldown = limit.cooldown // timedelta(milliseconds=1)
    return document([limit.per_second, limit.concurrent, limit.burst, cooldown])


def _limit(row: Sequence[Any], reserve: int) -> Limit:
    per_second, concurrent, burst, cooldown = row
    return Limit(per_second, concurrent, burst, timedelta(milliseconds=cooldown), reserve)
