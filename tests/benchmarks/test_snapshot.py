"""The benchmark itself, on a workspace of a few MB and with our engine alone: its figures mean nothing here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.snapshot.change import NextDay
from benchmarks.snapshot.meter import CommandFailed, measure
from benchmarks.snapshot.picture import check_same, picture
from benchmarks.snapshot.report import Row, markdown, ratio_row, table
from benchmarks.snapshot.workspace import make_workspace

ROOT = Path(__file__).parents[2]
TINY = 0.002


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "workspace"
    make_workspace(path, TINY, None)
    return path


def test_every_section_runs_with_our_engine_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    options = ["--scale", str(TINY), "--rounds", "1", "--peers", "", "--markdown", str(page)]
    command = [sys.executable, "-m", "benchmarks.snapshot", *options, "--work", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "min – max" in done.stdout, done.stderr
    for words in ("bf16", "nothing changed", "wire limit", "usable", "after the decision", "peak memory"):
        assert words in page.read_text()


def test_an_unknown_section_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.snapshot", "--only", "snapshot,nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown sections: nothing" in done.stderr


def test_the_same_scale_makes_the_same_workspace(workspace: Path, tmp_path: Path) -> None:
    make_workspace(tmp_path / "again", TINY, None)
    bytes_of = {path: fact[2] for path, fact in picture(workspace).items()}
    assert bytes_of == {path: fact[2] for path, fact in picture(tmp_path / "again").items()}


def test_the_next_day_changes_the_tree_and_is_undone(workspace: Path) -> None:
    before = picture(workspace)
    day = NextDay(workspace, workspace.parent / "stash", TINY)
    day.apply()
    assert len(before.items() - picture(workspace).items()) >= 5
    day.undo()
    check_same("undo", before, workspace)


def test_a_tree_that_came_back_otherwise_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    before = picture(tmp_path)
    (tmp_path / "file").write_text("two")
    with pytest.raises(SystemExit, match="file"):
        check_same("tool", before, tmp_path)


def test_a_detached_process_is_waited_for_and_counted() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    cost = measure(["sh", "-c", f"setsid {sys.executable} -c '{busy}' & exit 0"])
    assert cost.cpu >= 0.3
    assert cost.wall >= 0.3


def test_a_detached_process_that_fails_is_noticed() -> None:
    with pytest.raises(CommandFailed):
        measure(["sh", "-c", "setsid false & exit 0"])


def test_a_row_is_judged_by_its_median() -> None:
    row = ratio_row("ours / theirs", [1, 9, 2], [4, 4, 4], 0.5)
    assert row.cells()[1:] == ("≤ 0.500", "0.500", "0.250 – 2.250", "pass")
    assert Row("speed", (0.9, 1.1, 0.8), at_least=1.0).cells()[-1] == "MISSED"
    assert Row("for information", (1.0,)).cells()[-1] == ""


def test_tables_line_up() -> None:
    rows = [("a", "bb"), ("ccc", "d")]
    assert table(rows) == "a    bb\nccc  d"
    assert markdown(rows) == "| a | bb |\n|---|---|\n| ccc | d |"
