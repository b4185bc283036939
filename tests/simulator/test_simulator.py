"""The simulator finds nothing in the core, replays exactly, and notices every seeded bug."""

from __future__ import annotations

import pytest

from tests.simulator.__main__ import main
from tests.simulator.mutants import MUTANTS, infected
from tests.simulator.scenario import STEPS
from tests.simulator.simulation import Simulation

SEEDS = 150
MUTANT_SEEDS = 800


@pytest.mark.parametrize("first", range(0, SEEDS, 25))
def test_seeds_break_no_invariant(first: int) -> None:
    broken = [
        report for seed in range(first, first + 25) if (report := Simulation(seed).run(STEPS)).violation
    ]
    assert [(report.seed, report.violation) for report in broken] == []


def test_a_seed_replays_identically() -> None:
    once, again = (Simulation(7, trace=True).run(STEPS) for _ in range(2))
    assert once.trace
    assert once == again


def test_different_seeds_differ() -> None:
    assert Simulation(1, trace=True).run(500).trace != Simulation(2, trace=True).run(500).trace


@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_caught(name: str) -> None:
    with infected(name):
        assert any(Simulation(seed).run(STEPS).violation for seed in range(MUTANT_SEEDS)), "it survived"


def test_workers_die_and_work_is_done_all_the_same() -> None:
    simulations = [Simulation(seed) for seed in range(20)]
    crashes = sum(simulation.run(STEPS).crashes for simulation in simulations)
    events = {event.type.value for simulation in simulations for event in simulation.db.events}
    assert crashes > 50
    assert {"hibernated", "woke", "restored", "deleted", "machine_lost", "orphan_found"} <= events
    assert {"adopted", "released"} <= events
    assert {"machine_resumed", "machine_returned", "parking_ended"} <= events
    assert {"hibernate_vetoed", "activity_resumed", "machine_rejected", "operation_queued"} <= events


def test_the_command_line_counts_and_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--first", "5", "--steps", "300"]) == 0
    assert "2 seeds" in (out := capsys.readouterr().out)
    assert "0 violations" in out


def test_the_command_line_says_how_to_replay_a_violation(capsys: pytest.CaptureFixture[str]) -> None:
    with infected("ignores_vetoes"):
        assert main(["--seeds", "5"]) == 1
    assert "replay: python -m tests.simulator --seed" in capsys.readouterr().out


def test_the_command_line_hunts_a_mutant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--mutant", "skips_the_fence", "--seeds", "20"]) == 0
    assert "caught by seed" in capsys.readouterr().out
