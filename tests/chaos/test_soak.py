"""A minute of random deaths while three instances hibernate by themselves and are woken again and again."""

from __future__ import annotations

import random
import time

import pytest

from hibernation.domain.states import OperationKind
from tests.chaos.arena import WORKERS, Arena
from tests.chaos.conftest import MakeSubjects
from tests.chaos.subject import ENDED, Subject

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

_SECONDS = 60.0
_STRIKES_BETWEEN_CALMS = 4
_CALM_SECONDS = 5.0  # enough to get somewhere: a killed worker needs seconds to start
_VICTIMS = (*WORKERS, *WORKERS, "beat", "web", "valkey", "postgres", "flush")


def test_random_deaths_cost_time_and_nothing_else(arena: Arena, make_subjects: MakeSubjects) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    subjects = make_subjects("soak_1", "soak_2", "soak_3", pause_seconds=2)
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        for _ in range(_STRIKES_BETWEEN_CALMS):
            _let_pass(chance.uniform(1, 3), subjects)
            _strike(chance.choice(_VICTIMS), arena)
        _let_pass(_CALM_SECONDS, subjects)
    for subject in subjects:
        arena.post(f"instances/{subject.name}/config", {"auto_hibernation_enabled": False}, method="PUT")
    for subject in subjects:
        subject.finish()
    cycles = sum(subject.events().count("hibernated") for subject in subjects)
    assert cycles >= len(subjects), f"seed {seed}: only {cycles} hibernations in {_SECONDS:.0f} s"


def _let_pass(seconds: float, subjects: list[Subject]) -> None:
    """Meanwhile whatever sleeps is woken."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for subject in subjects:
            if subject.operation["state"] in ENDED and subject.status in ("hibernated", "failed"):
                subject.order(OperationKind.WAKE)
        time.sleep(0.1)


def _strike(victim: str, arena: Arena) -> None:
    if victim == "flush":
        arena.flush()
    else:
        arena.kill(victim)
