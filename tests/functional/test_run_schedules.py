"""One job per due time, whoever runs, dies, comes twice or comes late: the runner over in-memory adapters."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import Role
from chalicelib.domain.schedule import Missed, Schedule, ScheduleId
from chalicelib.jobtypes import discover
from chalicelib.service.intake import Intake
from chalicelib.service.principal import Principal
from chalicelib.service.run_schedules import Ran, RunSchedules
from chalicelib.service.schedule_intake import ScheduleIntake
from chalicelib.service.schedules import Schedules
from chalicelib.service.submit import Submit
from tests.factories import PAYMENT
from tests.fakes import ListJournal, ManualClock, MemoryLeases, MemoryQueue, MemoryStore, SeededChance
from tests.fakes_registry import MemoryRegistry
from tests.fakes_schedules import MemoryScheduleStore

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ADMIN = Principal("admin-1", Role.ADMIN)
HOURLY: dict[str, Any] = {
    "name": "Every hour",
    "cronExpression": "0 * * * *",
    "timeZone": "UTC",
    "job": {"type": "payment.process", "data": PAYMENT, "venueId": "venue-1"},
}


class Crash(BaseException):
    """The process ends here; nothing catches it."""


class Watched:
    """A port in front of another, which lets a test in before and after every call of every port together."""

    def __init__(self, port: object, calls: "Calls") -> None:
        self._port = port
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            return self._calls.through(lambda: method(*args, **kwargs))

        return watched


class Calls:
    """Counts the calls of a run through its ports and acts before or after the one that is chosen."""

    def __init__(self, at: int = -1, act: Callable[[], object] = lambda: None, *, after: bool = False) -> None:
        self._at, self._act, self._after = at, act, after
        self.made = 0

    def through(self, call: Callable[[], Any]) -> Any:
        chosen = self.made == self._at
        self.made += 1
        if chosen and not self._after:
            self._act()
        result = call()
        if chosen and self._after:
            self._act()
        return result


class House:
    """The stores, and as many runners as a test wants, each with its own leases, as if one had lapsed."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOON + timedelta(seconds=1))
        self.store, self.queue = MemoryStore(), MemoryQueue(self.clock)
        self.registry = MemoryRegistry()
        self.schedules = MemoryScheduleStore(self.store.audit)
        self.journal, self.chance = ListJournal(), SeededChance()
        self.intake = Intake(discover())
        self.desk = self.desk_over(self.runner())

    def desk_over(self, runs: RunSchedules) -> Schedules:
        """Return what an administrator works with."""
        return Schedules(
            schedules=self.schedules,
            intake=ScheduleIntake(self.intake),
            runs=runs,
            clock=self.clock,
            chance=self.chance,
            journal=self.journal,
        )

    def runner(self, calls: Calls | None = None, leases: MemoryLeases | None = None) -> RunSchedules:
        """Return another runner, its calls watched."""
        calls = calls or Calls()
        store: Any = Watched(self.store, calls)
        schedules: Any = Watched(self.schedules, calls)
        queue: Any = Watched(self.queue, calls)
        submit = Submit(
            store=store,
            registry=self.registry,
            queue=queue,
            clock=self.clock,
            chance=self.chance,
            journal=self.journal,
        )
        return RunSchedules(
            schedules=schedules,
            store=store,
            intake=self.intake,
            submit=submit,
            leases=leases or MemoryLeases(),
            clock=self.clock,
            chance=self.chance,
            journal=self.journal,
        )

    def run(self, calls: Calls | None = None) -> Ran:
        return self.runner(calls).run(ends=self.clock.now() + MINUTE)

    def made(self, **changes: Any) -> Schedule:
        """Make a schedule, hourly unless told otherwise."""
        return self.desk.create({**HOURLY, **changes}, ADMIN, None).schedule

    def changed(self, schedule: Schedule, **changes: Any) -> Schedule:
        return self.desk.change(schedule.id, {**HOURLY, **changes}, ADMIN)

    def due_times(self) -> list[str]:
        """Return the moments that jobs were made for, read off their keys, in order."""
        digests = {key.id: key.job_id for key in self.store.keys.values()}
        assert len(set(digests.values())) == len(self.store.jobs)
        ran = [facts for action, facts in self.journal.events if action == "schedule_ran" and facts["jobId"]]
        keys = {str(facts["jobId"]): str(facts["key"]) for facts in ran}
        return sorted(keys[job_id].split(":", 2)[2] for job_id in self.store.jobs)


