"""Run leases in the controls' table: one item per scheduled function."""

import logging
from datetime import datetime
from typing import Any

from pynamodb.expressions.operand import Path

from chalicelib.aws.attributes import moment, text
from chalicelib.aws.failures import ConditionRefused, write
from chalicelib.aws.tables import ControlRecord, connect
from chalicelib.domain.errors import StoreError

logger = logging.getLogger(__name__)


class DynamoLeases:
    """The leases behind `ports.Leases`; the client must not retry by itself."""

    def __init__(self, client: Any, table: str) -> None:
        self._table = connect(ControlRecord, table, client)

    def take(self, name: str, owner: str, *, now: datetime, until: datetime) -> bool:
        """Take the lease if nobody holds it at this moment; say whether this owner has it now."""
        free = Path("id").does_not_exist() | (Path("un") <= moment(now)) | (Path("ow") == text(owner))
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
        """End the lease if this owner still has it; a failure leaves it to run out."""
        try:
            write(self._table.delete_item, _id(name), condition=Path("ow") == text(owner))
        except ConditionRefused:
            pass
        except StoreError:
            logger.warning("the lease %s could not be given back", name, exc_info=True)


def _id(name: str) -> str:
    return f"lease#{name}"
