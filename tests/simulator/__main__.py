"""Command line: ``python -m tests.simulator``. Runs seeds, replays one with a trace, or hunts seeded bugs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from tests.simulator.mutants import MUTANTS, infected
from tests.simulator.scenario import STEPS
from tests.simulator.simulation import Report, Simulation


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.mutant == "all":
        return max(_hunt(name, options) for name in MUTANTS)
    if options.mutant:
        return _hunt(options.mutant, options)
    return _search(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--trace", action="store_true", help="print what happened, step by step")
    parser.add_argument(
        "--mutant", choices=["all", *MUTANTS], help="seed this bug and see whether it is caught"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps with faults per seed")
    return parser


def _reports(options: argparse.Namespace) -> Iterator[Report]:
    first = options.first if options.seed is None else options.seed
    count = options.seeds if options.seed is None else 1
    for seed in range(first, first + count):
        yield Simulation(seed, trace=options.trace).run(options.steps)


def _search(options: argparse.Namespace) -> int:
    began, reports = time.perf_counter(), []
    for report in _reports(options):
        reports.append(report)
        for line in report.trace:
            print(line)
        if report.violation:
            print(f"seed {report.seed}: {report.violation}")
            print(f"  replay: python -m tests.simulator --seed {report.seed} --steps {options.steps} --trace")
    steps, seconds = sum(r.steps for r in reports), time.perf_counter() - began
    violations = sum(bool(r.violation) for r in reports)
    print(
        f"{len(reports)} seeds, {steps} steps in {seconds:.1f} s ({steps / seconds:.0f}/s), "
        f"{sum(r.boundaries for r in reports)} boundaries, {sum(r.crashes for r in reports)} crashes, "
        f"{violations} violations"
    )
    return 1 if violations else 0


def _hunt(name: str, options: argparse.Namespace) -> int:
    """0 if the mutant was caught within the seeds allowed."""
    began = time.perf_counter()
    with infected(name):
        for report in _reports(options):
            if report.violation:
                seconds = time.perf_counter() - began
                print(f"{name}: caught by seed {report.seed} in {seconds:.1f} s: {report.violation}")
                return 0
    print(f"{name}: SURVIVED (should break {MUTANTS[name][0]})")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
