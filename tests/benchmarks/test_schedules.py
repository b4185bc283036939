"""The benchmark of schedules runs to its end; its figures mean nothing here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.schedules.figures import Beat, Figures, Nine, Size, goals

PROJECT = Path(__file__).resolve().parents[2]


def figures(**more: object) -> Figures:
    found = Figures(
        due=10,
        sizes=[Size(10, 0.01, 0.001, True, ""), Size(50, 0.01, 0.001, True, "")],
        beats=[Beat(size, False, 1, 0, 1, 1, 1, 10, 0) for size in (10, 50)],
        rounds=[Nine(0.5, True, 1)],
        one_by_one=10,
    )
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_all_goals_can_be_met() -> None:
    assert all(goal.met for goal in goals(figures()))


@pytest.mark.parametrize(
    ("place", "worse"),
    [
        (0, {"rounds": [Nine(1.1, True, 1)]}),
        (1, {"rounds": [Nine(0.5, False, 1)]}),
        (2, {"sizes": [Size(10, 0.01, 0.001, True, ""), Size(50, 0.01, 0.003, True, "")]}),
        (3, {"sizes": [Size(10, 0.01, 0.001, True, ""), Size(50, 0.01, 0.001, False, "")]}),
        (4, {"beats": [Beat(10, False, 1, 0, 1, 1, 1, 10, 0), Beat(50, False, 1, 0, 1, 1, 1, 90, 0)]}),
        (4, {"beats": [Beat(size, False, 1, 3, 1, 1, 1, 10, 0) for size in (10, 50)]}),
    ],
)
def test_each_goal_can_be_missed(place: int, worse: dict[str, object]) -> None:
    assert [goal.met for goal in goals(figures(**worse))] == [number != place for number in range(5)]


@pytest.mark.network
def test_it_runs_to_its_end(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    sizes = ("--sizes", "20,40", "--due", "20", "--rounds", "1", "--markdown", str(page))
    command = (sys.executable, "-m", "benchmarks.schedules", *sizes)
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=110)
    assert "each of them once, none left: all" in done.stdout, done.stderr
    assert "it uses the partial index" in page.read_text()
