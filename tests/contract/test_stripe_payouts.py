"""StripePayouts on our stand-in and, as far as it goes, on localstripe, which we did not write.

localstripe has payouts in EUR, no transfers, no `created` filter and no idempotency keys: the rest is held to
Stripe's documentation by the stand-in alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.providers import Money, PayoutOrder
from chalicelib.providers.stripe_account import CALL_TIME
from chalicelib.providers.stripe_payouts import StripePayouts
from local.standins import StandIns
from tests.contract.counterparts import Counterpart, NotInstalled, localstripe
from tests.fakes import told

SECRET = "sk_test_12345"
_numbers = count(1)


class Now:
    """The time of this machine, which localstripe goes by as well."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class Desk:
    """A Stripe account that pays out."""

    url: str
    payouts: StripePayouts
    standing_in: StandIns | None

    def order(self, destination: str | None = None, job_id: str | None = None) -> PayoutOrder:
        named = job_id or f"job_{next(_numbers)}"
        return PayoutOrder(JobId(named), Money(1250, "EUR"), destination, {"period": "2026-11"})


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture(scope="module")
def their_stripe() -> Iterator[Counterpart]:
    try:
        running = localstripe()
    except NotInstalled as error:
        pytest.skip(f"localstripe: {error}")
    yield running
    running.stop()


@pytest.fixture
def standing_in() -> Iterator[StandIns]:
    with StandIns() as running:
        yield running


@pytest.fixture(params=["stand-in", "localstripe"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    ours = request.getfixturevalue("standing_in") if request.param == "stand-in" else None
    url = ours.url if ours else request.getfixturevalue("their_stripe").url
    payouts = StripePayouts(told(SECRET), Now(), api_base=url)
    yield Desk(url, payouts, ours)
    payouts.close()


@pytest.fixture
def ours(standing_in: StandIns) -> Iterator[Desk]:
    payouts = StripePayouts(told(SECRET), Now(), api_base=standing_in.url)
    yield Desk(standing_in.url, payouts, standing_in)
    payouts.close()


# --- on both


def test_payout_is_made_and_waits_for_the_bank(desk: Desk) -> None:
    made = desk.payouts.pay_out(desk.order(), key=f"k{next(_numbers)}", deadline=soon())
    assert made.id.startswith("po_")
    assert made.status == "pending"


def test_no_call_starts_that_cannot_end_in_time(desk: Desk) -> None:
    late = datetime.now(UTC) + CALL_TIME - timedelta(milliseconds=1)
    for destination in (None, "acct_1"):
        with pytest.raises(NotSent):
            desk.payouts.pay_out(desk.order(destination), key="k", deadline=late)
        with pytest.raises(NotSent):
            desk.payouts.find_payout(desk.order(destination), since=long_ago(), deadline=late)


def test_bad_secret_is_turned_away_and_read_anew(desk: Desk) -> None:
    asked: list[bool] = []

    def tell(anew: bool) -> str:
        asked.append(anew)
        return SECRET if True in asked else "bad"

    payouts = StripePayouts(tell, Now(), api_base=desk.url)
    with pytest.raises(TurnedAway) as caught:
        payouts.pay_out(desk.order(), key="k", deadline=soon())
    assert caught.value.reason == "provider_not_authenticated"
    assert asked == [False, True]
    key = f"k{next(_numbers)}"
    assert payouts.pay_out(desk.order(), key=key, deadline=soon()).status == "pending"
    payouts.close()


# --- on the stand-in alone


def test_transfer_is_made_in_the_group_of_its_job(ours: Desk) -> None:
    order = ours.order("acct_1")
    made = ours.payouts.pay_out(order, key="k", deadline=soon())
    assert made.id.startswith("tr_")
    assert made.status == "created"
    assert ours.payouts.find_payout(order, since=long_ago(), deadline=soon()) == made


@pytest.mark.parametrize("destination", [None, "acct_1"])
def test_what_was_made_is_found_behind_two_pages_and_nothing_elses(ours: Desk, destination: str | None) -> None:
    wanted = ours.order(destination, "job_wanted")
    made = ours.payouts.pay_out(wanted, key="wanted", deadline=soon())
    for _ in range(230):
        order = ours.order(destination)
        ours.payouts.pay_out(order, key=order.job_id, deadline=soon())
    find = ours.payouts.find_payout
    assert find(wanted, since=long_ago(), deadline=soon()) == made
    assert find(ours.order(destination, "job_other"), since=long_ago(), deadline=soon()) is None


def test_payouts_are_looked_for_since_a_moment(ours: Desk) -> None:
    order = ours.order()
    ours.payouts.pay_out(order, key="k", deadline=soon())
    find = ours.payouts.find_payout
    assert find(order, since=datetime.now(UTC) + timedelta(seconds=2), deadline=soon()) is None
    assert find(order, since=datetime.now(UTC), deadline=soon()) is not None


@pytest.mark.parametrize("destination", [None, "acct_1"])
def test_low_balance_is_declined_and_the_answer_kept(ours: Desk, destination: str | None) -> None:
    assert ours.standing_in is not None
    ours.standing_in.arm("stripe", "decline")
    order = ours.order(destination)
    for _ in range(2):
        with pytest.raises(Declined) as caught:
            ours.payouts.pay_out(order, key="k", deadline=soon())
        assert caught.value.reason == "balance_insufficient"
    assert ours.payouts.pay_out(order, key="another", deadline=soon()).id
    assert len(ours.standing_in.effects()) == 1


@pytest.mark.parametrize("destination", [None, "acct_1"])
def test_key_makes_one_and_keeps_a_failure(ours: Desk, destination: str | None) -> None:
    assert ours.standing_in is not None
    order = ours.order(destination)
    first = ours.payouts.pay_out(order, key="k", deadline=soon())
    assert ours.payouts.pay_out(order, key="k", deadline=soon()) == first
    with pytest.raises(Ambiguous) as caught:
        ours.payouts.pay_out(ours.order(destination), key="k", deadline=soon())
    assert (caught.value.reason, caught.value.replayed) == ("parameter_mismatch", False)
    ours.standing_in.arm("stripe", "status-500")
    for replayed in (False, True):
        with pytest.raises(Ambiguous) as caught:
            ours.payouts.pay_out(order, key="another", deadline=soon())
        assert caught.value.replayed is replayed
    assert len(ours.standing_in.effects()) == 1


@pytest.mark.parametrize("mode", ["status-503", "status-429"])
@pytest.mark.parametrize("destination", [None, "acct_1"])
def test_look_up_that_fails_is_never_ambiguous(ours: Desk, mode: str, destination: str | None) -> None:
    assert ours.standing_in is not None
    ours.standing_in.arm("stripe", mode)
    with pytest.raises(TurnedAway):
        ours.payouts.find_payout(ours.order(destination), since=long_ago(), deadline=soon())
