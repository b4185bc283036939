"""The time a fake lives in: the real one, the real one sped up, or one that a test moves by hand. Epoch seconds."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float: ...


class RealClock:
    def now(self) -> float:
        return time.time()


class ScaledClock:
    """Starts now and runs ``factor`` times as fast as the real one."""

    def __init__(self, factor: float) -> None:
        self._factor, self._epoch, self._began = factor, time.time(), time.monotonic()

    def now(self) -> float:
        return self._epoch + (time.monotonic() - self._began) * self._factor


class ManualClock:
    """Stands still until ``advance`` is called."""

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
