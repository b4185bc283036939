"""The hook that lets chaos tests stop a step: inert where nobody asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hibernation.services import boundaries
from hibernation.services.boundaries import Boundary, reached
from tests.chaos.places import WHERE


def test_the_hook_does_nothing_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUMONT_BOUNDARY_DIR", raising=False)
    reached(1, "freeze", Boundary.CLAIMED)  # it would fail here if it looked at the database


def test_a_place_passed_leaves_a_mark(tmp_path: Path) -> None:
    boundaries._stop(tmp_path / "place")
    assert (tmp_path / "place").exists()


def test_a_forgotten_pause_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundaries, "_LONGEST_SECONDS", 0.05)
    (tmp_path / "place.pause").touch()
    boundaries._stop(tmp_path / "place")
    assert (tmp_path / "place").exists()


def test_the_places_are_those_of_the_hook() -> None:
    assert tuple(Boundary) == WHERE
