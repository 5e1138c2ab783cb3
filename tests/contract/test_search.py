"""Finding jobs and audit entries: what each index holds, in which order, and what it costs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import Job, JobId, Reason, State, UserId, VenueId
from chalicelib.domain.outcome import Failure, Refused, Retry, Unknown
from chalicelib.domain.policies import EffectClass, Tier
from chalicelib.domain.ports import AGENDA_SHARDS, Change, Entry, Saved
from chalicelib.domain.search import (
    Partition,
    Upcoming,
    alike,
    ended,
    ended_of_venue,
    of_batch,
    of_user,
    of_venue,
)
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.contract.lives import added, an_entry, claimed, moved, settled
from tests.contract.test_job_store_keys import retried
from tests.factories import PAYMENT, VENUE, a_job, a_policy
from tests.fakes import START

OTHER = VenueId("venue-2")
TIMEOUT = Failure("timeout", "There was no answer.")
DECLINED = Failure("card_declined", "The card was declined.")


def newest(
    records: Records,
    partition: Partition,
    *,
    below: str | None = None,
    floor: str | None = None,
    limit: int = 9,
) -> list[JobId]:
    return records.index.newest(partition, below=below, floor=floor, limit=limit)


def exhausted(records: Records, job_id: str, failure: Failure = TIMEOUT) -> Job:
    job = added(records.store, a_job(job_id, attempts=1))
    running = moved(records.store, job, claimed(job))
    return moved(records.store, running, settled(running, Retry(failure)))


def refused(records: Records, job_id: str) -> Job:
    job = added(records.store, a_job(job_id))
    running = moved(records.store, job, claimed(job))
    return moved(records.store, running, settled(running, Refused(DECLINED)))


def parked(records: Records, job_id: str) -> Job:
    policy = a_policy(EffectClass.BLIND)
    job = added(records.store, a_job(job_id))
    running = moved(records.store, job, claimed(job, policy=policy))
    return moved(records.store, running, settled(running, Unknown(TIMEOUT), policy=policy))


def test_jobs_of_a_venue_come_newest_first_and_no_others(records: Records) -> None:
    for number in (2, 1, 3):
        records.store.add(a_job(f"job_{number}"))
    records.store.add(a_job("job_4", venue_id=OTHER))
    assert newest(records, of_venue(VENUE)) == ["job_3", "job_2", "job_1"]
    assert newest(records, of_venue(OTHER)) == ["job_4"]
    assert newest(records, of_venue(VenueId("venue-3"))) == []


@pytest.mark.parametrize(
    ("below", "floor", "found"),
    [
        (None, None, [5, 4, 3]),
        ("job_5", None, [4, 3, 2]),
        (None, "job_4", [5, 4]),
        ("job_4", "job_2", [3, 2]),
        ("job_5", "job_1", [4, 3, 2]),
        ("job_45", "job_15", [4, 3, 2]),
        ("job_2", "job_2", []),
        ("job_2", "job_4", []),
        ("job_1", None, []),
    ],
)
def test_a_page_is_below_one_id_and_from_another_on(
    records: Records, below: str | None, floor: str | None, found: list[int]
) -> None:
    for number in range(1, 6):
        records.store.add(a_job(f"job_{number}"))
    ids = newest(records, of_venue(VENUE), below=below, floor=floor, limit=3)
    assert ids == [f"job_{number}" for number in found]


def test_a_users_jobs_are_found_whatever_their_venue(records: Records) -> None:
    records.store.add(a_job("job_1"))
    records.store.add(a_job("job_2", venue_id=OTHER))
    records.store.add(a_job("job_3", user_id=UserId("user-2")))
    records.store.add(a_job("job_4", user_id=None))
    assert newest(records, of_user("user-1")) == ["job_2", "job_1"]


def test_a_batch_is_its_venues_own(records: Records) -> None:
    records.store.add(a_job("job_1", batch_id="b", batch_index=0))
    records.store.add(a_job("job_2", batch_id="b", batch_index=1))
    records.store.add(a_job("job_3", batch_id="b", batch_index=0, venue_id=OTHER))
    records.store.add(a_job("job_4"))
    assert newest(records, of_batch(VENUE, "b")) == ["job_2", "job_1"]
    assert newest(records, of_batch(OTHER, "b")) == ["job_3"]


def test_what_failed_is_found_by_how_and_what_is_parked_too(records: Records) -> None:
    exhausted(records, "job_1")
    refused(records, "job_2")
    parked(records, "job_3")
    records.store.add(a_job("job_4"))
    for how, job_id in ((Reason.EXHAUSTED, "job_1"), (Reason.REFUSED, "job_2"), ("parked", "job_3")):
        assert newest(records, ended(Tier.MONEY, how)) == [job_id]
        assert newest(records, ended(Tier.COMMUNICATION, how)) == []
    assert newest(records, ended_of_venue(VENUE, State.FAILED)) == ["job_2", "job_1"]
    assert newest(records, ended_of_venue(VENUE, State.PARKED)) == ["job_3"]
    assert newest(records, ended_of_venue(OTHER, State.FAILED)) == []


def test_dead_letters_and_parked_jobs_are_found_by_their_fingerprint_and_refused_ones_are_not(
    records: Records,
) -> None:
    exhausted(records, "job_1")
    exhausted(records, "job_2", Failure("rate_limit", "Too many."))
    refused(records, "job_3")
    parked(records, "job_4")
    assert newest(records, alike("payment.process:timeout", State.FAILED)) == ["job_1"]
    assert newest(records, alike("payment.process:rate_limit", State.FAILED)) == ["job_2"]
    assert newest(records, alike("payment.process:card_declined", State.FAILED)) == []
    assert newest(records, alike("payment.process:timeout", State.PARKED)) == ["job_4"]


def test_a_job_that_starts_anew_is_no_longer_found_among_the_failed(records: Records) -> None:
    job = exhausted(records, "job_1")
    assert records.store.save_audited(Change(job, retried(job)), an_entry(job)) == Saved()
    assert newest(records, ended(Tier.MONEY, Reason.EXHAUSTED)) == []
    assert newest(records, ended_of_venue(VENUE, State.FAILED)) == []
    assert newest(records, alike("payment.process:timeout", State.FAILED)) == []
    assert newest(records, of_venue(VENUE)) == ["job_1"]


def test_dead_letters_say_what_groups_them(records: Records) -> None:
    jobs = [exhausted(records, "job_1"), exhausted(records, "job_2", Failure("rate_limit", "Too many."))]
    refused(records, "job_3")
    found = records.index.dead_letters(Tier.MONEY, Reason.EXHAUSTED, below=None, limit=9)
    assert [(each.id, each.fingerprint, each.finished_at) for each in found] == [
        ("job_2", "payment.process:rate_limit", jobs[1].finished_at),
        ("job_1", "payment.process:timeout", jobs[0].finished_at),
    ]
    assert records.index.dead_letters(Tier.MONEY, Reason.EXHAUSTED, below="job_2", limit=9) == found[1:]
    assert records.index.dead_letters(Tier.MONEY, Reason.EXPIRED, below=None, limit=9) == []


def upcoming(records: Records, *, after: Upcoming | None = None, limit: int = 9) -> list[Upcoming]:
    found = [
        each
        for shard in range(AGENDA_SHARDS)
        for each in records.index.upcoming(shard, Tier.MONEY, after=after, limit=limit)
    ]
    return sorted(found, key=lambda each: (each.next_look, each.id))


def test_open_jobs_come_by_their_next_look_from_where_a_page_ended(records: Records) -> None:
    for number in range(6):
        records.store.add(a_job(f"job_{number}", delay=timedelta(hours=6 - number)))
    records.store.add(a_job("mail", tier=Tier.COMMUNICATION))
    exhausted(records, "job_9")
    every = upcoming(records)
    assert [each.id for each in every] == [f"job_{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert every[0].next_look == START + timedelta(hours=1)
    for place, each in enumerate(every):
        assert upcoming(records, after=each) == every[place + 1 :]


def test_a_page_of_open_jobs_is_no_longer_than_asked(records: Records) -> None:
    for number in range(20):
        records.store.add(a_job(f"job_{number}"))
    pages = [records.index.upcoming(shard, Tier.MONEY, after=None, limit=2) for shard in range(AGENDA_SHARDS)]
    assert all(len(page) <= 2 for page in pages)
    assert any(len(page) == 2 for page in pages)


# --- the audit log


def entries(records: Records, *made: Entry) -> Sequence[Entry]:
    for number, entry in enumerate(made):
        job = added(records.store, a_job(f"job_{number}"))
        after = replace(job, state=State.CANCELLED, version=2, next_look=None, looks=0)
        assert records.store.save_audited(Change(job, after), entry) == Saved()
    return made


def an_action(entry_id: str, *, days: int = 0, **changes: object) -> Entry:
    entry = an_entry(a_job(), entry_id)
    return replace(entry, at=START + timedelta(days=days), **changes)  # type: ignore[arg-type]  # fields of Entry


def test_entries_of_a_day_come_newest_first_and_whole(records: Records) -> None:
    first, second, _ = entries(
        records,
        an_action("entry_1", venue_id=None, before=None, after=None, reason="a\nb"),
        an_action("entry_2"),
        an_action("entry_3", days=1),
    )
    log = records.audit_log
    assert log.of_day(START.date(), below=None, limit=9) == [second, first]
    assert log.of_day(START.date(), below=None, limit=1) == [second]
    assert log.of_day(START.date(), below="entry_2", limit=9) == [first]
    assert log.of_day((START - timedelta(days=1)).date(), below=None, limit=9) == []


def test_entries_about_a_subject_come_newest_first_over_the_days(records: Records) -> None:
    first, _, third = entries(
        records,
        an_action("entry_1"),
        an_action("entry_2", subject="queue/money"),
        an_action("entry_3", days=40),
    )
    log = records.audit_log
    assert log.of_subject("job_1", below=None, limit=9) == [third, first]
    assert log.of_subject("job_1", below="entry_3", limit=9) == [first]
    assert log.of_subject("job_2", below=None, limit=9) == []


def test_each_question_is_one_query(dynamo: DynamoRecords, wire: Faults) -> None:
    records = dynamo
    exhausted(records, "job_1")
    wire.calls.clear()
    newest(records, of_venue(VENUE), below="job_2", floor="job_0")
    records.index.dead_letters(Tier.MONEY, Reason.EXHAUSTED, below=None, limit=9)
    records.index.upcoming(0, Tier.MONEY, after=None, limit=9)
    records.audit_log.of_day(START.date(), below=None, limit=9)
    records.audit_log.of_subject("job_1", below=None, limit=9)
    assert wire.calls == ["Query"] * 5


# --- a job that comes with its audit entry


def test_a_job_and_its_entry_are_written_together_and_once(records: Records) -> None:
    job = a_job()
    assert records.store.add_audited(job, an_entry(job, "entry_1"))
    assert records.store.load(job.id, None) == job
    assert not records.store.add_audited(job, an_entry(job, "entry_2"))
    assert records.audited() == ["entry_1"]


def test_a_job_with_a_large_payload_comes_whole_with_its_entry(records: Records) -> None:
    payload = {**PAYMENT, "description": "x" * 3000}
    assert records.store.add_audited(a_job(payload=payload), an_entry(a_job()))
    loaded = records.store.load(JobId("job_1"), None)
    assert loaded is not None
    assert (loaded.payload, loaded.payload_apart) == (payload, True)


def test_a_job_whose_entry_cannot_be_written_is_not_written(dynamo: DynamoRecords) -> None:
    first, second = a_job("job_1"), a_job("job_2")
    assert dynamo.store.add_audited(first, an_entry(first, "entry_1"))
    with pytest.raises(StoreRefused):
        dynamo.store.add_audited(second, an_entry(second, "entry_1"))
    assert dynamo.store.load(second.id, None) is None


def test_a_job_with_its_entry_whose_reply_is_lost_is_both_or_neither(
    dynamo: DynamoRecords, wire: Faults
) -> None:
    job = a_job()
    wire.order("TransactWriteItems", wire.lose_request)
    with pytest.raises(StoreUnsure):
        dynamo.store.add_audited(job, an_entry(job))
    assert (dynamo.store.load(job.id, None), dynamo.audited()) == (None, [])
    wire.order("TransactWriteItems", wire.lose_reply)
    with pytest.raises(StoreUnsure):
        dynamo.store.add_audited(job, an_entry(job))
    assert (dynamo.store.load(job.id, None), dynamo.audited()) == (job, ["entry_1"])
