"""The cleanup over in-memory adapters: what goes, what stays, and what a crash at any point leaves."""

import gzip
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain import archive as domain
from chalicelib.domain.archive import Leftover, leaves_at
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.ids import job_id
from chalicelib.domain.job import TERMINAL, Job, JobId, Reason, State, VenueId
from chalicelib.domain.lines import entry_line, job_line, read_entry, read_job
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import TIMING
from chalicelib.domain.ports import Entry
from chalicelib.jobtypes import discover
from chalicelib.service.cleanup import CleanedUp, Cleanup
from tests.factories import VENUE, a_job
from tests.fakes import START, ListJournal, ManualClock, MemoryLeases, MemoryStore, SeededChance
from tests.fakes_archive import MemoryArchive, MemoryCleaning
from tests.fakes_search import MemoryAuditLog

TYPES = discover()
DAYS = {name: each.retention for name, each in TYPES.items()}
PAYMENT, REFUND = "payment.process", "payment.refund"
NINETY = DAYS[PAYMENT]
LARGE = {"text": "x" * 2_000}
MS = timedelta(milliseconds=1)
FULL = os.environ.get("QS_FULL") == "1"


class Crashed(BaseException):
    """The process dies here."""


class Crashing:
    """Passes calls on to an adapter and ends the process before or after one of them, or has it fail."""

    def __init__(self, inner: object, points: list[str], name: str) -> None:
        self._inner, self._points, self._name = inner, points, name
        self.at: int | None = None
        self.after = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            number = len(self._points)
            self._points.append(f"{self._name}.{name}")
            if number == self.at and not self.after:
                raise Crashed
            answer = found(*arguments, **named)
            if number == self.at:
                raise Crashed
            return answer

        return call


