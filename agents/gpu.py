"""What a sample of the GPUs is, and how NVML gives one. What cannot be read is None, never 0."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agents.protocol import MAX_GPUS, MAX_PROCESSES, GpuProcess

REINIT_SECONDS = 30.0
RETRY_INIT_SECONDS = 5.0
MIB = 1024 * 1024
MAX_NAME_CHARS = 64


class GpuUnavailable(Exception):
    """No GPU could be read; the message says why."""


@dataclass(frozen=True, slots=True)
class GpuState:
    """One GPU at one instant: percent 0–100 and MiB, None where unknown."""

    name: str
    utilization: float | None
    memory_used: float | None
    memory_total: float | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """All GPUs at one instant, by index. ``errors`` says why something in it is unknown."""

    gpus: tuple[GpuState, ...]
    processes: tuple[GpuProcess, ...] = ()
    errors: tuple[str, ...] = ()


class GpuReader(Protocol):
    """A way to read the GPUs. May block for seconds when a driver hangs: call it from a thread."""

    def read(self) -> GpuSample:
        """One sample with at least one GPU, or ``GpuUnavailable``. Safe to repeat for ever."""


class FirstWorking:
    """Tries readers in order at every sample, so that a driver that comes back is used again at once."""

    def __init__(self, readers: Sequence[GpuReader]) -> None:
        self._readers = readers

    def read(self) -> GpuSample:
        reasons = []
        for reader in self._readers:
            try:
                return reader.read()
            except GpuUnavailable as error:
                reasons.append(str(error))
        raise GpuUnavailable("; ".join(reasons))


class NvmlReader:
    """NVML through nvidia-ml-py. Keeps the library open and opens it anew after driver errors."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nvml: Any = None
        self._opened_at = 0.0
        self._closed_for: tuple[float, str] | None = None

    def read(self) -> GpuSample:
        nvml = self._open()
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self._close(nvml)
            raise GpuUnavailable(f"NVML: {error}") from None
        if not 0 < count <= MAX_GPUS:
            raise GpuUnavailable(f"NVML sees {count} GPUs")
        return self._sample(nvml, count)

    def _sample(self, nvml: Any, count: int) -> GpuSample:
        probes = [_NvmlGpu(nvml, index) for index in range(count)]
        gpus = tuple(probe.state() for probe in probes)
        processes = [process for probe in probes for process in probe.processes()]
        errors = tuple(error for probe in probes for error in probe.errors)
        # Not at once: with one GPU broken for good, opening anew at every sample would disturb the others.
        if any(probe.driver_failed for probe in probes) and self._clock() - self._opened_at > REINIT_SECONDS:
            self._close(nvml)
        return GpuSample(gpus, largest(processes), errors)

    def _open(self) -> Any:
        if self._nvml is not None:
            return self._nvml
        now = self._clock()
        if self._closed_for and now < self._closed_for[0]:
            raise GpuUnavailable(self._closed_for[1])
        try:
            nvml = _initialised_nvml()
        except GpuUnavailable as error:
            # A failing init can take seconds and wakes the driver: not at every sample.
            self._closed_for = (now + RETRY_INIT_SECONDS, str(error))
            raise
        self._nvml, self._opened_at, self._closed_for = nvml, now, None
        return nvml

    def _close(self, nvml: Any) -> None:
        self._nvml = None
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:
            return  # A library that cannot be shut down is initialised again all the same.


def _initialised_nvml() -> Any:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        raise GpuUnavailable("NVML: the package nvidia-ml-py is not installed") from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise GpuUnavailable(f"NVML: {error}") from None
    return nvml


class _NvmlGpu:
    """One GPU during one sample. Each question may fail alone."""

    def __init__(self, nvml: Any, index: int) -> None:
        self._nvml = nvml
        self._index = index
        self.errors: list[str] = []
        self.driver_failed = False
        self._harmless = (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        )
        self._handle = self._ask("handle", lambda: nvml.nvmlDeviceGetHandleByIndex(index))

    def state(self) -> GpuState:
        if self._handle is None:
            return GpuState("", None, None, None)
        name = self._ask("name", lambda: self._nvml.nvmlDeviceGetName(self._handle))
        memory = self._ask("memory", lambda: self._nvml.nvmlDeviceGetMemoryInfo(self._handle))
        return GpuState(
            name=printable(name or ""),
            utilization=self._utilization(),
            memory_used=_mib(memory.used) if memory else None,
            memory_total=_mib(memory.total) if memory else None,
        )

    def _utilization(self) -> float | None:
        if self._mig_is_on():
            self.errors.append(f"GPU {self._index}: MIG is on, so its utilisation cannot be measured")
            return None
        rates = self._ask("utilisation", lambda: self._nvml.nvmlDeviceGetUtilizationRates(self._handle))
        return percent(rates.gpu) if rates else None

    def _mig_is_on(self) -> bool:
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(self._handle)[0])
        except self._nvml.NVMLError:
            return False  # Most GPUs and old drivers know no MIG; a broken driver shows at the next question.

    def processes(self) -> list[GpuProcess]:
        if self._handle is None:
            return []
        running = self._ask("processes", self._running_processes) or []
        return [self._process(entry) for entry in running]

    def _running_processes(self) -> Any:
        try:
            return self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(self._handle)
        except self._nvml.NVMLError_FunctionNotFound:
            return self._nvml.nvmlDeviceGetComputeRunningProcesses_v2(self._handle)

    def _process(self, entry: Any) -> GpuProcess:
        memory = None if entry.usedGpuMemory is None else _mib(entry.usedGpuMemory)
        return GpuProcess(entry.pid, self._index, process_name(entry.pid), memory)

    def _ask(self, what: str, question: Callable[[], Any]) -> Any:
        nvml = self._nvml
        try:
            return question()
        except nvml.NVMLError as error:
            self.driver_failed |= error.value not in self._harmless
            self.errors.append(f"GPU {self._index}: no {what}: {error}")
        except (
            ValueError,
            nvml.NVMLLibraryMismatchError,
        ) as error:  # A name that is not UTF-8; an old library.
            self.errors.append(f"GPU {self._index}: no {what}: {error}")
        return None


def _mib(count: int) -> float:
    return round(count / MIB, 1)


def percent(value: object) -> float | None:
    """``value`` as percent 0–100, or None for everything else, such as ``[N/A]``, ``ERR!`` or 4294967295."""
    number = amount(value)
    return number if number is not None and number <= 100 else None


def amount(value: object) -> float | None:
    """``value`` as a finite number from 0, or None."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def process_name(pid: int) -> str:
    """The kernel's short name of the process, or an empty string. Never its arguments: they may hold secrets."""
    try:
        return printable(Path(f"/proc/{pid}/comm").read_text(errors="replace"))
    except OSError:
        return ""


def printable(text: str, limit: int = MAX_NAME_CHARS) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()[:limit]


def largest(processes: list[GpuProcess]) -> tuple[GpuProcess, ...]:
    processes.sort(key=lambda process: -(process.memory_mib or 0))
    return tuple(processes[:MAX_PROCESSES])
