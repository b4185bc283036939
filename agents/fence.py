"""The last questions before a rental ends, in one go: hold the writers, compare the workspace, look at the GPUs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from agents.gpu import FirstWorking, GpuReader, GpuUnavailable, NvmlReader
from agents.nvidia_smi import SmiReader
from agents.snapshot.dirty import dirty
from agents.snapshot.writers import pause_writers

LOOKS = 3
PAUSE_SECONDS = 0.1


def fence(workspace: str, state_file: Path, record: Path, reader: GpuReader | None = None) -> dict[str, Any]:
    """``{"dirty", "changed", "sample", "paused", "gpu_utilizations"}``. Repeatable.

    Writers are stopped first, so that nothing moves between the look and the end; ``record`` says who. A writer that
    cannot be stopped, or that came while the workspace was compared, is a change to come, and counts as one.
    """
    held = pause_writers(workspace, record)
    report = dirty(workspace, state_file)
    late = pause_writers(workspace, record)
    failed = {entry["pid"] for entry in [*held["failed"], *late["failed"]]}
    newcomers = [entry["pid"] for entry in late["paused"] if entry not in held["paused"]]
    loose = [f"process {pid} cannot be paused" for pid in sorted(failed)]
    loose += [f"process {pid} began to write" for pid in newcomers if pid not in failed]
    return {
        "dirty": bool(report["dirty"] or loose),
        "changed": report["changed"] + len(loose),
        "sample": [*loose, *report["sample"]][:10],
        "paused": len(late["paused"]),
        "gpu_utilizations": look_at_gpus(reader or FirstWorking([NvmlReader(), SmiReader()])),
    }


def look_at_gpus(reader: GpuReader) -> list[float | None]:
    """Per GPU the maximum of a few looks in per cent; null where any look failed, an empty list where all did.

    Independent of the monitor, which may have died.
    """
    peaks: list[float | None] = []
    try:
        for look in range(LOOKS):
            time.sleep(PAUSE_SECONDS if look else 0)
            seen = [gpu.utilization for gpu in reader.read().gpus]
            peaks = _peaks(peaks, seen) if look else seen
    except GpuUnavailable:
        return []
    return peaks


def _peaks(old: list[float | None], new: list[float | None]) -> list[float | None]:
    if len(old) != len(new):
        return [None] * max(len(old), len(new))
    return [None if a is None or b is None else max(a, b) for a, b in zip(old, new, strict=True)]
