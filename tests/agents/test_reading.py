from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from agents.activity import ActivityMeter
from agents.gpu import GpuSample, GpuState
from agents.reading import Recorder, running_jobs
from agents.sampler import Sampler


class Idle:
    def read(self) -> GpuSample:
        return GpuSample((GpuState("GPU", 3.0, 1.0, 2.0),))


def job(folder: Path, name: str, age: int = 0, **changes: Any) -> None:
    path = folder / name / "progress.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"job": name, "state": "running", "phase": "upload", **changes}))
    os.utime(path, (1000 - age, 1000 - age))


def test_a_reading_has_all_its_parts(tmp_path: Path) -> None:
    sampler = Sampler(Idle(), clock=iter([0.0, 1.0, 1.0]).__next__)
    sampler.sample()
    reading = Recorder("vast_1", tmp_path, sampler, ActivityMeter()).take(30.0)
    assert (reading["instance_id"], reading["gpu_utilization"], reading["gpu_count"]) == ("vast_1", 3.0, 1)
    assert reading["timestamp"].endswith("Z")
    assert (reading["interval_seconds"], reading["samples"], reading["spooled"]) == (30.0, 1, False)
    assert sampler.period == 1.0


def test_running_jobs_are_reported_latest_first_and_bounded(tmp_path: Path) -> None:
    for age in range(6):
        job(tmp_path, f"job{age}", age=age)
    assert [progress["job"] for progress in running_jobs(tmp_path)] == ["job0", "job1", "job2", "job3"]


def test_jobs_that_ended_or_make_no_sense_are_left_out(tmp_path: Path) -> None:
    job(tmp_path, "done", state="done")
    job(tmp_path, "huge", phase="x" * 5000)
    for name, text in (("torn", '{"sta'), ("list", "[]")):
        job(tmp_path, name)
        (tmp_path / name / "progress.json").write_text(text)
    (tmp_path / "folder" / "progress.json").mkdir(parents=True)
    assert running_jobs(tmp_path) == ()


def test_no_jobs_folder_is_no_jobs(tmp_path: Path) -> None:
    assert running_jobs(tmp_path / "gone") == ()
