"""The clock for trying schedules out is refused, loudly, where it makes no sense."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from dumont import env

REAL, SHOWN = "2026-11-30T12:00:00+00:00", "2026-03-02T09:00:00-03:00"


def test_without_one_the_time_is_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUMONT_SCHEDULE_CLOCK", raising=False)
    assert env.clock("DUMONT_SCHEDULE_CLOCK") is None


@pytest.mark.parametrize(
    "text",
    ["soon", f"{REAL}/{SHOWN}", f"{REAL}/{SHOWN}/0", f"{REAL}/{SHOWN}/-1", f"{REAL}/{SHOWN}/nan", f"{REAL}/{SHOWN}/x",
     f"2026-11-30T12:00:00/{SHOWN}/2", f"{REAL}/2026-03-02/2", f"{REAL}/{SHOWN}/1e9"],
)  # fmt: skip
def test_what_is_no_clock_stops_the_program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DUMONT_SCHEDULE_CLOCK", text)
    with pytest.raises(ImproperlyConfigured, match="DUMONT_SCHEDULE_CLOCK"):
        env.clock("DUMONT_SCHEDULE_CLOCK")
