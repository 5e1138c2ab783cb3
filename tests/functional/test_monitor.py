"""The monitor over the fakes: every minute is added up once, in order, whatever fails in between."""

from collections import Counter
from datetime import timedelta

import pytest

from chalicelib.domain.alerting import COOLDOWN, Severity
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Message
from chalicelib.domain.tally import Depths, Measure, Name, Series
from chalicelib.service.monitor import LATE, Monitored
from tests.fakes import START
from tests.functional.watch import Watch

MINUTE = timedelta(minutes=1)
PAID = Name(Measure.SUCCESS, "payment.process")


@pytest.fixture
def watch() -> Watch:
    made = Watch()
    made.clock.advance(LATE)
    made.run()  # since when there is a series
    return made


def test_a_minute_is_added_up_once_it_is_over_for_everybody(watch: Watch) -> None:
    watch.count({PAID: 3})
    watch.clock.advance(MINUTE - timedelta(milliseconds=1))
    assert watch.run() == Monitored(True, 0, 0)
    watch.clock.advance(timedelta(milliseconds=1))
    assert watch.run() == Monitored(True, 1, 3)
    assert watch.run() == Monitored(True, 0, 0)
    assert watch.series.totals == {PAID: 3}
    assert watch.series.until == START + MINUTE


def test_minutes_that_were_missed_are_added_up_in_order_and_only_the_last_has_depths(watch: Watch) -> None:
    for count in (1, 2, 3):
        watch.count({PAID: count})
        watch.clock.advance(MINUTE)
    watch.queue.send([Message(JobId(f"job_{n}"), VenueId("v"), Tier.MONEY, Lane.MAIN) for n in range(5)])
    assert watch.run() == Monitored(True, 3, 6)
    flows = [watch.series.minutes[START + n * MINUTE][Tier.MONEY] for n in range(3)]
    assert [flow.success for flow in flows] == [1, 2, 3]
    assert [flow.depths for flow in flows] == [None, None, Depths(5, 0)]


def test_two_monitors_at_once_add_a_minute_up_once(watch: Watch) -> None:
    watch.count({PAID: 3})
    watch.clock.advance(MINUTE)
    watch.leases.take("monitor", "another", now=watch.clock.now(), until=watch.clock.now() + MINUTE)
    assert watch.run() == Monitored(ran=False)
    watch.leases.give_back("monitor", "another")
    assert watch.run() == Monitored(True, 1, 3)


def test_one_whose_lease_ran_out_overwrites_nothing(watch: Watch) -> None:
    watch.count({PAID: 3})
    watch.clock.advance(MINUTE)
    read = watch.metrics.series

    def overtaken() -> Series | None:
        stale = read()
        assert stale is not None
        assert watch.metrics.save_series(Series(stale.until + MINUTE, {PAID: 3}, version=stale.version))
        return stale

    watch.metrics.series = overtaken  # type: ignore[method-assign]  # another run saves in between
    assert watch.run() == Monitored(ran=False)
    assert watch.series.totals == {PAID: 3}


def test_a_store_that_does_not_answer_costs_nothing_but_time(watch: Watch) -> None:
    watch.count({PAID: 3})
    watch.clock.advance(MINUTE)
    watch.metrics.fails = StoreRefused()
    with pytest.raises(StoreRefused):
        watch.run()
    watch.metrics.fails = None
    assert watch.run() == Monitored(True, 1, 3)


def test_queues_that_do_not_answer_leave_the_depths_out_and_say_so(watch: Watch) -> None:
    watch.count({PAID: 3})
    watch.clock.advance(MINUTE)
    watch.backlog.down = True
    assert watch.run() == Monitored(True, 1, 3)
    assert watch.series.minutes[START][Tier.MONEY].depths is None
    assert Counter(watch.journal.actions())["depth_unknown"] == len(Tier)


def test_a_run_costs_the_same_however_much_waits_and_however_late_it_is(watch: Watch) -> None:
    costs = []
    for waiting in (10**3, 10**5):
        watch.wait_money(waiting)
        watch.clock.advance(MINUTE)
        before = watch.calls
        watch.run()
        costs.append(watch.calls - before)
        watch.clock.advance(COOLDOWN[Severity.CRITICAL])
    assert costs[0] == costs[1]
