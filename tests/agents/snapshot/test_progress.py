from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.snapshot import progress as module
from agents.snapshot.progress import Progress


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(module_time, name)


module_time = module.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def told(progress: Progress, path: Path) -> dict[str, Any]:
    progress._write()
    return dict(json.loads(path.read_bytes()))


def test_rate_and_time_left_are_those_of_the_phase(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "p"
    progress = Progress(path, "j", "thaw")
    progress.set(phase="verify", bytes_total=1000)
    progress.add(size=400)  # kept: it was there already
    clock.now += 1
    progress.set(phase="download")
    progress.usable_after(200)
    progress.follow(lambda: 55)
    clock.now += 2
    progress.add(size=100)
    facts = told(progress, path)
    assert (facts["rate_bps"], facts["eta_seconds"], facts["usable_eta_seconds"]) == (50, 10.0, 2.0)
    assert facts["bytes_moved"] == 55


def test_nothing_moving_means_nobody_knows_how_long(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(tmp_path / "p", "j", "freeze")
    progress.set(phase="upload", bytes_total=1000)
    clock.now += 30
    assert told(progress, tmp_path / "p")["eta_seconds"] is None


def test_the_last_word_counts_what_moved_last(tmp_path: Path) -> None:
    moved = [0]
    progress = Progress(tmp_path / "p", "j", "thaw")
    progress.follow(lambda: moved[0])
    progress.set(usable=True)
    moved[0] = 7
    progress.done({"files": 1})
    facts = json.loads((tmp_path / "p").read_bytes())
    assert (facts["state"], facts["bytes_moved"], facts["eta_seconds"]) == ("done", 7, 0)
