from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.gpu import GpuState, GpuUnavailable
from agents.nvidia_smi import SmiReader
from hibernation.providers.local.fake_gpu import VARIABLE, FakeGpu, smi_folder, write_driver_error, write_gpus


@pytest.fixture
def smi(monkeypatch: pytest.MonkeyPatch, gpu_file: Path) -> SmiReader:
    monkeypatch.setenv(VARIABLE, str(gpu_file))
    monkeypatch.setenv("PATH", f"{smi_folder()}{os.pathsep}{os.environ['PATH']}")
    return SmiReader()


def saying(tmp_path: Path, script: str, timeout: float = 5.0) -> SmiReader:
    """A reader of an nvidia-smi that is this shell script."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return SmiReader(str(program), timeout)


def test_every_gpu_and_process_is_read(smi: SmiReader, gpu_file: Path) -> None:
    write_gpus(gpu_file, [FakeGpu(utilization=0), FakeGpu("NVIDIA A100", 81920, 88, 1024, ((1, 512),))])
    sample = smi.read()
    assert sample.gpus[1] == GpuState("NVIDIA A100", 88.0, 1024.0, 81920.0)
    assert [(p.pid, p.gpu, p.memory_mib) for p in sample.processes] == [(1, 1, 512.0)]


def test_not_available_is_unknown_and_never_zero(smi: SmiReader, gpu_file: Path) -> None:
    write_gpus(gpu_file, [FakeGpu(utilization=None), FakeGpu(utilization=3)])
    sample = smi.read()
    assert [gpu.utilization for gpu in sample.gpus] == [None, 3.0]
    assert sample.errors == ("GPU 0: nvidia-smi gives no utilisation",)


def test_a_broken_driver_is_told_in_its_words(smi: SmiReader, gpu_file: Path) -> None:
    write_driver_error(gpu_file, 18)
    with pytest.raises(GpuUnavailable, match="failed with 18: Failed to initialize NVML"):
        smi.read()


@pytest.mark.parametrize(
    "word", ["[N/A]", "ERR!", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]"]
)
def test_every_word_for_unknown_is_unknown(tmp_path: Path, word: str) -> None:
    reader = saying(tmp_path, f'case $1 in --query-gpu*) echo "GPU-1, {word}, {word}, 100, X";; esac')
    assert reader.read().gpus == (GpuState("X", None, None, 100.0),)


def test_a_name_may_hold_a_comma(tmp_path: Path) -> None:
    reader = saying(tmp_path, 'case $1 in --query-gpu*) echo "GPU-1, 5, 1, 2, NVIDIA X, rev 2";; esac')
    assert reader.read().gpus[0].name == "NVIDIA X, rev 2"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'Unable to determine the device handle'", "nvidia-smi says: Unable"),
        ("true", "lists 0 GPUs"),
        ("echo oops >&2; exit 9", "failed with 9: oops"),
        ("printf '\\377\\376'", "nvidia-smi says"),
    ],
)
def test_an_answer_that_makes_no_sense_is_unknown(tmp_path: Path, script: str, why: str) -> None:
    with pytest.raises(GpuUnavailable, match=why):
        saying(tmp_path, script).read()


def test_processes_that_make_no_sense_leave_the_gpus_known(tmp_path: Path) -> None:
    script = 'case $1 in --query-gpu*) echo "GPU-1, 5, 1, 2, X";; *) echo "GPU-9, x, 1";; esac'
    sample = saying(tmp_path, script).read()
    assert sample.gpus[0].utilization == 5.0
    assert sample.processes == ()
    assert "makes no sense" in sample.errors[0]


def test_a_program_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(GpuUnavailable, match=r"did not answer within 0.2 s"):
        saying(tmp_path, "exec sleep 30", timeout=0.2).read()


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    reader = saying(tmp_path, "")
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELFbroken")
    with pytest.raises(GpuUnavailable, match="cannot be run"):
        reader.read()


def test_a_missing_program_is_told(tmp_path: Path) -> None:
    with pytest.raises(GpuUnavailable, match="not installed"):
        SmiReader(str(tmp_path / "gone")).read()