@pytest.fixture
def house() -> House:
    return House()


def test_a_schedule_that_is_due_makes_its_job_and_moves_on(house: House) -> None:
    schedule = house.made()
    house.run()
    assert house.store.jobs == {}
    house.clock.advance(HOUR)
    assert house.run() == Ran(ran=True, visited=1, jobs=1)
    [job] = house.store.jobs.values()
    assert (job.type, job.venue_id, job.payload) == ("payment.process", "venue-1", PAYMENT)
    assert job.submitted_by == f"schedule:{schedule.id}"
    assert house.due_times() == ["2026-03-01T13:00:00Z"]
    standing = house.schedules.schedules[schedule.id]
    assert standing.next_run == NOON + 2 * HOUR
    assert standing.last_run is not None
    assert (standing.last_run.at, standing.last_run.job_id) == (NOON + HOUR, job.id)
    assert standing.version == schedule.version


def test_a_run_says_what_it_did_in_one_line(house: House) -> None:
    house.made()
    house.clock.advance(HOUR)
    house.run()
    lines = [facts for action, facts in house.journal.events if action == "schedules_run"]
    assert lines == [{"visited": 1, "jobs": 1, "repeated": 0, "refused": 0, "failed": 0, "left": False}]


def test_options_of_the_job_hold_for_each_of_its_runs(house: House) -> None:
    house.made(job={**HOURLY["job"], "options": {"priority": 9, "attempts": 2}})
    house.clock.advance(HOUR)
    house.run()
    [job] = house.store.jobs.values()
    assert (job.priority, job.max_attempts) == (9, 2)


def test_every_due_time_has_its_own_job_though_the_payload_is_the_same(house: House) -> None:
    house.made()
    for _ in range(3):
        house.clock.advance(HOUR)
        house.run()
    assert len(house.due_times()) == 3


def calls_of_a_run() -> int:
    """Return how many calls a run with one due schedule makes through its ports."""
    house = House()
    house.made()
    house.clock.advance(HOUR)
    calls = Calls()
    house.run(calls)
    return calls.made


CALLS = calls_of_a_run()
SEND = 4  # the one call to a port that raises nothing


def test_a_run_goes_through_its_ports() -> None:
    assert CALLS == 6  # its page, the schedule, key, record, message, the schedule moved on


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(CALLS))
def test_two_runs_at_once_make_one_job_of_a_due_time(house: House, at: int, after: bool) -> None:
    schedule = house.made()
    house.clock.advance(HOUR)
    house.run(Calls(at, house.run, after=after))
    assert house.due_times() == ["2026-03-01T13:00:00Z"]
    assert house.schedules.schedules[schedule.id].next_run == NOON + 2 * HOUR


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(CALLS))
def test_a_run_that_dies_is_made_good_by_the_next(house: House, at: int, after: bool) -> None:
    def die() -> None:
        raise Crash

    schedule = house.made()
    house.clock.advance(HOUR)
    with pytest.raises(Crash):
        house.run(Calls(at, die, after=after))
    house.clock.advance(MINUTE)
    house.run()
    assert house.due_times() == ["2026-03-01T13:00:00Z"]
    assert house.schedules.schedules[schedule.id].next_run == NOON + 2 * HOUR


@pytest.mark.parametrize(
    ("error", "after"),
    [(StoreRefused, False), (StoreUnsure, False), (StoreUnsure, True)],
    ids=["refused", "not applied", "reply lost"],
)
@pytest.mark.parametrize("at", [at for at in range(CALLS) if at != SEND])
def test_a_store_that_fails_costs_no_due_time_and_doubles_none(
    house: House, at: int, error: type[Exception], after: bool
) -> None:
    def fail() -> None:
        raise error

    schedule = house.made()
    house.clock.advance(HOUR)
    with pytest.raises(error) if at == 0 else nullcontext():  # without its page a run has nothing to do
        house.run(Calls(at, fail, after=after))
    house.clock.advance(MINUTE)
    house.run()
    assert house.due_times() == ["2026-03-01T13:00:00Z"]
    assert house.schedules.schedules[schedule.id].next_run == NOON + 2 * HOUR


