"""The virtual clock: the only time there is in a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Clock:
    now: datetime = START

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def after(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)

    def elapsed(self) -> float:
        return (self.now - START).total_seconds()
