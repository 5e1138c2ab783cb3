"""What the functional tests share."""

from collections.abc import Iterator

import pytest

from local.standins import StandIns
from tests.fakes import ManualClock
from tests.functional.shop import Shop


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stand_ins(clock: ManualClock) -> Iterator[StandIns]:
    """Return stand-ins whose keys age by the test's clock."""
    with StandIns(now=clock.now) as running:
        yield running


@pytest.fixture
def shop(stand_ins: StandIns, clock: ManualClock) -> Iterator[Shop]:
    """Return a payment job that Stripe knows nothing of yet."""
    made = Shop(stand_ins, clock)
    yield made
    made.payments.close()
