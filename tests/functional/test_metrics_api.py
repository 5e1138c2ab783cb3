"""The figures over HTTP: what consumers counted and the monitor added up, as people and Prometheus read it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chalicelib import wiring
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.heartbeat import Function
from chalicelib.domain.policies import Tier
from chalicelib.domain.stock import Account
from chalicelib.domain.tally import Depths, Flow, Measure, Name, Results, Series, answered
from chalicelib.http.prometheus import CONTENT_TYPE
from tests.factories import a_stock
from tests.fakes import START
from tests.front import Front

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TOKEN = "a-scraper-s-own-token-of-32-bytes-at-least"
PAYMENT, MAIL = "payment.process", "email.send"


def counted() -> Series:
    """An hour in which little happened: ten minutes at five a minute, and failures two hours ago."""
    flow = {Tier.MONEY: Flow(begun=6, success=4, failure=1, refused=2, retried=3, depths=Depths(30, 5))}
    return Series(
        until=START,
        totals={
            Name(Measure.SUCCESS, PAYMENT): 40,
            Name(Measure.FAILURE, PAYMENT): 10,
            Name(Measure.REFUSED, MAIL): 7,
            Name(Measure.TOOK, PAYMENT, "0.1"): 20,
            Name(Measure.TOOK, PAYMENT, "1"): 30,
            Name(Measure.TOOK, PAYMENT, "inf"): 1,
            Name(Measure.MILLISECONDS, PAYMENT): 12_345,
            Name(Measure.ALERTED, "queue_age", "critical#phone"): 3,
            **answered("POST", "/v1/jobs", 201, timedelta(seconds=0.1)),
            **answered("POST", "/v1/jobs/batch", 503, timedelta(seconds=9)),
        },
        minutes={
            START - n * MINUTE: {Tier.MONEY: Flow(depths=Depths(10 * n, n))} if n > 10 else flow
            for n in (20, *range(1, 11))
        },
        hours={
            START - 2 * HOUR: {PAYMENT: Results(30, 10, 0), MAIL: Results(0, 0, 7)},
            START - HOUR: {PAYMENT: Results(10, 0, 0)},
        },
    )


@pytest.fixture
def front() -> Iterator[Front]:
    made = Front(environment={"METRICS_TOKEN": TOKEN})
    made.metrics.save_series(counted())
    yield made
    wiring.install(None)


def see(front: Front, path: str) -> Any:
    answer = front.get(path, token=front.token("admin", venue=None))
    assert answer.status_code == 200
    return answer.json_body


def scraped(front: Front, authorization: str) -> tuple[int, str, bytes]:
    answer = front.client.http.get("/metrics", headers={"Authorization": authorization})
    return answer.status_code, answer.headers["Content-Type"], answer.body


def samples(text: str) -> dict[tuple[str, ...], float]:
    """What a scraper reads: by name and labels."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_last_hour_by_queue(front: Front) -> None:
    summary = see(front, "/v1/metrics/summary")
    assert summary["until"] == "2026-03-01T12:00:00.000Z"
    money, mail, _ = summary["queues"]
    assert money == {
        "queue": "money",
        "waiting": {"average": round(500 / 11, 2), "highest": 200},
        "active": {"average": round(70 / 11, 2), "highest": 20},
        "failed": {"average": round(10 / 11, 2), "highest": 1, "total": 10},
        "refused": 20,
        "completed": 40,
        "retried": 30,
        "parked": 0,
        "standing": None,
    }
    assert (summary["money"], summary["countedAt"]) == (None, None)
    assert mail["waiting"] == {"average": None, "highest": None}, "nothing was measured"


