from datetime import timedelta
from typing import Any

import pytest
from chalice.app import Cron, Rate, ScheduledEventConfig

from local.event_sources import Invoker, failed_of, rate_of

IDS = ["a", "b"]


def failures(*identifiers: object) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


@pytest.mark.parametrize(
    ("reply", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": None}, set()),
        (failures(), set()),
        (failures("a"), {"a"}),
        (failures("a", "b"), {"a", "b"}),
        (failures("a", "unknown"), {"a", "b"}),
        (failures(""), {"a", "b"}),
        (failures(None), {"a", "b"}),
        (failures({"a": 1}), {"a", "b"}),
        ({"batchItemFailures": [{"bad key": "a"}]}, {"a", "b"}),
        ({"batchItemFailures": ["a"]}, {"a", "b"}),
        ({"batchItemFailures": "a"}, {"a", "b"}),
        ("done", {"a", "b"}),
    ],
)
def test_a_reply_is_honoured_as_lambda_does(reply: object, failed: set[str]) -> None:
    assert failed_of(reply, IDS) == failed


@pytest.mark.parametrize(
    ("expression", "every"),
    [
        (Rate(1, unit=Rate.MINUTES), timedelta(minutes=1)),
        ("rate(2 hours)", timedelta(hours=2)),
        (Cron(0, 3, "*", "*", "?", "*"), timedelta(days=1)),
    ],
)
def test_a_rate_is_read_as_eventbridge_reads_it(expression: Any, every: timedelta) -> None:
    assert rate_of(ScheduledEventConfig("tick", "app.tick", expression, "")) == every


def test_a_cron_expression_is_refused_rather_than_never_run() -> None:
    with pytest.raises(ValueError, match="cleanup has cron"):
        rate_of(ScheduledEventConfig("cleanup", "app.cleanup", Cron(0, 3, "*", "*", "MON", "*"), ""))


def test_a_function_knows_how_much_time_it_has_left() -> None:
    seen: list[int] = []
    Invoker(timedelta(seconds=60)).call(
        "f", lambda _event, context: seen.append(context.get_remaining_time_in_millis()), {}
    )
    assert 59_000 < seen[0] <= 60_000


def test_a_function_that_overran_counts_as_failed() -> None:
    with pytest.raises(TimeoutError):
        Invoker(timedelta(seconds=-1)).call("f", lambda _event, _context: None, {})
