"""The contract of ports.JobStore, continued: keys, controls, and what operators change."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.controls import Control, Controls, Scope
from chalicelib.domain.job import Job, JobId, KeyId, State, erase
from chalicelib.domain.outcome import Unknown
from chalicelib.domain.policies import EffectClass
from chalicelib.domain.ports import Change, JobStore, KeyTaken, Outdated, Saved
from chalicelib.domain.steer import Resolution, cancel, resolve, retry
from tests.contract.backends import Records
from tests.contract.lives import a_control_entry, added, agenda, an_entry, claimed, moved, read, settled
from tests.contract.test_job_store import FAILURE, LARGE
from tests.factories import PAYMENT, a_job, a_key, a_policy
from tests.fakes import START


def test_free_key_is_taken(records: Records) -> None:
    key = a_key(natural=True, period=timedelta(days=90, milliseconds=1))

    assert records.store.take_key(key) is None
    assert records.store.load_key(key.id) == key


def test_key_taken_again_for_the_same_job_is_still_taken(records: Records) -> None:
    key = a_key()
    records.store.take_key(key)

    assert records.store.take_key(replace(key, created_at=START + timedelta(seconds=1))) is None


def test_held_key_is_answered_with_its_holder(records: Records) -> None:
    held = a_key(job_id="job_1")
    records.store.take_key(held)

    assert records.store.take_key(a_key(job_id="job_2")) == held
    assert records.store.load_key(held.id) == held


def test_released_key_is_taken_over(records: Records) -> None:
    held, next_one = a_key(job_id="job_1"), a_key(job_id="job_2")
    records.store.take_key(held)

    assert records.store.take_key(next_one, instead_of=held) is None
    assert records.store.load_key(held.id) == next_one


def test_released_key_that_another_took_over_first_is_answered_with_its_holder(records: Records) -> None:
    held, winner = a_key(job_id="job_1"), a_key(job_id="job_2")
    records.store.take_key(held)
    records.store.take_key(winner, instead_of=held)

    assert records.store.take_key(a_key(job_id="job_3"), instead_of=held) == winner
    assert records.store.load_key(held.id) == winner


def test_key_that_is_gone_is_taken_instead(records: Records) -> None:
    key = a_key(job_id="job_2")

    assert records.store.take_key(key, instead_of=a_key(job_id="job_1")) is None
    assert records.store.load_key(key.id) == key


def test_unknown_key_is_not_there(records: Records) -> None:
    assert records.store.load_key(KeyId("venue-1#payment.process#none")) is None


def test_controls_start_empty_and_are_replaced_by_version(records: Records) -> None:
    pause = Control(Scope.TIER, "money", "the bank is down", "admin-1", START, START + timedelta(hours=1))
    stop = Control(Scope.ALL, "", "stop", "admin-2", START)
    first = Controls().started(pause)
    second = first.started(stop)

    assert records.store.load_controls() == Controls()
    assert records.store.save_controls(first, a_control_entry("entry_1")) is True
    assert records.store.save_controls(second, a_control_entry("entry_2")) is True
    assert records.store.load_controls() == second
    assert records.store.load_batch([])[1] == second
    assert records.audited() == ["entry_1", "entry_2"]


@pytest.mark.parametrize("version", [0, 1, 2, 4])
def test_controls_of_any_version_but_the_next_are_refused(records: Records, version: int) -> None:
    stop = Control(Scope.ALL, "", "stop", "admin-2", START)
    standing = Controls((stop,), version=2)
    records.store.save_controls(Controls((), version=1), a_control_entry("entry_1"))
    records.store.save_controls(standing, a_control_entry("entry_2"))

    assert records.store.save_controls(Controls((), version=version), a_control_entry("entry_3")) is False
    assert records.store.load_controls() == standing
    assert records.audited() == ["entry_1", "entry_2"]


def test_operator_change_and_its_entry_stand_together(records: Records) -> None:
    job = added(records.store, a_job())
    after = cancelled(job)

    assert records.store.save_audited(Change(job, after), an_entry(job)) == Saved()
    assert read(records.store, job.id) == after
    assert agenda(records.store) == set()
    assert records.audited() == ["entry_1"]


def test_operator_change_that_was_made_before_is_made_once_whatever_came_of_the_job(records: Records) -> None:
    job = ended(records.store)
    again, key = Change(job, retried(job)), a_key(job_id=job.id)
    assert records.store.save_audited(again, an_entry(job), take_back=key) == Saved()
    running = moved(records.store, again.after, claimed(again.after, now=again.after.due))

    assert records.store.save_audited(again, an_entry(job), take_back=key) == Saved()

    assert read(records.store, job.id) == running
    assert records.audited() == ["entry_1"]


def test_refused_operator_change_leaves_no_entry(records: Records) -> None:
    job = added(records.store, a_job())
    running = moved(records.store, job, claimed(job))

    result = records.store.save_audited(Change(job, cancelled(job)), an_entry(job))

    assert isinstance(result, Outdated)
    assert result.current is not None
    assert result.current.claim_id == running.claim_id
    assert read(records.store, job.id) == running
    assert records.audited() == []


def test_operator_change_of_no_job_leaves_no_entry(records: Records) -> None:
    job = a_job()

    assert records.store.save_audited(Change(job, cancelled(job)), an_entry(job)) == Outdated(None)
    assert records.audited() == []


def test_retry_takes_the_key_back(records: Records) -> None:
    job = ended(records.store)
    key = a_key(job_id="job_1")
    after = retried(job)

    assert records.store.save_audited(Change(job, after), an_entry(job), take_back=key) == Saved()
    assert records.store.load_key(key.id) == key
    assert read(records.store, job.id) == after
    assert agenda(records.store) == {"job_1"}


def test_retry_keeps_a_key_that_the_job_still_holds(records: Records) -> None:
    job = ended(records.store)
    key = a_key(job_id="job_1")
    records.store.take_key(key)

    assert records.store.save_audited(Change(job, retried(job)), an_entry(job), take_back=key) == Saved()


def test_retry_takes_the_place_of_a_ghost_and_of_that_record_alone(records: Records) -> None:
    job, ghost, key = ended(records.store), a_key(job_id="job_2"), a_key(job_id="job_1")
    records.store.take_key(ghost)
    change, later = Change(job, retried(job)), replace(ghost, created_at=ghost.created_at - timedelta(hours=1))

    refused = records.store.save_audited(change, an_entry(job), take_back=key, instead_of=later)
    assert refused == KeyTaken(ghost.job_id)
    assert (read(records.store, job.id), records.store.load_key(key.id)) == (job, ghost)

    assert records.store.save_audited(change, an_entry(job), take_back=key, instead_of=ghost) == Saved()
    assert (read(records.store, job.id), records.store.load_key(key.id)) == (change.after, key)


def test_retry_whose_key_another_job_holds_changes_nothing(records: Records) -> None:
    job = ended(records.store)
    held = a_key(job_id="job_2")
    records.store.take_key(held)

    result = records.store.save_audited(
        Change(job, retried(job)), an_entry(job), take_back=a_key(job_id="job_1")
    )

    assert result == KeyTaken(JobId("job_2"))
    assert read(records.store, job.id) == job
    assert records.store.load_key(held.id) == held
    assert records.audited() == []


@pytest.mark.parametrize("payload", [PAYMENT, LARGE], ids=["small", "large"])
def test_job_that_starts_anew_has_its_payload(records: Records, payload: dict[str, object]) -> None:
    job = ended(records.store, payload=payload)

    assert records.store.save_audited(Change(job, retried(job)), an_entry(job)) == Saved()
    loaded = records.store.load(job.id, None)
    assert loaded is not None
    assert (loaded.state, loaded.payload, loaded.expires_at) == (State.QUEUED, payload, None)


@pytest.mark.parametrize("payload", [PAYMENT, LARGE], ids=["small", "large"])
def test_an_erased_job_has_neither_payload_nor_result_nor_callback(
    records: Records, payload: dict[str, object]
) -> None:
    told = {"callback_url": "https://example.org/done", "callback_endpoint_id": "ep_1"}
    job = ended(records.store, payload=payload, **told)
    erased = erase(job, now=START + timedelta(hours=1))

    assert records.store.save_audited(Change(job, erased), an_entry(job)) == Saved()
    loaded = records.store.load(job.id, None)
    assert loaded is not None
    assert (loaded.payload, loaded.result) == ({}, None)
    assert (loaded.callback_url, loaded.callback_endpoint_id) == (None, None)
    assert (loaded.erased_at, loaded.state) == (START + timedelta(hours=1), job.state)


def test_resolved_job_is_read_back(records: Records) -> None:
    policy = a_policy(EffectClass.BLIND)
    job = added(records.store, a_job(payload=LARGE))
    running = moved(records.store, job, claimed(job, policy=policy))
    parked = moved(records.store, running, settled(running, Unknown(FAILURE), policy=policy))
    after = resolve(parked, policy, Resolution.COMPLETED, now=START + timedelta(hours=1))
    assert isinstance(after, Job)

    assert records.store.save_audited(Change(parked, after), an_entry(parked)) == Saved()
    assert read(records.store, job.id) == after


def cancelled(job: Job) -> Job:
    """Return a waiting job as an operator's cancel leaves it."""
    after = cancel(job, a_policy(), now=START)
    assert isinstance(after, Job)
    return after


def retried(job: Job) -> Job:
    """Return an ended job as an operator's retry leaves it."""
    after = retry(job, a_policy(), now=START + timedelta(hours=1))
    assert isinstance(after, Job)
    return after


def ended(store: JobStore, **changes: Any) -> Job:
    """Store a job that was cancelled, and return it as a batch reads it."""
    job = added(store, a_job(**changes))
    return moved(store, job, cancelled(job))
