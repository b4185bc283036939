"""How hard to compress: harder only while the network is what everything waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LEVELS = (1, 3, 5, 7, 9)
_WINDOW = 3.0
_WAITING, _BUSY = 0.5, 0.1
"""Shares of the readers' time spent waiting for room: above the first they can work more, below the second less."""


class Level:
    """The zstd level for the next chunk. Any thread may call it."""

    def __init__(self, readers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._readers = readers
        self._clock = clock
        self._lock = threading.Lock()
        self._step = 0
        self._since = clock()
        self._waited = 0.0

    @property
    def value(self) -> int:
        return LEVELS[self._step]

    def waited(self, seconds: float) -> None:
        """A reader handed over a chunk and had to wait this long, 0 included."""
        with self._lock:
            self._waited += seconds
            elapsed = self._clock() - self._since
            if elapsed < _WINDOW:
                return
            share = self._waited / (elapsed * self._readers)
            change = (share > _WAITING) - (share < _BUSY)
            self._step = min(max(self._step + change, 0), len(LEVELS) - 1)
            self._begin()

    def starved(self) -> None:
        """The uploaders run out of work: back to the fastest at once."""
        with self._lock:
            self._step = 0
            self._begin()

    def _begin(self) -> None:
        self._since, self._waited = self._clock(), 0.0
