"""The archive on the fake and on S3, and the cleanup's rows on the fake and on DynamoDB."""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.aws.job_store import DynamoJobStore
from chalicelib.aws.s3_archive import S3Archive
from chalicelib.domain.archive import Archive, Damaged, Kind, Leftover
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.ids import job_id
from chalicelib.domain.job import Job, JobId, State, VenueId
from chalicelib.jobtypes import discover
from chalicelib.service.archiving import keep, read
from chalicelib.service.cleanup import Cleanup
from tests.contract.backends import DynamoRecords, Faults, Records, client
from tests.contract.lives import an_entry
from tests.contract.test_items import Meter
from tests.factories import VENUE, a_job
from tests.fakes import START, ListJournal, ManualClock, SeededChance
from tests.fakes_archive import MemoryArchive

LARGE = {"text": "x" * 2_000}
NEW = VenueId("venue-new")  # of which this container has written nothing yet
KIND = Kind("payment_archive", "payment.process", START.date())


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def on_s3(new_stack: Any) -> Iterator[tuple[Any, S3Archive]]:
    stack: Mapping[str, str] = new_stack()
    made = client("s3", stack)
    yield made, S3Archive(made, stack["ARCHIVE_BUCKET"])
    made.close()


@pytest.fixture(params=["memory", "ministack"])
def archive(request: pytest.FixtureRequest) -> Archive:
    """Return the archive of each backend."""
    if request.param == "memory":
        return MemoryArchive()
    made: S3Archive = request.getfixturevalue("on_s3")[1]
    return made


def test_object_is_read_as_it_was_put_until_it_is_deleted(archive: Archive) -> None:
    assert archive.read("a/b") is None
    for body in (b"one", bytes(range(256)) * 5000, b""):
        archive.put("a/b", body, sha256=sha256(body))
        assert archive.read("a/b") == body
    archive.delete("a/b")
    archive.delete("a/b")
    assert archive.read("a/b") is None


def test_object_that_did_not_arrive_whole_is_refused(archive: Archive) -> None:
    with pytest.raises(StoreRefused):
        archive.put("a/b", b"half", sha256=sha256(b"half of it"))
    assert archive.read("a/b") is None


def test_names_are_listed_in_order_page_by_page(archive: Archive) -> None:
    for name in ("a/3", "a/1", "b/1", "a/2"):
        archive.put(name, b"", sha256=sha256(b""))
    assert archive.names("a/", after=None, limit=2) == ["a/1", "a/2"]
    assert archive.names("a/", after="a/2", limit=2) == ["a/3"]
    assert archive.names("c/", after=None, limit=2) == []


def test_what_is_kept_reads_back_the_same(archive: Archive) -> None:
    manifest = keep(archive, KIND, {"j2": '{"id":"j2"}', "j1": '{"id":"ü\u2028\x85"}'})
    assert read(archive, manifest.name) == (manifest, ['{"id":"ü\u2028\x85"}', '{"id":"j2"}'])
    assert keep(archive, KIND, {"j1": '{"id":"ü\u2028\x85"}', "j2": '{"id":"j2"}'}) == manifest
    assert len(archive.names("payment_archive/payment.process/2026/03/01/", after=None, limit=9)) == 2


def test_object_that_was_spoilt_is_not_taken_for_what_its_manifest_says(archive: Archive) -> None:
    manifest = keep(archive, KIND, {"j1": "{}"})
    other = gzip.compress(b"[]\n", mtime=0)
    archive.put(manifest.key, other, sha256=sha256(other))
    with pytest.raises(Damaged):
        read(archive, manifest.name)
    archive.delete(manifest.key)
    with pytest.raises(Damaged):
        read(archive, manifest.name)


def test_reply_that_is_cut_is_asked_for_again_and_a_broken_service_is_said_so(
    on_s3: tuple[Any, S3Archive],
) -> None:
    made, archive = on_s3
    archive.put("a", b"whole", sha256=sha256(b"whole"))
    with Faults(made, "s3") as wire:
        wire.order("GetObject", wire.lose_reply)
        assert archive.read("a") == b"whole"
        wire.order("GetObject", *[wire.answer(500, {})] * 9)
        with pytest.raises(StoreRefused):
            archive.read("a")


