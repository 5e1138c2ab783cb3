"""The contract of ports.JobStore, on the fake and on every real backend: records, looks and the agenda."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.job import JobId, State, VenueId, hold, same_write
from chalicelib.domain.outcome import Failure, Outcome, Pending, Refused, Retry, Unknown
from chalicelib.domain.policies import EffectClass, Tier
from chalicelib.domain.ports import AGENDA_SHARDS, Change, Outdated, Saved
from tests.contract.backends import Records
from tests.contract.lives import added, agenda, claimed, looked, moved, read, save, settled
from tests.factories import PAYMENT, VENUE, a_job, a_policy
from tests.fakes import START

SECOND = timedelta(seconds=1)
LARGE = {**PAYMENT, "description": "x" * 3000}
FAILURE = Failure("card_declined", "The card was declined.", "req_1")


def test_added_job_is_loaded_as_it_was(records: Records) -> None:
    job = a_job(payload={"text": "größer ☃ 𝄞", "list": [1, 2.5, None, {"a": True}], "empty": {}})

    assert records.store.add(job) is True
    assert records.store.load(job.id, VENUE) == job


def test_job_with_every_optional_field_is_loaded_as_it_was(records: Records) -> None:
    job = replace(
        a_job(callback_url="https://example.org/done", user_id=None, delay=timedelta(minutes=20), priority=9),
        callback_endpoint_id="ep_1",
    )

    records.store.add(job)

    assert records.store.load(job.id, None) == job


def test_second_add_of_an_id_is_refused_and_changes_nothing(records: Records) -> None:
    first = a_job(priority=8)
    records.store.add(first)

    assert records.store.add(a_job(priority=3)) is False
    assert records.store.load(first.id, None) == first


def test_second_add_of_a_large_payload_is_refused_and_changes_nothing(records: Records) -> None:
    records.store.add(a_job(payload=LARGE))

    assert records.store.add(a_job(payload=LARGE, priority=3)) is False
    loaded = records.store.load(JobId("job_1"), None)
    assert loaded is not None
    assert (loaded.priority, loaded.payload) == (8, LARGE)


def test_job_of_another_venue_is_not_there(records: Records) -> None:
    records.store.add(a_job())

    assert records.store.load(JobId("job_1"), VenueId("venue-2")) is None
    assert records.store.load(JobId("job_1"), None) is not None


@pytest.mark.parametrize("job_id", ["job_2", "", "x" * 3000, "job_1#payload", "\ud800", "\x00"])
def test_id_of_no_job_is_not_there(records: Records, job_id: str) -> None:
    added(records.store, a_job(payload=LARGE))

    assert records.store.load(JobId(job_id), None) is None
    found, _ = records.store.load_batch([JobId(job_id), JobId("job_1")])
    assert set(found) == {"job_1"}


def test_large_payload_is_kept_apart_and_comes_back_whole(records: Records) -> None:
    job = a_job(payload=LARGE)
    records.store.add(job)
    apart = read(records.store, job.id)

    assert (apart.payload, apart.payload_apart) == (None, True)
    assert records.store.load_payloads([apart]) == {job.id: LARGE}
    assert records.store.load(job.id, VENUE) == replace(job, payload_apart=True)


@pytest.mark.parametrize(("length", "apart"), [(1013, False), (1014, True)])
def test_payload_above_one_kilobyte_is_kept_apart(records: Records, length: int, apart: bool) -> None:
    payload = {"text": "x" * length}  # 11 bytes around it

    assert added(records.store, a_job(payload=payload)).payload_apart is apart


def test_batch_reads_a_hundred_jobs_and_leaves_out_unknown_ones(records: Records) -> None:
    for number in range(0, 100, 2):
        records.store.add(a_job(f"job_{number}"))

    found, controls = records.store.load_batch([JobId(f"job_{number}") for number in range(100)])

    assert found == {f"job_{number}": a_job(f"job_{number}") for number in range(0, 100, 2)}
    assert controls.entries == ()


def test_batch_of_nothing_reads_the_controls_alone(records: Records) -> None:
    found, controls = records.store.load_batch([])

    assert (dict(found), controls.version) == ({}, 0)


def test_change_stands_and_is_read_back(records: Records) -> None:
    before = added(records.store, a_job())

    assert save(records.store, before, claimed(before)) == Saved()
    assert read(records.store, before.id) == claimed(before)


@pytest.mark.parametrize(
    "outcome",
    [
        Retry(FAILURE, handle="pi_1"),
        Refused(FAILURE, handle="pi_1"),
        Unknown(Failure("time_out", "No answer came in time.")),
        Pending({"nextAction": {"type": "redirect", "url": "https://example.org"}}, handle="pi_1"),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
@pytest.mark.parametrize("effect_class", list(EffectClass))
def test_whatever_an_attempt_comes_to_is_read_back(
    records: Records, outcome: Outcome, effect_class: EffectClass
) -> None:
    policy = a_policy(effect_class)
    running = moved(records.store, job := added(records.store, a_job()), claimed(job, policy=policy))
    after = settled(running, outcome, policy=policy, now=START + 3 * SECOND)

    assert save(records.store, running, after) == Saved()
    assert read(records.store, job.id) == after


def test_long_life_is_read_back(records: Records) -> None:
    job = added(records.store, a_job(attempts=10))
    now = START
    for attempt in range(10):
        now += timedelta(minutes=5)
        job = moved(records.store, job, claimed(job, f"claim_{attempt}", now=now))
        after = settled(job, Retry(FAILURE), now=now)
        assert save(records.store, job, after) == Saved()
        job = read(records.store, job.id)
        assert job == after

    assert (job.state, job.attempts, len(job.history)) == (State.FAILED, 10, 10)


def test_change_from_an_old_version_is_refused_with_the_record_that_stands(records: Records) -> None:
    before = added(records.store, a_job())
    winner = moved(records.store, before, claimed(before, "claim_1"))

    result = save(records.store, before, claimed(before, "claim_2"))

    assert result == Outdated(replace(winner, payload=None))
    assert read(records.store, before.id) == winner


def test_change_of_a_job_that_does_not_exist_is_refused(records: Records) -> None:
    before = a_job()

    assert save(records.store, before, claimed(before)) == Outdated(None)
    assert records.store.load(before.id, None) is None


def test_owner_whose_lease_lapsed_writes_no_more(records: Records) -> None:
    job = added(records.store, a_job())
    zombie = moved(records.store, job, claimed(job, "claim_1"))
    later = START + timedelta(minutes=5)
    moved(records.store, zombie, owner := claimed(zombie, "claim_2", now=later))

    assert isinstance(save(records.store, zombie, settled(zombie)), Outdated)
    assert read(records.store, job.id) == owner


def test_same_change_again_is_recognised_as_its_own_write(records: Records) -> None:
    before = added(records.store, a_job())
    after = claimed(before)
    assert save(records.store, before, after) == Saved()

    again = save(records.store, before, after)

    assert isinstance(again, Outdated)
    assert again.current is not None
    assert same_write(after, again.current)


def test_each_change_of_many_stands_or_falls_by_itself(records: Records) -> None:
    jobs = [added(records.store, a_job(f"job_{number}")) for number in range(60)]
    for job in jobs[::3]:
        moved(records.store, job, claimed(job, "earlier"))

    results = records.store.save_many([Change(job, claimed(job, "later")) for job in jobs])

    assert [isinstance(result, Saved) for result in results] == [bool(number % 3) for number in range(60)]
    found, _ = records.store.load_batch([job.id for job in jobs])
    assert [found[job.id].claim_id for job in jobs[:3]] == ["earlier", "later", "later"]


def test_no_changes_are_no_results(records: Records) -> None:
    assert records.store.save_many([]) == []
    assert records.store.save_looks([]) == []


def test_change_leaves_the_payload_alone(records: Records) -> None:
    for number, payload in enumerate([PAYMENT, LARGE]):
        job = added(records.store, a_job(f"job_{number}", payload=payload))
        whole = replace(claimed(job), payload=payload)  # as `execute` may hold it

        assert save(records.store, job, whole) == Saved()
        loaded = records.store.load(job.id, None)
        assert loaded is not None
        assert (loaded.payload, loaded.payload_apart) == (payload, job.payload_apart)


def test_look_moves_without_a_version(records: Records) -> None:
    job = added(records.store, a_job())
    after = looked(job, now=START + timedelta(minutes=6))

    assert records.store.save_looks([Change(job, after)]) == [Saved()]
    assert read(records.store, job.id) == after
    assert (after.version, after.looks, after.overdue) == (job.version, 2, True)


def test_look_that_has_moved_meanwhile_is_not_moved_again(records: Records) -> None:
    job = added(records.store, a_job())
    first = looked(job, now=START + timedelta(minutes=6))
    records.store.save_looks([Change(job, first)])

    [result] = records.store.save_looks([Change(job, looked(job, now=START + timedelta(minutes=7)))])

    assert isinstance(result, Outdated)
    assert read(records.store, job.id) == first


@pytest.mark.parametrize("moved_by", [{"next_look": START + timedelta(hours=1)}, {"looks": 5}], ids=str)
def test_look_is_not_moved_if_its_time_or_its_count_is_another(
    records: Records, moved_by: dict[str, Any]
) -> None:
    job = added(records.store, a_job())
    first = replace(job, **moved_by)
    assert records.store.save_looks([Change(job, first)]) == [Saved()]

    [result] = records.store.save_looks([Change(job, looked(job, now=START + timedelta(minutes=7)))])

    assert isinstance(result, Outdated)
    assert read(records.store, job.id) == first


def test_look_of_a_job_that_has_come_to_rest_is_not_moved(records: Records) -> None:
    job = added(records.store, a_job())
    running = moved(records.store, job, claimed(job))
    ended = moved(records.store, running, settled(running))

    [result] = records.store.save_looks([Change(job, looked(job, now=START + timedelta(minutes=6)))])

    assert isinstance(result, Outdated)
    assert read(records.store, job.id) == ended
    assert agenda(records.store) == set()


def test_look_moves_nothing_but_the_look(records: Records) -> None:
    job = added(records.store, a_job())
    running = moved(records.store, job, claimed(job))

    assert records.store.save_looks([Change(job, after := looked(job, now=START + timedelta(minutes=6)))]) == [
        Saved()
    ]
    assert read(records.store, job.id) == replace(
        running, next_look=after.next_look, looks=after.looks, overdue=True
    )


def test_look_that_dispatch_moved_survives_a_change_that_does_not_move_it(records: Records) -> None:
    job = added(records.store, a_job())
    after = looked(job, now=START + timedelta(minutes=6))
    records.store.save_looks([Change(job, after)])

    assert save(records.store, job, claimed(job)) == Saved()
    assert read(records.store, job.id) == replace(
        claimed(job), next_look=after.next_look, looks=after.looks, overdue=True
    )


def test_change_that_moves_the_look_moves_its_count_with_it(records: Records) -> None:
    job = added(records.store, a_job())
    records.store.save_looks([Change(job, looked(job, now=START + timedelta(minutes=6)))])
    held = hold(job, START + timedelta(hours=1))

    assert save(records.store, job, held) == Saved()
    current = read(records.store, job.id)
    assert (current.next_look, current.looks) == (START + timedelta(hours=1), 0)


def test_job_at_rest_leaves_the_agenda_even_if_its_look_moved_meanwhile(records: Records) -> None:
    job = added(records.store, a_job())
    running = moved(records.store, job, claimed(job))
    records.store.save_looks([Change(job, looked(job, now=START + timedelta(minutes=6)))])
    ended = settled(running)

    assert save(records.store, running, ended) == Saved()
    assert read(records.store, job.id) == ended
    assert agenda(records.store) == set()


def test_agenda_holds_open_jobs_until_the_moment_asked_for(records: Records) -> None:
    records.store.add(a_job("soon", delay=timedelta(hours=1)))
    records.store.add(a_job("later", delay=timedelta(hours=3)))
    parked = added(records.store, a_job("parked"))
    blind = a_policy(EffectClass.BLIND)
    running = moved(records.store, parked, claimed(parked, policy=blind))
    moved(records.store, running, settled(running, Unknown(FAILURE), policy=blind))

    assert agenda(records.store, until=START + timedelta(hours=1) - SECOND) == set()
    assert agenda(records.store, until=START + timedelta(hours=1)) == {"soon"}
    assert agenda(records.store) == {"soon", "later"}


def test_agenda_is_kept_by_tier(records: Records) -> None:
    records.store.add(a_job("money", tier=Tier.MONEY))
    records.store.add(a_job("mail", tier=Tier.COMMUNICATION))

    assert agenda(records.store, Tier.MONEY) == {"money"}
    assert agenda(records.store, Tier.COMMUNICATION) == {"mail"}
    assert agenda(records.store, Tier.BACKGROUND) == set()


def test_agenda_gives_the_earliest_first_and_no_more_than_asked_for(records: Records) -> None:
    for number in range(40):
        # Added in no order; a delay beyond SQS's makes the look the due time.
        records.store.add(a_job(f"job_{number}", delay=timedelta(hours=1 + number * 7 % 40)))
    pages = [
        records.store.agenda(shard, Tier.MONEY, until=START + timedelta(days=9), limit=3)
        for shard in range(AGENDA_SHARDS)
    ]

    assert any(len(page) == 3 for page in pages)
    for page in pages:
        looks = [read(records.store, job_id).next_look for job_id in page]
        assert looks == sorted(looks, key=lambda moment: moment or START)
        assert len(page) <= 3
    shards = [
        set(records.store.agenda(shard, Tier.MONEY, until=START + timedelta(days=9), limit=100))
        for shard in range(AGENDA_SHARDS)
    ]
    assert sum(len(shard) for shard in shards) == len(set().union(*shards)) == 40
