"""A pytest plugin that says how long each suite took: `pytest -p local.suite_times`."""

import time
from collections import Counter, defaultdict
from pathlib import PurePosixPath

import pytest

SUITES = ("unit", "functional", "contract", "simulation", "acceptance", "e2e")  # in the order they run


class SuiteTimes:
    """Wall time by suite, fixtures included."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._tests: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._mark = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Book the time since the test before this one to the suite of this one."""
        now = time.monotonic()
        suite = PurePosixPath(nodeid.partition("::")[0]).parts[1]
        self._tests[suite] += 1
        self._seconds[suite] += now - self._mark
        self._mark = now

    def pytest_collection_finish(self) -> None:
        """Start the clock once everything is collected."""
        self._mark = time.monotonic()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it, above pytest's own last line."""
        for suite, tests in self._tests.items():
            terminalreporter.write_line(f"{suite + ':':<12}{tests:>6} tests in {self._seconds[suite]:.1f} s")


def pytest_configure(config: pytest.Config) -> None:
    """Join in."""
    config.pluginmanager.register(SuiteTimes(config))
