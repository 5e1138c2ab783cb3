"""The simulator's command line: `make simulate` and `make simulate-mutants`."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice

from chalicelib.domain.policies import EffectClass
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.schedule import TYPES, Report, run_schedule

CHUNK = 250


def main() -> int:
    """Run what the arguments ask for; 0 only if no invariant broke, or every planted bug was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=20_000, help="schedules in all, over the classes and the other job types"
    )
    parser.add_argument("--seed", help="replay one schedule with its trace, such as A-123")
    parser.add_argument("--first", type=int, default=0, help="number of the first schedule")
    parser.add_argument("--mutants", action="store_true", help="plant each known bug and look for its catch")
    parser.add_argument("--mutant", help="with --mutants: only this one; with --seed: planted in the replay")
    asked = parser.parse_args()
    if asked.seed:
        return replay(asked.seed, asked.mutant)
    if asked.mutants:
        return hunt([each for each in MUTANTS if asked.mutant in (None, each.name)], asked.seeds)
    return simulate(asked.first, asked.seeds)


def replay(seed: str, planted: str | None = None) -> int:
    """Run one schedule again and print all that happened in it."""
    letter, _, number = seed.partition("-")
    if letter not in TYPES or not number.isdigit():
        print(f"A seed is a class or a job type and a number, such as A-123, not {seed!r}.", file=sys.stderr)
        return 2
    mutant = next((each for each in MUTANTS if each.name == planted), None)
    if planted and mutant is None:
        print(f"There is no planted bug {planted!r}.", file=sys.stderr)
        return 2
    report = _run(letter, int(number), mutant, tracing=True)
    print("\n".join(report.trace))
    ended = ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
    verdict = report.violation or "all invariants hold"
    print(f"{report.seed}: {report.events} events; {ended or 'no job'}; {verdict}")
    return 1 if report.violation else 0


def simulate(first: int, seeds: int) -> int:
    """Run schedules of every class on all cores and print each violation with the command that replays it."""
    started = time.monotonic()
    done, violations = 0, 0
    numbers = range(first, first + -(-seeds // len(TYPES)))
    chunks = [
        (letter, numbers[start : start + CHUNK]) for start in range(0, len(numbers), CHUNK) for letter in TYPES
    ]
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for broken, ran in pool.imap_unordered(_run_chunk, chunks):
            done += ran
            for report in broken:
                violations += 1
                _clear()
                print(f"VIOLATION {report.seed}: {report.violation}\n    make simulate SEED={report.seed}")
            _progress(done, len(numbers) * len(TYPES), started)
    took = time.monotonic() - started
    _clear()
    print(f"{done} schedules in {took:.1f} s, {done / took:.0f} a second: {violations} violations")
    return 1 if violations else 0


def hunt(mutants: list[Mutant], seeds: int) -> int:
    """Plant each bug, stop at its first catch, and print where; 1 if any escaped."""
    escaped = 0
    with multiprocessing.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for mutant, caught, tried in pool.imap(_hunt, [(mutant.name, seeds) for mutant in mutants]):
            escaped += caught is None
            found = f"caught by {caught.seed}, {caught.violation}" if caught else "ESCAPED"
            print(f"{mutant:24} {found} ({tried} schedules)", flush=True)
    print(f"{len(mutants) - escaped} of {len(mutants)} planted bugs caught")
    return 1 if escaped or not mutants else 0


def first_catch(mutant: Mutant, seeds: int) -> tuple[Report | None, int]:
    """Look for the first schedule in which the planted bug breaks an invariant; say how many were tried."""
    tried = 0
    for letter, number in islice(_seeds(mutant), seeds):
        tried += 1
        report = _run(letter, number, mutant)
        if report.violation:
            return report, tried
    return None, tried


def _seeds(mutant: Mutant) -> Iterator[tuple[EffectClass, int]]:
    number = mutant.first
    while True:
        for letter in mutant.classes:
            yield letter, number
        number += 1


def catch_of(name: str, seeds: int) -> tuple[Report | None, int]:
    """Do what `first_catch` does for the planted bug of a name, as a process of its own can be told."""
    return first_catch(next(each for each in MUTANTS if each.name == name), seeds)


def _hunt(order: tuple[str, int]) -> tuple[str, Report | None, int]:
    return order[0], *catch_of(*order)


def _run_chunk(chunk: tuple[str, range]) -> tuple[list[Report], int]:
    letter, numbers = chunk
    reports = [run_schedule(letter, number) for number in numbers]
    return [report for report in reports if report.violation], len(reports)


def _run(letter: str, number: int, mutant: Mutant | None, *, tracing: bool = False) -> Report:
    if mutant is None:
        return run_schedule(letter, number, tracing=tracing)
    with mutant.planted():
        return run_schedule(letter, number, tracing=tracing)


def _progress(done: int, total: int, started: float) -> None:
    """Show how far it is: on a line that changes, or where there is no terminal on one line per tenth."""
    rate = done / max(time.monotonic() - started, 0.001)
    told = f"{done} of {total} schedules, {rate:.0f} a second"
    if sys.stderr.isatty():
        print(f"\r{told} ", end="", file=sys.stderr, flush=True)
    elif done * 10 // total > (done - CHUNK) * 10 // total:
        print(told, file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
