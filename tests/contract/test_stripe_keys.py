"""What a key means to our stand-in and to stripe-stateful-mock, which we did not write, over plain HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlencode

import pytest

from local.standins import StandIns
from tests.contract.counterparts import Counterpart, NotInstalled, stateful_mock

SECRET = "sk_test_12345"
_keys = count(1)


@dataclass(frozen=True)
class Answered:
    """One answer."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Till:
    """A place to charge at, and how it is asked to."""

    url: str
    path: str
    good: Mapping[str, str]
    declined: Mapping[str, str]

    def charge(self, form: Mapping[str, str], key: str | None, secret: str = SECRET) -> Answered:
        return self._post(self.path, form, key, secret)

    def refund(self, amount: int, charge: Answered, key: str | None) -> Answered:
        charge_id = charge.body.get("latest_charge") or charge.body["id"]
        return self._post("/v1/refunds", {"charge": charge_id, "amount": str(amount)}, key, SECRET)

    def _post(self, path: str, form: Mapping[str, str], key: str | None, secret: str) -> Answered:
        headers = {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": key} if key else {})
        request = urllib.request.Request(f"{self.url}{path}", urlencode(form).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return Answered(answer.status, json.load(answer), dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answered(error.code, json.load(error), dict(error.headers))


@pytest.fixture(scope="module")
def their_mock() -> Iterator[Counterpart]:
    try:
        running = stateful_mock()
    except NotInstalled as error:
        pytest.skip(f"stripe-stateful-mock: {error}")
    yield running
    running.stop()


@pytest.fixture(params=["stand-in", "stripe-stateful-mock"])
def till(request: pytest.FixtureRequest) -> Iterator[Till]:
    money = {"amount": "1250", "currency": "eur"}
    if request.param == "stand-in":
        with StandIns() as running:
            good = money | {"confirm": "true", "payment_method": "pm_card_visa"}
            bad = good | {"payment_method": "pm_card_chargeDeclined"}
            yield Till(running.url, "/v1/payment_intents", good, bad)
        return
    url = request.getfixturevalue("their_mock").url
    yield Till(url, "/v1/charges", money | {"source": "tok_visa"}, money | {"source": "tok_chargeDeclined"})


@pytest.fixture
def key() -> str:
    return f"key-{next(_keys)}"


def replayed(answer: Answered) -> bool:
    return _lower(answer.headers).get("idempotent-replayed") == "true"


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): text for name, text in headers.items()}


def test_same_key_and_parameters_replay_the_first_answer(till: Till, key: str) -> None:
    first, second = till.charge(till.good, key), till.charge(till.good, key)
    assert (first.status, replayed(first)) == (200, False)
    assert (second.status, second.body, replayed(second)) == (200, first.body, True)


def test_each_answer_has_a_request_id_of_its_own(till: Till, key: str) -> None:
    ids = {_lower(till.charge(till.good, key).headers)["request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_decline_is_replayed(till: Till, key: str) -> None:
    first, second = till.charge(till.declined, key), till.charge(till.declined, key)
    assert (first.status, first.body["error"]["code"]) == (402, "card_declined")
    assert (second.status, second.body, replayed(second)) == (402, first.body, True)


def test_other_parameters_under_the_same_key_are_an_idempotency_error(till: Till, key: str) -> None:
    till.charge(till.good, key)
    answer = till.charge({**till.good, "amount": "1300"}, key)
    assert (answer.status, answer.body["error"]["type"]) == (400, "idempotency_error")
    again = till.charge(till.good, key)
    assert (again.status, replayed(again)) == (200, True)


def test_another_key_is_another_charge(till: Till, key: str) -> None:
    assert till.charge(till.good, key).body["id"] != till.charge(till.good, f"{key}-other").body["id"]


def test_without_a_key_every_call_is_another_charge(till: Till) -> None:
    first, second = till.charge(till.good, None), till.charge(till.good, None)
    assert first.body["id"] != second.body["id"]
    assert not replayed(second)


def test_bad_secret_uses_no_key_up(till: Till, key: str) -> None:
    assert till.charge(till.good, key, secret="sk_live_12345").status == 401
    answer = till.charge(till.good, key)
    assert (answer.status, replayed(answer)) == (200, False)


def test_refund_is_replayed_and_takes_from_the_charge_once(till: Till, key: str) -> None:
    charge = till.charge(till.good, None)
    first, second = till.refund(1000, charge, key), till.refund(1000, charge, key)
    assert (first.status, first.body["amount"], first.body["status"]) == (200, 1000, "succeeded")
    assert (second.status, second.body, replayed(second)) == (200, first.body, True)
    assert till.refund(250, charge, f"{key}-rest").status == 200


def test_refund_of_more_than_is_left_is_refused_without_a_code(till: Till, key: str) -> None:
    charge = till.charge(till.good, None)
    till.refund(1000, charge, key)
    answer = till.refund(251, charge, f"{key}-more")
    error = answer.body["error"]
    assert (answer.status, error["type"], error.get("code")) == (400, "invalid_request_error", None)
    assert error["param"] == "amount"


def test_refund_of_what_is_all_given_back_says_so(till: Till, key: str) -> None:
    charge = till.charge(till.good, None)
    till.refund(1250, charge, key)
    answer = till.refund(1, charge, f"{key}-more")
    assert (answer.status, answer.body["error"]["code"]) == (400, "charge_already_refunded")
