"""The clock of the scheduled demo, and that demo as a person starts it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from dumont import env
from dumont.demo.day import SPEED, DayClock
from dumont.demo.options import parse
from tests.dumont.demo.test_demo import belonging_to, start


def test_the_clock_that_schedules_are_given_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = DayClock()
    monkeypatch.setenv("DUMONT_SCHEDULE_CLOCK", clock.env["DUMONT_SCHEDULE_CLOCK"])
    read = env.clock("DUMONT_SCHEDULE_CLOCK")
    assert read is not None
    real, shown, speed = read
    assert clock.at(real) == shown
    assert clock.at(real + timedelta(seconds=60)) == shown + timedelta(days=1)
    assert speed == SPEED


def test_it_is_asked_for_by_name() -> None:
    assert parse(["--schedule"]).schedule
    assert not parse([]).schedule


@pytest.mark.chaos
@pytest.mark.network
@pytest.mark.timeout(300)
def test_the_guides_day_is_lived_by_the_real_stack(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start(state, "--schedule") as demo:
        story, _ = demo.communicate(timeout=280)
    assert demo.returncode == 0, story
    assert "18:00 in America/Sao_Paulo" in story
    assert "09:00 in America/Sao_Paulo" in story
    report = json.loads((state / "report.json").read_text())
    assert report["result"] == "identical"
    assert list(belonging_to(state)) == []
