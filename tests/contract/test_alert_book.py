"""The contract of alerting.AlertBook, on the fake and on every real backend."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.aws.alert_store import DynamoAlertBook
from chalicelib.domain.alerting import (
    Alert,
    AlertBook,
    AlertType,
    Channel,
    Condition,
    Firing,
    Severity,
    Word,
    acknowledged,
    began,
    claimed,
    replaced,
    trial,
)
from chalicelib.domain.errors import StoreUnsure
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.judging import Thresholds
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Entry
from chalicelib.service.alerting import Alerting
from tests.contract.backends import DynamoRecords, Faults
from tests.contract.conftest import REAL
from tests.fakes import START, ListJournal, ManualClock, MemoryLeases, MemoryQueue, MemoryStore, SeededChance
from tests.fakes_alerts import MemoryAlertBook, MemoryOutlets
from tests.fakes_backlog import MemoryBacklog
from tests.fakes_metrics import MemoryMetrics
from tests.fakes_search import MemoryJobIndex

MINUTE = timedelta(minutes=1)
DEPTH = Condition(AlertType.QUEUE_DEPTH, Severity.CRITICAL, Tier.MONEY)
PARKED = Condition(AlertType.PARKED, Severity.WARNING, Tier.COMMUNICATION)
ENTRY = Entry("entry_1", START, "ada", "acknowledge_alert", "alert/1", None, "", "open", "acknowledged")


def an_alert(condition: Condition = DEPTH, *, minutes: int = 0) -> Alert:
    firing = Firing(condition, 51, 50)
    return began(firing, "51 jobs wait, more than 50.", START + minutes * MINUTE)


@pytest.fixture(params=["memory", *REAL])
def book(request: pytest.FixtureRequest) -> AlertBook:
    if request.param == "memory":
        return MemoryAlertBook()
    made: DynamoRecords = request.getfixturevalue(request.param)
    return DynamoAlertBook(made.client, made.tables)


def test_an_alert_is_read_as_it_was_written(book: AlertBook) -> None:
    alert = replace(
        an_alert(),
        jobs=(JobId("job_1"), JobId("job_2")),
        value=12.5,
        venue_id=VenueId("venue-1"),
        told={(Channel.SMS, Word.ALERT): START, (Channel.LOG, Word.RESOLVED): START + MINUTE},
        well_since=START + MINUTE,
        ended_at=START + 2 * MINUTE,
        acknowledged_by="ada",
        acknowledged_at=START + MINUTE,
    )
    assert book.load(alert.id) is None
    assert book.begin(alert)
    assert book.load(alert.id) == alert
    assert book.standing() == {DEPTH: alert}


def test_of_two_alerts_of_a_condition_one_begins_until_it_is_closed(book: AlertBook) -> None:
    first, second = an_alert(), an_alert(minutes=1)
    assert book.standing() == {}
    assert book.begin(first)
    assert not book.begin(second)
    assert book.begin(an_alert(PARKED))
    assert set(book.standing()) == {DEPTH, PARKED}
    ended = replaced(first, START + MINUTE)
    assert book.swap(first, ended)
    assert book.close(replace(ended, version=2))
    assert not book.close(replace(ended, version=2))
    assert set(book.standing()) == {PARKED}
    assert book.begin(second)
    assert book.standing()[DEPTH] == second


def test_a_change_of_an_old_version_is_refused(book: AlertBook) -> None:
    alert = an_alert()
    book.begin(alert)
    assert book.swap(alert, claimed(alert, Channel.SMS, Word.ALERT, START))
    assert not book.swap(alert, claimed(alert, Channel.PHONE, Word.ALERT, START))
    assert not book.close(alert)
    standing = book.load(alert.id)
    assert standing is not None
    assert (standing.version, standing.told) == (2, {(Channel.SMS, Word.ALERT): START})


def test_alerts_are_listed_the_latest_first_and_the_acknowledged_are_known(book: AlertBook) -> None:
    alerts = [an_alert(DEPTH), an_alert(PARKED, minutes=1)]
    for alert in alerts:
        book.begin(alert)
    assert book.since(START) == book.unacknowledged() == alerts[::-1]
    assert book.since(START + timedelta(milliseconds=1)) == alerts[1:]
    assert book.swap(alerts[1], acknowledged(alerts[1], "ada", START), ENTRY)
    assert book.unacknowledged() == alerts[:1]


def test_a_test_is_kept_with_its_audit_entry_and_stands_in_no_ones_way(book: AlertBook) -> None:
    alert = trial(Severity.CRITICAL, "Nothing is wrong.", "ada", START, unique="1")
    assert book.add(alert, ENTRY)
    assert not book.add(alert, replace(ENTRY, id="entry_2"))
    assert book.since(START) == [alert]
    assert book.standing() == {}
    assert book.unacknowledged() == []


def test_fifty_at_once_begin_one_alert_and_one_claims_each_notice(book: AlertBook) -> None:
    begun = at_once(50, lambda n: book.begin(an_alert(minutes=n)))
    assert sum(begun) == 1
    [alert] = book.standing().values()
    won = at_once(50, lambda n: book.swap(alert, claimed(alert, Channel.SMS, Word.ALERT, START + n * MINUTE)))
    assert sum(won) == 1


def test_many_monitors_at_once_send_one_of_each(book: AlertBook) -> None:
    """Without the run lease: what holds is the claim."""
    clock, outlets = ManualClock(), MemoryOutlets()
    watch = watching(book, clock, outlets)
    for _ in range(2):  # to begin it, and once more after its cooldown
        for outlet in (outlets.sns, outlets.sms, outlets.phone):
            outlet.sent.clear()
        at_once(30, watch)
        at_once(30, watch)
        assert counts(outlets) == [1, 1, 1]
        clock.advance(5 * MINUTE)


def test_a_thousand_monitors_at_once_send_one_of_each(on_ministack: DynamoRecords) -> None:
    outlets = MemoryOutlets()
    watch = watching(DynamoAlertBook(on_ministack.client, on_ministack.tables), ManualClock(), outlets)
    at_once(50, lambda n: all([watch(n) for _ in range(20)]))  # noqa: C419 - every one of them runs
    assert counts(outlets) == [1, 1, 1]


def watching(book: AlertBook, clock: ManualClock, outlets: MemoryOutlets) -> Callable[[int], bool]:
    """Return what has a monitor see that too much money waits, and tell of it."""
    store, queue = MemoryStore(), MemoryQueue(clock)
    for n in range(51):
        queue.put(Tier.MONEY, Lane.MAIN, f"{n}")
    backlog = MemoryBacklog(queue, store)
    depths = {tier: backlog.depth(tier) for tier in Tier}
    alerting = Alerting(
        book=book,
        outlets=lambda: outlets.all,
        store=store,
        index=MemoryJobIndex(store),
        backlog=backlog,
        metrics=MemoryMetrics(),
        heartbeats=MemoryLeases(),
        thresholds=Thresholds(),
        clock=clock,
        chance=SeededChance(),
        journal=ListJournal(),
        base_url=None,
    )
    return lambda _: bool(alerting.run(None, depths, deadline=clock.now() + MINUTE))


def counts(outlets: MemoryOutlets) -> list[int]:
    """Return how many notices went by topic, text and call."""
    return [len(each.sent) for each in (outlets.sns, outlets.sms, outlets.phone)]


def at_once(count: int, task: Callable[[int], bool]) -> list[bool]:
    """Run a task in as many threads, let go together, and return what each said."""
    gate, said = threading.Barrier(count), [False] * count

    def run(n: int) -> None:
        gate.wait()
        said[n] = task(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


@pytest.fixture
def kept(dynamo: DynamoRecords) -> DynamoAlertBook:
    return DynamoAlertBook(dynamo.client, dynamo.tables)


def test_what_stands_costs_a_query_and_with_alerts_one_read_more(kept: DynamoAlertBook, wire: Faults) -> None:
    kept.standing()
    assert wire.calls == ["Query"]
    kept.begin(an_alert())
    kept.begin(an_alert(PARKED))
    before = len(wire.calls)
    kept.standing()
    assert wire.calls[before:] == ["Query", "BatchGetItem"]


def test_an_alert_expires_ninety_days_after_its_end_and_an_open_one_never(
    dynamo: DynamoRecords, kept: DynamoAlertBook
) -> None:
    def expiry() -> list[str]:
        items = dynamo.client.scan(TableName=dynamo.tables.alert_history)["Items"]
        return [item["expires_at"]["N"] for item in items if "expires_at" in item]

    alert = an_alert()
    kept.begin(alert)
    assert expiry() == []
    kept.swap(alert, replaced(alert, START))
    assert expiry() == [str(int((START + timedelta(days=90)).timestamp()))]


def test_a_lost_reply_leaves_open_whether_it_was_written(kept: DynamoAlertBook, wire: Faults) -> None:
    alert = an_alert()
    kept.begin(alert)
    wire.order("PutItem", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        kept.swap(alert, replaced(alert, START))
    standing = kept.load(alert.id)
    assert standing is not None
    assert standing.ended_at == START