def test_a_crash_after_submit_makes_no_second_job_even_when_the_key_has_run_out(house: House) -> None:
    def die() -> None:
        raise Crash

    house.made(cronExpression="0 13 * * *", missed="once")
    house.clock.advance(HOUR)
    with pytest.raises(Crash):
        house.run(Calls(CALLS - 1, die))
    [job] = house.store.jobs.values()
    done = replace(job, state=type(job.state)("completed"), version=job.version + 1)
    house.store.jobs[job.id] = done
    house.clock.advance(timedelta(days=10) + HOUR)  # payment.process keeps its keys for a day
    assert house.run() == Ran(ran=True, visited=1, repeated=1)
    assert list(house.store.jobs.values()) == [done]


class TestMissed:
    """Three hours in which nobody ran: due at 13:00, 14:00 and 15:00, looked at next at 15:30 or 15:02."""

    def test_skipped(self, house: House) -> None:
        schedule = house.made(missed="skip")
        house.clock.advance(3.5 * HOUR)
        assert house.run() == Ran(ran=True, visited=1)
        assert house.store.jobs == {}
        assert house.schedules.schedules[schedule.id].next_run == NOON + 4 * HOUR
        assert "schedule_missed" in house.journal.actions()

    def test_caught_up_once(self, house: House) -> None:
        schedule = house.made(missed="once")
        house.clock.advance(3.5 * HOUR)
        house.run()
        house.run()
        assert len(house.store.jobs) == 1
        assert house.schedules.schedules[schedule.id].next_run == NOON + 4 * HOUR
        house.clock.advance(HOUR / 2)
        house.run()
        assert len(house.store.jobs) == 2

    @pytest.mark.parametrize("missed", list(Missed))
    def test_a_punctual_one_stands_for_those_missed_before_it(self, house: House, missed: Missed) -> None:
        house.made(missed=missed)
        house.clock.advance(3 * HOUR + 2 * MINUTE)
        house.run()
        assert house.due_times() == ["2026-03-01T15:00:00Z"]

    @pytest.mark.parametrize("missed", list(Missed))
    def test_a_runner_that_is_a_little_late_misses_nothing(self, house: House, missed: Missed) -> None:
        house.made(cronExpression="* * * * *", missed=missed)
        house.clock.advance(3 * MINUTE)
        house.run()
        assert house.due_times() == [f"2026-03-01T12:0{minute}:00Z" for minute in (1, 2, 3)]

    @pytest.mark.parametrize(
        "at", range(CALLS + 1)
    )  # one call more: it looks whether the job was made long ago
    def test_two_runs_at_once_catch_up_once(self, house: House, at: int) -> None:
        house.made(missed="once")
        house.clock.advance(3.5 * HOUR)
        house.run(Calls(at, house.run))
        assert len(house.store.jobs) == 1


def test_an_index_that_lags_behind_the_records_has_nothing_done_twice(house: House) -> None:
    schedule = house.made()
    house.clock.advance(HOUR)
    assert house.run(Calls(1, house.run)) == Ran(ran=True)
    assert house.schedules.schedules[schedule.id].revision == schedule.revision + 1


def test_what_is_not_active_makes_nothing_and_starts_from_when_it_is(house: House) -> None:
    schedule = house.made(active=False)
    house.clock.advance(3 * HOUR)
    assert house.run() == Ran(ran=True)
    house.changed(schedule, active=True, missed="once")
    house.run()
    assert house.store.jobs == {}
    house.clock.advance(HOUR)
    house.run()
    assert house.due_times() == ["2026-03-01T16:00:00Z"]


@pytest.mark.parametrize("at", range(2))
def test_what_is_switched_off_before_it_is_read_makes_nothing(house: House, at: int) -> None:
    schedule = house.made()
    house.clock.advance(HOUR)
    house.run(Calls(at, lambda: house.changed(schedule, active=False)))
    assert house.store.jobs == {}


@pytest.mark.parametrize("at", range(CALLS))
def test_what_is_deleted_while_it_is_due_does_not_come_back(house: House, at: int) -> None:
    schedule = house.made()
    house.clock.advance(HOUR)
    house.run(Calls(at, lambda: house.desk.delete(schedule.id, {}, ADMIN)))
    assert house.schedules.schedules == {}
    assert len(house.store.jobs) == (0 if at < 2 else 1)  # a run that has begun is not called back
    house.clock.advance(HOUR)
    assert house.run() == Ran(ran=True)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(CALLS))
