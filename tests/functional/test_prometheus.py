"""What reads GET /metrics: alert rules, scrape configuration and dashboard, each held to the names it gives."""

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # ships no types

from chalicelib import wiring
from chalicelib.domain.heartbeat import Every, Function
from chalicelib.domain.judging import LEAST_FINISHED, Thresholds
from chalicelib.domain.policies import Tier
from chalicelib.domain.stock import Account
from chalicelib.domain.tally import Depths, Flow
from local.options import ROOT
from tests.factories import a_stock
from tests.fakes import START
from tests.front import Front
from tests.functional.test_metrics_api import MINUTE, TOKEN, counted, samples, scraped
from tests.programs import program

PROMETHEUS, DASHBOARD = ROOT / "infra" / "prometheus", ROOT / "infra" / "grafana" / "dashboard.json"
NAME = r"[a-zA-Z_:][\w:]*"
GROUPED = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
SELECTOR = re.compile(rf"\b({NAME})\b(?:\{{([^}}]*)\}})?(?!\s*\()")
MATCHER = re.compile(rf'({NAME})\s*(=~|!~|!=|=)\s*"([^"]*)"')
OPERATORS = {"and", "or", "unless", "offset"}
ONE_OF = re.compile(r"[\w|/-]+")  # a regular expression that only lists

Given = Mapping[str, Mapping[str, set[str]]]  # the values of each label of each sample's name


@dataclass(frozen=True)
class Query:
    """An expression, and the labels that the texts beside it name."""

    where: str
    expression: str
    shown: tuple[str, ...]

    @property
    def grouped(self) -> set[str]:
        return {label.strip() for listed in GROUPED.findall(self.expression) for label in listed.split(",")}

    @property
    def selectors(self) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
        for name, matchers in SELECTOR.findall(GROUPED.sub("", self.expression)):
            if name not in OPERATORS:
                yield name, MATCHER.findall(matchers)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def targets() -> list[tuple[str, str, str]]:
    """The panel, expression and legend of every line that the dashboard draws."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [
        (panel["title"], each["expr"], each["legendFormat"]) for panel in panels for each in panel["targets"]
    ]


def queries() -> list[Query]:
    told = [(rule["alert"], rule["expr"], " ".join(rule["annotations"].values())) for rule in rules()]
    shown = re.compile(rf"\{{\{{\s*(?:\$labels\.)?({NAME})\s*\}}\}}")
    return [
        Query(where, expression, tuple(shown.findall(text))) for where, expression, text in told + targets()
    ]


@pytest.fixture(scope="module")
def text() -> Iterator[str]:
    """GET /metrics once everything has happened that is counted."""
    front = Front(environment={"METRICS_TOKEN": TOKEN})
    flows = {tier: Flow(depths=Depths(1, 1)) for tier in Tier}
    front.metrics.save_series(replace(counted(), minutes={START - MINUTE: flows}))
    for function in Function:
        front.leases.run_well(function, at=START)
    front.stock.save(Account(a_stock()))
    status, _, body = scraped(front, f"Bearer {TOKEN}")
    assert status == 200
    yield body.decode()
    wiring.install(None)


@pytest.fixture(scope="module")
def given(text: str) -> Given:
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, *labels in samples(text):
        for label, value in (each.split("=", 1) for each in labels):
            found[name][label].add(value)
    [job] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    return {**found, "up": {"job": {job["job_name"]}, "instance": set()}}  # which Prometheus itself gives


@pytest.mark.parametrize(
    "query",
    [pytest.param(query, id=query.where) for query in queries()],
)
def test_rules_and_dashboard_name_only_what_is_given(query: Query, given: Given) -> None:
    selectors = list(query.selectors)
    assert selectors
    for name, matchers in selectors:
        assert name in given, f"{name} is no metric"
        for label, operator, value in matchers:
            assert label in given[name], f"{name} has no {label}"
            if operator in ("=", "=~") and ONE_OF.fullmatch(value):
                assert set(value.split("|")) <= given[name][label], f"{name} never has this {label}"
    labels = {label for name, _ in selectors for label in given[name]}
    assert query.grouped | set(query.shown) <= labels


def test_a_rule_alerts_from_the_services_own_threshold_on() -> None:
    usual, of = Thresholds(), {rule["alert"]: re.sub(r"\s+", " ", rule["expr"]) for rule in rules()}
    depths = {tier.value: f"{tier.value.title()}QueueDeep" for tier in usual.depth}
    ages = {tier.value: f"{tier.value.title()}JobsOld" for tier in usual.age}
    for tier, most in usual.depth.items():
        assert of[depths[tier]].endswith(f'"{tier}-queue",status="queued"}}) > {most}')
    for tier, age in usual.age.items():
        assert of[ages[tier]].endswith(f'"{tier}-queue"}}) > {age.total_seconds():g}')
    assert of["MoneyDeadLetters"].endswith(f"> {usual.dead_letters}")
    silences = {
        Every.MINUTE: "FunctionSilent",
        Every.FIVE_MINUTES: "RecountSilent",
        Every.DAY: "CleanupSilent",
    }
    for every, silence in usual.silence.items():
        seconds = prod(int(each) for each in of[silences[every]].rpartition(">")[2].split("*"))
        assert seconds == silence.total_seconds()
    assert of["JobsFail"].endswith(f">= {LEAST_FINISHED}) > {usual.failure_percent / 100:g}")


def test_every_alert_says_how_bad_it_is_and_where_the_runbook_speaks_of_it() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (path, anchor in anchors) == ("docs/runbook.md", True), rule["alert"]


def test_the_dashboard_can_be_imported_anywhere() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    [variable] = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    sources = re.findall(r'"uid":\s*"([^"]*)"', json.dumps(dashboard["panels"]))
    assert set(sources) == {"${datasource}"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


class TestPromtool:
    """Debian's, on all that it can judge."""

    def run(self, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [program("promtool"), *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def test_the_metrics_leave_it_nothing_to_say(self, text: str) -> None:
        assert self.run("check", "metrics", given=text) == ""

    def test_each_alert_fires_above_its_threshold_and_not_at_it(self) -> None:
        assert "SUCCESS" in self.run("test", "rules", str(PROMETHEUS / "rules_test.yml"))
        tested = (PROMETHEUS / "rules_test.yml").read_text()
        fired = set(re.findall(r"alertname: (\w+)\s+exp_alerts:", tested))
        quiet = set(re.findall(r"alertname: (\w+)\}", tested))
        assert fired == quiet == {rule["alert"] for rule in rules()}

    def test_rules_and_the_scrape_configuration_are_sound(self, tmp_path: Path) -> None:
        for name in ("prometheus.yml", "rules.yml"):
            (tmp_path / name).write_text((PROMETHEUS / name).read_text())
        (tmp_path / "metrics-token").write_text(TOKEN)
        said = self.run("check", "config", str(tmp_path / "prometheus.yml"))
        assert said.count("SUCCESS") == 3, said

    def test_the_dashboards_expressions_are_promql(self, tmp_path: Path) -> None:
        drawn = [{"record": f"panel:{n}", "expr": expression} for n, (_, expression, _) in enumerate(targets())]
        path = tmp_path / "panels.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": drawn}]}))
        assert f"{len(drawn)} rules found" in self.run("check", "rules", str(path))
