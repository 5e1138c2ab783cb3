"""A pytest plugin that says how long each suite took: `pytest -p local.suite_times`."""

from collections import Counter, defaultdict
from pathlib import PurePosixPath

import pytest

# In the order they begin: first those whose files take long, so that the last file of a run is a short one.
SUITES = ("simulation", "acceptance", "e2e", "browser", "contract", "functional", "unit")


class SuiteTimes:
    """The time of every suite's tests, fixtures included; tests run side by side, so this is no wall time."""

    def __init__(self) -> None:
        self._tests: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Book what a phase of a test took to its suite."""
        suite = PurePosixPath(report.nodeid.partition("::")[0]).parts[1]
        self._tests[suite] += report.when == "call"
        self._seconds[suite] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it, above pytest's own last line."""
        for suite, tests in self._tests.items():
            terminalreporter.write_line(f"{suite + ':':<12}{tests:>6} tests in {self._seconds[suite]:.1f} s")


def pytest_configure(config: pytest.Config) -> None:
    """Join in, where all reports come together."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteTimes())