@pytest.mark.parametrize(
    "job",
    [
        HOURLY["job"] | {"data": PAYMENT | {"amount": 1}},
        HOURLY["job"] | {"venueId": "venue-2"},
    ],
    ids=["payload", "venue"],
)
def test_what_is_changed_while_it_runs_makes_no_second_job_of_a_due_time(
    house: House, at: int, after: bool, job: dict[str, Any]
) -> None:
    schedule = house.made()
    house.clock.advance(HOUR)
    house.run(Calls(at, lambda: house.changed(schedule, job=job), after=after))
    house.clock.advance(MINUTE)
    house.run()
    assert len(house.store.jobs) <= 1
    if job["venueId"] == "venue-1":
        assert len(house.store.jobs) == 1
    assert house.schedules.schedules[schedule.id].next_run == NOON + 2 * HOUR
    assert house.schedules.schedules[schedule.id].plan.job.venue_id == job["venueId"]


def test_of_two_runs_the_one_without_the_lease_does_nothing(house: House) -> None:
    house.made()
    house.clock.advance(HOUR)
    leases, ends = MemoryLeases(), house.clock.now() + MINUTE
    leases.take("run_schedules", "another", now=house.clock.now(), until=ends)
    assert house.runner(leases=leases).run(ends=ends) == Ran(ran=False)
    assert house.store.jobs == {}


def test_a_run_ends_in_time_and_the_next_goes_on(house: House) -> None:
    for _ in range(5):
        house.made()
    house.clock.advance(HOUR)
    calls = Calls(CALLS * 2, lambda: house.clock.advance(MINUTE))
    done = house.runner(calls).run(ends=house.clock.now() + MINUTE)
    assert done.left
    assert 0 < len(house.store.jobs) < 5
    house.run()
    assert len(house.store.jobs) == 5


def test_more_schedules_than_a_page_holds_are_all_run(house: House) -> None:
    for _ in range(205):
        house.made()
    house.clock.advance(HOUR)
    assert house.run() == Ran(ran=True, visited=205, jobs=205)


def test_one_that_cannot_be_run_holds_up_no_other(house: House) -> None:
    broken, other = house.made(), house.made(name="Another")
    standing = house.schedules.schedules[broken.id]
    house.schedules.schedules[broken.id] = replace(
        standing, plan=replace(standing.plan, time_zone="Mars/Olympus")
    )
    house.clock.advance(HOUR)
    assert house.run() == Ran(ran=True, visited=1, jobs=1, failed=1)
    assert house.schedules.schedules[other.id].next_run == NOON + 2 * HOUR
    assert "schedule_failed" in house.journal.actions()


def test_a_job_that_no_longer_is_valid_is_refused_told_and_moved_past(house: House) -> None:
    schedule = house.made()
    standing = house.schedules.schedules[schedule.id]
    job = replace(standing.plan.job, data={"amount": -1})
    house.schedules.schedules[schedule.id] = replace(standing, plan=replace(standing.plan, job=job))
    house.clock.advance(HOUR)
    assert house.run() == Ran(ran=True, visited=1, refused=1)
    moved = house.schedules.schedules[schedule.id]
    assert moved.next_run == NOON + 2 * HOUR
    assert moved.last_run is not None
    assert (moved.last_run.job_id, moved.last_run.error) == (None, "validation_failed")
    assert "schedule_refused" in house.journal.actions()


def test_an_ordered_run_whose_request_died_is_made_by_the_next_minute_once(house: House) -> None:
    schedule = house.made(active=False)

    def die() -> None:
        raise Crash

    desk = house.desk_over(house.runner(Calls(0, die)))
    with pytest.raises(Crash):
        desk.run(schedule.id, {}, ADMIN, None)
    assert house.store.jobs == {}
    assert [entry.action for entry in house.store.audit] == ["create_schedule", "run_schedule"]
    assert house.run() == Ran(ran=True, visited=1, jobs=1)
    assert house.run() == Ran(ran=True)
    standing = house.schedules.schedules[ScheduleId(schedule.id)]
    assert (standing.ordered, standing.next_run) == (None, None)
    [job] = house.store.jobs.values()
    assert job.venue_id == VenueId("venue-1")


def test_a_request_repeated_while_its_order_waits_is_that_order(house: House) -> None:
    def die() -> None:
        raise Crash

    schedule = house.made()
    with pytest.raises(Crash):
        house.desk_over(house.runner(Calls(0, die))).run(schedule.id, {}, ADMIN, None)
    accepted = house.desk.run(schedule.id, {}, ADMIN, None)
    assert list(house.store.jobs) == [accepted.job.id]
    assert [entry.action for entry in house.store.audit] == ["create_schedule", "run_schedule"]
