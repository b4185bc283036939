"""Each occurrence of a schedule acts at most once, in its hour, and none comes to nothing; seeded bugs are noticed."""

from __future__ import annotations

import pytest

from tests.simulator.schedules import MUTANTS, ScheduleSimulation

SEEDS, STEPS = 60, 600


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_i16_each_occurrence_acts_at_most_once_and_in_its_hour(first: int) -> None:
    broken = {
        seed: found for seed in range(first, first + 20) if (found := ScheduleSimulation(seed).run(STEPS))
    }
    assert broken == {}


def test_much_happens_in_it() -> None:
    simulations = [ScheduleSimulation(seed) for seed in range(10)]
    for simulation in simulations:
        simulation.run(STEPS)
    assert sum(len(simulation.acts) for simulation in simulations) > 40
    assert sum(len(simulation.told) - len(simulation.acts) for simulation in simulations) > 10


@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_caught(name: str) -> None:
    assert any(ScheduleSimulation(seed, frozenset({name})).run(STEPS) for seed in range(SEEDS)), "it survived"
