"""The contract of domain.backlog, on the fakes and on what ministack and DynamoDB Local do."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, Protocol

import pytest

from chalicelib.aws.backlog import AwsBacklog
from chalicelib.aws.clients import Clients
from chalicelib.aws.event_sources import LambdaEventSources
from chalicelib.aws.metrics_store import DynamoMetrics
from chalicelib.aws.stock_book import DynamoStockBook
from chalicelib.aws.tables import Tables
from chalicelib.domain.backlog import Depth, EventSources, TierDepth
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import Job
from chalicelib.domain.policies import Lane, Role, Tier
from chalicelib.domain.ports import Change, Saved
from chalicelib.service import queues as service
from chalicelib.service.figures import Figures
from chalicelib.service.principal import Principal
from chalicelib.settings import Settings
from tests.contract.backends import SHOWN, DynamoRecords, Faults, Queues, Records, SqsQueues, client
from tests.contract.conftest import NewStack
from tests.contract.lives import added, claimed, looked, moved, read, settled
from tests.contract.test_job_queue import LITTLE, SECOND, a_message
from tests.factories import a_job
from tests.fakes import START, ManualClock
from tests.fakes_alerts import MemoryAlertBook
from tests.fakes_backlog import MemoryEventSources
from tests.front import ENVIRONMENT

EMPTY = Depth(waiting=0, in_flight=0, delayed=0)
MINUTE = timedelta(minutes=1)
ADMIN = Principal("admin-1", Role.ADMIN)
HANDLER = "def handle(event, context):\n    return None\n"


def main_lane(queues: Queues, tier: Tier = Tier.MONEY) -> Depth:
    return queues.backlog.depth(tier).lanes[Lane.MAIN]


# --- the depth


@pytest.mark.parametrize("tier", Tier)
def test_empty_queues_hold_nothing(queues: Queues, tier: Tier) -> None:
    assert queues.backlog.depth(tier) == TierDepth({Lane.MAIN: EMPTY, Lane.EXPRESS: EMPTY}, poison=0)


def test_messages_are_counted_in_the_queue_of_their_tier_and_lane(queues: Queues) -> None:
    places = [(tier, lane) for tier in Tier for lane in Lane]
    for number, (tier, lane) in enumerate(places, start=1):
        queues.queue.send([a_message(each, tier, lane) for each in range(number)])
    depths = [queues.backlog.depth(tier).lanes[lane] for tier, lane in places]
    assert depths == [replace(EMPTY, waiting=number) for number in range(1, 7)]


def test_a_message_that_somebody_holds_is_in_flight_until_it_comes_back(queues: Queues) -> None:
    queues.queue.send([a_message()])
    queues.receive(Tier.MONEY, Lane.MAIN)
    assert main_lane(queues) == replace(EMPTY, in_flight=1)
    queues.wait(SHOWN + LITTLE)
    assert main_lane(queues) == replace(EMPTY, waiting=1)


def test_a_message_that_is_put_off_is_in_flight_not_delayed(queues: Queues) -> None:
    queues.queue.send([a_message()])
    [held] = queues.receive(Tier.MONEY, Lane.MAIN)
    queues.inbox(Tier.MONEY, Lane.MAIN).postpone({held.handle: 30 * SECOND})
    assert main_lane(queues) == replace(EMPTY, in_flight=1)


def test_a_message_that_is_sent_ahead_of_its_time_is_delayed_until_then(queues: Queues) -> None:
    queues.queue.send([a_message(1, delay=SECOND), a_message(2)])
    assert main_lane(queues) == Depth(waiting=1, in_flight=0, delayed=1)
    queues.wait(SECOND + LITTLE)
    assert main_lane(queues) == replace(EMPTY, waiting=2)


def test_poison_is_counted_whoever_looks_at_it(queues: Queues) -> None:
    for body in ("{", "[]"):
        queues.queue.bury(Tier.BACKGROUND, body, "malformed")
    queues.buried(Tier.BACKGROUND)
    depth = queues.backlog.depth(Tier.BACKGROUND)
    assert depth == TierDepth({Lane.MAIN: EMPTY, Lane.EXPRESS: EMPTY}, poison=2)
    assert queues.backlog.depth(Tier.MONEY).poison == 0


def test_a_depth_is_a_call_per_queue_and_a_queue_that_does_not_answer_is_not_empty(on_sqs: SqsQueues) -> None:
    with Faults(on_sqs.client, "sqs") as wire:
        on_sqs.backlog.depth(Tier.MONEY)
        assert wire.calls == ["GetQueueAttributes"] * 3
        wire.order("GetQueueAttributes", *[wire.fail] * 3)
        with pytest.raises(StoreRefused):
            on_sqs.backlog.depth(Tier.MONEY)


# --- the oldest


def missed(records: Records, job_id: str, **changes: Any) -> Job:
    """Store a job and let `dispatch` look at it a minute after it was due."""
    job = added(records.store, a_job(job_id, **changes))
    look = Change(job, looked(job, now=job.due + MINUTE))
    assert records.store.save_looks([look]) == [Saved()]
    return read(records.store, job.id)


def test_nobody_is_old_where_nothing_was_missed(records: Records) -> None:
    assert records.backlog.oldest_due(Tier.MONEY) is None
    added(records.store, a_job())
    assert records.backlog.oldest_due(Tier.MONEY) is None


def test_the_oldest_is_the_one_that_was_to_run_first_however_late_it_was_accepted(records: Records) -> None:
    for job_id, seconds in (("job_1", 90), ("job_2", 30), ("job_3", 60)):
        missed(records, job_id, delay=seconds * SECOND)
    missed(records, "mail", tier=Tier.COMMUNICATION)
    assert records.backlog.oldest_due(Tier.MONEY) == START + 30 * SECOND
    assert records.backlog.oldest_due(Tier.COMMUNICATION) == START
    assert records.backlog.oldest_due(Tier.BACKGROUND) is None


def test_the_overdue_are_named_the_longest_due_first(records: Records) -> None:
    for job_id, seconds in (("job_1", 90), ("job_2", 30), ("job_3", 60)):
        missed(records, job_id, delay=seconds * SECOND)
    missed(records, "mail", tier=Tier.COMMUNICATION)
    assert records.backlog.overdue(Tier.MONEY, limit=2) == ["job_2", "job_3"]
    assert records.backlog.overdue(Tier.BACKGROUND, limit=2) == []


def test_a_job_at_rest_is_old_no_longer(records: Records) -> None:
    first = missed(records, "job_1")
    missed(records, "job_2", delay=30 * SECOND)
    running = moved(records.store, first, claimed(first))
    assert records.backlog.oldest_due(Tier.MONEY) == START
    moved(records.store, running, settled(running))
    assert records.backlog.oldest_due(Tier.MONEY) == START + 30 * SECOND


def test_the_oldest_of_many_is_one_query_and_reads_one_item(dynamo: DynamoRecords, wire: Faults) -> None:
    for number in range(30):
        missed(dynamo, f"job_{number}", delay=number * SECOND)
    counts: list[int] = []
    events, name = dynamo.client.meta.events, "after-call.dynamodb.Query"
    wire.calls.clear()
    events.register(name, lambda parsed, **_: counts.append(parsed["ScannedCount"]), unique_id="counted")
    assert dynamo.backlog.oldest_due(Tier.MONEY) == START
    events.unregister(name, unique_id="counted")
    assert (wire.calls, counts) == (["Query"], [1])


def test_a_table_that_does_not_answer_is_not_one_without_old_jobs(dynamo: DynamoRecords, wire: Faults) -> None:
    missed(dynamo, "job_1")
    wire.order("Query", *[wire.throttle] * 3)
    with pytest.raises(StoreRefused):
        dynamo.backlog.oldest_due(Tier.MONEY)


# --- what it costs to see


def test_every_queue_is_seen_with_fifteen_calls_and_one_with_seven_whatever_waits(new_stack: NewStack) -> None:
    stack = new_stack()
    with closing(client("sqs", stack)) as sqs, closing(client("dynamodb", stack)) as dynamodb:
        urls, names = SqsQueues(sqs, stack), Settings.from_env({**ENVIRONMENT, **stack}).tables
        records = DynamoRecords(dynamodb, Tables(**asdict(names)))
        backlog = AwsBacklog(sqs, urls.urls, urls.dead_letters, dynamodb, records.tables)
        figures = Figures(
            metrics=DynamoMetrics(dynamodb, records.tables),
            stock=DynamoStockBook(dynamodb, records.tables),
            backlog=backlog,
            limiter=None,
            alerts=MemoryAlertBook(),
            heartbeats=records.leases,
            silence={},
            types={},
            clock=ManualClock(),
        )
        queues = service.Queues(backlog=backlog, store=records.store, figures=figures, clock=ManualClock())
        costs = []
        for size in (0, 1, 200):
            urls.queue.send([a_message(number) for number in range(size)])
            for number in range(size // 4):
                missed(records, f"job_{size}_{number}")
            with Faults(sqs, "sqs") as to_sqs, Faults(dynamodb, "dynamodb") as to_tables:
                seen = queues.all(ADMIN)
                every = Counter(to_sqs.calls + to_tables.calls)
                queues.one("money", ADMIN)
                one = Counter(to_sqs.calls + to_tables.calls) - every
            costs.append((dict(every), dict(one)))
    assert seen[0]["lanes"]["main"]["waiting"] == 201
    [cost] = [each for place, each in enumerate(costs) if each not in costs[:place]]
    assert cost == (
        {"GetQueueAttributes": 9, "GetItem": 3, "Query": 3},
        {"GetQueueAttributes": 3, "GetItem": 3, "Query": 1},
    )


# --- the event sources


class Sources(Protocol):
    """A backend of the event sources."""

    @property
    def sources(self) -> EventSources: ...

    def enabled(self, tier: Tier) -> set[bool]:
        """Return how the tier's queues stand."""
        ...


