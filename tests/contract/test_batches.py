"""The contract of ports.JobStore, continued: many keys and jobs at a time, and stages."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.aws.job_queue import SqsJobQueue
from chalicelib.domain.batch import Stage, StageState, abort, finish, flip, open_stage
from chalicelib.domain.errors import StoreRefused, StoreUnsure
from chalicelib.domain.job import Job, JobId, StageId, leave_stage, put_on_stage
from chalicelib.domain.policies import TIMING
from chalicelib.domain.ports import Change, Outdated, Saved
from chalicelib.jobtypes import discover
from chalicelib.service.dispatch import Dispatch
from chalicelib.service.submit import Accepted, Submission, Submit
from chalicelib.service.submit_together import SubmitTogether
from tests.contract.backends import DynamoRecords, Faults, Records, SqsQueues
from tests.contract.lives import added, agenda, claimed, read, save
from tests.contract.sizes import units
from tests.factories import PAYMENT, VENUE, a_job, a_key
from tests.fakes import START, ListJournal, ManualClock, SeededChance
from tests.fakes_registry import MemoryRegistry

LARGE = {**PAYMENT, "description": "x" * 3000}
STAGE = StageId("stage_1")
MINUTE = timedelta(minutes=1)


def jobs(count: int, **changes: Any) -> list[Job]:
    return [a_job(f"job_{number}", **changes) for number in range(count)]


def a_stage(stage_id: StageId = STAGE, *, count: int = 3) -> Stage:
    ids = [JobId(f"job_{number}") for number in range(count)]
    return open_stage(stage_id, ids, now=START, timing=TIMING)


def staged(count: int = 3, **changes: Any) -> list[Job]:
    return [put_on_stage(job, STAGE) for job in jobs(count, **changes)]


# --- many at a time


def test_free_keys_are_taken_and_held_ones_are_not(records: Records) -> None:
    held = [a_key(f"key_{number}", "another") for number in range(0, 60, 3)]
    for key in held:
        records.store.take_key(key)
    offered = [a_key(f"key_{number}", f"job_{number}") for number in range(60)]

    assert records.store.take_keys(offered) == [bool(number % 3) for number in range(60)]
    assert records.store.load_key(offered[0].id) == held[0]
    assert records.store.load_key(offered[1].id) == offered[1]


def test_no_keys_and_no_jobs_are_no_answers(records: Records) -> None:
    assert records.store.take_keys([]) == []
    assert records.store.add_many([]) == []


def test_key_says_which_stage_it_belongs_to(records: Records) -> None:
    key = a_key(stage=STAGE)

    assert records.store.take_keys([key]) == [True]
    assert records.store.load_key(key.id) == key
    assert records.store.take_key(a_key(job_id="job_2")) == key


def test_jobs_that_are_not_there_are_added_and_the_others_left_as_they_are(records: Records) -> None:
    there = [a_job(f"job_{number}", priority=3) for number in range(0, 60, 3)]
    for job in there:
        records.store.add(job)

    assert records.store.add_many(jobs(60)) == [bool(number % 3) for number in range(60)]
    assert records.store.load(JobId("job_0"), VENUE) == there[0]
    assert records.store.load(JobId("job_1"), VENUE) == a_job("job_1")
    assert len(agenda(records.store)) == 60


def test_large_and_small_payloads_come_back_whole(records: Records) -> None:
    offered = [a_job(f"job_{number}", payload=LARGE if number % 2 else PAYMENT) for number in range(60)]

    assert records.store.add_many(offered) == [True] * 60
    for job in offered[:2]:
        loaded = records.store.load(job.id, VENUE)
        assert loaded is not None
        assert (loaded.payload, loaded.payload_apart) == (job.payload, job.payload == LARGE)


def test_job_says_which_batch_it_came_in(records: Records) -> None:
    job = a_job(batch_id="night-1", batch_index=0)

    assert records.store.add_many([job]) == [True]
    assert records.store.load(job.id, VENUE) == job


# --- stages


def test_stage_is_opened_and_read(records: Records) -> None:
    stage = a_stage(count=100)
    records.store.open_stage(stage)

    assert records.store.load_stage(STAGE) == stage
    assert records.store.load_stage(StageId("another")) is None
    assert records.store.load(JobId(f"stage#{STAGE}"), None) is None


def test_stage_that_is_opened_once_more_is_the_same_until_it_is_decided(records: Records) -> None:
    stage = a_stage()
    records.store.open_stage(stage)
    records.store.open_stage(stage)
    records.store.move_stage(stage, abort(stage, now=START))

    with pytest.raises(StoreRefused):
        records.store.open_stage(stage)
    assert records.store.load_stage(STAGE) == abort(stage, now=START)


def test_of_flip_and_abort_the_first_stands(records: Records) -> None:
    for number, (first, second) in enumerate(((flip, _abort), (_abort, flip))):
        stage = a_stage(StageId(f"stage_{number}"))
        records.store.open_stage(stage)

        assert records.store.move_stage(stage, first(stage)) == first(stage)
        assert records.store.move_stage(stage, second(stage)) == first(stage)
        assert records.store.load_stage(stage.id) == first(stage)


def test_flip_that_is_written_again_is_recognised(records: Records) -> None:
    stage = a_stage()
    records.store.open_stage(stage)

    assert records.store.move_stage(stage, flip(stage)) == flip(stage)
    assert records.store.move_stage(stage, flip(stage)) == flip(stage)


def test_stage_that_is_not_there_is_not_moved(records: Records) -> None:
    assert records.store.move_stage(a_stage(), flip(a_stage())) is None
    assert records.store.load_stage(STAGE) is None


def test_stages_are_found_when_their_look_has_come_until_they_are_finished(records: Records) -> None:
    stages = [replace(a_stage(StageId(f"stage_{n}")), next_look=START + n * MINUTE) for n in range(3)]
    for stage in reversed(stages):
        records.store.open_stage(stage)

    assert records.store.due_stages(until=START - MINUTE, limit=10) == []
    assert records.store.due_stages(until=START + MINUTE, limit=10) == ["stage_0", "stage_1"]
    assert records.store.due_stages(until=START + 9 * MINUTE, limit=2) == ["stage_0", "stage_1"]
    records.store.move_stage(stages[0], flip(stages[0]))
    records.store.move_stage(flip(stages[0]), done := finish(flip(stages[0]), now=START))
    assert records.store.due_stages(until=START + 9 * MINUTE, limit=10) == ["stage_1", "stage_2"]
    assert records.store.load_stage(stages[0].id) == done
    assert agenda(records.store) == set()


def test_job_on_a_stage_is_on_no_agenda_until_it_leaves(records: Records) -> None:
    [job] = staged(1)
    assert records.store.add_many([job]) == [True]
    assert agenda(records.store) == set()

    off = leave_stage(job, now=START + MINUTE, timing=TIMING)
    assert save(records.store, job, off) == Saved()
    assert read(records.store, job.id) == off
    assert (off.stage, off.looks, off.next_look) == (None, 1, START + MINUTE + TIMING.look_after)
    assert agenda(records.store) == {job.id}


def test_second_that_takes_a_job_off_its_stage_is_refused(records: Records) -> None:
    [job] = staged(1)
    records.store.add_many([job])
    first = leave_stage(job, now=START, timing=TIMING)
    assert save(records.store, job, first) == Saved()
    running = claimed(first)
    assert save(records.store, read(records.store, job.id), running) == Saved()

    result = save(records.store, job, leave_stage(job, now=START + MINUTE, timing=TIMING))
    assert isinstance(result, Outdated)
    assert result.current is not None
    assert result.current.stage is None
    assert read(records.store, job.id) == running


def test_aborted_stage_is_cleared_of_its_jobs_and_their_payloads_and_of_no_others(records: Records) -> None:
    stage = abort(a_stage(count=30), now=START)
    on_it = [*staged(2), *(put_on_stage(a_job("job_2", payload=LARGE), STAGE) for _ in range(1))]
    elsewhere = put_on_stage(a_job("job_3"), StageId("stage_2"))
    plain = a_job("job_4", payload=LARGE)
    assert records.store.add_many([*on_it, elsewhere]) == [True] * 4
    records.store.add(replace(plain, id=JobId("job_99")))

    assert records.store.clear_stage(stage) is True
    assert records.store.clear_stage(stage) is True
    found, _ = records.store.load_batch([JobId(f"job_{number}") for number in range(30)])
    assert set(found) == {"job_3"}
    assert records.store.load_payloads([replace(on_it[2], payload_apart=True)]) == {}
    assert records.store.load(JobId("job_99"), VENUE) is not None


def _abort(stage: Stage) -> Stage:
    return abort(stage, now=START)


# --- a broken wire


def test_keys_whose_reply_is_lost_are_ours_when_taken_again(dynamo: DynamoRecords, wire: Faults) -> None:
    wire.order("BatchExecuteStatement", wire.lose_reply)
    offered = [a_key(f"key_{number}", f"job_{number}") for number in range(30)]

    assert dynamo.store.take_keys(offered) == [False] * 25 + [True] * 5
    assert dynamo.store.take_key(offered[0]) is None


@pytest.mark.parametrize("fault", ["lose_reply", "lose_request", "fail"])
def test_jobs_nobody_answers_for_are_neither_added_nor_refused(
    dynamo: DynamoRecords, wire: Faults, fault: str
) -> None:
    wire.order("BatchExecuteStatement", getattr(wire, fault))

    assert dynamo.store.add_many(jobs(30)) == [None] * 25 + [True] * 5
    assert (dynamo.store.load(JobId("job_0"), None) is not None) == (fault == "lose_reply")


def test_record_is_not_written_before_its_payload_surely_is(dynamo: DynamoRecords, wire: Faults) -> None:
    offered = [a_job("job_0", payload=LARGE), a_job("job_1")]
    wire.order("BatchExecuteStatement", wire.lose_request)

    assert dynamo.store.add_many(offered) == [None, True]
    assert dynamo.item("job_0") is None
    assert dynamo.store.add_many(offered) == [True, False]


def test_flip_whose_reply_is_lost_is_unsure_and_recognised(dynamo: DynamoRecords, wire: Faults) -> None:
    stage = a_stage()
    dynamo.store.open_stage(stage)
    wire.order("PutItem", wire.lose_reply)

    with pytest.raises(StoreUnsure):
        dynamo.store.move_stage(stage, flip(stage))
    standing = dynamo.store.move_stage(stage, abort(stage, now=START))
    assert standing is not None
    assert standing.state is StageState.FLIPPED


def test_stage_is_not_called_clear_while_nobody_answers(dynamo: DynamoRecords, wire: Faults) -> None:
    dynamo.store.add_many(staged())
    stage = abort(a_stage(), now=START)
    wire.order("BatchExecuteStatement", wire.lose_request)

    assert dynamo.store.clear_stage(stage) is False
    assert dynamo.item("job_0") is not None
    assert dynamo.store.clear_stage(stage) is True
    assert dynamo.item("job_0") is None


def test_finished_stage_expires(dynamo: DynamoRecords) -> None:
    stage = flip(a_stage())
    dynamo.store.open_stage(a_stage())
    dynamo.store.move_stage(a_stage(), stage)
    open_item = dynamo.item(f"stage#{STAGE}")
    dynamo.store.move_stage(stage, finish(stage, now=START))
    item = dynamo.item(f"stage#{STAGE}")

    assert open_item is not None
    assert item is not None
    assert "expires_at" not in open_item
    assert item["expires_at"] == {"N": str(int((START + timedelta(days=7)).timestamp()))}


# --- what a batch costs


class OnAws:
    """The use cases of batches over the real adapters, and all calls that they make."""

    def __init__(self, dynamo: DynamoRecords, sqs: SqsQueues, wire: Faults, sqs_wire: Faults) -> None:
        self.store = dynamo.store
        self.clock = ManualClock()
        self._wires = (wire, sqs_wire)
        self._type = discover()["payment.process"]
        parts: dict[str, Any] = {
            "store": self.store,
            "queue": SqsJobQueue(sqs.client, sqs.urls, sqs.dead_letters),
            "clock": self.clock,
            "chance": SeededChance(),
            "journal": ListJournal(),
        }
        self.submit = Submit(**parts, registry=MemoryRegistry())
        self.together = SubmitTogether(**parts, registry=MemoryRegistry())
        self.dispatch = Dispatch(**parts, types=discover(), leases=dynamo.leases)

    def jobs(self, count: int = 100, **data: object) -> list[Submission]:
        return [
            Submission(
                job_type=self._type,
                data={**PAYMENT, "orderId": f"order-{number}", **data},
                venue_id=VENUE,
                user_id=None,
                submitted_by="service-1",
                priority=8,
                attempts=10,
                delay=timedelta(0),
                key=None,
                callback_url=None,
                batch_id="batch_01M86YH7Y9QZ8TYAHW9PZY7ZTZ",
                batch_index=number,
            )
            for number in range(count)
        ]

    @property
    def calls(self) -> dict[str, int]:
        """Return the calls since this was last asked for."""
        made = [call for wire in self._wires for call in wire.calls]
        for wire in self._wires:
            wire.calls.clear()
        return {name: made.count(name) for name in sorted(set(made))}


@pytest.fixture
def on_aws(on_ministack: DynamoRecords, on_sqs: SqsQueues) -> Iterator[OnAws]:
    with Faults(on_ministack.client, "dynamodb") as wire, Faults(on_sqs.client, "sqs") as sqs_wire:
        yield OnAws(on_ministack, on_sqs, wire, sqs_wire)


def test_hundred_new_jobs_cost_eighteen_calls(on_aws: OnAws) -> None:
    verdicts = on_aws.submit.submit_each(on_aws.jobs())

    assert [verdict.deduplicated for verdict in verdicts if isinstance(verdict, Accepted)] == [False] * 100
    assert on_aws.calls == {"BatchExecuteStatement": 8, "SendMessageBatch": 10}


def test_hundred_new_jobs_of_all_or_nothing_cost_twenty_four_calls(on_aws: OnAws) -> None:
    verdicts = on_aws.together.submit(on_aws.jobs())

    assert [verdict.deduplicated for verdict in verdicts] == [False] * 100
    assert on_aws.calls == {"BatchExecuteStatement": 12, "PutItem": 2, "SendMessageBatch": 10}
    assert {read(on_aws.store, verdict.job.id).stage for verdict in verdicts[:3]} == {None}


def test_one_job_costs_three_calls(on_aws: OnAws) -> None:
    on_aws.submit.submit(on_aws.jobs(1)[0])

    assert on_aws.calls == {"PutItem": 2, "SendMessageBatch": 1}


def test_payloads_above_a_kilobyte_cost_four_calls_more(on_aws: OnAws) -> None:
    on_aws.submit.submit_each(on_aws.jobs(description="x" * 2000))

    assert on_aws.calls == {"BatchExecuteStatement": 12, "SendMessageBatch": 10}


def test_finished_batch_costs_dispatch_four_calls(on_aws: OnAws) -> None:
    on_aws.together.submit(on_aws.jobs())
    assert on_aws.calls
    on_aws.dispatch.run(ends=on_aws.clock.now() + MINUTE)
    idle = sum(on_aws.calls.values())
    on_aws.clock.advance(2 * MINUTE)
    assert on_aws.dispatch.run(ends=on_aws.clock.now() + MINUTE).settled == 1

    assert sum(on_aws.calls.values()) - idle == 4  # the stage, its jobs (99 to a call), the end of it
    on_aws.dispatch.run(ends=on_aws.clock.now() + MINUTE)
    assert sum(on_aws.calls.values()) == idle


def test_job_of_a_batch_takes_a_kilobyte_at_most(dynamo: DynamoRecords) -> None:
    job = a_job(batch_id="batch_01M86YH7Y9QZ8TYAHW9PZY7ZTZ", batch_index=99)
    added(dynamo.store, put_on_stage(job, STAGE))
    item = dynamo.item(job.id)

    assert item is not None
    assert units(item) == 1


def test_changes_of_staged_jobs_are_one_call_per_twenty_five(dynamo: DynamoRecords, wire: Faults) -> None:
    many = staged(50)
    dynamo.store.add_many(many)
    wire.calls.clear()
    changes = [Change(job, leave_stage(job, now=START, timing=TIMING)) for job in many]

    assert dynamo.store.save_many(changes) == [Saved()] * 50
    assert wire.calls == ["BatchExecuteStatement"] * 2
