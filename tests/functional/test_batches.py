"""Batches below the front: each job by itself or all of them together, and what is left when a call fails."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from chalicelib.domain.batch import Stage, StageState
from chalicelib.domain.errors import (
    AcceptanceUnknown,
    BatchPending,
    KeyConflict,
    NotFound,
    QueueServiceError,
    StoreRefused,
)
from chalicelib.domain.job import Job, Reason, State, VenueId
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Change, Release, SaveResult, Unsure
from chalicelib.service.dispatch import Dispatch
from chalicelib.service.manage import Manage, Order
from chalicelib.service.principal import Principal
from chalicelib.service.read import Read
from chalicelib.service.submit import Accepted, Submission, Submit
from chalicelib.service.submit_together import NotTogether, SubmitTogether
from tests.fakes import ListJournal, ManualClock, MemoryLeases, SeededChance
from tests.fakes_registry import MemoryRegistry
from tests.functional.house import House
from tests.functional.shaky import Crashed, Fate, ShakyQueue, ShakyStore, Trouble

MINUTE = timedelta(minutes=1)
VENUE = VenueId("venue-1")
SIZE = 4


class Batches:
    """The use cases of batches over adapters that share a fate."""

    def __init__(self, fate: Fate | None = None) -> None:
        self.fate = fate or Fate()
        self.house = House()
        self.clock = ManualClock()
        self.chance = SeededChance()
        self.journal = ListJournal()
        self.store = ShakyStore(self.fate)
        self.queue = ShakyQueue(self.clock, self.fate)
        parts: dict[str, Any] = {
            "store": self.store,
            "queue": self.queue,
            "clock": self.clock,
            "chance": self.chance,
            "journal": self.journal,
        }
        self.submit = Submit(**parts, registry=MemoryRegistry())
        self.together = SubmitTogether(**parts, registry=MemoryRegistry())
        self.manage = Manage(**parts, types=self.house.types)
        self.dispatch = Dispatch(**parts, types=self.house.types, leases=MemoryLeases())

    def jobs(self, size: int = SIZE, **changes: Any) -> list[Submission]:
        """Return submissions that differ in their order."""
        return [
            self.house.submission(data={"order": f"order-{n}"}, batch_id="b", batch_index=n, **changes)
            for n in range(size)
        ]

    def pass_time(self) -> None:
        """Let whatever a request left be found: `dispatch` runs once a minute."""
        self.fate.over()
        for _ in range(3):
            self.clock.advance(MINUTE)
            self.dispatch.run(ends=self.clock.now() + MINUTE)

    @property
    def accepted(self) -> list[Job]:
        return [job for job in self.store.jobs.values() if job.stage is None]


# --- each by itself


def test_a_hundred_new_jobs_are_three_calls_of_many_items() -> None:
    batches = Batches()
    verdicts = batches.submit.submit_each(batches.jobs(100))
    assert [verdict.job.batch_index for verdict in verdicts if isinstance(verdict, Accepted)] == list(
        range(100)
    )
    assert batches.fate.met == 3
    assert batches.queue.waiting() == 100
    assert batches.journal.actions() == ["accepted"] * 100


def test_a_job_that_comes_a_hundred_times_costs_what_one_does() -> None:
    batches = Batches()
    verdicts = batches.submit.submit_each(batches.jobs(1) * 100)
    told = [verdict.deduplicated for verdict in verdicts if isinstance(verdict, Accepted)]
    assert told == [False] + [True] * 99
    assert (batches.fate.met, batches.queue.waiting()) == (3, 1)


def test_a_job_that_is_refused_takes_no_other_with_it() -> None:
    batches = Batches()
    first = batches.submit.submit(batches.jobs(1, key="k")[0])
    jobs = [*batches.jobs(3), *batches.jobs(1, key="k"), batches.house.submission(data={"other": 1}, key="k")]
    verdicts = batches.submit.submit_each(jobs)
    assert [type(verdict) for verdict in verdicts] == [Accepted] * 4 + [KeyConflict]
    assert verdicts[3] == Accepted(first.job, deduplicated=True)


@pytest.mark.parametrize("trouble", [Trouble.REFUSED, Trouble.MUTE, Trouble.LOST], ids=str)
@pytest.mark.parametrize("skip", range(3), ids=["keys", "records", "messages"])
def test_each_job_is_accepted_once_though_a_whole_call_goes_unanswered(skip: int, trouble: Trouble) -> None:
    batches = Batches(Fate(skip, trouble))
    verdicts = batches.submit.submit_each(batches.jobs())
    assert batches.fate.struck is not None
    assert [verdict.deduplicated for verdict in verdicts if isinstance(verdict, Accepted)] == [False] * SIZE
    assert len(batches.accepted) == SIZE
    batches.clock.advance(timedelta(minutes=6))
    batches.pass_time()
    assert batches.queue.waiting() >= SIZE
    again = batches.submit.submit_each(batches.jobs())
    assert [verdict.deduplicated for verdict in again if isinstance(verdict, Accepted)] == [True] * SIZE


@pytest.mark.parametrize("trouble", list(Trouble), ids=str)
def test_whatever_call_fails_a_repetition_makes_each_job_once(trouble: Trouble) -> None:
    for skip in count():
        batches = Batches(Fate(skip, trouble))
        answered: list[Accepted | QueueServiceError] = []
        with suppress(Crashed):
            answered = batches.submit.submit_each(batches.jobs())
        told = [verdict.job.id for verdict in answered if isinstance(verdict, Accepted)]
        assert set(told) <= batches.store.jobs.keys()
        if batches.fate.struck is None:
            break
        batches.fate.over()
        again = batches.submit.submit_each(batches.jobs())
        assert all(isinstance(verdict, Accepted) for verdict in again)
        assert len(batches.accepted) == SIZE
    assert skip >= 3


def test_what_is_not_plain_is_left_once_the_time_is_up() -> None:
    batches = Batches()
    batches.submit.submit_each(batches.jobs())

    real = batches.store.take_key

    def slowly(*args: Any, **named: Any) -> Any:
        batches.clock.advance(timedelta(seconds=9))
        return real(*args, **named)

    batches.store.take_key = slowly  # type: ignore[method-assign]  # the same, but it takes its time
    verdicts = batches.submit.submit_each(batches.jobs())
    assert [type(verdict) for verdict in verdicts] == [Accepted, Accepted, StoreRefused, StoreRefused]


# --- all or nothing


def test_a_batch_is_staged_flipped_released_and_finished() -> None:
    batches = Batches()
    verdicts = batches.together.submit(batches.jobs())
    assert [verdict.job.id for verdict in verdicts] == [job.id for job in batches.accepted]
    assert len(batches.accepted) == batches.queue.waiting() == SIZE
    [stage] = batches.store.stages.values()
    assert (stage.state, stage.job_ids) == (StageState.FLIPPED, tuple(batches.store.jobs))
    batches.pass_time()
    [stage] = batches.store.stages.values()
    assert (stage.next_look, stage.state) == (None, StageState.FLIPPED)
    assert batches.queue.waiting() == SIZE


def test_a_delayed_job_of_a_batch_is_sent_when_it_is_due() -> None:
    batches = Batches()
    batches.together.submit(batches.jobs(1, delay=timedelta(minutes=10)))
    batches.together.submit(batches.jobs(1, delay=timedelta(hours=10), key="far"))
    near, far = batches.accepted
    assert (near.looks, near.next_look) == (1, near.due + timedelta(minutes=5))
    assert (far.looks, far.next_look) == (0, far.due)
    [message] = next(iter(batches.queue.messages.values())).values()
    assert message.visible_at == near.due


@pytest.mark.parametrize("trouble", list(Trouble), ids=str)
def test_whatever_call_fails_a_batch_is_accepted_whole_or_not_at_all(trouble: Trouble) -> None:
    for skip in count():
        batches = Batches(Fate(skip, trouble))
        outcome = submitted(batches)
        if batches.fate.struck is None:
            break
        batches.pass_time()
        assert len(batches.accepted) in (0, SIZE), (skip, batches.fate.struck)
        assert len(batches.store.jobs) == len(batches.accepted), "nothing is left on the stage"
        assert all(stage.next_look is None for stage in batches.store.stages.values())
        if outcome == "accepted":
            assert len(batches.accepted) == SIZE
        if outcome == "refused":
            assert batches.accepted == []
        batches.clock.advance(timedelta(minutes=6))
        batches.pass_time()
        assert batches.queue.waiting() >= len(batches.accepted), "dispatch sends what the request did not"

        assert submitted(batches) == "accepted"
        assert len(batches.accepted) == SIZE
        batches.pass_time()
        assert len(batches.accepted) == SIZE
    assert skip >= 6


@pytest.mark.parametrize("trouble", [Trouble.CRASH_BEFORE, Trouble.CRASH_AFTER], ids=str)
def test_until_it_is_decided_its_keys_are_pending_and_its_jobs_are_there_for_nobody(trouble: Trouble) -> None:
    batches = Batches(Fate(3, trouble))  # at the flip
    assert submitted(batches) == "crashed"
    batches.fate.over()
    flipped = trouble is Trouble.CRASH_AFTER
    [job, *_] = batches.store.jobs.values()
    [stage] = batches.store.stages.values()
    assert (job.stage, stage.state) == (stage.id, StageState.FLIPPED if flipped else StageState.STAGED)
    with pytest.raises(BatchPending):
        Read(batches.store, batches.clock).job(job.id, Principal("admin-1", Role.ADMIN))
    with pytest.raises(NotFound):
        Read(batches.store, batches.clock).job(job.id, Principal("venue", Role.VENUE_ADMIN, VenueId("venue-2")))
    with pytest.raises(BatchPending):
        batches.manage.cancel(Order(job.id, VENUE, "admin-1", "a test"))
    if flipped:
        assert batches.submit.submit(batches.jobs()[0]) == Accepted(job, deduplicated=True)
        return
    with pytest.raises(BatchPending):
        batches.submit.submit(batches.jobs()[0])
    with pytest.raises(NotTogether) as caught:
        batches.together.submit(batches.jobs())
    assert (caught.value.place, type(caught.value.cause)) == (0, BatchPending)
    batches.pass_time()
    assert submitted(batches) == "accepted"


def test_a_conflict_half_way_frees_the_keys_that_were_taken_at_once() -> None:
    batches = Batches()
    batches.submit.submit(batches.jobs(1, key="k")[0])
    jobs = [*batches.jobs(), batches.house.submission(data={"other": 1}, key="k")]
    with pytest.raises(NotTogether) as caught:
        batches.together.submit(jobs)
    assert (caught.value.place, type(caught.value.cause)) == (SIZE, KeyConflict)
    assert submitted(batches) == "accepted"
    assert len(batches.accepted) == SIZE + 1


def test_a_batch_takes_over_keys_that_are_released() -> None:
    batches = Batches()
    first = batches.submit.submit(batches.jobs(1)[0]).job
    batches.store.jobs[first.id] = ended(first)
    assert submitted(batches) == "accepted"
    assert len(batches.accepted) == SIZE + 1


def test_a_batch_that_comes_to_nothing_by_a_conflict_has_taken_nobodys_key() -> None:
    batches = Batches()
    first, second = batches.jobs(2)
    declined = batches.submit.submit(first).job
    batches.store.jobs[declined.id] = ended(declined)
    batches.submit.submit(replace(second, key="k"))
    with pytest.raises(NotTogether):
        batches.together.submit([*batches.jobs(), batches.house.submission(data={"other": 1}, key="k")])

    assert batches.manage.retry(Order(declined.id, VENUE, "admin-1", "a test")).state is State.QUEUED


def test_a_ghosts_key_is_waited_for_while_its_acceptance_may_be_under_way() -> None:
    batches = Batches(Fate(1, Trouble.CRASH_BEFORE))
    with pytest.raises(Crashed):
        batches.submit.submit(batches.jobs(1)[0])
    batches.fate.over()
    with pytest.raises(NotTogether) as caught:
        batches.together.submit(batches.jobs())
    assert isinstance(caught.value.cause, BatchPending)
    batches.clock.advance(timedelta(seconds=61))
    assert submitted(batches) == "accepted"
    assert len(batches.accepted) == SIZE


def test_a_batch_that_comes_to_its_flip_too_late_is_refused() -> None:
    batches = Batches()
    real = batches.store.add_many

    def slowly(jobs: Any) -> Any:
        added = real(jobs)
        batches.pass_time()
        return added

    batches.store.add_many = slowly  # type: ignore[method-assign]  # the same, but `dispatch` runs meanwhile
    with pytest.raises(StoreRefused):
        batches.together.submit(batches.jobs())
    assert (batches.store.jobs, batches.queue.waiting()) == ({}, 0)


def test_a_flip_that_nobody_answers_for_is_settled_by_the_abort_that_follows() -> None:
    batches = Batches()
    real, lost = batches.store.move_stage, iter([True, True, True])

    def silent(before: Stage, after: Stage) -> Stage | None:
        stands = real(before, after)
        if next(lost, False):
            raise StoreRefused
        return stands

    batches.store.move_stage = silent  # type: ignore[method-assign]  # the same, but three replies are lost
    assert submitted(batches) == "accepted"
    assert len(batches.accepted) == SIZE


def test_a_flip_that_is_refused_again_and_again_ends_in_an_abort_and_a_clear_no() -> None:
    batches = Batches()
    real, refused = batches.store.move_stage, iter([True, True, True])

    def refusing(before: Stage, after: Stage) -> Stage | None:
        if next(refused, False):
            raise StoreRefused
        return real(before, after)

    batches.store.move_stage = refusing  # type: ignore[method-assign]  # the same, from the fourth time on
    assert submitted(batches) == "refused"
    [stage] = batches.store.stages.values()
    assert stage.state is StageState.ABORTED
    assert submitted(batches) == "accepted"


def test_no_message_goes_for_a_job_that_may_still_be_on_its_stage() -> None:
    batches = Batches()
    real, silent = batches.store.save_many, iter([True, True, True])

    def save_many(changes: Sequence[Change], release: Release | None = None) -> list[SaveResult]:
        return [Unsure() for _ in changes] if next(silent, False) else real(changes)

    batches.store.save_many = save_many  # type: ignore[method-assign]  # the same, from the fourth time on
    assert submitted(batches) == "accepted"
    assert (batches.queue.waiting(), batches.accepted) == (0, [])
    batches.pass_time()
    assert batches.queue.waiting() == len(batches.accepted) == SIZE


def ended(job: Job) -> Job:
    """Return a job whose natural key is free again."""
    return replace(job, state=State.FAILED, reason=Reason.REFUSED, next_look=None, looks=0)


def submitted(batches: Batches) -> str:
    """Submit a batch of all or nothing and say what its caller is told."""
    try:
        verdicts = batches.together.submit(batches.jobs())
    except Crashed:
        return "crashed"
    except AcceptanceUnknown:
        return "unknown"
    except (StoreRefused, NotTogether):
        return "refused"
    assert [verdict.job.payload for verdict in verdicts] == [{"order": f"order-{n}"} for n in range(SIZE)]
    return "accepted"
