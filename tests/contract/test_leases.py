"""The contracts of ports.Leases and heartbeat.Heartbeats, on the fake and on every real backend."""

from datetime import timedelta

from chalicelib.domain.heartbeat import Beat, Function
from tests.contract.backends import DynamoRecords, Faults, Records
from tests.fakes import START

MINUTE = timedelta(minutes=1)


def test_lease_in_force_is_nobody_elses(records: Records) -> None:
    assert records.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)

    assert not records.leases.take("dispatch", "run_2", now=START + MINUTE * 0.99, until=START + 2 * MINUTE)
    assert records.leases.take("monitor", "run_2", now=START, until=START + MINUTE)


def test_lease_that_has_run_out_is_taken(records: Records) -> None:
    records.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)

    assert records.leases.take("dispatch", "run_2", now=START + MINUTE, until=START + 2 * MINUTE)
    assert not records.leases.take("dispatch", "run_1", now=START + MINUTE, until=START + 2 * MINUTE)


def test_owner_prolongs_its_lease(records: Records) -> None:
    records.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)

    assert records.leases.take("dispatch", "run_1", now=START, until=START + 2 * MINUTE)
    assert not records.leases.take("dispatch", "run_2", now=START + MINUTE, until=START + 2 * MINUTE)


def test_lease_given_back_is_free(records: Records) -> None:
    records.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)
    records.leases.give_back("dispatch", "run_1")

    assert records.leases.take("dispatch", "run_2", now=START, until=START + MINUTE)


def test_lease_is_given_back_by_its_owner_alone(records: Records) -> None:
    records.leases.give_back("dispatch", "run_1")
    records.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)
    records.leases.give_back("dispatch", "run_2")

    assert not records.leases.take("dispatch", "run_2", now=START, until=START + MINUTE)


def test_a_run_that_ended_well_gives_its_lease_back_and_leaves_a_heartbeat(records: Records) -> None:
    records.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)
    records.leases.end_run("dispatch", "run_1", well_at=START)

    assert records.leases.take("dispatch", "run_2", now=START, until=START + MINUTE)
    assert records.leases.beats() == {
        function: Beat(START if function is Function.DISPATCH else None) for function in Function
    }


def test_a_run_that_failed_leaves_the_heartbeat_before(records: Records) -> None:
    for owner, well_at in (("run_1", START), ("run_2", None)):
        assert records.leases.take("dispatch", owner, now=START, until=START + MINUTE)
        records.leases.end_run("dispatch", owner, well_at=well_at)

    assert records.leases.take("dispatch", "run_3", now=START, until=START + MINUTE)
    assert records.leases.beats()[Function.DISPATCH] == Beat(START)


def test_a_run_whose_lease_another_has_leaves_no_heartbeat(records: Records) -> None:
    records.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)
    records.leases.take("dispatch", "run_2", now=START + MINUTE, until=START + 2 * MINUTE)
    records.leases.end_run("dispatch", "run_1", well_at=START + MINUTE)

    assert records.leases.beats()[Function.DISPATCH] == Beat()
    assert not records.leases.take("dispatch", "run_3", now=START + MINUTE, until=START + 2 * MINUTE)


def test_a_function_that_never_ran_is_missed_from_the_first_time_until_it_runs(records: Records) -> None:
    for n in range(2):
        records.leases.miss(Function.CLEANUP, START + n * MINUTE)
    assert records.leases.beats()[Function.CLEANUP] == Beat(None, START)

    records.leases.take("cleanup", "run_1", now=START, until=START + MINUTE)
    assert records.leases.beats()[Function.CLEANUP] == Beat(None, START)
    records.leases.end_run("cleanup", "run_1", well_at=START + MINUTE)
    records.leases.miss(Function.CLEANUP, START + 2 * MINUTE)
    assert records.leases.beats()[Function.CLEANUP] == Beat(START + MINUTE)


def test_a_heartbeat_costs_no_write_and_all_of_them_one_read(dynamo: DynamoRecords, wire: Faults) -> None:
    dynamo.leases.take("dispatch", "run_1", now=START, until=START + MINUTE)
    dynamo.leases.end_run("dispatch", "run_1", well_at=START)
    dynamo.leases.beats()
    assert wire.calls == ["UpdateItem", "UpdateItem", "BatchGetItem"]


def test_a_lease_given_back_leaves_nothing(dynamo: DynamoRecords) -> None:
    dynamo.leases.take("operation/1", "run_1", now=START, until=START + MINUTE)
    dynamo.leases.give_back("operation/1", "run_1")
    assert dynamo.client.scan(TableName=dynamo.tables.queue_controls)["Items"] == []
