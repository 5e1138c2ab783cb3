"""Run leases in the controls' table: one item per scheduled function, which keeps its heartbeat.

`ow` and `un` are the lease, `be` is when a run last ended well, `ms` since when it is known that none ever has.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pynamodb.expressions.operand import Path

from chalicelib.aws.attributes import Item, moment, read_moment, read_text, text
from chalicelib.aws.failures import ConditionRefused, write
from chalicelib.aws.reads import read_items
from chalicelib.aws.tables import ControlRecord, connect
from chalicelib.domain.errors import StoreError
from chalicelib.domain.heartbeat import Beat, Beats, Function

logger = logging.getLogger(__name__)


class DynamoLeases:
    """The leases behind `ports.Leases`, and the `heartbeat.Heartbeats`; the client must not retry by itself."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._name = table
        self._table = connect(ControlRecord, table, client)

    def take(self, name: str, owner: str, *, now: datetime, until: datetime) -> bool:
        """Take the lease if nobody holds it at this moment; say whether this owner has it now."""
        free = Path("ow").does_not_exist() | (Path("un") <= moment(now)) | (Path("ow") == text(owner))
        actions = [Path("ow").set(text(owner)), Path("un").set(moment(until))]
        try:
            write(self._table.update_item, _id(name), actions=actions, condition=free)
        except ConditionRefused:
            return False
        except StoreError:
            logger.warning("the lease %s could not be taken", name, exc_info=True)
            return False
        return True

    def give_back(self, name: str, owner: str) -> None:
        """End the lease if this owner still has it, and delete its item."""
        self._end(self._table.delete_item, name, owner)

    def end_run(self, name: str, owner: str, *, well_at: datetime | None) -> None:
        """End the lease if this owner still has it; its item stays, with the heartbeat."""
        lease = [Path("ow").remove(), Path("un").remove()]
        beat = [] if well_at is None else [Path("be").set(moment(well_at)), Path("ms").remove()]
        self._end(self._table.update_item, name, owner, actions=[*lease, *beat])

    def _end(self, call: Callable[..., Any], name: str, owner: str, **request: Any) -> None:
        try:
            write(call, _id(name), condition=Path("ow") == text(owner), **request)
        except ConditionRefused:
            pass
        except StoreError:
            logger.warning("the lease %s could not be given back", name, exc_info=True)

    def beats(self) -> Beats:
        """Return the beat of every function."""
        names = {_id(function): function for function in Function}
        keys = [{"id": text(each)} for each in names]
        found = read_items(self._client, {self._name: {"Keys": keys, "ConsistentRead": True}})[self._name]
        items = {names[read_text(item["id"])]: item for item in found}
        return {function: _beat(items.get(function, {})) for function in Function}

    def miss(self, function: Function, now: datetime) -> None:
        """Note that a function has never run."""
        never = Path("be").does_not_exist() & Path("ms").does_not_exist()
        try:
            write(
                self._table.update_item, _id(function), actions=[Path("ms").set(moment(now))], condition=never
            )
        except ConditionRefused:
            pass
        except StoreError:
            logger.warning("the silence of %s could not be noted", function, exc_info=True)


def _beat(item: Item) -> Beat:
    last, missed = (read_moment(item[name]) if name in item else None for name in ("be", "ms"))
    return Beat(last, missed)


def _id(name: str) -> str:
    return f"lease#{name}"
