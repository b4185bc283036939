"""The day that these tests move through."""

from __future__ import annotations

import pytest

from tests.hibernation.services.schedules.day import Day


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Day:
    return Day(monkeypatch)
