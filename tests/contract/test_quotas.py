"""The contract of ports.Quotas, on the fake and on every real backend."""

import threading
from datetime import timedelta

import pytest

from chalicelib.aws.quotas import DynamoQuotas
from chalicelib.domain.errors import RateLimited, StoreRefused, StoreUnsure
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Quotas
from chalicelib.domain.quota import Allowance, Drawn, Window, window_at
from chalicelib.service.limits import Limits
from chalicelib.service.principal import Principal
from tests.contract.backends import DynamoRecords, Faults
from tests.contract.conftest import REAL
from tests.fakes import START, ListJournal, ManualClock
from tests.fakes_quotas import MemoryQuotas

MINUTE = timedelta(minutes=1)
NOW = window_at(START, MINUTE)
NEXT = Window(NOW.ends, NOW.ends + MINUTE)


@pytest.fixture(params=["memory", *REAL])
def quotas(request: pytest.FixtureRequest) -> Quotas:
    if request.param == "memory":
        return MemoryQuotas()
    made: DynamoRecords = request.getfixturevalue(request.param)
    return DynamoQuotas(made.client, made.tables.rate_limits)


def test_a_caller_draws_until_nothing_is_left(quotas: Quotas) -> None:
    draws = [quotas.draw("user#1", NOW, limit=25, least=1, most=10) for _ in range(4)]
    assert draws == [Drawn(10, 15), Drawn(10, 5), Drawn(5, 0), Drawn(0, 0)]


def test_too_little_is_left_alone_for_smaller_requests(quotas: Quotas) -> None:
    quotas.draw("user#1", NOW, limit=100, least=95, most=95)
    assert quotas.draw("user#1", NOW, limit=100, least=6, most=10) == Drawn(0, 5)
    assert quotas.draw("user#1", NOW, limit=100, least=5, most=10) == Drawn(5, 0)


def test_more_than_the_limit_is_never_taken(quotas: Quotas) -> None:
    assert quotas.draw("user#1", NOW, limit=100, least=101, most=101).taken == 0
    assert quotas.draw("user#1", NOW, limit=100, least=100, most=200) == Drawn(100, 0)


def test_callers_and_windows_are_counted_apart(quotas: Quotas) -> None:
    assert quotas.draw("user#1", NOW, limit=5, least=5, most=5).taken == 5
    assert quotas.draw("user#2", NOW, limit=5, least=5, most=5).taken == 5
    assert quotas.draw("user#1", NEXT, limit=5, least=5, most=5).taken == 5


def test_a_limit_that_was_lowered_meanwhile_holds(quotas: Quotas) -> None:
    quotas.draw("user#1", NOW, limit=100, least=1, most=80)
    assert quotas.draw("user#1", NOW, limit=50, least=1, most=10) == Drawn(0, 0)


def test_eight_threads_never_get_more_than_the_limit_nor_less_than_blocks_strand(quotas: Quotas) -> None:
    """Each thread is a container: together limit - 8 x (block - 1) to limit requests go through."""
    base = Allowance(1, MINUTE)
    allowance, caller = base.of(Role.SERVICE), Principal("service-1", Role.SERVICE)
    allowed: list[int] = []

    def work() -> None:
        limits = Limits(quotas, clock=ManualClock(), journal=ListJournal(), base=base)
        mine = 0
        try:
            while mine <= allowance.requests:
                limits.spend(caller, closed=True)
                mine += 1
        except RateLimited:
            allowed.append(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(allowed) == 8
    assert allowance.requests - 8 * (allowance.block - 1) <= sum(allowed) <= allowance.requests


@pytest.fixture
def counts(dynamo: DynamoRecords) -> DynamoQuotas:
    return DynamoQuotas(dynamo.client, dynamo.tables.rate_limits)


def test_a_draw_is_one_write_and_two_where_the_window_ends(counts: DynamoQuotas, wire: Faults) -> None:
    counts.draw("user#1", NOW, limit=15, least=1, most=10)
    assert wire.calls == ["UpdateItem"]
    assert counts.draw("user#1", NOW, limit=15, least=1, most=10) == Drawn(5, 0)
    assert wire.calls == ["UpdateItem"] * 3


def test_a_count_expires_an_hour_after_its_window(dynamo: DynamoRecords, counts: DynamoQuotas) -> None:
    counts.draw("user#1", NOW, limit=15, least=1, most=10)
    [item] = dynamo.client.scan(TableName=dynamo.tables.rate_limits)["Items"]
    assert item["expires_at"] == {"N": str(int((NOW.ends + timedelta(hours=1)).timestamp()))}


def test_a_lost_reply_costs_the_caller_a_block_and_gives_none_away(counts: DynamoQuotas, wire: Faults) -> None:
    wire.order("UpdateItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        counts.draw("user#1", NOW, limit=15, least=1, most=10)
    assert counts.draw("user#1", NOW, limit=15, least=1, most=10) == Drawn(5, 0)


def test_a_throttled_count_is_asked_again_and_then_refused(counts: DynamoQuotas, wire: Faults) -> None:
    wire.order("UpdateItem", wire.throttle)
    assert counts.draw("user#1", NOW, limit=15, least=1, most=10) == Drawn(10, 5)
    wire.order("UpdateItem", *[wire.throttle] * 3)
    with pytest.raises(StoreRefused):
        counts.draw("user#1", NOW, limit=15, least=1, most=10)
