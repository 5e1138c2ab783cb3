"""The contract of quiet.QuietBook, and of what standing.Registry knows of it, on fakes and real tables."""

from datetime import time

import pytest

from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry
from chalicelib.domain.quiet import QuietHours
from chalicelib.domain.standing import Need, QuietAt, Standing, ToAddress, phone_number
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.contract.test_suppressions import a_suppression
from tests.factories import VENUE
from tests.fakes import START

NIGHT = QuietHours("Europe/Berlin", time(21), time(8))
LATER = QuietHours("America/Argentina/Buenos_Aires", time(22, 30), time(7, 5))
OTHER = VenueId("venue#2/x")
PHONE = phone_number("+15005550010")


def an_entry(entry_id: str = "entry_1") -> Entry:
    return Entry(entry_id, START, "ada", "set_quiet_hours", f"venue/{VENUE}", VENUE, "Ok", None, str(NIGHT))


def test_quiet_hours_are_loaded_as_they_were_set(records: Records) -> None:
    assert records.quiet_hours.load(VENUE) is None
    assert records.quiet_hours.swap(VENUE, None, NIGHT, an_entry())
    assert records.quiet_hours.swap(OTHER, None, LATER, an_entry("entry_2"))
    assert (records.quiet_hours.load(VENUE), records.quiet_hours.load(OTHER)) == (NIGHT, LATER)
    assert records.audited() == ["entry_1", "entry_2"]


@pytest.mark.parametrize(("before", "after"), [(None, LATER), (LATER, NIGHT), (LATER, None)])
def test_what_was_changed_meanwhile_is_left_alone(
    records: Records, before: QuietHours | None, after: QuietHours | None
) -> None:
    records.quiet_hours.swap(VENUE, None, NIGHT, an_entry())
    assert not records.quiet_hours.swap(VENUE, before, after, an_entry("entry_2"))
    assert (records.quiet_hours.load(VENUE), records.audited()) == (NIGHT, ["entry_1"])


def test_quiet_hours_are_replaced_and_ended(records: Records) -> None:
    records.quiet_hours.swap(VENUE, None, NIGHT, an_entry())
    assert records.quiet_hours.swap(VENUE, NIGHT, LATER, an_entry("entry_2"))
    assert records.quiet_hours.load(VENUE) == LATER
    assert records.quiet_hours.swap(VENUE, LATER, None, an_entry("entry_3"))
    assert records.quiet_hours.load(VENUE) is None
    assert records.registry.look_up([QuietAt(VENUE)]) == Standing()


def test_registry_tells_quiet_hours_and_suppressed_phones_at_once(records: Records) -> None:
    records.quiet_hours.swap(VENUE, None, NIGHT, an_entry())
    records.suppressions.add(a_suppression(PHONE))
    needs: list[Need] = [ToAddress("data.to", PHONE), QuietAt(VENUE), QuietAt(OTHER), QuietAt(VENUE)]
    expected = Standing(suppressed=frozenset({PHONE}), quiet_hours={VENUE: NIGHT})
    assert records.registry.look_up(needs) == expected


def test_they_cost_no_call_of_their_own(dynamo: DynamoRecords, wire: Faults) -> None:
    dynamo.registry.look_up([ToAddress("data.to", PHONE), QuietAt(VENUE)])
    assert wire.calls == ["BatchGetItem"]


def test_a_lost_reply_is_unsure_and_what_was_written_stands(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("TransactWriteItems", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.quiet_hours.swap(VENUE, None, NIGHT, an_entry())
    assert dynamo.quiet_hours.load(VENUE) == NIGHT
