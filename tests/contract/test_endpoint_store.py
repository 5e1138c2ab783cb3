"""The contract of endpoint.EndpointStore, and what the registry says of it, on every backend."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.endpoint import DEFAULT, Disabled, Endpoint, EndpointId, Secret, default_of
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import VenueId
from chalicelib.domain.ports import Entry
from chalicelib.domain.standing import AtEndpoint, SignedFor, ToAddress, mail_address
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.factories import VENUE, an_endpoint
from tests.fakes import START

ELSEWHERE = VenueId("venue-2")
DAY = timedelta(days=1)


def an_entry(entry_id: str = "entry_1") -> Entry:
    return Entry(
        id=entry_id,
        at=START,
        actor="admin-1",
        action="create_endpoint",
        subject="endpoint/ep_1",
        venue_id=VENUE,
        reason="",
        before=None,
        after="hooks.example, enabled",
    )


def moved(endpoint: Endpoint, **changes: object) -> Endpoint:
    """Return the next revision of an endpoint."""
    return replace(endpoint, revision=endpoint.revision + 1, **changes)  # type: ignore[arg-type] # the fields are the tests' to know


@pytest.mark.parametrize(
    "endpoint",
    [
        an_endpoint(),
        an_endpoint(disabled=Disabled.FAILING, failing_since=START - DAY, revision=9),
        an_endpoint(secrets=(Secret("whsec_bmV3"), Secret("whsec_b2xk", START + DAY)), description="größer ☃"),
        default_of(VENUE, "whsec_bmV3", now=START),
    ],
    ids=["new", "disabled", "rotated", "default"],
)
@pytest.mark.parametrize("entry", [None, an_entry()], ids=["alone", "audited"])
def test_an_endpoint_is_loaded_as_it_was_added(
    records: Records, endpoint: Endpoint, entry: Entry | None
) -> None:
    assert records.endpoints.add(endpoint, entry) is True
    assert records.endpoints.load(VENUE, endpoint.id) == endpoint
    assert records.audited() == ([] if entry is None else [entry.id])


def test_an_endpoint_of_another_venue_is_not_there(records: Records) -> None:
    records.endpoints.add(an_endpoint())
    assert records.endpoints.load(ELSEWHERE, EndpointId("ep_1")) is None
    assert records.endpoints.load(VENUE, EndpointId("ep_9")) is None


@pytest.mark.parametrize("entry", [None, an_entry("entry_2")], ids=["alone", "audited"])
def test_a_second_add_of_an_id_changes_nothing_and_leaves_no_entry(
    records: Records, entry: Entry | None
) -> None:
    records.endpoints.add(an_endpoint(), an_entry())
    assert records.endpoints.add(an_endpoint(url="https://evil.example/"), entry) is False
    assert records.endpoints.load(VENUE, EndpointId("ep_1")) == an_endpoint()
    assert records.audited() == ["entry_1"]


@pytest.mark.parametrize("entry", [None, an_entry("entry_2")], ids=["alone", "audited"])
def test_a_swap_stands_if_nobody_was_faster(records: Records, entry: Entry | None) -> None:
    before = an_endpoint()
    records.endpoints.add(before, an_entry())
    after = moved(before, failing_since=START, disabled=Disabled.GONE)
    assert records.endpoints.swap(before, after, entry) is True
    assert records.endpoints.load(VENUE, before.id) == after
    assert records.endpoints.swap(before, moved(before), entry) is False
    assert records.endpoints.load(VENUE, before.id) == after
    assert records.audited() == ["entry_1", *([] if entry is None else ["entry_2"])]


@pytest.mark.parametrize("entry", [None, an_entry("entry_2")], ids=["alone", "audited"])
def test_a_swap_does_not_bring_back_what_was_deleted(records: Records, entry: Entry | None) -> None:
    before = an_endpoint()
    assert records.endpoints.swap(before, moved(before), entry) is False
    assert records.endpoints.load(VENUE, before.id) is None
    assert records.audited() == []


def test_what_is_removed_is_gone_and_an_old_revision_is_not_removed(records: Records) -> None:
    before = an_endpoint()
    after = moved(before, failing_since=START)
    records.endpoints.add(before, an_entry())
    records.endpoints.swap(before, after)
    assert records.endpoints.remove(before, an_entry("entry_2")) is False
    assert records.endpoints.remove(after, an_entry("entry_3")) is True
    assert records.endpoints.load(VENUE, before.id) is None
    assert records.audited() == ["entry_1", "entry_3"]


def test_a_venues_endpoints_are_listed_page_by_page_and_no_others(records: Records) -> None:
    ours = [an_endpoint(id=EndpointId(f"ep_{number}")) for number in range(5)]
    for endpoint in (*ours, an_endpoint(venue_id=ELSEWHERE), default_of(VENUE, "whsec_bmV3", now=START)):
        records.endpoints.add(endpoint)
    found: list[Endpoint] = []
    after: EndpointId | None = None
    while True:
        page, after = records.endpoints.page(VENUE, after=after, limit=2)
        found += page
        if after is None:
            break
    assert [each.id for each in found] == [DEFAULT, *(each.id for each in ours)]
    assert records.endpoints.page(VenueId("venue-3"), after=None, limit=2) == ([], None)


def test_the_registry_knows_the_endpoints_that_are_named_and_no_others(records: Records) -> None:
    ours, theirs = an_endpoint(), an_endpoint(venue_id=ELSEWHERE, disabled=Disabled.BY_HAND)
    default = default_of(VENUE, "whsec_bmV3", now=START)
    for endpoint in (ours, theirs, default, an_endpoint(id=EndpointId("ep_2"))):
        records.endpoints.add(endpoint)
    standing = records.registry.look_up(
        [
            AtEndpoint("data.endpointId", VENUE, ours.id),
            AtEndpoint("data.endpointId", VENUE, ours.id),
            AtEndpoint("data.endpointId", ELSEWHERE, ours.id),
            AtEndpoint("data.endpointId", VENUE, EndpointId("ep_9")),
            SignedFor(VENUE),
            SignedFor(ELSEWHERE),
            ToAddress("data.to", mail_address("ada@example.com")),
        ]
    )
    assert standing.endpoints == {
        (VENUE, ours.id): ours,
        (ELSEWHERE, ours.id): theirs,
        (VENUE, DEFAULT): default,
    }


def test_a_batch_of_endpoints_and_addresses_is_one_call(dynamo: DynamoRecords, wire: Faults) -> None:
    needs = [AtEndpoint("data.endpointId", VENUE, EndpointId(f"ep_{number}")) for number in range(50)]
    addresses = [ToAddress("data.to", mail_address(f"ada{number}@example.com")) for number in range(50)]
    dynamo.registry.look_up([*needs, *addresses, *needs])
    assert wire.calls == ["BatchGetItem"]


def test_secrets_are_of_the_standards_form_and_never_the_same(records: Records) -> None:
    first, second = records.endpoints.new_secret(), records.endpoints.new_secret()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{32}", first)
    assert first != second


def test_a_lost_reply_says_so(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.endpoints.add(an_endpoint())
    wire.order("TransactWriteItems", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.endpoints.remove(an_endpoint(), an_entry())


def test_a_record_of_a_newer_version_is_refused_and_not_quoted(dynamo: DynamoRecords) -> None:
    dynamo.endpoints.add(an_endpoint())
    dynamo.client.update_item(
        TableName=dynamo.tables.endpoints,
        Key={"ve": {"S": VENUE}, "id": {"S": "ep_1"}},
        UpdateExpression="SET di = :di",
        ExpressionAttributeValues={":di": {"S": "asleep"}},
    )
    with pytest.raises(StoreRefused) as caught:
        dynamo.endpoints.load(VENUE, EndpointId("ep_1"))
    assert caught.value.__suppress_context__
    assert "whsec" not in str(caught.value)
