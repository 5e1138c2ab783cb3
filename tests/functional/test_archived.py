"""What operators do with the archive, in memory: check it, bring jobs back, erase a person in it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain import steer
from chalicelib.domain.archive import Damaged
from chalicelib.domain.job import Job, JobId, State, UserId, VenueId
from chalicelib.service.archived import Archived, Erased, Person, Restored, Who
from tests.factories import a_policy
from tests.fakes_archive import MemoryArchive
from tests.functional.test_cleanup import NINETY, Crashed, Crashing, Yard, cut, flipped

WHO = Who("admin-1", "The auditor asks")
ADA = "ada@example.com"
DAY = timedelta(days=1)


def archived(yard: Yard, archive: Any = None) -> Archived:
    return Archived(
        archive=archive or yard.archive,
        cleaning=yard.cleaning,
        clock=yard.clock,
        chance=yard.chance,
        journal=yard.journal,
    )


@pytest.fixture
def yard() -> Yard:
    """Return one whose archive has twenty jobs of two venues, two users and two types."""
    yard = Yard()
    for number in range(20):
        yard.add(
            type=("payment.process", "payment.refund")[number % 2],
            venue_id=VenueId(f"v{number // 2 % 2}"),
            user_id=UserId(f"user-{number % 5}"),
            payload={"to": ADA.upper() if number == 4 else "bob@example.com", "n": "x" * (number * 100)},
        )
    yard.whole = {each: job for each in yard.store.jobs if (job := yard.store.load(each, None)) is not None}
    yard.clock.advance(NINETY + DAY)
    assert yard.run().deleted == 20
    return yard


def whole(yard: Yard) -> dict[JobId, Job]:
    """Return the jobs as they were before they were archived."""
    return yard.whole


def test_restored_jobs_are_as_they_were_and_expire_in_thirty_days(yard: Yard) -> None:
    assert archived(yard).restore("payment_archive/", WHO) == Restored(restored=20)
    until = yard.clock.now() + timedelta(days=30)
    for job_id, before in whole(yard).items():
        assert yard.store.load(job_id, None) == replace(before, expires_at=until)
    entries = [each for each in yard.store.audit if each.action == "restore"]
    assert {each.subject for each in entries} == set(whole(yard))
    assert {(each.actor, each.reason) for each in entries} == {("admin-1", "The auditor asks")}
    assert archived(yard).restore("", WHO) == Restored(stood=20)


def test_some_jobs_are_restored_by_their_ids_and_others_stay_where_they_are(yard: Yard) -> None:
    two = frozenset(list(whole(yard))[3:5])
    assert archived(yard).restore("payment_archive/", WHO, job_ids=two) == Restored(restored=2)
    assert set(yard.store.jobs) == two
    assert archived(yard).restore("blockchain_archive/", WHO) == Restored()


def test_restored_job_that_starts_anew_is_archived_anew(yard: Yard) -> None:
    [job_id, *_] = whole(yard)
    archived(yard).restore("", WHO, job_ids=frozenset({job_id}))
    again = replace(yard.store.jobs[job_id], version=9, expires_at=None, finished_at=yard.clock.now() + DAY)
    yard.store.jobs[job_id] = again
    yard.clock.advance(timedelta(days=31))
    assert yard.run().archived == 0
    yard.clock.advance(NINETY)
    assert yard.run().archived == 1
    assert archived(yard).restore("", WHO, job_ids=frozenset({job_id})) == Restored(restored=1)
    assert yard.store.jobs[job_id].version == 9, "of a job that is in two objects the last version counts"


def test_every_object_is_as_its_manifest_says(yard: Yard) -> None:
    told = list(archived(yard).verify("payment_archive/"))
    assert [wrong for _, wrong in told] == [None, None]
    assert [each.count for each in archived(yard).manifests("")] == [10, 10]


@pytest.mark.parametrize("spoil", [cut, flipped, lambda _: b""])
def test_damaged_object_is_told_of_and_nothing_of_it_is_restored(
    yard: Yard, spoil: Callable[[bytes], bytes]
) -> None:
    [name] = [each for each in yard.archive.objects if each.endswith(".gz") and "refund" in each]
    yard.archive.objects[name] = spoil(yard.archive.objects[name])
    told = dict(archived(yard).verify(""))
    assert sum(wrong is not None for wrong in told.values()) == 1
    with pytest.raises(Damaged):
        archived(yard).restore("payment_archive/payment.refund/", WHO)
    assert yard.store.jobs == {}


def test_users_data_is_erased_from_the_archive_and_nobody_elses(yard: Yard) -> None:
    counted = archived(yard).erase(Person(user_id="user-3"), WHO)
    assert counted == Erased(jobs=4, objects=2)
    for line in yard.lines():
        before = whole(yard)[line["id"]]
        if before.user_id == "user-3":
            assert (line["payload"], "result" in line, "callback_url" in line) == ({}, False, False)
            assert line["erased_at"]
        else:
            assert line["payload"] == before.payload
    assert len(yard.lines()) == 20
    assert [wrong for _, wrong in archived(yard).verify("")] == [None, None]
    assert archived(yard).erase(Person(user_id="user-3"), WHO) == Erased()
    assert [each.action for each in yard.store.audit] == ["erase_archive", "erase_archive"]


def test_address_is_erased_among_the_jobs_of_its_venue_alone(yard: Yard) -> None:
    assert archived(yard).erase(Person(venue_id="v1", address=ADA), WHO) == Erased()
    assert archived(yard).erase(Person(venue_id="v0", address=f" {ADA} "), WHO) == Erased(jobs=1, objects=1)
    assert ADA not in json.dumps(yard.lines()).lower()


def test_erased_job_is_restored_without_its_data_and_cannot_start_anew(yard: Yard) -> None:
    archived(yard).erase(Person(user_id="user-3"), WHO)
    archived(yard).restore("", WHO)
    [job, *_] = [each for each in yard.store.jobs.values() if each.user_id == "user-3"]
    found = yard.store.load(job.id, None)
    assert found is not None
    assert found.payload == {}
    failed = replace(job, state=State.FAILED)
    assert steer.retry(failed, a_policy(), now=yard.clock.now()) == steer.ERASED


def test_objects_without_the_persons_mark_are_not_even_read(yard: Yard) -> None:
    points: list[str] = []
    watched = Crashing(yard.archive, points, "archive")
    assert archived(yard, watched).erase(Person(user_id="nobody"), WHO) == Erased()
    assert points.count("archive.read") == 2, "the manifests"


def calls_of_an_erasure() -> int:
    points: list[str] = []
    yard = made()
    archived(yard, Crashing(yard.archive, points, "archive")).erase(Person(user_id="user-3"), WHO)
    return len(points)


def made() -> Yard:
    yard = Yard()
    for number in range(6):
        yard.add(user_id=UserId(f"user-{number % 2 * 3}"), payload={"name": f"Zoë {number}"})
    yard.clock.advance(NINETY)
    yard.run()
    return yard


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(calls_of_an_erasure()))
def test_erasure_that_dies_loses_no_job_and_is_ended_by_doing_it_again(at: int, after: bool) -> None:
    yard = made()
    before = set(yard.archived())
    dying = Crashing(yard.archive, [], "archive")
    dying.at, dying.after = at, after
    with pytest.raises(Crashed):
        archived(yard, dying).erase(Person(user_id="user-3"), WHO)
    assert set(yard.archived()) == before
    archived(yard).erase(Person(user_id="user-3"), WHO)
    assert sorted(yard.archived()) == sorted(before)
    assert all(line["payload"] == {} for line in yard.lines() if line["user_id"] == "user-3")
    assert all(line["payload"] for line in yard.lines() if line["user_id"] != "user-3")
    assert [wrong for _, wrong in archived(yard).verify("")] == [None]


def test_erasure_whose_time_is_up_goes_on_behind_the_last_object(yard: Yard) -> None:
    person, at, turns = Person(user_id="user-3"), None, 0

    class Slow(MemoryArchive):
        def read(self, key: str) -> bytes | None:
            yard.clock.advance(timedelta(seconds=1))
            return super().read(key)

    slow = Slow()
    slow.objects = yard.archive.objects
    while True:
        until = yard.clock.now() + timedelta(milliseconds=500)
        done = archived(yard, slow).erase(person, WHO, after=at, until=until)
        turns += 1
        if done.left_at is None:
            break
        at = done.left_at
    assert turns > 2
    assert archived(yard).erase(person, WHO) == Erased()
