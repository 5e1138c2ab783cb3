"""What each answer of Stripe makes of a payout, under each leave, over the real client and the stand-in."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import Declined, TurnedAway
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.jobtype import Facts
from chalicelib.domain.outcome import Completed, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Money, PayoutOrder
from chalicelib.jobtypes.payment_payout import JOB_TYPE
from chalicelib.providers.stripe_payouts import StripePayouts
from chalicelib.service.intake import Schema
from local.standins import StandIns
from tests.factories import VENUE, a_job
from tests.fakes import START, ManualClock, told
from tests.functional.shop import CALL_SECONDS, OLD, YOUNG, attempt

LOOKING = [Leave.LOOK_UP, Leave.LOOK_ONLY]
ACCOUNT = {"destination": "acct_venue"}
BANK: dict[str, str] = {}
WAYS = pytest.mark.parametrize("way", [ACCOUNT, BANK], ids=["transfer", "payout"])


class Desk:
    """A payout job, and what comes of a run."""

    def __init__(self, stand_ins: StandIns, clock: ManualClock) -> None:
        self.stand_ins = stand_ins
        self.clock = clock
        self.payouts = StripePayouts(
            told("sk_test_1"), clock, api_base=stand_ins.url, call_seconds=CALL_SECONDS
        )
        self.data: dict[str, Any] = {"amount": 125_000, "currency": "EUR", "period": "2026-11"}
        self.job = replace(a_job("job_payout", type="payment.payout"), processed_at=clock.now())

    def run(self, leave: Leave, in_doubt_for: timedelta | None = None, **changes: Any) -> Outcome:
        """Run the job once."""
        job = replace(self.job, **changes)
        return attempt(JOB_TYPE, self.payouts, job, self.data, self.clock, leave, in_doubt_for)

    def others(self, count: int) -> None:
        """Let other jobs pay out as well."""
        for number in range(count):
            order = PayoutOrder(JobId(f"job_{number}"), Money(100, "EUR"), self.data.get("destination"), {})
            self.payouts.pay_out(order, key=f"{number}", deadline=self.clock.now() + timedelta(minutes=1))

    @property
    def paid(self) -> list[tuple[str, int, str]]:
        """What this job has paid out: operation, amount and key of each."""
        rows = [row for row in self.stand_ins.effects() if row["jobId"] == self.job.id]
        return [(row["operation"], row["amount"], row["idempotencyKey"]) for row in rows]


@pytest.fixture
def desk(stand_ins: StandIns, clock: ManualClock) -> Iterator[Desk]:
    made = Desk(stand_ins, clock)
    yield made
    made.payouts.close()


def test_connected_account_gets_a_transfer(desk: Desk) -> None:
    desk.data |= ACCOUNT
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Completed)
    assert outcome.result == {"transferId": outcome.handle, "status": "created"}
    assert (outcome.handle or "").startswith("tr_")
    assert desk.paid == [("transfer", 125_000, "job_payout:payout:0")]


def test_without_a_destination_the_bank_gets_a_payout(desk: Desk) -> None:
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Completed)
    assert outcome.result == {"payoutId": outcome.handle, "status": "pending"}
    assert (outcome.handle or "").startswith("po_")
    assert desk.paid == [("payout", 125_000, "job_payout:payout:0")]


@WAYS
def test_repeated_attempts_pay_once(desk: Desk, way: dict[str, str]) -> None:
    desk.data |= way
    first = desk.run(Leave.START)
    assert desk.run(Leave.REPEAT) == first
    assert len(desk.paid) == 1


@WAYS
def test_low_balance_is_refused_with_stripes_code(desk: Desk, way: dict[str, str]) -> None:
    desk.data |= way
    desk.stand_ins.arm("stripe", "decline")
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.clears_doubt) == ("balance_insufficient", True)
    assert outcome.failure.message == "The balance at Stripe is too low for this."
    again = desk.run(Leave.REPEAT)
    assert isinstance(again, Refused)
    assert again.failure.code == "balance_insufficient"
    assert desk.paid == []


def test_account_that_does_not_exist_is_refused(desk: Desk) -> None:
    desk.data["destination"] = "acct_missing"
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "resource_missing"


@WAYS
@pytest.mark.parametrize(
    ("mode", "kind", "code", "paid"),
    [
        ("status-500", Unknown, "provider_failed", 0),
        ("status-503", Unknown, "provider_failed", 0),
        ("status-429", Retry, "provider_rate_limited", 0),
        ("refuse-connection", Retry, "connection_failed", 0),
        ("timeout-before-apply", Unknown, "provider_timeout", 0),
        ("timeout-after-apply", Unknown, "provider_timeout", 1),
    ],
)
def test_fault_of_a_fresh_call(
    desk: Desk, way: dict[str, str], mode: str, kind: type, code: str, paid: int
) -> None:
    desk.data |= way
    desk.stand_ins.arm("stripe", mode)
    outcome = desk.run(Leave.START)
    assert isinstance(outcome, Unknown | Retry)
    assert (type(outcome), outcome.failure.code) == (kind, code)
    assert len(desk.paid) == paid


@WAYS
@pytest.mark.parametrize("mode", ["timeout-before-apply", "timeout-after-apply"])
@pytest.mark.parametrize("generation", [0, 1])
def test_call_whose_answer_was_lost_is_repeated_without_a_second_payout(
    desk: Desk, way: dict[str, str], mode: str, generation: int
) -> None:
    desk.data |= way
    desk.stand_ins.arm("stripe", mode)
    assert isinstance(desk.run(Leave.START, generation=generation), Unknown)
    assert isinstance(desk.run(Leave.REPEAT, generation=generation), Completed)
    assert len(desk.paid) == 1


@WAYS
@pytest.mark.parametrize("leave", LOOKING)
def test_look_up_finds_what_was_made_behind_a_hundred_others(
    desk: Desk, way: dict[str, str], leave: Leave
) -> None:
    desk.data |= way
    first = desk.run(Leave.START)
    desk.others(120)
    assert desk.run(leave) == first
    assert len(desk.paid) == 1


def test_payout_made_before_the_jobs_first_claim_is_not_its(desk: Desk) -> None:
    first = desk.run(Leave.START)
    assert isinstance(first, Completed)
    later = desk.clock.now() + timedelta(hours=1)
    outcome = desk.run(Leave.LOOK_ONLY, OLD, processed_at=later)
    assert isinstance(outcome, Retry)


@WAYS
@pytest.mark.parametrize("leave", LOOKING)
def test_absence_proves_nothing_while_doubt_is_young(desk: Desk, way: dict[str, str], leave: Leave) -> None:
    desk.data |= way
    outcome = desk.run(leave, YOUNG)
    assert isinstance(outcome, Retry)
    assert (outcome.clears_doubt, outcome.after) == (False, TIMING.absence_after - YOUNG)
    assert desk.paid == []


@WAYS
def test_look_up_that_clears_the_doubt_lets_the_payout_start(desk: Desk, way: dict[str, str]) -> None:
    desk.data |= way
    assert isinstance(desk.run(Leave.LOOK_UP, OLD), Completed)
    assert len(desk.paid) == 1


@WAYS
def test_look_only_never_pays(desk: Desk, way: dict[str, str]) -> None:
    desk.data |= way
    outcome = desk.run(Leave.LOOK_ONLY, OLD)
    assert isinstance(outcome, Retry)
    assert (outcome.clears_doubt, outcome.failure.code) == (True, "not_found")
    assert desk.paid == []


@WAYS
@pytest.mark.parametrize("mode", ["status-503", "status-429", "refuse-connection"])
def test_look_up_that_fails_clears_no_doubt(desk: Desk, way: dict[str, str], mode: str) -> None:
    desk.data |= way
    desk.stand_ins.arm("stripe", mode)
    outcome = desk.run(Leave.LOOK_UP, OLD)
    assert isinstance(outcome, Retry)
    assert not outcome.clears_doubt
    assert desk.paid == []


def test_look_up_that_fails_at_its_second_page_proves_no_absence(desk: Desk) -> None:
    """A page that was read says nothing of those that were not."""
    desk.run(Leave.START)
    desk.others(120)
    look = desk.payouts._look
    pages = iter([look])

    def first_page_only(call: Any, deadline: Any) -> Any:
        return next(pages, _busy)(call, deadline)

    desk.payouts._look = first_page_only  # type: ignore[method-assign] # as if Stripe turned the second one away
    outcome = desk.run(Leave.LOOK_UP, OLD)
    assert isinstance(outcome, Retry)
    assert not outcome.clears_doubt
    assert len(desk.paid) == 1


def _busy(*_: Any) -> Any:
    raise TurnedAway("provider_rate_limited", "Stripe takes no more requests at the moment.")


@WAYS
def test_kept_500_is_looked_behind_and_the_job_goes_on_only_once_absence_counts(
    desk: Desk, way: dict[str, str]
) -> None:
    desk.data |= way
    desk.stand_ins.arm("stripe", "status-500")
    assert isinstance(desk.run(Leave.START), Unknown)
    early = desk.run(Leave.REPEAT, YOUNG)
    assert isinstance(early, Retry)
    assert (early.clears_doubt, early.after) == (False, TIMING.absence_after - YOUNG)
    assert isinstance(desk.run(Leave.REPEAT, OLD), Completed)
    assert [key for _, _, key in desk.paid] == ["job_payout:payout-anew:0"]


@WAYS
def test_generation_looks_for_a_payout_before_it_makes_one(desk: Desk, way: dict[str, str]) -> None:
    desk.data |= way
    first = desk.run(Leave.START)
    assert desk.run(Leave.START, generation=1) == first
    assert len(desk.paid) == 1


def test_other_parameters_under_the_same_key_are_unknown(desk: Desk) -> None:
    desk.run(Leave.START)
    desk.data["amount"] = 100
    outcome = desk.run(Leave.REPEAT)
    assert isinstance(outcome, Unknown)
    assert outcome.failure.code == "parameter_mismatch"


@pytest.mark.parametrize(("currency", "sent"), [("EUR", 1_200), ("JPY", 1_200), ("ISK", 120_000)])
def test_amount_goes_out_in_stripes_units(desk: Desk, currency: str, sent: int) -> None:
    desk.data |= {"amount": 1_200, "currency": currency}
    desk.run(Leave.START)
    assert [amount for _, amount, _ in desk.paid] == [sent]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": 100_000_000}, "amount"),
        ({"amount": 1234, "currency": "KWD"}, "amount"),
        ({"amount": 1250, "currency": "HUF"}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"destination": "cus_1"}, "destination"),
        ({"destination": "acct_1/x"}, "destination"),
        ({"period": ""}, "period"),
        ({"payoutId": "payout-1"}, "payoutId"),
        ({"venueId": "venue-2"}, "venueId"),
    ],
)
def test_payout_that_cannot_be_made_is_refused_at_the_door(
    desk: Desk, change: dict[str, Any], field: str
) -> None:
    problems = Schema(JOB_TYPE.schema).problems(desk.data | change)
    assert {problem.field for problem in problems} == {field}


def test_payout_without_a_period_names_its_own_id(desk: Desk) -> None:
    del desk.data["period"]
    schema = Schema(JOB_TYPE.schema)
    assert {problem.field for problem in schema.problems(desk.data)} == {"payoutId"}
    assert schema.problems(desk.data | {"payoutId": "payout-1"}) == []
    assert schema.problems(desk.data | {"payoutId": "payout-1", "currency": "HUF", "amount": 1200}) == []


def test_natural_key_pays_a_venue_once_for_each_period_and_id(desk: Desk) -> None:
    def key(venue: str, **named: str) -> tuple[object, ...]:
        return JOB_TYPE.natural_key(Facts(VenueId(venue), None, {"amount": 1, **named}, START))

    keys = [
        key(VENUE, period="7"),
        key(VENUE, period="8"),
        key(VENUE, payoutId="7"),
        key("venue-2", period="7"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(VENUE, period="7") == keys[0]


def test_declines_name_no_account(desk: Desk) -> None:
    order = PayoutOrder(JobId("job_1"), Money(100, "EUR"), "acct_missing_secret", {})
    with pytest.raises(Declined) as caught:
        desk.payouts.pay_out(order, key="k", deadline=desk.clock.now() + timedelta(minutes=1))
    assert "acct" not in caught.value.message