class MemorySources:
    """The fake."""

    def __init__(self) -> None:
        self.sources = MemoryEventSources()

    def enabled(self, tier: Tier) -> set[bool]:
        return {self.sources.enabled[tier]}


class LambdaSources:
    """A function for each queue, as ministack's Lambda has them."""

    def __init__(self, clients: Clients, environment: Mapping[str, str]) -> None:
        self._clients = clients
        suffixes = {Lane.MAIN: "", Lane.EXPRESS: "_EXPRESS"}
        urls = {
            (tier, lane): environment[f"{tier.upper()}_QUEUE{suffix}_URL"]
            for tier in Tier
            for lane, suffix in suffixes.items()
        }
        self.sources = LambdaEventSources(clients, urls)
        self._mappings = {place: self._mapping(url) for place, url in urls.items()}

    def enabled(self, tier: Tier) -> set[bool]:
        states = [
            self._clients.functions.get_event_source_mapping(UUID=self._mappings[tier, lane])["State"]
            for lane in Lane
        ]
        return {{"Enabled": True, "Disabled": False}[state] for state in states}

    def _mapping(self, url: str) -> str:
        functions, name = self._clients.functions, url.rpartition("/")[2]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("f.py", HANDLER)
        role = "arn:aws:iam::000000000000:role/none"
        made = {"Runtime": "python3.12", "Handler": "f.handle", "Role": role}
        functions.create_function(FunctionName=name, Code={"ZipFile": code.getvalue()}, **made)
        queue = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        mapping = functions.create_event_source_mapping(
            EventSourceArn=queue["Attributes"]["QueueArn"], FunctionName=name, Enabled=False
        )
        uuid: str = mapping["UUID"]
        functions.update_event_source_mapping(UUID=uuid, Enabled=True)
        return uuid


