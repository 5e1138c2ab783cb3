"""StripePayments on our stand-in and on localstripe, which we did not write: the same tests on both."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from urllib.parse import urlencode

import pytest

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.providers import Intent, Money, PaymentOrder, RefundOrder
from chalicelib.providers.stripe_account import CALL_TIME
from chalicelib.providers.stripe_payments import StripePayments
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
class Account:
    """A Stripe account with one customer."""

    url: str
    payments: StripePayments
    customer: str

    def order(self, payment_method: str = "pm_card_visa", **changes: str) -> PaymentOrder:
        return PaymentOrder(
            job_id=JobId(changes.get("job_id", f"job_{next(_numbers)}")),
            money=Money(1250, "EUR"),
            customer=self.customer,
            payment_method=payment_method,
            description=None,
            metadata={"event_id": "event-1"},
        )

    def create(self, order: PaymentOrder) -> Intent:
        return self.payments.create(order, key=f"{order.job_id}:create:0", deadline=soon())

    def refund_order(self, transaction_id: str, amount: int, job_id: str) -> RefundOrder:
        return RefundOrder(JobId(job_id), transaction_id, Money(amount, "EUR"), {"reason": "cancelled"})

    def card_that_asks(self) -> str:
        """Return a payment method whose bank wants to ask the customer."""
        card = {"number": "4000002500003155", "exp_month": "12", "exp_year": "2030", "cvc": "123"}
        form = {"type": "card"} | {f"card[{name}]": text for name, text in card.items()}
        return post(f"{self.url}/v1/payment_methods", form)


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def post(url: str, form: dict[str, str]) -> str:
    request = urllib.request.Request(url, urlencode(form).encode(), {"Authorization": f"Bearer {SECRET}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        made: str = json.load(answer)["id"]
    return made


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
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    if request.param == "localstripe":
        url = request.getfixturevalue("their_stripe").url
        customer = post(f"{url}/v1/customers", {"email": "ada@example.com"})
    else:
        url, customer = request.getfixturevalue("standing_in").url, "cus_1"
    payments = StripePayments(told(SECRET), Now(), api_base=url)
    yield Account(url, payments, customer)
    payments.close()


@pytest.fixture
def ours(standing_in: StandIns) -> Iterator[Account]:
    """Return an account of the stand-in alone: what is tested on it localstripe does not have."""
    payments = StripePayments(told(SECRET), Now(), api_base=standing_in.url)
    yield Account(standing_in.url, payments, "cus_1")
    payments.close()


# --- on both


def test_charge_is_created_and_confirmed_in_one_call(account: Account) -> None:
    intent = account.create(account.order())
    assert intent.id.startswith("pi_")
    assert intent.status == "succeeded"
    assert intent.money == Money(1250, "EUR")
    assert (intent.charge_id or "").startswith("ch_")
    assert (intent.next_action, intent.error_code) == (None, None)


def test_intent_reads_as_it_was_answered(account: Account) -> None:
    made = account.create(account.order())
    read = account.payments.retrieve(made.id, deadline=soon())
    assert (read.id, read.status, read.charge_id, read.money) == (
        made.id,
        made.status,
        made.charge_id,
        made.money,
    )


def test_declined_card_is_declined(account: Account) -> None:
    with pytest.raises(Declined) as caught:
        account.create(account.order("pm_card_chargeCustomerFail"))
    assert caught.value.reason in ("card_declined", "generic_decline")
    assert "declined" in caught.value.message


def test_bank_that_asks_leaves_a_next_action(account: Account) -> None:
    method = "pm_card_authenticationRequired" if account.customer == "cus_1" else account.card_that_asks()
    intent = account.create(account.order(method))
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action["type"] == "use_stripe_sdk"
    assert intent.charge_id is None
    ended = account.payments.cancel(intent.id, key="cancel", deadline=soon())
    assert ended.status == "canceled"
    assert account.payments.retrieve(intent.id, deadline=soon()).status == "canceled"


def test_cancelling_what_succeeded_returns_it_as_it_is(account: Account) -> None:
    intent = account.create(account.order())
    assert account.payments.cancel(intent.id, key="cancel", deadline=soon()).status == "succeeded"


def test_intent_that_does_not_exist_is_a_look_up_that_failed(account: Account) -> None:
    with pytest.raises(TurnedAway):
        account.payments.retrieve("pi_nothing", deadline=soon())


def test_intent_that_somebody_named_is_read_or_is_not_there(account: Account) -> None:
    order = account.order()
    made = account.create(order)
    read = account.payments.known(made.id, deadline=soon())
    assert (read.id, read.status, read.job_id, read.venue_id) == (made.id, "succeeded", order.job_id, None)
    with pytest.raises(Declined):
        account.payments.known("pi_nothing", deadline=soon())


def test_payment_method_that_does_not_exist_is_declined(account: Account) -> None:
    with pytest.raises(Declined):
        account.create(account.order("pm_missing"))


def test_bad_secret_is_turned_away(account: Account) -> None:
    payments = StripePayments(told("bad"), Now(), api_base=account.url)
    with pytest.raises(TurnedAway) as caught:
        payments.create(account.order(), key="k", deadline=soon())
    payments.close()
    assert caught.value.reason == "provider_not_authenticated"


Call = Callable[[Account, datetime], object]
CALLS: dict[str, Call] = {
    "create": lambda account, deadline: account.payments.create(account.order(), key="k", deadline=deadline),
    "confirm": lambda account, deadline: account.payments.confirm("pi_1", "pm_1", key="k", deadline=deadline),
    "cancel": lambda account, deadline: account.payments.cancel("pi_1", key="k", deadline=deadline),
    "retrieve": lambda account, deadline: account.payments.retrieve("pi_1", deadline=deadline),
    "known": lambda account, deadline: account.payments.known("pi_1", deadline=deadline),
    "find": lambda account, deadline: account.payments.find(
        account.customer, JobId("job_1"), since=deadline, deadline=deadline
    ),
}


REFUND = RefundOrder(JobId("job_1"), "pi_1", Money(100, "EUR"), {})
CALLS |= {
    "transaction": lambda account, deadline: account.payments.transaction("pi_1", deadline=deadline),
    "refund": lambda account, deadline: account.payments.refund(REFUND, key="k", deadline=deadline),
    "find_refund": lambda account, deadline: account.payments.find_refund(
        "pi_1", JobId("job_1"), deadline=deadline
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_call_starts_that_cannot_end_in_time(account: Account, call: str) -> None:
    with pytest.raises(NotSent) as caught:
        CALLS[call](account, datetime.now(UTC) + CALL_TIME - timedelta(milliseconds=1))
    assert caught.value.reason == "no_time_left"


@pytest.mark.parametrize("by", ["intent", "charge"])
def test_part_of_a_charge_is_given_back_and_found_again(account: Account, by: str) -> None:
    intent = account.create(account.order())
    transaction_id = intent.id if by == "intent" else intent.charge_id or ""
    payments = account.payments
    made = [
        payments.refund(account.refund_order(transaction_id, amount, job), key=job, deadline=soon())
        for amount, job in ((500, f"job_first_{intent.id}"), (300, f"job_second_{intent.id}"))
    ]
    assert {refund.status for refund in made} == {"succeeded"}
    assert made[0].id != made[1].id
    for number, name in enumerate(("first", "second")):
        found = payments.find_refund(transaction_id, JobId(f"job_{name}_{intent.id}"), deadline=soon())
        assert found == made[number]
    assert payments.find_refund(transaction_id, JobId("job_other"), deadline=soon()) is None


@pytest.mark.parametrize("by", ["intent", "charge"])
def test_transaction_tells_its_currency(account: Account, by: str) -> None:
    intent = account.create(account.order())
    transaction_id = intent.id if by == "intent" else intent.charge_id or ""
    told = account.payments.transaction(transaction_id, deadline=soon())
    assert (told.id, told.currency, told.venue_id) == (transaction_id, "EUR", None)


@pytest.mark.parametrize("transaction_id", ["pi_unknown", "ch_unknown"])
def test_transaction_that_is_not_there_is_refused(account: Account, transaction_id: str) -> None:
    with pytest.raises(Declined):
        account.payments.transaction(transaction_id, deadline=soon())
    order = account.refund_order(transaction_id, 100, "job_1")
    with pytest.raises(Declined):
        account.payments.refund(order, key="k", deadline=soon())


# --- on the stand-in alone: keys, the handle of a decline and filtered lists, which localstripe does not have


def test_repeated_call_with_its_key_charges_once(ours: Account, standing_in: StandIns) -> None:
    order = ours.order()
    first, second = ours.create(order), ours.create(order)
    assert (first.id, first.status) == (second.id, second.status)
    assert first.reference != second.reference
    assert len(standing_in.effects()) == 1


def test_effect_names_its_job(ours: Account, standing_in: StandIns) -> None:
    order = ours.order(job_id="job_of_the_ledger")
    ours.create(order)
    assert [row["jobId"] for row in standing_in.effects()] == ["job_of_the_ledger"]


def test_decline_names_its_intent_which_can_be_confirmed_again(ours: Account, standing_in: StandIns) -> None:
    with pytest.raises(Declined) as caught:
        ours.create(ours.order("pm_card_chargeDeclinedInsufficientFunds"))
    assert caught.value.reason == "insufficient_funds"
    declined = ours.payments.retrieve(caught.value.handle or "", deadline=soon())
    assert (declined.status, declined.error_code) == ("requires_payment_method", "insufficient_funds")
    assert declined.error_message == "The card has insufficient funds."
    confirmed = ours.payments.confirm(declined.id, "pm_card_visa", key="confirm", deadline=soon())
    assert (confirmed.id, confirmed.status) == (declined.id, "succeeded")
    assert len(standing_in.effects()) == 1


def test_confirming_what_has_moved_on_is_turned_away(ours: Account, standing_in: StandIns) -> None:
    intent = ours.create(ours.order())
    with pytest.raises(TurnedAway) as caught:
        ours.payments.confirm(intent.id, "pm_card_visa", key="confirm", deadline=soon())
    assert caught.value.reason == "payment_intent_unexpected_state"
    assert len(standing_in.effects()) == 1


def test_other_parameters_under_a_key_are_ambiguous(ours: Account) -> None:
    ours.payments.create(ours.order(), key="k", deadline=soon())
    with pytest.raises(Ambiguous) as caught:
        ours.payments.create(ours.order(), key="k", deadline=soon())
    assert (caught.value.reason, caught.value.replayed) == ("parameter_mismatch", False)


def test_kept_failure_says_that_it_is_kept(ours: Account, standing_in: StandIns) -> None:
    standing_in.arm("stripe", "status-500")
    order = ours.order()
    for replayed in (False, True):
        with pytest.raises(Ambiguous) as caught:
            ours.create(order)
        assert caught.value.replayed is replayed
        assert (caught.value.reference or "").startswith("req_")


@pytest.mark.parametrize("mode", ["status-503", "status-429"])
@pytest.mark.parametrize("call", ["retrieve", "known", "find", "transaction", "find_refund"])
def test_look_up_that_fails_is_never_ambiguous(
    ours: Account, standing_in: StandIns, mode: str, call: str
) -> None:
    standing_in.arm("stripe", mode)
    with pytest.raises(TurnedAway):
        CALLS[call](ours, soon())


def test_look_up_reads_every_page(ours: Account) -> None:
    wanted = ours.create(ours.order(job_id="job_wanted"))
    for _ in range(230):
        ours.create(ours.order())
    found = ours.payments.find("cus_1", JobId("job_wanted"), since=long_ago(), deadline=soon())
    assert found is not None
    assert (found.id, found.status) == (wanted.id, "succeeded")


def test_look_up_finds_no_other_customers_jobs_or_older_intents(ours: Account) -> None:
    order, began = ours.order(job_id="job_wanted"), datetime.now(UTC)
    ours.create(order)
    find = ours.payments.find
    assert find("cus_1", JobId("job_other"), since=long_ago(), deadline=soon()) is None
    assert find("cus_2", order.job_id, since=long_ago(), deadline=soon()) is None
    assert find("cus_1", order.job_id, since=datetime.now(UTC) + timedelta(seconds=2), deadline=soon()) is None
    assert find("cus_1", order.job_id, since=began, deadline=soon()) is not None


@pytest.mark.parametrize(
    ("money", "charged"),
    [
        (Money(1250, "EUR"), 1250),
        (Money(1250, "JPY"), 1250),
        (Money(1250, "ISK"), 125_000),
        (Money(1250, "KWD"), 1250),
    ],
)
def test_amount_goes_out_in_stripes_units_and_comes_back_in_ours(
    ours: Account, standing_in: StandIns, money: Money, charged: int
) -> None:
    order = PaymentOrder(JobId("job_1"), money, "cus_1", "pm_card_visa", "Two seats", {})
    intent = ours.create(order)
    assert intent.money == money
    assert [row["amount"] for row in standing_in.effects()] == [charged]


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)
