"""Processes that a fence stopped do not stay so on a machine that is kept."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.held import PATIENCE_SECONDS, HeldWriters
from agents.snapshot.writers import pause_writers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    """The record of a fence that stopped one writer."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with (workspace / "log").open("w") as log, subprocess.Popen(["sleep", "60"], stdout=log) as writer:
        # We have it open as well, and are never stopped ourselves.
        log.close()
        assert len(pause_writers(str(workspace), tmp_path / "paused.json")["paused"]) == 1
        try:
            yield tmp_path / "paused.json"
        finally:
            writer.kill()


def test_they_go_on_once_the_machine_is_surely_kept(record: Path, clock: Clock) -> None:
    held = HeldWriters(record, clock)
    held.heard("running")
    clock.now = PATIENCE_SECONDS - 1
    held.heard("idle")
    assert record.exists()
    clock.now = PATIENCE_SECONDS
    held.heard("running")
    assert not record.exists()


def test_a_hibernation_that_goes_on_keeps_them(record: Path, clock: Clock) -> None:
    held = HeldWriters(record, clock)
    for status in ("running", "hibernating", "running"):
        held.heard(status)
        clock.now += PATIENCE_SECONDS
    held.heard("")
    assert record.exists()


def test_a_record_that_cannot_be_dropped_ends_nothing(
    record: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(record: Path) -> None:
        raise PermissionError

    monkeypatch.setattr("agents.snapshot.writers.resume_writers", refuse)
    held = HeldWriters(record, clock)
    held.heard("running")
    clock.now = PATIENCE_SECONDS
    held.heard("running")
    assert record.exists()