@pytest.fixture
def on_lambda(new_stack: NewStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[LambdaSources]:
    stack = new_stack()
    for name, value in stack.items():
        monkeypatch.setenv(name, value)
    clients = Clients()
    yield LambdaSources(clients, stack)
    clients.sqs.close()
    clients.functions.close()


@pytest.fixture(params=["memory", "ministack"])
def event_sources(request: pytest.FixtureRequest) -> Sources:
    if request.param == "memory":
        return MemorySources()
    made: LambdaSources = request.getfixturevalue("on_lambda")
    return made


def test_a_tier_is_closed_and_opened_on_both_lanes_and_no_other_is(event_sources: Sources) -> None:
    sources = event_sources.sources
    for enabled in (False, True):
        assert sources.set_enabled(Tier.MONEY, enabled)
        assert event_sources.enabled(Tier.MONEY) == {enabled}
        assert event_sources.enabled(Tier.COMMUNICATION) == event_sources.enabled(Tier.BACKGROUND) == {True}


def test_what_stands_as_it_should_is_not_changed(event_sources: Sources) -> None:
    sources = event_sources.sources
    assert not sources.set_enabled(Tier.MONEY, True)
    assert sources.set_enabled(Tier.MONEY, False)
    assert not sources.set_enabled(Tier.MONEY, False)
