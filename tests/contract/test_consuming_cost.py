"""What a consumer's batch costs in calls to DynamoDB: goals, row 2."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from chalicelib.aws.metrics_store import DynamoMetrics
from chalicelib.aws.rate_limiter import DynamoLimiter
from chalicelib.domain.endpoint import EndpointStore
from chalicelib.domain.job import JobId
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import EffectClass
from chalicelib.domain.providers import Hook, HookAnswer, Providers
from chalicelib.domain.ratelimit import LIMITS
from chalicelib.domain.tally import Measure, Name
from chalicelib.jobtypes import discover
from chalicelib.service.execute import Execute
from tests.contract.backends import DynamoRecords, Faults
from tests.factories import a_job, an_endpoint
from tests.fakes import START, SequentialCrew
from tests.functional.house import House

BATCH = 10
WIDE = {group: replace(limit, concurrent=50) for group, limit in LIMITS.items()}  # a whole batch fits
WARM = 2  # batches after which a container knows how its buckets stand


class Takers:
    """Receivers that take every event, and the endpoints that they are."""

    def __init__(self, endpoints: EndpointStore) -> None:
        self.endpoints = endpoints
        self.hooks = self

    def post(self, hook: Hook, *, deadline: datetime) -> HookAnswer:
        return HookAnswer(204, timedelta(0), None, None)


def consumed(dynamo: DynamoRecords, wire: Faults, house: House, kind: JobType, **changes: Any) -> list[str]:
    """Return the calls of a warm container's batch."""
    metrics = DynamoMetrics(dynamo.client, dynamo.tables)
    execute = Execute(
        store=dynamo.store,
        registry=dynamo.registry,
        queue=house.queue,
        providers=cast(Providers, Takers(dynamo.endpoints)),
        types={**house.types, kind.name: kind},
        clock=house.clock,
        chance=house.chance,
        crew=SequentialCrew(),
        journal=house.journal,
        limiter=DynamoLimiter(dynamo.client, dynamo.tables, WIDE),
        metrics=metrics,
    )
    calls: list[str] = []
    for batch in range(WARM + 1):
        house.clock.advance(timedelta(seconds=10))  # the bucket has room again
        ids = [JobId(f"job_{batch}_{number}") for number in range(BATCH)]
        for job_id in ids:
            dynamo.store.add(a_job(job_id, type=kind.name, tier=kind.tier, **changes))
        before = len(wire.calls)
        execute.execute(dict.fromkeys(ids, 1), ends=house.clock.now() + timedelta(seconds=60))
        calls = wire.calls[before:]
    assert metrics.minute(START)[Name(Measure.SUCCESS, kind.name)] == (WARM + 1) * BATCH
    return calls


@pytest.mark.parametrize("effect_class", [EffectClass.KEYED, EffectClass.RECEIVER_DEDUPS])
def test_a_batch_of_ten_costs_five_calls_in_all(
    dynamo: DynamoRecords, wire: Faults, effect_class: EffectClass
) -> None:
    house = House()
    assert consumed(dynamo, wire, house, house.of_class[effect_class]) == [
        "BatchGetItem",  # the jobs, with the controls
        "UpdateItem",  # the limiter
        "BatchExecuteStatement",  # the claims
        "BatchExecuteStatement",  # the ends, and the slots
        "UpdateItem",  # the counters
    ]
    assert all(bucket.in_flight(START) == 0 for bucket in dynamo.limiter().buckets().values())


@pytest.mark.parametrize(
    "to", [{"endpointId": "ep_1"}, {"url": "https://shop.example/"}], ids=["endpoint", "url"]
)
def test_a_batch_of_ten_webhooks_costs_one_call_more(
    dynamo: DynamoRecords, wire: Faults, to: dict[str, str]
) -> None:
    dynamo.endpoints.add(an_endpoint())
    payload = {**to, "event": "order.paid", "eventId": "evt-1", "payload": {}}
    calls = consumed(dynamo, wire, House(), discover()["webhook.deliver"], payload=payload)
    assert calls.count("BatchGetItem") == 2  # the endpoints are read with the other needs
    assert sorted(set(calls)) == ["BatchExecuteStatement", "BatchGetItem", "UpdateItem"]
    assert len(calls) == 6
