"""Two of every scheduled function at once, round after round, over real tables: nothing is done twice or lost.

Queues, archive and channels are in memory, where a second message, object or notice is seen. A round is five
minutes: as long as a critical alert is quiet, so that each round has one to tell of again.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from chalice.app import ScheduledEventConfig

from app import app
from chalicelib import wiring
from chalicelib.aws.alert_store import DynamoAlertBook
from chalicelib.aws.metrics_store import DynamoMetrics
from chalicelib.aws.records import is_job, job
from chalicelib.aws.stock_book import DynamoStockBook
from chalicelib.domain.job import Job, JobId, State, VenueId
from chalicelib.domain.message import decode
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.tally import MINUTE, Measure, Name
from chalicelib.service import operations
from chalicelib.service.monitor import LATE
from chalicelib.system import SystemChance
from tests.contract.backends import DynamoRecords
from tests.contract.test_alert_book import at_once
from tests.factories import a_job
from tests.fakes import START, ManualClock
from tests.front import OWN, Front
from tests.functional.test_functions import TICK, TRACK, Context

ROUNDS = 50
ROUND = timedelta(minutes=5)
NINETY = timedelta(days=90)  # the retention of payments
NIGHT = timedelta(hours=12)
NOW = timedelta(0)
PAID = Name(Measure.SUCCESS, "payment.process")


@dataclass
class World:
    """The service on real tables, and what came of every round."""

    front: Front
    records: DynamoRecords
    metrics: DynamoMetrics
    made: dict[str, list[Job]] = field(default_factory=dict)  # by type, of each one a round
    sent: list[Counter[JobId]] = field(default_factory=list)  # in each round: messages by job

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """Ask for something as an administrator."""
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self.front.token('admin')}",
        }
        answer = self.front.client.http.post(f"/v1{path}", headers=headers, body=json.dumps(body).encode())
        assert answer.status_code in (201, 202), answer.body
        return answer.json_body

    def prepare(self) -> None:
        """Have something come due each round: a schedule, a job, an old payment, an alert's next notice."""
        work = {**TRACK, "venueId": OWN}
        plan = {"name": "often", "cronExpression": "*/5 * * * *", "timeZone": "UTC", "job": work}
        self.ask("/schedules", plan)
        for n in range(51):
            self.front.queue.put(Tier.MONEY, Lane.MAIN, f"{n}")
        for n in range(1, ROUNDS + 1):
            moment = START + n * ROUND
            self._make("analytics.track", moment, delay=n * ROUND)
            self._make("email.send", moment, delay=NIGHT)
            ended = moment - NINETY
            self._make("payment.process", ended, state=State.COMPLETED, next_look=None, finished_at=ended)
        assert all(self.records.store.add_many([each for made in self.made.values() for each in made]))

    def _make(self, kind: str, created_at: datetime, *, delay: timedelta = NOW, **fields: Any) -> None:
        name = SystemChance(ManualClock(created_at)).job_id()
        tier = self.front.types[kind].tier
        made = a_job(name, type=kind, tier=tier, venue_id=VenueId(OWN), priority=5, delay=delay)
        self.made.setdefault(kind, []).append(replace(made, created_at=created_at, **fields))

    def ids(self, kind: str) -> list[JobId]:
        return [each.id for each in self.made[kind]]

    def round(self, number: int) -> None:
        """Let a round pass, begin in every fifth to cancel the mails since, and run every function twice."""
        self.front.clock.advance(ROUND)
        if number % 5 == 0:
            since = (self.front.clock.now() - 4.5 * ROUND).isoformat()
            mails = {"type": "email.send", "state": "scheduled", "venueId": OWN, "from": since}
            self.ask("/jobs/bulk", {"mode": "start", "action": "cancel", "filter": mails, "reason": "A test"})
        self.metrics.add({PAID: 1}, at=self.front.clock.now(), spread=0.5)
        self.run_all()

    def run_all(self) -> None:
        """Let two of every function go at once, then take away the messages that they sent."""
        twice = [name for name in CAME for _ in range(2)]
        at_once(len(twice), lambda n: app.handler_map[twice[n]](TICK, Context()) is None)
        held = self.front.queue.messages.pop((Tier.BACKGROUND, Lane.MAIN), {})
        self.sent.append(Counter(decode(each.body).job_id for each in held.values()))

    def jobs(self) -> list[Job]:
        """Return every job that is in the table."""
        items = self.records.client.scan(TableName=self.records.tables.jobs)["Items"]
        return [job(item) for item in items if is_job(item)]

    def cancelled(self) -> list[str]:
        """Return the jobs that were cancelled, by the audit log."""
        entries = self.records.audit_log.of_day(START.date(), below=None, limit=500)
        return [entry.subject for entry in entries if entry.action == "cancel"]