def test_the_last_hour_minute_by_minute_leaves_none_out(front: Front) -> None:
    minutes = see(front, "/v1/metrics/throughput")["minutes"]
    assert len(minutes) == 60
    assert (minutes[0]["at"], minutes[-1]["at"]) == ("2026-03-01T11:00:00.000Z", "2026-03-01T11:59:00.000Z")
    flow = {"begun": 6, "completed": 4, "failed": 1, "refused": 2, "retried": 3}
    assert [each["queues"]["money"] for each in minutes[-10:]] == [flow] * 10
    assert {sum(each["queues"]["money"].values()) for each in minutes[:-10]} == {0}
    assert {sum(each["queues"]["background"].values()) for each in minutes} == {0}


def test_the_last_day_hour_by_hour_and_what_failed_most(front: Front) -> None:
    failures = see(front, "/v1/metrics/failures")
    assert len(failures["hours"]) == 24
    assert failures["hours"][-2] == {
        "at": "2026-03-01T10:00:00.000Z",
        "completed": 30,
        "failed": 10,
        "refused": 7,
        "failureRate": 0.25,
    }
    assert failures["hours"][0]["failureRate"] is None
    assert failures["types"] == [
        {
            "type": PAYMENT,
            "queue": "money",
            "completed": 40,
            "failed": 10,
            "refused": 0,
            "failureRate": 0.2,
        },
        {
            "type": MAIL,
            "queue": "communication",
            "completed": 0,
            "failed": 0,
            "refused": 7,
            "failureRate": None,
        },
    ]


def test_a_summary_tells_what_stands_as_consumers_have_moved_it_since_it_was_counted(front: Front) -> None:
    base = {Tier.MONEY: {Measure.FAILURE: 8}}  # two of its ten failed since
    front.stock.save(Account(a_stock(base=base, money={"JPY": 5, "EUR": 3})))
    summary = see(front, "/v1/metrics/summary")
    assert [each["standing"] for each in summary["queues"]] == [
        {"scheduled": 3, "retrying": 3, "parked": 3, "failed": 5},
        *[{"scheduled": 3, "retrying": 3, "parked": 3, "failed": 3}] * 2,
    ]
    assert summary["money"] == [{"currency": "EUR", "amount": 3}, {"currency": "JPY", "amount": 5}]
    assert summary["countedAt"] == "2026-03-01T12:00:00.000Z"


def test_before_anything_was_counted_there_is_nothing_and_no_error() -> None:
    front = Front()
    assert see(front, "/v1/metrics/summary")["queues"][0]["completed"] == 0
    assert see(front, "/v1/metrics/failures")["types"] == []
    wiring.install(None)


def test_each_scheduled_function_tells_when_it_last_ended_well(front: Front) -> None:
    ages = {Function.DISPATCH: 5 * MINUTE, Function.MONITOR: 6 * MINUTE, Function.CLEANUP: 25 * HOUR}
    for function, age in ages.items():
        front.leases.run_well(function, at=START - age)
    front.leases.miss(Function.RUN_OPERATIONS, START - 6 * MINUTE)
    told = {each["name"]: each for each in see(front, "/v1/metrics/summary")["functions"]}
    assert {name: each["status"] for name, each in told.items()} == {
        "dispatch": "ok",
        "run_schedules": "never",
        "run_operations": "late",
        "monitor": "late",
        "recount": "never",
        "cleanup": "ok",
    }
    assert told["dispatch"]["lastRunAt"] == "2026-03-01T11:55:00.000Z"
    assert told["run_operations"]["lastRunAt"] is None


def test_a_queue_tells_its_rates_and_when_it_is_drained(front: Front) -> None:
    for order in range(14):
        data = {"orderId": f"order-{order}", "amount": 100, "currency": "EUR", "customerId": "cus_1"}
        front.post({"type": PAYMENT, "data": {**data, "eventId": "e", "paymentMethod": "pm_1"}})
    queue = see(front, "/v1/queues/money")
    assert (queue["begunPerMinute"], queue["endedPerMinute"]) == (6.0, 7.0)
    assert queue["drainSeconds"] == 120, "fourteen at seven a minute"


