"""What a failed call to a table means: surely not applied, or perhaps; and when it is tried again.

The DynamoDB client itself never retries. If it did, the last try's answer (a refused condition, a refused
connection) would hide that an earlier one had been applied and only its reply was lost.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)
from botocore.parsers import ResponseParserError
from pynamodb.exceptions import PynamoDBException

from chalicelib.domain.errors import StoreRefused, StoreUnsure

FAILURES = (ClientError, BotoCoreError, ResponseParserError, PynamoDBException)
NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, NoCredentialsError, ParamValidationError)
NOT_NOW = frozenset(
    {
        "ThrottlingException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "TransactionConflictException",
    }
)
CONDITION = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
BUSY = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})  # of a part
PAUSES = (0.05, 0.2)  # seconds before the second and the third try

Call = Callable[..., Mapping[str, Any]]


class ConditionRefused(Exception):
    """The table said no to a condition; `answer` is all of what it said. Never leaves this package."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(answer.get("Error", {}).get("Message"))
        self.answer = answer


def read(call: Call, *arguments: Any, **request: Any) -> Mapping[str, Any]:
    """Make a call that changes nothing; any failure is tried again. Raises StoreRefused."""
    for pause in (*PAUSES, None):
        try:
            return call(*arguments, **request)
        except FAILURES as error:
            if pause is None or _final(_cause(error)):
                raise StoreRefused from error
        time.sleep(pause)
    raise AssertionError("unreachable")


def write(call: Call, *arguments: Any, **request: Any) -> Mapping[str, Any]:
    """Make a call that changes something; only what was surely not applied is tried again.

    Raises ConditionRefused, StoreRefused or StoreUnsure.
    """
    for pause in (*PAUSES, None):
        try:
            return call(*arguments, **request)
        except FAILURES as error:
            cause = _cause(error)
            if isinstance(cause, ClientError) and _code(cause) in CONDITION:
                raise ConditionRefused(cause.response) from error
            if not _surely_not_applied(cause):
                raise StoreUnsure from error
            if pause is None or _final(cause):
                raise StoreRefused from error
        time.sleep(pause)
    raise AssertionError("unreachable")


def transact(client: Any, parts: Sequence[Mapping[str, Any]]) -> None:
    """Make all of these writes or none; where others had an item in hand, surely none, it is tried again.

    Raises ConditionRefused, also where that does not end, StoreRefused or StoreUnsure.
    """
    for pause in (*PAUSES, None):
        try:
            write(client.transact_write_items, TransactItems=parts)
        except ConditionRefused as refused:
            codes = {reason["Code"] for reason in refused.answer["CancellationReasons"]}
            if pause is None or not codes & BUSY or "ConditionalCheckFailed" in codes:
                raise
        else:
            return
        time.sleep(pause)


def _cause(error: Exception) -> Exception:
    """Return botocore's error; pynamodb wraps it, and its status gets lost in an error of its own between."""
    if not isinstance(error, PynamoDBException) or error.cause is None:
        return error
    first = error.cause.__cause__
    return first if isinstance(first, ClientError) else error.cause


def _code(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


def _surely_not_applied(error: Exception) -> bool:
    if isinstance(error, ClientError):
        status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return status < 500 or _code(error) in NOT_NOW
    return isinstance(error, NOT_SENT)


def _final(error: Exception) -> bool:
    """Whether the same request would be refused again: it is wrong itself, or may not be made."""
    if isinstance(error, ClientError):
        return _surely_not_applied(error) and _code(error) not in NOT_NOW
    return isinstance(error, (NoCredentialsError, ParamValidationError))
