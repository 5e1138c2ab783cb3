"""What a consumer's batch costs in calls to DynamoDB: goals, row 2."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.aws.metrics_store import DynamoMetrics
from chalicelib.aws.rate_limiter import DynamoLimiter
from chalicelib.domain.job import JobId
from chalicelib.domain.policies import EffectClass
from chalicelib.domain.ratelimit import LIMITS
from chalicelib.domain.tally import Measure, Name
from chalicelib.service.execute import Execute
from tests.contract.backends import DynamoRecords, Faults
from tests.factories import a_job
from tests.fakes import START, SequentialCrew
from tests.functional.house import House

BATCH = 10
WIDE = {group: replace(limit, concurrent=50) for group, limit in LIMITS.items()}  # a whole batch fits
WARM = 2  # batches after which a container knows how its buckets stand


@pytest.mark.parametrize("effect_class", [EffectClass.KEYED, EffectClass.RECEIVER_DEDUPS])
def test_a_batch_of_ten_costs_five_calls_in_all(
    dynamo: DynamoRecords, wire: Faults, effect_class: EffectClass
) -> None:
    house = House()
    kind = house.of_class[effect_class]
    metrics = DynamoMetrics(dynamo.client, dynamo.tables)
    execute = Execute(
        store=dynamo.store,
        registry=house.registry,
        queue=house.queue,
        providers=house.providers,
        types=house.types,
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
            dynamo.store.add(a_job(job_id, type=kind.name, tier=kind.tier))
        before = len(wire.calls)
        execute.execute(dict.fromkeys(ids, 1), ends=house.clock.now() + timedelta(seconds=60))
        calls = wire.calls[before:]
    assert calls == [
        "BatchGetItem",  # the jobs, with the controls
        "UpdateItem",  # the limiter
        "BatchExecuteStatement",  # the claims
        "BatchExecuteStatement",  # the ends, and the slots
        "UpdateItem",  # the counters
    ]
    assert all(bucket.in_flight(START) == 0 for bucket in dynamo.limiter().buckets().values())
    assert metrics.minute(START)[Name(Measure.SUCCESS, kind.name)] == (WARM + 1) * BATCH
