"""What the API answers, counted: by route and method, at next to no cost, and read where Prometheus reads."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from chalice.app import Request, Response

from app import app
from chalicelib import wiring
from chalicelib.aws.metrics_store import _item
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.tally import BEYOND, HTTP_BUCKETS, Measure, Name, Series, folded
from chalicelib.http.docs import CHAPTERS
from chalicelib.http.traffic import counted
from chalicelib.service.traffic import LEAST, MOST_NAMES, NEVER_LATER, WRITTEN_AFTER, Traffic
from tests.contract.sizes import size
from tests.fakes import START, ListJournal, ManualClock, SeededChance
from tests.fakes_metrics import MemoryMetrics
from tests.front import Front
from tests.functional.test_jobs_api import BODY
from tests.functional.test_metrics_api import samples

SUBMIT, HEALTH = "POST /v1/jobs", "GET /health"
SECOND = timedelta(seconds=1)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def submit(front: Front, number: int) -> None:
    body = {**BODY, "data": {**BODY["data"], "orderId": f"order-{number}"}}
    assert front.post(body).status_code == 201


def written(front: Front) -> dict[Name, int]:
    total: dict[Name, int] = {}
    for counts in front.metrics.minutes.values():
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total


def test_a_thousand_jobs_accepted_within_a_minute_cost_no_write(front: Front) -> None:
    for number in range(1_000):
        submit(front, number)
        front.clock.advance(timedelta(milliseconds=59))
    assert front.metrics.writes == 0


def test_over_ten_minutes_a_write_is_for_ten_answers_and_more_and_none_of_them_is_lost(front: Front) -> None:
    for number in range(300):
        submit(front, number)
        front.clock.advance(2 * SECOND)
    assert 5 <= front.metrics.writes <= 30
    told = written(front)
    assert 300 - 31 <= told[Name(Measure.ANSWERED, SUBMIT, "201")] < 300, "the last ones wait for the next"
    assert (
        sum(n for name, n in told.items() if name.measure is Measure.ANSWERED_IN)
        == told[Name(Measure.ANSWERED, SUBMIT, "201")]
    )


def test_few_answers_are_written_with_the_next_one_after_five_minutes(front: Front) -> None:
    front.get("/v1/jobs/job_1")
    front.clock.advance(NEVER_LATER - SECOND)
    front.get("/v1/jobs/job_2")
    assert front.metrics.writes == 0
    front.clock.advance(SECOND)
    front.get("/v1/jobs/job_3")
    assert front.metrics.writes == 1
    assert written(front)[Name(Measure.ANSWERED, "GET /v1/jobs/{job_id}", "404")] == 3, "one route, not three"


def test_a_write_that_fails_costs_no_answer(front: Front) -> None:
    front.metrics.fails = StoreRefused()
    submit(front, 1)
    front.clock.advance(NEVER_LATER)
    submit(front, 2)
    assert front.metrics.writes == 1
    assert front.journal.actions().count("answers_not_counted") == 1


def test_who_asks_for_health_waits_for_no_write(front: Front) -> None:
    submit(front, 1)
    front.clock.advance(NEVER_LATER)
    for path in ("/health", "/ready"):
        front.client.http.get(path)
    assert front.metrics.writes == 0
    submit(front, 2)
    assert written(front)[Name(Measure.ANSWERED, HEALTH, "200")] == 1


def test_what_no_route_knows_makes_no_names_of_its_own(front: Front) -> None:
    asked: dict[str, Any] = {
        "headers": {},
        "multiValueHeaders": {},
        "multiValueQueryStringParameters": None,
        "pathParameters": {},
        "stageVariables": None,
        "isBase64Encoded": False,
        "body": None,
    }
    for method, route in (("BREW", "/v1/jobs"), ("GET", "/v1/secret-of-a-person"), ("OPTIONS", "/v1/jobs")):
        request = Request({**asked, "requestContext": {"httpMethod": method, "resourcePath": route}})
        counted(request, lambda _: Response("", status_code=404))
    app({"requestContext": {}}, None)
    front.clock.advance(NEVER_LATER)
    submit(front, 1)
    assert {name.subject for name in written(front)} == {
        "other /v1/jobs",
        "GET unmatched",
        "OPTIONS preflight",
        "other unmatched",
        SUBMIT,
    }


def test_prometheus_reads_them(front: Front) -> None:
    slow = front.store.add

    def add(*args: Any, **more: Any) -> Any:
        front.clock.advance(timedelta(milliseconds=300))
        return slow(*args, **more)

    front.store.add = add  # type: ignore[method-assign]  # a store that takes its time
    for number in range(LEAST):
        submit(front, number)
    front.clock.advance(WRITTEN_AFTER)
    front.get("/v1/jobs/job_1")
    [(minute, counts)] = front.metrics.minutes.items()
    front.metrics.save_series(folded(Series(until=minute), counts, {}, {}))
    read = samples(front.get("/metrics", token=front.token("admin", venue=None)).body.decode())
    of = ("method=POST", "route=/v1/jobs")
    assert read["http_requests_total", *of, "status=201"] == LEAST
    buckets = [read["http_request_duration_seconds_bucket", "le=" + le, *of] for le in ("0.25", "0.5", "+Inf")]
    assert buckets == [0, LEAST, LEAST]
    assert read["http_request_duration_seconds_sum", *of] == pytest.approx(0.3 * LEAST)


def test_more_names_than_a_write_holds_wait_for_the_next() -> None:
    metrics, clock = MemoryMetrics(), ManualClock()
    traffic = Traffic(metrics, clock=clock, chance=SeededChance(), journal=ListJournal())
    for number in range(MOST_NAMES):
        traffic.count("GET", f"/{number}", 200, SECOND, may_write=False)
    for _ in range(4):
        clock.advance(NEVER_LATER)
        traffic.count("GET", "/0", 200, SECOND, may_write=True)
    writes = list(metrics.minutes.values())
    assert [len(counts) for counts in writes[:3]] == [MOST_NAMES] * 3
    requests = [n for each in writes for name, n in each.items() if name.measure is Measure.ANSWERED]
    assert sum(requests) == MOST_NAMES + 4


def test_all_routes_at_their_worst_leave_the_series_far_from_what_an_item_holds() -> None:
    buckets = [*(f"{bound:g}" for bound in HTTP_BUCKETS), BEYOND]
    asked = [f"{method} {route}" for operations, _ in CHAPTERS for method, route in operations]
    totals = {
        name: 10**9
        for each in asked
        for name in (
            *(Name(Measure.ANSWERED, each, str(status)) for status in range(400, 410)),
            *(Name(Measure.ANSWERED_IN, each, bucket) for bucket in buckets),
            Name(Measure.ANSWERING, each),
        )
    }
    assert size(_item(Series(until=START, totals=totals))) < 100 * 1024
