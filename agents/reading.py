"""Puts one reading together from its sources: GPU sampler, activity meter, sequence number, running jobs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.activity import ActivityMeter
from agents.contact import kept_fact
from agents.identity import SequenceNumber, boot_id
from agents.protocol import MAX_JOB_BYTES, MAX_JOBS, Reading
from agents.sampler import SAMPLE_SECONDS, Sampler


class Recorder:
    """Takes readings for one instance. Keeps no reading; each call covers the time since the call before."""

    def __init__(self, instance_id: str, state_dir: Path, sampler: Sampler, activity: ActivityMeter) -> None:
        self._instance_id = instance_id
        self._state_dir = state_dir
        self._sampler = sampler
        self._activity = activity
        self._numbers = SequenceNumber(state_dir)
        self._boot_id = boot_id(state_dir)

    def take(self, interval: float) -> dict[str, Any]:
        """The next reading as JSON. ``interval`` is the heartbeat interval in force, in seconds."""
        self._sampler.period = min(SAMPLE_SECONDS, interval / 4)
        gpus = self._sampler.take()
        return Reading(
            instance_id=self._instance_id,
            gpu_utilization=gpus.utilization,
            timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            gpu_count=len(gpus.names),
            gpu_names=gpus.names,
            gpu_utilizations=gpus.utilizations,
            gpu_memory_used=gpus.memory_used,
            gpu_memory_total=gpus.memory_total,
            processes=gpus.processes,
            **asdict(self._activity.take()),
            boot_id=self._boot_id,
            seq=self._numbers.next(),
            interval_seconds=interval,
            samples=gpus.samples,
            errors=gpus.errors,
            jobs=running_jobs(self._state_dir / "jobs"),
            guard=kept_fact(self._state_dir),
        ).to_json()


def running_jobs(folder: Path) -> tuple[dict[str, Any], ...]:
    """Progress of the freeze and thaw jobs that say they run, the latest first, at most 4 of 4 KiB."""
    files = sorted(folder.glob("*/progress.json"), key=_modified_at, reverse=True)
    jobs = (_progress(path) for path in files[: 8 * MAX_JOBS])
    return tuple(job for job in jobs if job is not None)[:MAX_JOBS]


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _progress(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JOB_BYTES + 1)
        progress = json.loads(text) if len(text) <= MAX_JOB_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return progress if isinstance(progress, dict) and progress.get("state") == "running" else None
