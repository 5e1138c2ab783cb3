"""What each function tells CloudWatch: lines in its log, in the embedded metric format, of few metrics."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from chalice.app import ScheduledEventConfig

from app import app
from chalicelib import wiring
from chalicelib.domain.alerting import Channel
from chalicelib.domain.emission import figure, figures_of
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.policies import Tier
from chalicelib.domain.tally import BUCKETS, RESULTS, Measure, Name, answered
from chalicelib.http.docs import CHAPTERS
from chalicelib.jobtypes import discover
from chalicelib.observability import EmbeddedMetrics
from chalicelib.service.execute import Execute
from chalicelib.service.monitor import Monitor
from chalicelib.service.traffic import NEVER_LATER
from chalicelib.worker import FunctionFailed
from tests.front import Front
from tests.functional.test_functions import TICK, Both, Context, consume
from tests.functional.test_jobs_api import BODY, MAIL

Told = dict[tuple[str, ...], float]


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front(emitter=EmbeddedMetrics("test"), providers=Both())
    wiring.install(None)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], Told]:
    """Return what was told since it was asked last, once each line has been held to the format."""
    return lambda: read(capsys.readouterr().out.splitlines())


def read(lines: list[str]) -> Told:
    found: Told = {}
    for document in map(json.loads, lines):
        [directive] = document["_aws"]["CloudWatchMetrics"]
        [labels] = directive["Dimensions"]
        said = {label: document[label] for label in labels}
        assert said.pop("stage") == "test"
        for metric in directive["Metrics"]:
            [value] = document[metric["Name"]]
            key = (metric["Name"], *(f"{name}={value_of}" for name, value_of in sorted(said.items())))
            assert key not in found
            found[key] = value
        assert_valid(document)
    return found


def assert_valid(document: dict[str, Any]) -> None:
    """Hold a line to the format's specification, and what is in it to CloudWatch's model of its own API."""
    [directive] = document["_aws"]["CloudWatchMetrics"]
    assert type(document["_aws"]["Timestamp"]) is int
    assert 10**12 < document["_aws"]["Timestamp"] < 10**13, "milliseconds"
    assert directive["Namespace"] == "QueueService"
    assert 1 <= len(directive["Metrics"]) <= 100
    [labels] = directive["Dimensions"]
    assert len(set(labels)) == len(labels) <= 30
    model = get_session().get_service_model("cloudwatch")
    units = model.shape_for("StandardUnit").enum
    assert document.keys() == {"_aws", *labels, *(metric["Name"] for metric in directive["Metrics"])}
    for metric in directive["Metrics"]:
        assert metric["Unit"] in units
        sent = {
            "Namespace": directive["Namespace"],
            "MetricData": [
                {
                    "MetricName": metric["Name"],
                    "Dimensions": [{"Name": label, "Value": document[label]} for label in labels],
                    "Values": document[metric["Name"]],
                    "Unit": metric["Unit"],
                }
            ],
        }
        problems = ParamValidator().validate(sent, model.shape_for("PutMetricDataInput"))
        assert not problems.has_errors(), problems.generate_report()
        assert len(document[metric["Name"]]) <= 100
        names = (metric["Name"], *labels)
        assert all(each.isascii() and not each.startswith(":") for each in names)


def run(function: str) -> None:
    app.handler_map[function](TICK, Context())


def test_a_consumer_tells_what_its_batch_came_to(front: Front, told: Callable[[], Told]) -> None:
    for number in range(3):
        front.post({**BODY, "data": {**BODY["data"], "orderId": f"order-{number}"}})
    assert told() == {}, "accepting a job tells of nothing"
    consume(front, "money-queue")
    queue = "queue_name=money-queue"
    assert told() == {
        ("job_results_total", "job_type=payment.process", queue, "result=success"): 3,
        ("job_processing_duration_seconds_count", queue): 3,
        ("job_processing_duration_seconds_sum", queue): 0,
    }
    consume(front, "money-queue")
    assert told() == {}, "an empty batch tells of nothing"


def test_what_the_table_does_not_take_is_told_all_the_same(front: Front, told: Callable[[], Told]) -> None:
    front.post(MAIL)
    front.metrics.fails = StoreRefused()
    consume(front, "communication-queue")
    assert any(name == "job_results_total" for name, *_ in told())


def test_the_api_tells_of_its_answers_when_it_writes_them(front: Front, told: Callable[[], Told]) -> None:
    front.post(BODY)
    front.get("/v1/jobs/nobody-s")
    front.clock.advance(NEVER_LATER)
    front.get("/v1/jobs/nobody-s")
    assert told() == {
        ("http_requests_total", "status=201"): 1,
        ("http_requests_total", "status=404"): 2,
        ("http_request_duration_seconds_count",): 3,
        ("http_request_duration_seconds_sum",): 0,
    }


def test_the_monitor_tells_what_it_sees_and_whom_it_told(front: Front, told: Callable[[], Told]) -> None:
    run("monitor")
    told()
    front.post(BODY)
    front.clock.advance(timedelta(minutes=16))
    run("dispatch")
    front.clock.advance(timedelta(minutes=1))
    told()
    run("monitor")
    seen = told()
    assert seen["queue_depth", "queue_name=money-queue", "status=queued"] >= 1
    assert seen["oldest_job_age_seconds", "queue_name=money-queue"] == 17 * 60
    assert seen["rate_limit_tokens", "provider=stripe"] > 0
    assert seen["rate_limit_in_flight", "provider=stripe"] == 0
    assert not any("provider=square" in labels for _, *labels in seen), "nobody calls it"
    for channel in (Channel.LOG, Channel.SMS):
        of = (f"channel={channel}", "severity=critical", "type=queue_age")
        assert seen["alerts_sent_total", *of] == 1
    assert seen["function_runs", "function=monitor", "result=success"] == 1
    assert seen["monitor_minutes",] == 17


@pytest.mark.parametrize(
    "function", [each.name for each in app.event_sources if isinstance(each, ScheduledEventConfig)]
)
def test_every_scheduled_function_tells_how_it_ended(
    front: Front, told: Callable[[], Told], function: str
) -> None:
    run(function)
    assert told()["function_runs", f"function={function}", "result=success"] == 1
    assert told() == {}


def test_a_run_that_fails_or_finds_another_at_it_says_so(
    front: Front, told: Callable[[], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = front.clock.now()
    front.leases.take("monitor", "another", now=now, until=now + timedelta(minutes=1))
    run("monitor")
    assert told()["function_runs", "function=monitor", "result=elsewhere"] == 1
    monkeypatch.setattr(Monitor, "run", lambda *_, **__: 1 / 0)
    with pytest.raises(FunctionFailed):
        run("monitor")
    assert told() == {("function_runs", "function=monitor", "result=failure"): 1}


def test_limits_that_cannot_be_read_fail_no_run(
    front: Front, told: Callable[[], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise StoreRefused

    monkeypatch.setattr(front.limiter, "buckets", refuse)
    run("monitor")
    seen = told()
    assert seen["function_runs", "function=monitor", "result=success"] == 1
    assert not any(name.startswith("rate_limit") for name, *_ in seen)
    assert "limits_not_seen" in front.journal.actions()


def test_figures_that_cannot_be_told_fail_no_answer_batch_or_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_off(*_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(EmbeddedMetrics, "emit", break_off)
    front = Front(emitter=EmbeddedMetrics("test"), providers=Both())
    front.post(BODY)
    assert consume(front, "money-queue") == []
    front.clock.advance(NEVER_LATER)
    assert front.post(MAIL).status_code == 201
    run("dispatch")
    assert front.journal.actions().count("figures_not_told") == 3
    wiring.install(None)


def test_nothing_is_told_and_nothing_stands_in_between_when_it_is_switched_off(
    told: Callable[[], Told],
) -> None:
    front = Front(providers=Both())
    made = wiring.service()
    front.post(BODY)
    consume(front, "money-queue")
    run("monitor")
    assert told() == {}
    assert isinstance(made.execute, Execute)
    assert made.execute._metrics is front.metrics
    assert made.watch.monitor._backlog is front.backlog
    wiring.install(None)


def test_routes_and_buckets_make_no_more_metrics_and_job_types_three_each() -> None:
    tiers = {name: job_type.tier for name, job_type in discover().items()}
    counts: dict[Name, int] = {}
    for operations, _ in CHAPTERS:
        for method, route in operations:
            for status in (200, 404):
                counts |= answered(method, route, status, timedelta(seconds=status))
    for kind in tiers:
        counts |= {Name(measure, kind): 1 for measure in (*RESULTS, Measure.MILLISECONDS, Measure.BEGUN)}
        counts |= {Name(Measure.TOOK, kind, f"{bound:g}"): 1 for bound in BUCKETS}
    figures = figures_of(counts, tiers)
    assert len(figures) == 2 + 2 + len(tiers) * len(RESULTS) + 2 * len(Tier)
    attempts = figure("job_processing_duration_seconds_count", queue_name="background-queue")
    assert figures[attempts] == list(tiers.values()).count(Tier.BACKGROUND) * len(BUCKETS)
    assert figures_of({Name(Measure.SUCCESS, "no.more"): 1}, tiers) == {
        figure("job_results_total", queue_name="unknown", job_type="no.more", result="success"): 1
    }
