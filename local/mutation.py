"""`make mutation`: how many planted changes of the core its fast tests notice, and which they do not.

mutmut works on a copy of the repository in `build/`, where it rewrites the code; the simulator has planted bugs
of its own (`make simulate-mutants`) and takes no part.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from local.options import ROOT

LEAST = 85  # per cent
MUTATED = ("chalicelib/domain", "chalicelib/service/execute.py")
NEEDED = ("app.py", "chalicelib", "infra", "local", "tests", "pyproject.toml")
# Beside the unit tests that are named after a module of the domain: those that hold several of them.
OTHERS = (
    "unit/test_moves.py",
    "unit/test_jobtypes.py",
    *(f"functional/test_{name}.py" for name in ("submit", "execute", "dispatch", "manage", "limited")),
    *(f"functional/test_{name}.py" for name in ("run_schedules", "schedules_api", "batches", "batches_api")),
    *(f"functional/test_{name}.py" for name in ("job_actions", "listing_api")),
)
FOLDER = ROOT / "build" / "mutation"


def main() -> int:
    """Plant every change, print the score, and say where the survivors are listed; 1 if they are too many."""
    _prepare()
    log = FOLDER / "log.txt"
    with log.open("w") as output:
        command = ["run", "--max-children", str(os.cpu_count() or 1)]
        ran = subprocess.run(_mutmut(*command), cwd=FOLDER, stdout=output, stderr=output, check=False)
    if ran.returncode:
        print(f"mutmut failed; {log.relative_to(ROOT)} says why.")
        return 1
    counts = _counts()
    survivors = FOLDER / "survivors.txt"
    with survivors.open("w") as output:
        subprocess.run(_mutmut("results"), cwd=FOLDER, stdout=output, check=True)
    noticed = counts["killed"] + counts["timeout"] + counts["segfault"]
    score = 100 * noticed / (counts["total"] - counts["skipped"])
    print(f"{noticed} of {counts['total']} planted changes noticed: {score:.1f} % (at least {LEAST} %)")
    print(f"The others are listed in {survivors.relative_to(ROOT)}.")
    return 0 if score >= LEAST else 1


def _prepare() -> None:
    """Copy what the tests need, as it is now."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, FOLDER / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, FOLDER / name)
    settings = {"source_paths": MUTATED, "also_copy": NEEDED, "pytest_add_cli_args_test_selection": _tests()}
    lines = [f"{name} =\n    " + "\n    ".join(values) for name, values in settings.items()]
    (FOLDER / "setup.cfg").write_text("\n".join(["[mutmut]", *lines, ""]))


def _tests() -> list[str]:
    modules = sorted(path.stem for path in (ROOT / "chalicelib" / "domain").glob("*.py"))
    names = [f"unit/test_{module}.py" for module in modules] + list(OTHERS)
    return [f"tests/{name}" for name in names if (ROOT / "tests" / name).exists()]


def _counts() -> dict[str, int]:
    subprocess.run(_mutmut("export-cicd-stats"), cwd=FOLDER, stdout=subprocess.DEVNULL, check=True)
    counts: dict[str, int] = json.loads((FOLDER / "mutants" / "mutmut-cicd-stats.json").read_text())
    return counts


def _mutmut(*arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", "mutmut", *arguments]


if __name__ == "__main__":
    sys.exit(main())
