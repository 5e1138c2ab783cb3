import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from chalicelib.domain.policies import EffectClass
from tests.simulation import fault_table
from tests.simulation.__main__ import CHUNK, catch_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import TYPES, Report, run_schedule
from tests.simulation.world import FAULTS, Aim

FULL = bool(os.environ.get("QS_FULL"))
SCHEDULES = 1_000_000 if FULL else 5_000  # per effect class
OF_A_TYPE = 1_000_000 if FULL else 1_000  # of each other job type, which goes the way of its class
SEEDS_PER_MUTANT = 20_000  # at the most; a hunt ends at its first catch
IN_DOUBT = ("save `begun`", "the provider's effect", "save the outcome")
AIMED_SEEDS = range(40 if FULL else 6)


def violations_of(letter: str, numbers: range) -> list[Report]:
    return [report for number in numbers if (report := run_schedule(letter, number)).violation]


@pytest.mark.parametrize("letter", TYPES, ids=lambda letter: getattr(letter, "name", letter))
def test_no_schedule_breaks_an_invariant(letter: str) -> None:
    most = SCHEDULES if letter in set(EffectClass) else OF_A_TYPE
    chunks = [range(first, min(first + CHUNK, most)) for first in range(0, most, CHUNK)]
    with ProcessPoolExecutor() as pool:
        broken = [
            report for reports in pool.map(violations_of, [letter] * len(chunks), chunks) for report in reports
        ]
    assert [f"{report.seed}: {report.violation}" for report in broken] == []


def test_the_same_seed_is_the_same_schedule() -> None:
    first, second = (run_schedule(EffectClass.KEYED, 7, tracing=True) for _ in range(2))
    assert first.trace == second.trace
    assert first.trace


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("letter", TYPES, ids=lambda letter: getattr(letter, "name", letter))
def test_any_one_fault_at_any_io_point_breaks_no_invariant(letter: str, fault: str) -> None:
    for number in AIMED_SEEDS:
        skip = 0
        while True:
            report = run_schedule(letter, number, aim=Aim(fault, skip))
            if not report.struck:
                break
            assert report.violation is None, f"{report.seed}, {fault} after {skip} others: {report.violation}"
            assert report.events > 5, "something happens, whether or not it comes to a job"
            skip += 1
        if fault not in ("stale", "duplicate", "hang"):  # those need something to have happened before
            assert skip > 0, f"{letter} has no point at which {fault} could strike"


@pytest.mark.parametrize("letter", TYPES, ids=lambda letter: getattr(letter, "name", letter))
def test_every_fault_ends_as_the_effect_class_says(letter: str) -> None:
    blind = TYPES[letter].effect_class is EffectClass.BLIND
    for point, row in fault_table.table_of(letter).items():
        for column, cells in row.items():
            # Where nobody can tell whether the effect took place a person decides; all else is done, once.
            in_doubt = blind and point in IN_DOUBT and column not in ("refused", "pause past the lease")
            for cell in cells:
                done = (cell.state, cell.effects) == ("completed", 1)
                assert done or (in_doubt and cell.state == "parked"), f"{point}, {column}: {cell}"


def test_the_page_of_faults_says_what_comes_of_them() -> None:
    assert fault_table.PAGE.read_text() == fault_table.page(), "run python -m tests.simulation.fault_table"


@pytest.fixture(scope="module")
def hunts() -> Iterator[Mapping[str, Future[tuple[Report | None, int]]]]:
    """The hunts for all planted bugs, side by side on what cores there are."""
    with ProcessPoolExecutor() as pool:
        yield {mutant.name: pool.submit(catch_of, mutant.name, SEEDS_PER_MUTANT) for mutant in MUTANTS}


@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_the_simulation_catches_a_planted_bug(
    name: str, hunts: Mapping[str, Future[tuple[Report | None, int]]]
) -> None:
    caught, tried = hunts[name].result()
    assert caught is not None, f"not caught within {tried} schedules"
