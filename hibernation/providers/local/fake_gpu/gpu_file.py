"""The text file that says what the fake GPUs of a machine do; whoever writes a line makes a GPU idle or busy.

One line per GPU: ``NAME, MEM_TOTAL_MIB, UTIL, MEM_USED_MIB[, PID:MEM_MIB …]``, for example
``NVIDIA RTX 4090, 24564, 97, 20000, 4242:19000``. UTIL is a percentage, or ``?``: this GPU answers with an error,
or ``mig``: it is split by MIG and has no utilisation. Names hold no comma. Empty lines and lines that start with
``#`` do not count. A first line ``error N`` makes every call fail with NVML's error code N; so does, with 9 (driver
not loaded), a file that is missing or does not follow these rules.

Only the standard library is used here: the fakes load this module on machines without Dumont's packages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "DUMONT_FAKE_GPU"
DRIVER_NOT_LOADED = 9
MAX_GPUS = 64
_LINE = re.compile(r"([^,]+),\s*(\d+)\s*,\s*(\d+|\?|mig)\s*%?\s*,\s*(\d+)\s*(?:,\s*((?:\d+:\d+\s*)+))?")


class FakeDriverError(Exception):
    """Every call of the fake driver fails with ``code``, one of NVML's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"NVML error {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class FakeGpu:
    """One GPU: MiB and percent. ``utilization`` None: reading it fails. ``processes``: (pid, MiB) pairs."""

    name: str = "NVIDIA GeForce RTX 4090"
    memory_total: int = 24564
    utilization: int | None = 0
    memory_used: int = 0
    processes: tuple[tuple[int, int], ...] = ()
    mig: bool = False


def write_gpus(path: Path, gpus: Sequence[FakeGpu]) -> None:
    """Make the machine have these GPUs from the next call on. Safe while machines read."""
    _replace(path, "".join(_line(gpu) + "\n" for gpu in gpus))


def write_driver_error(path: Path, code: int = DRIVER_NOT_LOADED) -> None:
    """Make every call fail with NVML's error ``code``."""
    _replace(path, f"error {code}\n")


def read_gpus(path: Path) -> list[FakeGpu]:
    """The GPUs as the file says them now, or ``FakeDriverError``."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        raise FakeDriverError(DRIVER_NOT_LOADED) from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and (failure := re.fullmatch(r"error (\d+)", lines[0])):
        raise FakeDriverError(int(failure[1]))
    if len(lines) > MAX_GPUS:
        raise FakeDriverError(DRIVER_NOT_LOADED)
    return [_gpu(line) for line in lines]


def gpus_now() -> list[FakeGpu]:
    """The GPUs of the machine this process runs on."""
    return read_gpus(Path(os.environ.get(VARIABLE, "")))


def _gpu(line: str) -> FakeGpu:
    found = _LINE.fullmatch(line)
    if found is None:
        raise FakeDriverError(DRIVER_NOT_LOADED)
    name, total, utilization, used, processes = found.groups()
    pairs = [pair.split(":") for pair in (processes or "").split()]
    return FakeGpu(
        name=name.strip(),
        memory_total=int(total),
        utilization=int(utilization) if utilization.isdecimal() else None,
        memory_used=int(used),
        processes=tuple((int(pid), int(memory)) for pid, memory in pairs),
        mig=utilization == "mig",
    )


def _line(gpu: FakeGpu) -> str:
    utilization = "mig" if gpu.mig else "?" if gpu.utilization is None else str(gpu.utilization)
    fields = [gpu.name, str(gpu.memory_total), utilization, str(gpu.memory_used)]
    if gpu.processes:
        fields.append(" ".join(f"{pid}:{memory}" for pid, memory in gpu.processes))
    line = ", ".join(fields)
    _gpu(line)  # A value that the fakes could not read back is the writer's mistake: fail here.
    return line


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