@dataclass
class Yard:
    """The cleanup with all that it touches in sight."""

    clock: ManualClock = field(default_factory=ManualClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    journal: ListJournal = field(default_factory=ListJournal)
    leases: MemoryLeases = field(default_factory=MemoryLeases)
    types: Any = None
    made: int = 0
    whole: dict[JobId, Job] = field(default_factory=dict)  # jobs as they were, where a test keeps them

    def __post_init__(self) -> None:
        self.cleaning = MemoryCleaning(self.store)
        self.chance = SeededChance()

    def cleanup(self, **others: Any) -> Cleanup:
        adapters: dict[str, Any] = {
            "store": self.store,
            "cleaning": self.cleaning,
            "archive": self.archive,
            "audit_log": MemoryAuditLog(self.store.audit),
            "leases": self.leases,
            "types": self.types or TYPES,
            "clock": self.clock,
            "chance": self.chance,
            "journal": self.journal,
        }
        return Cleanup(**adapters | others)

    def run(self, *, lasts: timedelta = timedelta(minutes=15), **others: Any) -> CleanedUp:
        return self.cleanup(**others).run(ends=self.clock.now() + lasts)

    def add(self, *, state: State = State.COMPLETED, took: timedelta = timedelta(0), **changes: Any) -> Job:
        """Have a job that was accepted now and ended `took` later, or is in this state."""
        self.made += 1
        now = self.clock.now()
        kind = changes.pop("type", PAYMENT)
        of_job = {name: changes.pop(name) for name in ("venue_id", "user_id", "payload") if name in changes}
        job = a_job(
            job_id(now, self.made), type=kind, tier=TYPES[kind].tier if kind in TYPES else "money", **of_job
        )
        ended = state in (State.COMPLETED, State.FAILED, State.CANCELLED)
        job = replace(
            job,
            created_at=now,
            due=now,
            state=state,
            finished_at=now + took if ended else None,
            reason=Reason.REFUSED if state is State.FAILED else None,
            next_look=None if ended or state is State.PARKED else job.next_look,
            version=3,
            **changes,
        )
        self.store.add(job)
        return self.store.jobs[job.id]

    def lines(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return all that the archive holds."""
        return [
            json.loads(line)
            for key, body in sorted(self.archive.objects.items())
            if key.startswith(prefix) and key.endswith(".jsonl.gz")
            for line in gzip.decompress(body).decode().splitlines()
        ]

    def archived(self) -> list[str]:
        return [each["id"] for each in self.lines()]


@pytest.fixture
def yard() -> Yard:
    return Yard()


# --- what goes, and when ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
def test_ended_job_goes_at_the_millisecond_in_which_its_retention_is_over(yard: Yard, state: State) -> None:
    job = yard.add(state=state, took=timedelta(seconds=7))
    yard.clock.advance(NINETY + timedelta(seconds=7) - MS)
    assert yard.run().archived == 0
    assert job.id in yard.store.jobs
    yard.clock.advance(MS)
    done = yard.run()
    assert (done.archived, done.deleted, done.failed) == (1, 1, False)
    assert yard.store.jobs == {}
    assert yard.archived() == [job.id]


@pytest.mark.parametrize("state", [each for each in State if each not in TERMINAL])
def test_job_that_is_open_or_parked_never_goes_however_old(yard: Yard, state: State) -> None:
    job = yard.add(state=state)
    for _ in range(5):
        yard.clock.advance(NINETY * 2)
        assert yard.run().archived == 0
    assert yard.store.jobs[job.id] == job
    assert len(yard.cleaning.notes) == 1


@pytest.mark.parametrize("name", [name for name, each in TYPES.items() if each.archive is not None])
def test_every_archived_type_goes_after_its_own_retention(yard: Yard, name: str) -> None:
    job = yard.add(type=name)
    gone = leaves_at(job, TYPES[name], TIMING)
    assert gone is not None
    assert timedelta(0) <= gone - job.created_at - DAYS[name] <= timedelta(seconds=6)
    yard.clock.advance(gone - yard.clock.now() - MS)
    assert yard.run().archived == 0
    yard.clock.advance(MS)
    assert yard.run().archived == 1
    [key] = [key for key in yard.archive.objects if key.endswith(".gz")]
    assert key.startswith(f"{TYPES[name].archive}/{name}/2026/03/01/{job.id}-")


@pytest.mark.parametrize("name", [name for name, each in TYPES.items() if each.archive is None])
def test_other_types_are_left_to_their_ttl(yard: Yard, name: str) -> None:
    job = yard.add(type=name)
    yard.clock.advance(timedelta(days=1000))
    assert yard.run().archived == 0
    assert job.id in yard.store.jobs
    assert yard.cleaning.notes == set()


@pytest.mark.parametrize("name", TYPES)
def test_keys_life_does_not_exceed_the_retention_of_its_job(name: str) -> None:
    assert TYPES[name].key_period <= TYPES[name].retention


def test_job_does_not_go_while_some_clock_may_still_take_its_key_for_a_crash(yard: Yard) -> None:
    job = yard.add(type=REFUND)  # its key lives as long as its record
    yard.clock.advance(DAYS[REFUND])
    assert yard.run().archived == 0
    assert leaves_at(job, TYPES[REFUND], TIMING) == job.created_at + DAYS[REFUND] + TIMING.clock_skew + MS


def test_job_that_ended_long_after_its_acceptance_is_looked_at_again_then(yard: Yard) -> None:
    job = yard.add(took=timedelta(days=30))
    yard.clock.advance(NINETY)
    assert yard.run().put_off == 1
    assert yard.cleaning.notes == {Leftover(START + timedelta(days=120), job.id)}
    yard.clock.advance(timedelta(days=30) - MS)
    assert yard.run().archived == 0
    yard.clock.advance(MS)
    assert yard.run().archived == 1
    assert yard.cleaning.notes == set()


def test_payload_that_is_kept_apart_goes_with_its_record(yard: Yard) -> None:
    job = yard.add(payload=LARGE)
    assert job.payload_apart
    yard.clock.advance(NINETY)
    yard.run()
    assert yard.store.payloads == {}
    assert yard.lines()[0]["payload"] == LARGE


def test_objects_are_of_one_archive_type_and_day_and_their_manifests_say_what_is_in_them(yard: Yard) -> None:
    for _ in range(2):
        for name in (PAYMENT, REFUND):
            for venue in ("v1", "v2"):
                yard.add(type=name, venue_id=VenueId(venue))
        yard.clock.advance(timedelta(days=1))
    yard.clock.advance(NINETY)
    done = yard.run()
    assert {kind: count for kind, (count, _) in done.kinds.items()} == {
        ("payment_archive", PAYMENT): 4,
        ("payment_archive", REFUND): 4,
    }
    manifests = [key for key in yard.archive.objects if key.endswith(".manifest.json")]
    assert len(manifests) == 4
    for name in manifests:
        told = json.loads(yard.archive.objects[name])
        assert (told["count"], told["object"].removesuffix(".jsonl.gz")) == (
            2,
            name.removesuffix(".manifest.json"),
        )


def test_job_of_an_unknown_type_stays_and_is_told_of(yard: Yard) -> None:
    job = yard.add()
    yard.clock.advance(NINETY)
    yard.types = {name: each for name, each in TYPES.items() if name != PAYMENT}
    yard.clock.advance(timedelta(days=365))
    assert yard.run().archived == 0
    assert job.id in yard.store.jobs
    assert "cleanup_unknown_type" in yard.journal.actions()
    yard.types = TYPES
    yard.clock.advance(timedelta(days=30))
    assert yard.run().archived == 1


# --- how far it is ------------------------------------------------------------------------------------


def test_run_goes_on_where_the_last_one_stopped(yard: Yard) -> None:
    for venue in ("a", "b", "c"):
        for _ in range(200):
            yard.add(venue_id=VenueId(venue))
    yard.clock.advance(NINETY)
    runs = 0
    while yard.store.jobs:
        done = yard.run(lasts=TIMING.settle_margin)  # no time but for one page
        assert done.left or not yard.store.jobs
        runs += 1
        assert runs < 40
    assert runs > 5
    assert len(yard.archived()) == len(set(yard.archived())) == 600


def test_venue_whose_jobs_are_done_costs_one_query_for_each_retention(yard: Yard) -> None:
    yard.add()
    yard.clock.advance(NINETY)
    yard.run()
    points: list[str] = []
    yard.run(cleaning=Crashing(yard.cleaning, points, "cleaning"), store=Crashing(yard.store, points, "store"))
    retentions = {each.retention for each in TYPES.values() if each.archive is not None}
    assert points.count("cleaning.oldest") == len(retentions)
    assert {point for point in points if point.startswith("store.")} == set()
    assert "cleaning.mark" not in points


def test_two_runs_at_once_are_one(yard: Yard) -> None:
    yard.add()
    yard.clock.advance(NINETY)
    assert yard.leases.take("cleanup", "another", now=yard.clock.now(), until=yard.clock.now() + MS)
    assert yard.run() == CleanedUp(ran=False)
    assert yard.archive.objects == {}


def test_preview_says_what_would_go_and_changes_nothing(yard: Yard) -> None:
    for _ in range(1000):
        yard.add()
    kept = yard.add(took=timedelta(days=1))
    yard.clock.advance(NINETY)
    before = dict(yard.store.jobs)
    told = yard.cleanup().preview(ends=yard.clock.now() + timedelta(minutes=1))
    assert {kind: count for kind, (count, _) in told.kinds.items()} == {("payment_archive", PAYMENT): 1000}
    assert (told.deleted, told.put_off) == (0, 1)
    assert (yard.store.jobs, yard.archive.objects, yard.cleaning.marks) == (before, {}, {})
    assert (yard.cleaning.notes, yard.cleaning.places) == (set(), {})
    done = yard.run()
    assert done.kinds == told.kinds
    assert list(yard.store.jobs) == [kept.id]


# --- what goes wrong ------------------------------------------------------------------------------------


def crashed_runs() -> Iterator[tuple[int, bool]]:
    """Return every call that a run makes, by number, before and after it."""
    yard, points = prepared(), list[str]()
    yard.run(**watched(yard, points))
    return iter([(number, after) for number in range(len(points)) for after in (False, True)])


def prepared() -> Yard:
    yard = Yard()
    for number in range(12):
        yard.add(venue_id=VenueId(f"v{number % 2}"), payload=LARGE if number % 3 else {"n": number})
    yard.add(state=State.PARKED)
    yard.add(took=timedelta(days=5))
    yard.clock.advance(NINETY)
    return yard


def watched(yard: Yard, points: list[str], at: int | None = None, *, after: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {
        name: Crashing(getattr(yard, name), points, name) for name in ("store", "cleaning", "archive")
    }
    for each in made.values():
        each.at, each.after = at, after
    return made


@pytest.mark.parametrize(("at", "after"), list(crashed_runs()))
def test_crash_at_any_call_loses_nothing_and_repeating_ends_it(at: int, after: bool) -> None:
    yard = prepared()
    all_jobs = dict(yard.store.jobs)
    with pytest.raises(Crashed):
        yard.run(**watched(yard, [], at, after=after))
    assert set(yard.archived()) | set(yard.store.jobs) == set(all_jobs)
    yard.clock.advance(timedelta(days=1))
    yard.run()
    assert len(yard.store.jobs) == 2
    assert set(yard.archived()) == set(all_jobs) - set(yard.store.jobs)
    yard.clock.advance(timedelta(days=5))
    yard.run()
    assert [job.state for job in yard.store.jobs.values()] == [State.PARKED]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(12))
def test_job_behind_the_mark_that_must_wait_on_is_not_forgotten_by_a_crash(at: int, after: bool) -> None:
    yard = Yard()
    job = yard.add(state=State.PARKED)
    yard.clock.advance(NINETY)
    yard.run()
    yard.clock.advance(NINETY)  # now its note is due, and there will be another one
    points: list[str] = []
    with pytest.raises(Crashed):
        yard.run(**watched(yard, points, at, after=after))
    assert {note.job_id for note in yard.cleaning.notes} == {job.id}


def test_repeat_after_a_half_done_deletion_keeps_what_was_archived(yard: Yard) -> None:
    jobs = [yard.add() for _ in range(10)]
    yard.clock.advance(NINETY)

    class Dies(MemoryCleaning):
        def delete(self, jobs: Any) -> list[bool]:
            super().delete(jobs[1:-1])  # the first and the last stay
            raise Crashed

    with pytest.raises(Crashed):
        yard.run(cleaning=Dies(yard.store))
    yard.clock.advance(timedelta(days=1))
    yard.run()
    assert yard.store.jobs == {}
    assert set(yard.archived()) == {job.id for job in jobs}


def cut(body: bytes) -> bytes:
    return body[:-5]


def flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


@pytest.mark.parametrize("spoil", [cut, flipped, lambda _: b"", lambda _: None])
@pytest.mark.parametrize("what", [".jsonl.gz", ".manifest.json"])
def test_object_that_is_not_what_was_put_has_nothing_deleted_and_an_alarm(
    yard: Yard, spoil: Callable[[bytes], bytes | None], what: str
) -> None:
    jobs = [yard.add() for _ in range(5)]
    yard.clock.advance(NINETY)

    class Spoils(MemoryArchive):
        def read(self, key: str) -> bytes | None:
            body = super().read(key)
            return spoil(body) if body is not None and key.endswith(what) else body

    done = yard.run(archive=Spoils())
    assert (done.deleted, done.failed) == (0, True)
    assert set(yard.store.jobs) == {job.id for job in jobs}
    assert yard.cleaning.marks == {}
    assert "cleanup_failed" in yard.journal.actions()
    assert yard.run().deleted == 5


@pytest.mark.parametrize("error", [StoreRefused, StoreUnsure])
def test_archive_that_does_not_answer_has_nothing_deleted(yard: Yard, error: type[Exception]) -> None:
    yard.add()
    yard.clock.advance(NINETY)

    class Down(MemoryArchive):
        def put(self, key: str, body: bytes, *, sha256: str) -> None:
            raise error

    done = yard.run(archive=Down())
    assert (done.deleted, done.failed, len(yard.store.jobs)) == (0, True, 1)


def test_job_that_an_operator_retries_meanwhile_stays_and_goes_when_it_has_ended_again(yard: Yard) -> None:
    job = yard.add(state=State.FAILED)
    yard.clock.advance(NINETY)

    class Meanwhile(MemoryArchive):
        def put(self, key: str, body: bytes, *, sha256: str) -> None:
            yard.store.jobs[job.id] = replace(job, version=4, state=State.QUEUED, finished_at=None, reason=None)
            super().put(key, body, sha256=sha256)

    yard.archive = Meanwhile()
    assert yard.run().deleted == 0
    assert yard.store.jobs[job.id].version == 4
    yard.archive = MemoryArchive()
    again = yard.clock.now() + timedelta(days=2)
    yard.store.jobs[job.id] = replace(
        yard.store.jobs[job.id], version=5, state=State.COMPLETED, finished_at=again
    )
    for _ in range(3):
        yard.clock.advance(timedelta(days=1))
        yard.run()
    assert job.id in yard.store.jobs
    yard.clock.advance(NINETY)
    yard.run()
    assert yard.store.jobs == {}
    assert [each["version"] for each in yard.lines()] == [5]


def test_venue_with_a_record_that_cannot_be_read_holds_up_no_other(yard: Yard) -> None:
    bad = yard.add(venue_id=VenueId("a"))
    yard.add(venue_id=VenueId("b"))
    yard.clock.advance(NINETY)

    class Newer(MemoryStore):
        def load_batch(self, job_ids: Any) -> Any:
            if bad.id in job_ids:
                raise StoreRefused
            return super().load_batch(job_ids)

    newer = Newer()
    newer.jobs, newer.venues = yard.store.jobs, yard.store.venues
    done = yard.run(store=newer)
    assert (done.deleted, done.failed) == (1, True)
    assert list(yard.store.jobs) == [bad.id]
    assert yard.run().deleted == 1


# --- how much ------------------------------------------------------------------------------------------


def test_many_ended_jobs_are_archived_and_deleted_in_bounded_memory(
    record_property: Callable[[str, object], None],
) -> None:
    count = 20_000 if FULL else 1_000
    yard = Yard()
    for number in range(count):
        yard.add(venue_id=VenueId(f"v{number % 7}"), took=timedelta(days=number % 3))
    yard.clock.advance(NINETY + timedelta(days=2))
    yard.archive = Sink()
    tracemalloc.start()
    done = yard.run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (done.archived, done.deleted, yard.store.jobs) == (count, count, {})
    assert most < 12 * 2**20
    record_property("archived", f"{count} jobs archived and deleted, at most {most / 2**20:.1f} MB in hand")


class Sink(MemoryArchive):
    """Keeps no more than what is read back, so that its own memory counts for nothing."""

    def put(self, key: str, body: bytes, *, sha256: str) -> None:
        if key.endswith(".gz"):
            self.objects.clear()
        super().put(key, body, sha256=sha256)


# --- the audit log -------------------------------------------------------------------------------------


def an_entry(entry_id: str, at: datetime) -> Entry:
    return Entry(entry_id, at, "admin-1", "retry", "job_1", VENUE, "The bank is back", "failed", None)


def test_audit_entries_go_once_their_day_is_seven_years_past(yard: Yard) -> None:
    evening = datetime(2026, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
    yard.store.audit += [an_entry(f"e{number:04d}", evening) for number in range(1200)]
    yard.store.audit += [an_entry("later", evening + MS)]
    yard.clock = ManualClock(datetime(2033, 3, 1, 23, 59, 59, tzinfo=UTC))
    assert yard.run().archived == 0
    yard.clock.advance(timedelta(seconds=1))
    assert yard.run().archived == 1200
    assert [each.id for each in yard.store.audit] == ["later"]
    told = yard.lines("audit_archive/entries/2026/03/01/")
    assert len({each["id"] for each in told}) == 1200
    assert yard.run().archived == 0
    yard.clock.advance(timedelta(days=1))
    assert yard.run().archived == 1
    assert yard.cleaning.places["audit"] == "2026-03-03"


def test_last_day_of_february_is_kept_for_seven_years_too() -> None:
    assert domain.last_audit_day(datetime(2028, 2, 29, 3, tzinfo=UTC)) == date(2021, 2, 27)


# --- lines ---------------------------------------------------------------------------------------------


def test_line_is_the_whole_job_and_reads_back_the_same() -> None:
    yard = Yard()
    job = yard.add(
        state=State.FAILED,
        error=Failure("card_declined", "The card was declined.", "req_1"),
        result={"ä": ["\u2028", 1]},
        erased_at=START,
        expires_at=START,
    )
    whole = replace(job, history=(replace_attempt(),), payload={"name": "Zoë\n"})
    assert read_job(job_line(whole)) == whole
    assert "\n" not in job_line(whole)
    bare = replace(whole, history=(), error=None, reason=None, user_id=None, result=None)
    assert read_job(job_line(bare)) == bare


def replace_attempt() -> Any:
    from chalicelib.domain.job import Attempt

    return Attempt(1, START, START + MS, "refused", "card_declined", "req_1")


def test_every_field_of_a_job_survives() -> None:
    words = {"tier": "money", "state": "completed", "reason": "refused", "poll": "pending"}
    values: dict[str, Any] = {}
    for each in fields(Job):
        kind = str(each.type)
        if each.name in words or each.name in ("error", "history"):
            continue
        values[each.name] = (
            START if "datetime" in kind else True if "bool" in kind else 7 if "int" in kind else "text"
        )
    values["payload"], values["result"] = {"a": 1}, {"b": None}
    job = replace(Yard().add(), reason=Reason.REFUSED, **values)
    assert read_job(job_line(job)) == job


def test_audit_entry_reads_back_the_same() -> None:
    entry = an_entry("e1", START)
    assert read_entry(entry_line(entry)) == entry


def test_what_a_later_version_adds_to_a_line_is_left_out() -> None:
    job = Yard().add()
    assert read_job(json.dumps({**json.loads(job_line(job)), "colour": "red"})) == job


def test_line_that_is_no_job_is_refused() -> None:
    for text in ("", "[]", "{}x", '{"state": "unheard of"}', '{"created_at": 5}'):
        with pytest.raises(domain.Damaged):
            read_job(text)


def test_leftovers_are_read_page_by_page(yard: Yard) -> None:
    for number in range(300):
        yard.cleaning.notes.add(Leftover(START, JobId(f"gone-{number:03d}")))
    yard.run()
    assert yard.cleaning.notes == set()
