"""A real Prometheus over a running stack, with the scrape configuration and rules of infra/prometheus."""

import re
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import yaml  # type: ignore[import-untyped] # ships no types

from local.options import ROOT
from local.rest import Client
from tests.e2e.stacks import PATIENCE
from tests.programs import program

INFRA = ROOT / "infra" / "prometheus"
LISTENS = re.compile(r'msg="?Listening on"? address=(\S+:\d+)')
READY = "Server is ready to receive web requests"  # until then it answers 503, in words


class RunningPrometheus:
    """One server that scrapes an API's root every second, until it is gone."""

    def __init__(self, directory: Path, api: str, token: str) -> None:
        directory.mkdir()
        (directory / "metrics-token").write_text(token)
        (directory / "rules.yml").write_text((INFRA / "rules.yml").read_text())
        (directory / "prometheus.yml").write_text(yaml.safe_dump(_aimed_at(api)))
        self._output = directory / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._client = Client(f"http://{self._address()}")
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> "RunningPrometheus":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._end()

    def value(self, query: str) -> float | None:
        """Return what a query of one series comes to now; None before there is one."""
        answer = self._client.get(f"/api/v1/query?{urlencode({'query': query})}")
        assert answer.status == 200, answer
        series: list[Any] = answer.body["data"]["result"]
        assert len(series) <= 1, series
        return float(series[0]["value"][1]) if series else None

    def _address(self) -> str:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            said = self._output.read_text()
            if READY in said and (found := LISTENS.search(said)):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"Prometheus did not come up: {self._output.read_text()}")

    def _end(self) -> None:
        self._process.kill()  # what it stores goes with its directory
        self._process.wait(PATIENCE)


def _aimed_at(api: str) -> dict[str, Any]:
    """Return the configuration that is there, for a stack on this machine and a test's patience."""
    configuration: dict[str, Any] = yaml.safe_load((INFRA / "prometheus.yml").read_text())
    scheme, _, target = api.partition("://")
    configuration["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
    [scraped] = configuration["scrape_configs"]
    scraped.update(scheme=scheme, static_configs=[{"targets": [target]}])
    return configuration
