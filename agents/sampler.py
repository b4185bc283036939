"""Turns samples taken every second into one summary per heartbeat: the maximum over the interval, or unknown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from agents.gpu import GpuReader, GpuSample, GpuUnavailable
from agents.protocol import MAX_ERROR_CHARS, MAX_ERRORS, GpuProcess

SAMPLE_SECONDS = 1.0
FIRST_SAMPLES_SECONDS = 0.25
MAX_GAP_SECONDS = 10.0
ENOUGH = 0.5
# A maximum over too few samples is only a lower bound. Sent as a number it must not look idle to any sane
# threshold; below this it is sent as unknown, which the control plane treats as active all the same.
CERTAINLY_BUSY = 90.0


@dataclass(frozen=True, slots=True)
class GpuSummary:
    """The GPUs over one interval, by index; fields as in ``protocol.Reading``."""

    names: tuple[str, ...]
    utilizations: tuple[float | None, ...]
    memory_used: tuple[float | None, ...]
    memory_total: tuple[float | None, ...]
    processes: tuple[GpuProcess, ...]
    utilization: float | None
    samples: int
    errors: tuple[str, ...]


class Window:
    """The samples of one interval. Pure: each sample says how many seconds it stands for.

    ``names`` are the GPUs of the interval before: a GPU list that changes makes every index ambiguous, so this
    interval then knows only what was certainly busy.
    """

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self._peaks: list[float | None] = [None] * len(names)
        self._covered = [0.0] * len(names)
        self._gone_peak = 0.0
        self._reshaped = False
        self._last: GpuSample | None = None
        self._samples = 0
        self._errors: dict[str, None] = {}

    def add(self, sample: GpuSample, covers: float) -> None:
        if len(sample.gpus) != len(self.names):
            self._reshape(sample)
        self.names = tuple(gpu.name or known for gpu, known in zip(sample.gpus, self.names, strict=True))
        for index, gpu in enumerate(sample.gpus):
            if gpu.utilization is not None:
                self._peaks[index] = max(self._peaks[index] or 0.0, gpu.utilization)
                self._covered[index] += covers
        self._last = sample
        self._samples += 1
        self._errors |= dict.fromkeys(sample.errors)

    def fail(self, reason: str) -> None:
        self._errors[reason] = None

    def _reshape(self, sample: GpuSample) -> None:
        count = len(sample.gpus)
        if self.names:
            self._reshaped = True
            self._errors[f"the number of GPUs changed from {len(self.names)} to {count}"] = None
            self._gone_peak = max(self._gone_peak, *(peak or 0.0 for peak in self._peaks))
        self.names = ("",) * count
        self._peaks = [None] * count
        self._covered = [0.0] * count

    def close(self, elapsed: float) -> GpuSummary:
        """The summary of ``elapsed`` seconds."""
        unknown = (None,) * len(self.names)
        last = self._last
        utilizations = tuple(self._utilization(index, elapsed) for index in range(len(self.names)))
        return GpuSummary(
            names=self.names,
            utilizations=utilizations,
            memory_used=tuple(gpu.memory_used for gpu in last.gpus) if last else unknown,
            memory_total=tuple(gpu.memory_total for gpu in last.gpus) if last else unknown,
            processes=last.processes if last else (),
            utilization=overall(utilizations, self._gone_peak),
            samples=self._samples,
            errors=tuple(error[:MAX_ERROR_CHARS] for error in list(self._errors)[:MAX_ERRORS]),
        )

    def _utilization(self, index: int, elapsed: float) -> float | None:
        peak = self._peaks[index]
        if peak is None:
            return None
        complete = not self._reshaped and self._covered[index] >= ENOUGH * elapsed
        return peak if complete or peak >= CERTAINLY_BUSY else None


def overall(utilizations: tuple[float | None, ...], lower_bound: float = 0.0) -> float | None:
    """The maximum if all are known; with an unknown one the maximum only if it is certainly busy; else None."""
    highest = max([lower_bound, *(u for u in utilizations if u is not None)])
    complete = bool(utilizations) and None not in utilizations
    return highest if complete or highest >= CERTAINLY_BUSY else None


class Sampler:
    """Reads the GPUs in a thread of its own, so that a driver that hangs costs knowledge, not heartbeats."""

    def __init__(
        self,
        reader: GpuReader,
        period: float = FIRST_SAMPLES_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.period = period
        self._reader = reader
        self._clock = clock
        self._lock = threading.Lock()
        self._window = Window()
        self._opened_at = self._tried_at = clock()
        self._gap = period
        self._stopped = threading.Event()
        self._tried = threading.Event()
        # A daemon: a read stuck in the driver cannot be interrupted and must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=1.0)

    def warm_up(self, first_within: float = 8.0, sample_for: float = 1.25) -> None:
        """Wait for the driver to open, then for at least one sample more, so that the next ``take`` is about now."""
        self._tried.wait(first_within)
        self.take()
        self._tried.clear()
        self._stopped.wait(sample_for)
        self._tried.wait(first_within)

    def take(self) -> GpuSummary:
        """Close the interval that began at the last ``take`` and begin the next. Never blocks on the driver."""
        now = self._clock()
        with self._lock:
            summary = self._window.close(now - self._opened_at)
            self._window = Window(summary.names)
            self._opened_at = now
        return summary

    def _run(self) -> None:
        while not self._stopped.is_set():
            began = self._clock()
            self.sample()
            spent = self._clock() - began
            # nvidia-smi may take half a second of processor time: leave three quarters to the user's work.
            pause = max(self.period - spent, min(3 * spent, MAX_GAP_SECONDS))
            self._gap = spent + pause
            self._stopped.wait(pause)

    def sample(self) -> None:
        """Take one sample now. A failure is remembered as a reason; nothing is raised."""
        sample, reason = self._read()
        now = self._clock()
        with self._lock:
            # After a hang, the time without samples stands for nothing.
            covers = min(now - self._tried_at, 2 * self._gap)
            self._tried_at = now
            if sample is not None:
                self._window.add(sample, covers)
            else:
                self._window.fail(reason)
        self._tried.set()

    def _read(self) -> tuple[GpuSample | None, str]:
        try:
            return self._reader.read(), ""
        except GpuUnavailable as error:
            return None, str(error)
        except Exception as error:  # A driver's surprise must not end the thread: the reading is unknown.
            return None, f"{type(error).__name__} while reading the GPUs: {error}"
