"""The contract of suppression.Suppressions and standing.Registry, on the fakes and on every real backend."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.endpoint import EndpointId
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import JobId
from chalicelib.domain.ports import Entry
from chalicelib.domain.standing import (
    Address,
    AtEndpoint,
    Channel,
    Standing,
    ToAddress,
    mail_address,
    phone_number,
)
from chalicelib.domain.suppression import Cause, Place, Suppression
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.factories import VENUE
from tests.fakes import START

MINUTE = timedelta(minutes=1)
ADA = mail_address("ada@example.com")


def a_suppression(address: Address = ADA, **changes: object) -> Suppression:
    made = Suppression(address, Cause.BOUNCE, START, "General", JobId("job_1"))
    return replace(made, **changes)  # type: ignore[arg-type] # the fields are the tests' to know


def an_entry(entry_id: str = "entry_1") -> Entry:
    return Entry(
        entry_id, START, "ada", "lift_suppression", f"suppression/{ADA.id}", None, "Ok", "bounce", None
    )


@pytest.mark.parametrize(
    "suppression", [a_suppression(), a_suppression(phone_number("+491512345678"), detail=None, job_id=None)]
)
def test_a_suppression_is_loaded_as_it_was_added(records: Records, suppression: Suppression) -> None:
    assert records.suppressions.load(suppression.address) is None
    assert records.suppressions.add(suppression)
    assert records.suppressions.load(suppression.address) == suppression


def test_the_first_cause_stands(records: Records) -> None:
    assert records.suppressions.add(a_suppression())
    assert not records.suppressions.add(a_suppression(cause=Cause.COMPLAINT, since=START + MINUTE))
    assert records.suppressions.load(ADA) == a_suppression()


def test_registry_tells_the_suppressed_from_the_others(records: Records) -> None:
    records.suppressions.add(a_suppression())
    others = [mail_address("bob@example.com"), phone_number("+491512345678")]
    needs = [ToAddress("data.to", each) for each in (ADA, *others, ADA)]
    assert records.registry.look_up(needs) == Standing(suppressed=frozenset({ADA}))
    assert records.registry.look_up([AtEndpoint("data.endpointId", VENUE, EndpointId("nowhere"))]) == Standing()


def test_registry_is_asked_about_any_number(records: Records) -> None:
    addresses = [mail_address(f"ada{n}@example.com") for n in range(230)]
    for address in addresses[::50]:
        records.suppressions.add(a_suppression(address))
    needs = [ToAddress("data.to", each) for each in addresses]
    assert records.registry.look_up(needs).suppressed == frozenset(addresses[::50])


def test_what_is_lifted_is_gone_and_noted_once(records: Records) -> None:
    records.suppressions.add(a_suppression())
    assert records.suppressions.lift(a_suppression(), an_entry())
    assert not records.suppressions.lift(a_suppression(), an_entry("entry_2"))
    assert records.suppressions.load(ADA) is None
    assert records.registry.look_up([ToAddress("data.to", ADA)]) == Standing()
    assert records.audited() == ["entry_1"]


def test_what_was_suppressed_anew_meanwhile_is_not_lifted(records: Records) -> None:
    records.suppressions.add(a_suppression(since=START + MINUTE, cause=Cause.COMPLAINT))
    assert not records.suppressions.lift(a_suppression(), an_entry())
    assert records.suppressions.load(ADA) is not None
    assert records.audited() == []


def test_pages_have_every_row_of_a_channel_once_and_the_latest_first(records: Records) -> None:
    rows = [a_suppression(mail_address(f"ada{n}@example.com"), since=START + n // 2 * MINUTE) for n in range(7)]
    for row in rows:
        records.suppressions.add(row)
    records.suppressions.add(a_suppression(phone_number("+491512345678")))
    found: list[Suppression] = []
    after: Place | None = None
    while page := records.suppressions.page(Channel.EMAIL, after=after, limit=3):
        found += page
        after = Place(page[-1].since, page[-1].address)
    assert Counter(found) == Counter(rows)
    assert [each.since for each in found] == sorted((each.since for each in rows), reverse=True)


def test_no_address_is_kept(dynamo: DynamoRecords) -> None:
    dynamo.suppressions.add(a_suppression())
    [row] = dynamo.client.scan(TableName=dynamo.tables.queue_controls)["Items"]
    assert "ada" not in repr(row)
    assert "expires_at" not in row


def test_a_lost_reply_is_unsure_and_may_be_repeated(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.suppressions.add(a_suppression())
    assert not dynamo.suppressions.add(a_suppression())
    wire.order("TransactWriteItems", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.suppressions.lift(a_suppression(), an_entry())
    assert dynamo.suppressions.load(ADA) is None


def test_a_table_that_does_not_answer_refuses(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("BatchGetItem", wire.fail, wire.fail, wire.fail)
    with pytest.raises(StoreRefused):
        dynamo.registry.look_up([ToAddress("data.to", ADA)])


def test_a_hundred_needs_are_one_call(dynamo: DynamoRecords, wire: Faults) -> None:
    addresses = [mail_address(f"ada{n}@example.com") for n in range(100)]
    dynamo.registry.look_up([ToAddress("data.to", each) for each in addresses * 2])
    assert wire.calls == ["BatchGetItem"]
