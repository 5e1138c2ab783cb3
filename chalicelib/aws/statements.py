"""Conditional writes of single items: as PartiQL, 25 to a call, or as a part of a transaction."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from chalicelib.aws.attributes import Item, Value, text
from chalicelib.aws.failures import write
from chalicelib.aws.records import Difference
from chalicelib.domain.errors import StoreError

logger = logging.getLogger(__name__)

MOST_STATEMENTS = 25
REFUSED = frozenset({"ConditionalCheckFailed", "DuplicateItem"})


@dataclass(frozen=True, slots=True)
class Statement:
    """Write a difference to one item, if it exists and these attributes have these values."""

    table: str
    id: str
    difference: Difference
    condition: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Insert:
    """Write an item where there is none of its id; one that is refused is not told what stands there."""

    table: str
    item: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an item, if these attributes have these values; if there is none, any answer but Unanswered."""

    table: str
    id: str
    condition: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Applied:
    """The difference was written."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The condition does not hold: the item as it stands, None if there is none."""

    item: Item | None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Written or not: the table did not say, or had no time."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Take a value out of an item's map, whatever is there; the item must exist."""

    table: str
    id: str
    map: str
    name: str


Outcome = Applied | Refused | Unanswered


Write = Statement | Insert | Delete | Removal


def run(client: Any, statements: Sequence[Write]) -> list[Outcome]:
    """Make the writes, each by itself, and say what came of each. No item may be in it twice."""
    outcomes: list[Outcome] = []
    for start in range(0, len(statements), MOST_STATEMENTS):
        outcomes += _run(client, statements[start : start + MOST_STATEMENTS])
    return outcomes


def _run(client: Any, statements: Sequence[Write]) -> list[Outcome]:
    try:
        answer = write(client.batch_execute_statement, Statements=[_partiql(each) for each in statements])
    except StoreError:
        logger.warning("a batch of %d writes went unanswered", len(statements), exc_info=True)
        return [Unanswered()] * len(statements)
    return [_outcome(each) for each in answer["Responses"]]


def _outcome(response: Mapping[str, Any]) -> Outcome:
    error = response.get("Error")
    if error is None:
        return Applied()
    if error["Code"] in REFUSED:
        return Refused(error.get("Item"))
    logger.warning("a write went unanswered: %s", error["Code"])  # its message may quote the write
    return Unanswered()


def _partiql(statement: Write) -> dict[str, Any]:
    # Names are ours, from the table of fields; all values are parameters.
    match statement:
        case Insert():
            fields = ", ".join(f"'{name}': ?" for name in statement.item)
            clause = f'INSERT INTO "{statement.table}" VALUE {{{fields}}}'
            return {"Statement": clause, "Parameters": list(statement.item.values())}
        case Delete():
            where = {"id": text(statement.id), **statement.condition}
            clause = f'DELETE FROM "{statement.table}" WHERE {_all_of(where)}'  # noqa: S608 - the names are ours
            return {"Statement": clause, "Parameters": list(where.values())}
        case Removal():
            clause = f'UPDATE "{statement.table}" REMOVE "{statement.map}"."{statement.name}" WHERE "id"=?'
            return {"Statement": clause, "Parameters": [text(statement.id)]}
        case Statement():
            return _update(statement)
    assert_never(statement)


def _all_of(where: Iterable[str]) -> str:
    return " AND ".join(f'"{name}"=?' for name in where)


def _update(statement: Statement) -> dict[str, Any]:
    difference = statement.difference
    where = {"id": text(statement.id), **statement.condition}
    clauses = [f'UPDATE "{statement.table}"']
    clauses += [f'SET "{name}"=?' for name in difference.sets]
    clauses += [f'REMOVE "{name}"' for name in difference.removes]
    clauses.append(f"WHERE {_all_of(where)}")
    return {
        "Statement": " ".join(clauses),
        "Parameters": [*difference.sets.values(), *where.values()],
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def expression(statement: Statement) -> dict[str, Any]:
    """Return the same write as the `Update` of a transaction."""
    difference = statement.difference
    sets = ", ".join(f"#{name} = :{name}" for name in difference.sets)
    removes = ", ".join(f"#{name}" for name in difference.removes)
    conditions = ["attribute_exists(#id)", *(f"#{name} = :was_{name}" for name in statement.condition)]
    names = {"id", *difference.sets, *difference.removes, *statement.condition}
    values = {f":{name}": value for name, value in difference.sets.items()}
    values |= {f":was_{name}": value for name, value in statement.condition.items()}
    return {
        "TableName": statement.table,
        "Key": {"id": text(statement.id)},
        "UpdateExpression": " ".join(
            part for part in (f"SET {sets}" if sets else "", f"REMOVE {removes}" if removes else "") if part
        ),
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
