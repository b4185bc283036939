"""Notice within about a second that the GPUs are wanted again, for a job that runs only while they are idle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from agents.gpu import GpuReader, GpuUnavailable

PERIOD = 1.0
MISSES = 3
"""Looks in a row that told nothing: a GPU that cannot be read counts as busy. A look that hangs is one, too."""


class GpuWatch:
    """While entered, looks at the GPUs and calls ``busy`` once, from a thread, if one is above ``limit`` per cent.

    After leaving it, ``busy`` is called no more.
    """

    def __init__(
        self, reader: GpuReader, limit: float, busy: Callable[[str], None], period: float = PERIOD
    ) -> None:
        self._reader = reader
        self._limit = limit
        self._busy = busy
        self._period = period
        self._calm_at = time.monotonic()
        self._ended = threading.Event()
        self._telling = threading.Lock()

    def __enter__(self) -> GpuWatch:
        for target in (self._look, self._mind):
            threading.Thread(target=target, daemon=True, name="gpu-watch").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._telling:
            self._ended.set()

    def _look(self) -> None:
        while not self._ended.is_set():
            try:
                used = [gpu.utilization for gpu in self._reader.read().gpus]
            except GpuUnavailable:
                used = [None]
            known = [percent for percent in used if percent is not None]
            if known and max(known) > self._limit:
                self._tell(f"a GPU is at {max(known):g} %, more than {self._limit:g} %")
            elif len(known) == len(used):
                self._calm_at = time.monotonic()
            self._ended.wait(self._period)

    def _mind(self) -> None:
        """Apart from looking, which may hang with the driver."""
        while not self._ended.wait(self._period / 4):
            if time.monotonic() - self._calm_at > (MISSES + 0.5) * self._period:
                self._tell("the GPUs cannot be read")

    def _tell(self, why: str) -> None:
        with self._telling:
            if not self._ended.is_set():
                self._ended.set()
                self._busy(why)
