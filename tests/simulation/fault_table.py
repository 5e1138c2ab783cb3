"""Every job type, every I/O point, every fault, and how the job ends: `docs/faults.md`.

`python -m tests.simulation.fault_table` writes the page. One submission, one fault, and the world is otherwise
as it should be: the provider does at once what it is asked to.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from local.options import ROOT
from tests.simulation.schedule import TYPES, Report, run_schedule
from tests.simulation.world import Aim

PAGE = ROOT / "docs" / "faults.md"
NUMBER = 0  # of the schedule; an even one is a single submission

# By column: the faults of the storm that it stands for, and the provider's trouble that is the same.
COLUMNS: Mapping[str, tuple[tuple[str, str | None], ...]] = {
    "refused": (("refuse", None), ("provider", "refused")),
    "not applied, no reply": (("mute", None), ("provider", "lost before")),
    "applied, reply lost": (("lose", None), ("provider", "lost after")),
    "crash before": (("crash", None),),
    "crash after": (("crash", None), ("hang", "lost after")),
    "pause past the lease": (("stall", None),),
}
NAMES = {  # of the I/O points, in the order in which a job comes by them
    "take_key": "take the key",
    "add": "write the record",
    "send": "send the message",
    "load_batch": "read the batch",
    "reserve": "ask the limiter",
    "save claim": "save the claim",
    "endpoint read": "read the endpoint",
    "endpoint write": "write the endpoint",
    "provider read": "read at the provider",
    "save begun": "save `begun`",
    "provider call": "the provider's effect",
    "save outcome": "save the outcome",
    "give back": "give the slots back",
}


@dataclass(frozen=True)
class Cell:
    """How a job ended, and how many effects it had."""

    state: str
    effects: int

    def __str__(self) -> str:
        return f"{self.state}, {self.effects}"


Table = Mapping[str, Mapping[str, frozenset[Cell]]]  # by I/O point, by column


def table_of(kind: str) -> Table:
    """Strike each I/O point of a job type with each fault, the first time that it is come by."""
    rows: dict[str, dict[str, set[Cell]]] = {name: defaultdict(set) for name in NAMES.values()}
    for column, faults in COLUMNS.items():
        for fault, trouble in faults:
            for side, point, report in _strikes(kind, fault, trouble):
                if point in NAMES and (fault != "crash" or column == f"crash {side}"):
                    rows[NAMES[point]][column].add(_cell(report))
    return {
        name: {column: frozenset(cells) for column, cells in row.items()} for name, row in rows.items() if row
    }


def _strikes(kind: str, fault: str, trouble: str | None) -> Iterator[tuple[str, str, Report]]:
    """Run the schedule once for each opportunity of a fault; give the side of the I/O and its name."""
    skip = 0
    while True:
        report = run_schedule(kind, NUMBER, aim=Aim(fault, skip, trouble, smooth=True))
        if report.struck_at is None:
            return
        if report.violation is not None:
            raise AssertionError(f"{kind}, {fault} at {report.struck_at}: {report.violation}")
        side, _, label = report.struck_at.partition(" ")
        yield side, " ".join(word for word in label.split() if not word.startswith("job_")), report
        skip += 1


def _cell(report: Report) -> Cell:
    [state] = report.states or {"not accepted": 1}
    return Cell(state, report.effects)


def page() -> str:
    """Return the page as it should be."""
    parts = [HEAD]
    for kind, job_type in sorted(TYPES.items(), key=lambda each: each[1].name):
        rows = table_of(kind)
        columns = [column for column in COLUMNS if any(column in row for row in rows.values())]
        parts.append(f"\n## {job_type.name} (class {job_type.effect_class})\n\n| | {' | '.join(columns)} |")
        parts.append("| --- " * (len(columns) + 1) + "|")
        for name, row in rows.items():
            cells = (" or ".join(sorted(str(cell) for cell in row.get(column, ()))) for column in columns)
            parts.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(parts) + "\n"


HEAD = """# What a fault comes to

Made by `python -m tests.simulation.fault_table`: every job type, every I/O that a job comes by, every fault,
each in a run of its own of the real code in the simulator; the provider is otherwise well and says yes. A cell
is the state that the job ends in and how many effects took place (repetitions that a receiver of
class D knows as such count once). A test holds this page against the code.

- *refused*: not applied, and told so. *No reply*: a time-out. A *crash* kills the process before or after it.
- *Pause past the lease*: the process stands still for 75 s, its claim lapses, and it goes on.
- An empty cell: that fault cannot be there, such as a lost reply of what only reads.
- `parked, 0` and `parked, 1` are the blind providers of class C: nobody can look up whether the mail went, so a
  person decides (`POST /v1/jobs/{id}/resolve`). All else ends completed, with one effect."""


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
