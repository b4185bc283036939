"""The fence on the box: doubt about a writer, a file or a GPU is never silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import fence as module
from agents.fence import fence, look_at_gpus
from agents.gpu import GpuSample, GpuState, GpuUnavailable


class Reader:
    """GPUs that show one list of utilizations per look; ``None`` instead of a list: unreadable."""

    def __init__(self, *looks: list[float | None] | None) -> None:
        self.looks = list(looks)

    def read(self) -> GpuSample:
        used = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if used is None:
            raise GpuUnavailable("no driver")
        return GpuSample(tuple(GpuState("GPU", value, 0.0, 1.0) for value in used))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


def test_the_busiest_look_counts_for_each_gpu() -> None:
    assert look_at_gpus(Reader([0.0, 1.0], [90.0, 0.0], [0.0, 0.0])) == [90.0, 1.0]


def test_one_unreadable_look_makes_a_gpu_unknown() -> None:
    assert look_at_gpus(Reader([0.0, 0.0], [None, 0.0], [0.0, 0.0])) == [None, 0.0]


def test_a_driver_that_fails_leaves_nothing_known() -> None:
    assert look_at_gpus(Reader([0.0], None)) == []


def test_a_change_of_the_number_of_gpus_makes_all_unknown() -> None:
    assert look_at_gpus(Reader([0.0, 0.0], [0.0])) == [None, None]


def test_without_a_state_file_the_workspace_is_dirty(tmp_path: Path) -> None:
    answer = fence(str(tmp_path), tmp_path / "none", tmp_path / "record", Reader([0.0]))
    assert answer["dirty"]
    assert answer["gpu_utilizations"] == [0.0]


def test_a_writer_that_cannot_be_paused_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(workspace: str, record: Path) -> dict[str, Any]:
        return {"paused": [], "failed": [{"pid": 7, "started": 1, "why": "not permitted"}]}

    monkeypatch.setattr(module, "pause_writers", held)
    monkeypatch.setattr(module, "dirty", lambda *_: {"dirty": False, "changed": 0, "sample": []})
    answer = fence(str(tmp_path), tmp_path / "state", tmp_path / "record", Reader([0.0]))
    assert (answer["dirty"], answer["changed"]) == (True, 1)
    assert answer["sample"] == ["process 7 cannot be paused"]


def test_a_writer_that_came_during_the_comparison_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[dict[str, Any]] = []

    def compare(workspace: str, state_file: Path) -> dict[str, Any]:
        held.append({"pid": 7, "started": 1})
        return {"dirty": False, "changed": 0, "sample": []}

    monkeypatch.setattr(module, "pause_writers", lambda *_: {"paused": [*held], "failed": []})
    monkeypatch.setattr(module, "dirty", compare)
    answer = fence(str(tmp_path), tmp_path / "state", tmp_path / "record", Reader([0.0]))
    assert (answer["dirty"], answer["changed"], answer["paused"]) == (True, 1, 1)
    assert answer["sample"] == ["process 7 began to write"]