# --- the rows -----------------------------------------------------------------------------------------


def ended(number: int, venue: VenueId = VENUE, **changes: Any) -> Job:
    job = a_job(f"job_{number:04d}", venue_id=venue, **changes)
    return replace(job, state=State.COMPLETED, finished_at=START, next_look=None, looks=0, version=3)


def test_venue_is_in_the_register_before_its_first_record_however_it_is_accepted(records: Records) -> None:
    store, cleaning = records.store, records.cleaning
    store.add(a_job("job_1", venue_id=VenueId("v2")))
    store.add(a_job("job_2", venue_id=VenueId("v2")))
    store.add_many([a_job("job_3", venue_id=VenueId("v1")), a_job("job_4", venue_id=VenueId("v4"))])
    store.add_audited(a_job("job_5", venue_id=VenueId("v3")), an_entry(a_job("job_5")))
    assert [each.id for each in cleaning.venues(after=None, limit=9)] == ["v1", "v2", "v3", "v4"]
    assert [each.id for each in cleaning.venues(after=VenueId("v1"), limit=2)] == ["v2", "v3"]


def test_mark_of_a_venue_stands_in_the_register_and_outlives_further_jobs(records: Records) -> None:
    records.store.add(a_job(venue_id=NEW))
    records.cleaning.mark(NEW, 90, JobId("job_1"))
    records.cleaning.mark(NEW, 365, JobId("job_0"))
    records.cleaning.mark(NEW, 90, JobId("job_2"))
    records.store.add(a_job("job_9", venue_id=NEW))
    [venue] = records.cleaning.venues(after=None, limit=9)
    assert venue.done == {90: "job_2", 365: "job_0"}


def test_jobs_of_a_venue_are_found_between_two_ids(records: Records) -> None:
    records.store.add_many([ended(number) for number in range(5)] + [ended(9, VenueId("other"))])
    oldest = records.cleaning.oldest
    ids = [f"job_{number:04d}" for number in range(5)]
    assert oldest(VENUE, above=None, below=JobId("job_0003"), limit=9) == ids[:3]
    assert oldest(VENUE, above=JobId("job_0000"), below=JobId("job_0003"), limit=9) == ids[1:3]
    assert oldest(VENUE, above=JobId("job_0000"), below=JobId("job_9"), limit=2) == ids[1:3]
    assert oldest(VenueId("nobody"), above=None, below=JobId("job_9"), limit=2) == []


def test_leftovers_are_found_by_their_moment_until_they_are_forgotten(records: Records) -> None:
    cleaning = records.cleaning
    notes = [Leftover(START + timedelta(milliseconds=n), JobId(f"job_{n % 7}")) for n in range(60)]
    cleaning.note(notes)
    cleaning.note(notes[:3])
    until = notes[39].at
    assert cleaning.leftovers(after=None, until=until, limit=90) == notes[:40]
    assert cleaning.leftovers(after=notes[9], until=until, limit=5) == notes[10:15]
    cleaning.forget(notes[:30])
    assert cleaning.leftovers(after=None, until=until, limit=90) == notes[30:40]


def test_place_of_a_walk_is_kept_until_it_begins_anew(records: Records) -> None:
    cleaning = records.cleaning
    assert cleaning.place("venues") is None
    cleaning.set_place("venues", "v1")
    cleaning.set_place("venues", "v2")
    assert cleaning.place("venues") == "v2"
    cleaning.set_place("venues", None)
    cleaning.set_place("venues", None)
    assert cleaning.place("venues") is None


def test_record_is_deleted_with_its_payload_only_at_the_version_that_was_read(records: Records) -> None:
    store = records.store
    small, large, changed = ended(1), ended(2, payload=LARGE), ended(3, payload=LARGE)
    store.add_many([small, large, changed])
    found, _ = store.load_batch([small.id, large.id, changed.id])
    stale = replace(found[changed.id], version=2)
    assert records.cleaning.delete([found[small.id], found[large.id], stale]) == [True, True, False]
    assert list(store.load_batch([small.id, large.id, changed.id])[0]) == [changed.id]
    assert set(store.load_payloads([found[large.id], found[changed.id]])) == {changed.id}
    assert records.cleaning.delete([found[small.id]]) in ([True], [False])


