"""The contract of ports.Leases, on the fake and on every real backend."""

from datetime import timedelta

from tests.contract.backends import Records
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
