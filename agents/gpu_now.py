"""One look at the GPUs, for the last question before a rental ends. Independent of the monitor: it may have died."""

from __future__ import annotations

import time
from typing import Any

from agents.gpu import FirstWorking, GpuReader, GpuUnavailable, NvmlReader
from agents.nvidia_smi import SmiReader

LOOKS = 3
PAUSE_SECONDS = 0.1


def gpu_now(reader: GpuReader | None = None) -> dict[str, Any]:
    """``{"gpu_utilizations": [per cent or null, …], "error": str}``: per GPU the maximum of a few looks.

    A GPU that any look could not read is null; so is everything when none could be read (an empty list).
    """
    reader = reader or FirstWorking([NvmlReader(), SmiReader()])
    peaks: list[float | None] = []
    try:
        for look in range(LOOKS):
            seen = [gpu.utilization for gpu in reader.read().gpus]
            peaks = seen if look == 0 else _peaks(peaks, seen)
            time.sleep(PAUSE_SECONDS if look < LOOKS - 1 else 0)
    except GpuUnavailable as error:
        return {"gpu_utilizations": [], "error": str(error)}
    return {"gpu_utilizations": peaks, "error": ""}


def _peaks(old: list[float | None], new: list[float | None]) -> list[float | None]:
    if len(old) != len(new):
        return [None] * max(len(old), len(new))
    return [None if a is None or b is None else max(a, b) for a, b in zip(old, new, strict=True)]