def test_audit_entries_are_deleted_and_others_stay(records: Records) -> None:
    jobs = [ended(number) for number in range(30)]
    for number, job in enumerate(jobs):
        store_entry = replace(an_entry(job), id=f"entry_{number:03d}")
        records.store.add_audited(job, store_entry)
    entries = records.audit_log.of_day(START.date(), below=None, limit=28)
    records.cleaning.delete_entries(entries)
    records.cleaning.delete_entries(entries[:1])
    assert records.audited() == ["entry_000", "entry_001"]


@pytest.mark.parametrize("payload", [{"n": 1}, LARGE])
def test_job_is_restored_whole_where_none_stands(records: Records, payload: Any) -> None:
    store = records.store
    store.add(ended(1, payload=payload))
    before = store.load(JobId("job_0001"), VENUE)
    [read_] = store.load_batch([JobId("job_0001")])[0].values()
    assert before is not None
    note, until = Leftover(START + timedelta(days=31), read_.id), START + timedelta(days=30)
    back = replace(before, expires_at=until)
    assert records.cleaning.restore(back, note, an_entry(back)) is False
    assert records.cleaning.delete([read_]) == [True]
    assert records.cleaning.restore(back, note, an_entry(back)) is True
    assert store.load(back.id, VENUE) == back
    assert records.cleaning.leftovers(after=None, until=note.at, limit=9) == [note]
    assert len(records.audited()) == 1


# --- what it costs --------------------------------------------------------------------------------------


def test_register_costs_a_container_one_call_for_each_venue(dynamo: DynamoRecords) -> None:
    store = dynamo.store
    with Faults(dynamo.client, "dynamodb") as wire:
        store.add(a_job("job_1", venue_id=NEW))
        assert wire.calls == ["PutItem", "PutItem"]
        store.add(a_job("job_2", venue_id=NEW))
        store.add_many([a_job("job_3", venue_id=NEW), a_job("job_4", venue_id=NEW)])
        assert wire.calls == ["PutItem"] * 3 + ["BatchExecuteStatement"]


def test_venue_that_cannot_be_entered_has_no_record_written(dynamo: DynamoRecords) -> None:
    store = dynamo.store
    with Faults(dynamo.client, "dynamodb") as wire:
        wire.order("PutItem", wire.fail, wire.lose_request)
        with pytest.raises(StoreRefused):
            store.add(a_job(venue_id=NEW))
        assert store.add_many([a_job(venue_id=NEW)]) == [None]
        assert dynamo.item("job_1") is None
        assert store.add_many([a_job(venue_id=NEW)]) == [True]


def test_what_it_takes_to_archive_a_thousand_jobs(on_ministack: DynamoRecords, record_property: Any) -> None:
    store = DynamoJobStore(on_ministack.client, on_ministack.tables)
    for start in range(0, 1000, 100):
        jobs = [replace(ended(number), id=job_id(START, number)) for number in range(start, start + 100)]
        store.add_many(jobs)
    clock = ManualClock()
    clock.advance(timedelta(days=90))
    cleanup = Cleanup(
        store=store,
        cleaning=on_ministack.cleaning,
        archive=MemoryArchive(),
        audit_log=on_ministack.audit_log,
        leases=on_ministack.leases,
        types=discover(),
        clock=clock,
        chance=SeededChance(),
        journal=ListJournal(),
    )
    with Faults(on_ministack.client, "dynamodb") as wire, Meter(on_ministack.client) as meter:
        done = cleanup.run(ends=clock.now() + timedelta(minutes=15))
    assert (done.archived, done.deleted, done.failed) == (1000, 1000, False)
    deletions = [units for name, units in meter.writes if name == "BatchExecuteStatement"]
    assert (len(deletions), sum(deletions)) == (42, 1000)
    assert len(wire.calls) <= 110
    record_property("archive", json.dumps({"calls": len(wire.calls), "units": sum(deletions)}))
