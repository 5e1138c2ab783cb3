"""What a run of the monitor costs on the wire, whatever waits and whether or not an alert goes on."""

from collections import Counter
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta

from chalicelib.aws.alert_store import DynamoAlertBook
from chalicelib.aws.backlog import AwsBacklog
from chalicelib.aws.metrics_store import DynamoMetrics
from chalicelib.aws.tables import Tables
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.judging import Thresholds
from chalicelib.domain.policies import Tier
from chalicelib.jobtypes import discover
from chalicelib.service.alerting import Alerting
from chalicelib.service.monitor import LATE, Monitor
from chalicelib.settings import Settings
from tests.contract.backends import DynamoRecords, Faults, SqsQueues, client
from tests.contract.conftest import NewStack
from tests.contract.test_backlog import missed
from tests.contract.test_job_queue import a_message
from tests.fakes import ListJournal, ManualClock, SeededChance
from tests.fakes_alerts import MemoryOutlets
from tests.front import ENVIRONMENT

MINUTE = timedelta(minutes=1)
QUIET = Counter(
    GetQueueAttributes=9,
    Query=3 + 3 + 1 + 1,
    GetItem=1,
    BatchGetItem=1,  # the heartbeats
    UpdateItem=2,  # the lease, and its end with a heartbeat
    PutItem=1,
)
FIRING = Counter(Query=1, BatchGetItem=2, PutItem=1)  # its money, itself, and how it stands now


def test_a_run_costs_the_same_whatever_waits_and_four_calls_more_while_an_alert_goes_on(
    new_stack: NewStack,
) -> None:
    stack = new_stack()
    with closing(client("sqs", stack)) as sqs, closing(client("dynamodb", stack)) as dynamodb:
        tables = Tables(**asdict(Settings.from_env({**ENVIRONMENT, **stack}).tables))
        records, queues = DynamoRecords(dynamodb, tables), SqsQueues(sqs, stack)
        clock, journal = ManualClock(), ListJournal()
        backlog = AwsBacklog(sqs, queues.urls, queues.dead_letters, dynamodb, tables)
        metrics = DynamoMetrics(dynamodb, tables)
        alerting = Alerting(
            book=DynamoAlertBook(dynamodb, tables),
            outlets=lambda: MemoryOutlets().all,
            store=records.store,
            index=records.index,
            backlog=backlog,
            metrics=metrics,
            heartbeats=records.leases,
            thresholds=Thresholds(depth=dict.fromkeys(Tier, 5), age={}),
            clock=clock,
            chance=SeededChance(),
            journal=journal,
            base_url=None,
        )
        monitor = Monitor(
            metrics=metrics,
            backlog=backlog,
            leases=records.leases,
            types=discover(),
            clock=clock,
            chance=SeededChance(),
            journal=journal,
            alerting=alerting,
        )

        def cost() -> Counter[str]:
            clock.advance(MINUTE)
            with Faults(sqs, "sqs") as to_sqs, Faults(dynamodb, "dynamodb") as to_tables:
                monitor.run(ends=clock.now() + MINUTE)
                return Counter(to_sqs.calls + to_tables.calls)

        clock.advance(LATE)
        never_ran = Counter(UpdateItem=len(Function))  # which is noted once
        assert [cost(), cost()] == [QUIET + never_ran, QUIET]
        costs = []
        for size in (20, 200):
            queues.queue.send([a_message(number) for number in range(size)])
            for number in range(size // 4):
                missed(records, f"job_{size}_{number}")
            cost()  # which begins the alert and tells of it, or finds that more waits
            costs.append(cost())
        assert costs == [QUIET + FIRING] * 2
