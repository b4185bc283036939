"""Both fakes below the real pynvml, each in a process of its own, as a machine's processes use them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hibernation.providers.local.fake_gpu import FakeGpu, prepare, read_gpus, write_driver_error, write_gpus
from hibernation.providers.local.fake_gpu.gpu_file import DRIVER_NOT_LOADED, FakeDriverError

PROBE = """
import json, pynvml as n
try:
    n.nvmlInit()
    handles = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
    answer = [n.nvmlSystemGetDriverVersion()]
    for h in handles:
        memory = n.nvmlDeviceGetMemoryInfo(h)
        try:
            utilization = n.nvmlDeviceGetUtilizationRates(h).gpu
        except n.NVMLError as error:
            utilization = str(error)
        running = [[p.pid, p.usedGpuMemory >> 20] for p in n.nvmlDeviceGetComputeRunningProcesses(h)]
        mig = n.nvmlDeviceGetMigMode(h)[0]
        answer.append([n.nvmlDeviceGetName(h), memory.total >> 20, utilization, memory.used >> 20, running, mig])
    n.nvmlShutdown()
except n.NVMLError as error:
    answer = str(error)
print(json.dumps(answer))
"""
NO_COMPILER = "a-compiler-that-is-not-there"
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(params=[pytest.param("cc", marks=needs_cc), NO_COMPILER])
def fake(request: pytest.FixtureRequest, tmp_path: Path, fake_build: Path, gpu_file: Path) -> dict[str, str]:
    return prepare(tmp_path if request.param == NO_COMPILER else fake_build, gpu_file, compiler=request.param)


def probe(fake: dict[str, str]) -> object:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env={**os.environ, **fake}, capture_output=True, text=True, timeout=20
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_real_pynvml_reads_what_the_file_says(fake: dict[str, str], gpu_file: Path) -> None:
    busy = FakeGpu("NVIDIA H100 80GB HBM3", 81559, 97, 70000, ((4242, 60000), (4243, 9)))
    write_gpus(gpu_file, [busy, FakeGpu(utilization=None), FakeGpu(mig=True)])
    idle = "NVIDIA GeForce RTX 4090"
    assert probe(fake) == [
        "550.54.15",
        ["NVIDIA H100 80GB HBM3", 81559, 97, 70000, [[4242, 60000], [4243, 9]], 0],
        [idle, 24564, "Unknown Error", 0, [], 0],
        [idle, 24564, "Not Supported", 0, [], 1],
    ]


def test_a_hand_written_file_is_read_alike(fake: dict[str, str], gpu_file: Path) -> None:
    gpu_file.write_text("# two GPUs\n\n RTX 3090 ,24576 , 12%, 1 \nRTX 3090, 24576, 5 %, 2, 7:8\n")
    assert probe(fake) == [
        "550.54.15",
        ["RTX 3090", 24576, 12, 1, [], 0],
        ["RTX 3090", 24576, 5, 2, [[7, 8]], 0],
    ]


@pytest.mark.parametrize("text", ["garbage\n", "A, 1, x, 2\n", "A, 1, 5, 2, 7\n", "A, 1, 5, 2, 7:8, 9\n"])
def test_a_file_that_makes_no_sense_is_a_driver_that_is_not_loaded(
    fake: dict[str, str], gpu_file: Path, text: str
) -> None:
    gpu_file.write_text(text)
    assert probe(fake) == "Driver Not Loaded"


def test_a_driver_error_fails_every_call(fake: dict[str, str], gpu_file: Path) -> None:
    write_driver_error(gpu_file, 15)
    assert probe(fake) in ("GPU is lost", "GPU is lost".title())
    gpu_file.unlink()
    assert probe(fake) == "Driver Not Loaded"


@needs_cc
def test_the_library_is_built_once(tmp_path: Path) -> None:
    folder = Path(prepare(tmp_path)["LD_LIBRARY_PATH"].split(os.pathsep)[0])
    before = (folder / "libnvidia-ml.so.1").stat()
    prepare(tmp_path)
    after = (folder / "libnvidia-ml.so.1").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [file.name for file in folder.iterdir()] == ["libnvidia-ml.so.1"]


def test_a_compiler_that_fails_gives_the_stub(tmp_path: Path) -> None:
    assert prepare(tmp_path, compiler="false")["DUMONT_FAKE_GPU_STUB"] == "1"


def test_paths_given_by_the_user_come_after_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    assert prepare(tmp_path, compiler=NO_COMPILER)["PYTHONPATH"].endswith(f"hook{os.pathsep}/theirs")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    gpus = [FakeGpu(), FakeGpu("A100", 1, 100, 1, ((1, 2), (3, 4))), FakeGpu(utilization=None)]
    write_gpus(tmp_path / "gpu.txt", gpus)
    assert read_gpus(tmp_path / "gpu.txt") == gpus
    assert [file.name for file in tmp_path.iterdir()] == ["gpu.txt"]


def test_a_gpu_the_fakes_could_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FakeDriverError):
        write_gpus(tmp_path / "gpu.txt", [FakeGpu("a, b")])
    assert not (tmp_path / "gpu.txt").exists()


def test_too_many_gpus_are_refused(tmp_path: Path) -> None:
    write_gpus(tmp_path / "gpu.txt", [FakeGpu()] * 65)
    with pytest.raises(FakeDriverError) as caught:
        read_gpus(tmp_path / "gpu.txt")
    assert caught.value.code == DRIVER_NOT_LOADED