def each_late_job_was_sent_once_a_look(world: World) -> None:
    assert all(count == 1 for sent in world.sent for count in sent.values())
    assert {job_id for sent in world.sent for job_id in sent} >= set(world.ids("analytics.track"))


def each_due_time_made_its_job_once(world: World) -> None:
    scheduled = [each for each in world.jobs() if each.submitted_by.startswith("schedule:")]
    assert sorted(each.due for each in scheduled) == [START + n * ROUND for n in range(1, ROUNDS + 1)]


def each_mail_was_cancelled_once(world: World) -> None:
    assert sorted(world.cancelled()) == world.ids("email.send")
    assert {each.state for each in world.jobs() if each.type == "email.send"} == {State.CANCELLED}


def each_minute_was_counted_and_each_notice_sent_once(world: World) -> None:
    series = world.metrics.series()
    assert series is not None
    assert series.totals[PAID] == ROUNDS
    outlets = world.front.outlets
    assert [len(each.sent) for each in (outlets.sns, outlets.sms, outlets.phone)] == [ROUNDS] * 3


def each_open_job_was_counted_once(world: World) -> None:
    account = DynamoStockBook(world.records.client, world.records.tables).load()
    told = [facts["whole"] for action, facts in world.front.journal.events if action == "recounted"]
    assert (account.version, {*told}, account.walk) == (len(told), {True}, None)
    assert account.stock is not None
    standing = Counter(each.state for each in world.jobs() if each.tier is Tier.BACKGROUND)
    assert Counter(account.stock.states[Tier.BACKGROUND]) == standing
    assert standing.total() == 2 * ROUNDS


def each_old_job_was_archived_once(world: World) -> None:
    lines = [
        json.loads(line)["id"]
        for name, body in world.front.archive.objects.items()
        if name.endswith(".gz")
        for line in gzip.decompress(body).splitlines()
    ]
    assert sorted(lines) == world.ids("payment.process")
    assert "payment.process" not in {each.type for each in world.jobs()}


CAME: Mapping[str, Callable[[World], None]] = {
    "dispatch": each_late_job_was_sent_once_a_look,
    "run_schedules": each_due_time_made_its_job_once,
    "run_operations": each_mail_was_cancelled_once,
    "monitor": each_minute_was_counted_and_each_notice_sent_once,
    "recount": each_open_job_was_counted_once,
    "cleanup": each_old_job_was_archived_once,
}


def test_every_scheduled_function_is_doubled() -> None:
    assert {each.name for each in app.event_sources if isinstance(each, ScheduledEventConfig)} == set(CAME)


@pytest.fixture
def world(on_ministack: DynamoRecords, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(operations, "AT_FIRST", timedelta(0))  # all is left to `run_operations`
    front = Front()
    records = replace(on_ministack, known=frozenset())
    made = World(front, records, DynamoMetrics(records.client, records.tables))
    front.stand_on(
        **{name: getattr(records, name) for name in ("store", "index", "audit_log", "schedules", "operations")},
        leases=records.leases,
        kept=lambda: (records.cleaning, front.archive),
        metrics=made.metrics,
        stock=DynamoStockBook(records.client, records.tables),
        alert_book=DynamoAlertBook(records.client, records.tables),
        chance=SystemChance(front.clock),
    )
    yield made
    wiring.install(None)


def test_fifty_rounds_of_two_of_every_function_do_everything_once(world: World) -> None:
    world.prepare()
    for number in range(1, ROUNDS + 1):
        world.round(number)
    world.front.clock.advance(MINUTE + LATE)
    world.run_all()
    for came in CAME.values():
        came(world)
