"""Lint, types and every suite, each with the time it took: `make test`."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from local.options import ROOT
from local.programs import untested
from local.suite_times import SUITES

# Three tests at a time on the promised machine's two cores, since many only wait; a file's stay together, since
# some share what takes long to make.
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
STEPS = (
    ("lint", ("ruff", "check", "--quiet")),
    ("format", ("ruff", "format", "--check", "--quiet")),
    ("types", ("mypy", "--no-error-summary")),
)


def main() -> int:
    """Run everything, whatever fails; pytest's own summary closes the output of a good run."""
    failed = [name for name, command in STEPS if not _passes(name, command)]
    suites = [f"tests/{suite}" for suite in SUITES if (ROOT / "tests" / suite).is_dir()]
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "local.suite_times", *SIDE_BY_SIDE, *suites],
        cwd=ROOT,
        check=False,
    )
    if tests.returncode:
        failed.append("tests")
    if os.environ.get("QS_FULL") and not _passes("mutation", ["local.mutation"]):
        failed.append("mutation")
    if failed:
        print(f"FAILED: {', '.join(failed)}", flush=True)
    if skipped := untested():
        print(skipped, flush=True)
    return 1 if failed else 0


def _passes(name: str, command: Sequence[str]) -> bool:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False)
    verdict = "passed" if done.returncode == 0 else "FAILED"
    print(f"{name}: {verdict} in {time.monotonic() - began:.1f} s", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
