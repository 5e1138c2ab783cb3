from typing import Any

import pytest

from local.reckoning import Record, reckon

PAID = Record("job_paid", "payment.process", "completed", None, 4_500)
DECLINED = Record("job_declined", "payment.process", "failed", "refused", 9_900)
MAILED = Record("job_mailed", "email.send", "completed", None, None)
RECORDS = (PAID, DECLINED, MAILED)


def effect(job: str, amount: int | None = None) -> dict[str, Any]:
    provider, operation = ("ses", "mail") if amount is None else ("stripe", "charge")
    return {"provider": provider, "operation": operation, "jobId": job, "amount": amount}


LEDGER = (effect("job_paid", 4_500), effect("job_mailed"))


def test_a_ledger_that_agrees_has_nothing_to_say_and_is_counted() -> None:
    reckoning = reckon(RECORDS, LEDGER)
    assert reckoning.disagreements == []
    made = {name: count for name, count in reckoning.counts.items() if count}
    assert made == {"completed": 2, "declined": 1, "charges made": 1, "mails sent": 1}


@pytest.mark.parametrize(
    ("ledger", "job"),
    [
        pytest.param(LEDGER[1:], "job_paid", id="charge missing"),
        pytest.param((*LEDGER, effect("job_paid", 4_500)), "job_paid", id="charged twice"),
        pytest.param((effect("job_paid", 4_501), LEDGER[1]), "job_paid", id="another amount"),
        pytest.param((*LEDGER, effect("job_declined", 9_900)), "job_declined", id="declined and charged"),
        pytest.param((*LEDGER, effect("job_mailed")), "job_mailed", id="mailed twice"),
        pytest.param(LEDGER[:1], "job_mailed", id="mail missing"),
        pytest.param((LEDGER[0], effect("job_mailed", 4_500)), "job_mailed", id="charged, not mailed"),
        pytest.param((*LEDGER, effect("job_foreign", 1)), "job_foreign", id="a job nobody accepted"),
    ],
)
def test_a_doctored_ledger_names_the_job(ledger: tuple[dict[str, Any], ...], job: str) -> None:
    disagreements = reckon(RECORDS, ledger).disagreements
    assert disagreements
    assert all(job in line for line in disagreements)


@pytest.mark.parametrize("operation", ["sms", "call"])
def test_who_is_on_call_may_be_told_and_no_job_is_behind_it(operation: str) -> None:
    told = {"provider": "twilio", "operation": operation, "jobId": None, "idempotencyKey": None, "amount": None}
    assert reckon(RECORDS, (*LEDGER, told)).disagreements == []
    assert reckon(RECORDS, (*LEDGER, {**told, "jobId": "job_foreign"})).disagreements


@pytest.mark.parametrize(
    ("state", "reason"), [("parked", None), ("failed", "exhausted"), ("retrying", None), ("running", None)]
)
def test_a_job_that_is_neither_completed_nor_refused_disagrees(state: str, reason: str | None) -> None:
    assert reckon([Record("job_open", "email.send", state, reason, None)], []).disagreements


def test_a_payment_that_another_job_brings_to_its_end_is_charged_once_under_the_first() -> None:
    again = Record("job_again", "payment.retry", "completed", None, 9_900, entered_as="job_declined")
    charge = effect("job_declined", 9_900)
    assert reckon([DECLINED, again], [charge]).disagreements == []
    for ledger in ([], [charge, charge], [effect("job_again", 9_900)], [effect("job_declined", 9_901)]):
        assert reckon([DECLINED, again], ledger).disagreements