class TestPrometheus:
    def test_a_scraper_reads_every_metric_by_its_name(self, front: Front) -> None:
        front.post({"type": MAIL, "data": {"to": "a@b.c", "template": "refund_notice", "data": {}}})
        front.leases.run_well("dispatch", at=START - MINUTE)
        status, kind, body = scraped(front, f"Bearer {TOKEN}")
        assert (status, kind) == (200, CONTENT_TYPE)
        read = samples(body.decode())
        of = ("job_type=payment.process", "queue_name=money-queue")
        assert read["job_results_total", *of, "result=success"] == 40
        assert read["job_results_total", *of, "result=failure"] == 10
        none_yet = ("job_type=ticket.mint", "queue_name=money-queue")
        assert read["job_results_total", *none_yet, "result=failure"] == 0, "or the first would be no increase"
        refused = ("job_type=email.send", "queue_name=communication-queue", "result=refused")
        assert read["job_results_total", *refused] == 7
        assert read["queue_depth", "queue_name=money-queue", "status=queued"] == 30
        assert read["queue_depth", "queue_name=money-queue", "status=running"] == 5
        assert read["oldest_job_age_seconds", "queue_name=money-queue"] == 0
        assert read["rate_limit_tokens", "provider=stripe"] == 50
        assert read["rate_limit_in_flight", "provider=stripe"] == 0
        ran = "scheduled_function_last_run_timestamp_seconds"
        assert {key: value for key, value in read.items() if key[0] == ran} == {
            (ran, "function=dispatch"): (START - MINUTE).timestamp()
        }, "one that never ran has none"
        assert read["alerts_sent_total", "channel=phone", "severity=critical", "type=queue_age"] == 3

    def test_a_depth_is_told_for_every_state_once_it_was_counted(self, front: Front) -> None:
        of = "queue_name=money-queue"
        before = samples(scraped(front, f"Bearer {TOKEN}")[2].decode())
        assert ("queue_depth", of, "status=parked") not in before
        assert ("failed_jobs", of) not in before, "nobody has counted them"
        front.stock.save(Account(a_stock(base={Tier.MONEY: {Measure.FAILURE: 8}})))
        read = samples(scraped(front, f"Bearer {TOKEN}")[2].decode())
        states = ("queued", "running", "scheduled", "retrying", "parked")
        assert [read["queue_depth", of, f"status={state}"] for state in states] == [30, 5, 3, 3, 3]
        assert read["failed_jobs", of] == 5
        assert read["failed_jobs", "queue_name=background-queue"] == 3

    def test_durations_are_a_histogram_that_only_rises(self, front: Front) -> None:
        read = samples(scraped(front, f"Bearer {TOKEN}")[2].decode())
        name, of = "job_processing_duration_seconds", ("job_type=payment.process",)
        bounds = ["0.1", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0", "60.0", "+Inf"]
        buckets = [read[f"{name}_bucket", *of, f"le={le}", "queue_name=money-queue"] for le in bounds]
        assert buckets == [20, 20, 50, 50, 50, 50, 50, 50, 51]
        assert read[f"{name}_count", *of, "queue_name=money-queue"] == 51
        assert read[f"{name}_sum", *of, "queue_name=money-queue"] == 12.345

    def test_an_administrator_reads_them_too_and_nobody_else(self, front: Front) -> None:
        assert scraped(front, f"Bearer {front.token('admin', venue=None)}")[0] == 200
        assert scraped(front, f"Bearer {front.token('service')}")[0] == 403
        assert scraped(front, f"Bearer {TOKEN}x")[0] == 401
        assert scraped(front, "Bearer ")[0] == 401

    def test_without_a_token_of_its_own_a_scraper_is_not_let_in(self) -> None:
        front = Front()
        assert scraped(front, "Bearer None")[0] == 401
        assert scraped(front, f"Bearer {TOKEN}")[0] == 401
        wiring.install(None)

    def test_figures_that_cannot_be_read_are_a_503(self, front: Front) -> None:
        front.metrics.fails = StoreRefused()
        assert scraped(front, f"Bearer {TOKEN}")[0] == 503
