"""The counts of callers' requests: one item per caller and window in the limits' table, gone with its TTL."""

from datetime import timedelta
from typing import Any

from chalicelib.aws.attributes import millis, number, read_number, seconds
from chalicelib.aws.failures import ConditionRefused, write
from chalicelib.domain.quota import Drawn, Window, grant

KEPT_FOR = timedelta(hours=1)  # after its window: any two clocks agree by then that it is over


class DynamoQuotas:
    """The counts behind `ports.Quotas`; the client must not retry by itself (see `failures.py`)."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def draw(self, caller: str, window: Window, *, limit: int, least: int, most: int) -> Drawn:
        """Take up to `most` of what a caller has left in a window, nothing if that is less than `least`."""
        wanted, used = grant(0, limit, least=least, most=most), 0
        while wanted:
            try:
                used = self._add(caller, window, wanted, most=limit - wanted)
                return Drawn(wanted, limit - used)
            except ConditionRefused as refused:
                # The count has less left than was asked for. It only falls, so that this comes to an end.
                used = read_number(refused.answer["Item"]["us"])
                wanted = grant(used, limit, least=least, most=most)
        return Drawn(0, max(limit - used, 0))

    def _add(self, caller: str, window: Window, wanted: int, *, most: int) -> int:
        answer = write(
            self._client.update_item,
            TableName=self._table,
            Key={"id": {"S": f"quota#{caller}#{millis(window.starts)}"}},
            UpdateExpression="SET us = if_not_exists(us, :none) + :wanted, expires_at = :ends",
            ConditionExpression="attribute_not_exists(us) OR us <= :most",
            ExpressionAttributeValues={
                ":none": number(0),
                ":wanted": number(wanted),
                ":most": number(most),
                ":ends": seconds(window.ends + KEPT_FOR),
            },
            ReturnValues="UPDATED_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        return read_number(answer["Attributes"]["us"])
