"""The NVML reader on the real pynvml, below which the library is replaced within this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from agents.gpu import (
    REINIT_SECONDS,
    FirstWorking,
    GpuSample,
    GpuState,
    GpuUnavailable,
    NvmlReader,
    amount,
    percent,
)
from hibernation.providers.local.fake_gpu import VARIABLE, FakeGpu, write_driver_error, write_gpus
from hibernation.providers.local.fake_gpu.ctypes_stub import StubLibrary


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, gpu_file: Path) -> StubLibrary:
    stub = StubLibrary()
    monkeypatch.setenv(VARIABLE, str(gpu_file))
    monkeypatch.setattr(pynvml, "nvmlLib", stub)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return stub


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(library: StubLibrary, clock: Clock) -> NvmlReader:
    return NvmlReader(clock)


def utilizations(sample: GpuSample) -> list[float | None]:
    return [gpu.utilization for gpu in sample.gpus]


def test_every_gpu_is_read(reader: NvmlReader, gpu_file: Path) -> None:
    write_gpus(gpu_file, [FakeGpu("NVIDIA A100", 81920, 40, 1024, ((1, 512),)), FakeGpu(utilization=0)])
    sample = reader.read()
    assert sample.gpus[0] == GpuState("NVIDIA A100", 40.0, 1024.0, 81920.0)
    assert utilizations(sample) == [40.0, 0.0]
    assert [(p.pid, p.gpu, p.memory_mib) for p in sample.processes] == [(1, 0, 512.0)]
    assert sample.errors == ()


def test_one_gpu_that_fails_leaves_the_others_known(reader: NvmlReader, gpu_file: Path) -> None:
    write_gpus(gpu_file, [FakeGpu(utilization=5), FakeGpu(utilization=None)])
    sample = reader.read()
    assert utilizations(sample) == [5.0, None]
    assert sample.errors == ("GPU 1: no utilisation: Unknown Error",)


def test_mig_has_no_utilisation(reader: NvmlReader, gpu_file: Path) -> None:
    write_gpus(gpu_file, [FakeGpu(mig=True)])
    sample = reader.read()
    assert utilizations(sample) == [None]
    assert "MIG is on" in sample.errors[0]


def test_a_driver_that_knows_no_mig_is_fine(reader: NvmlReader, library: Any) -> None:
    del library.nvmlDeviceGetMigMode
    assert utilizations(reader.read()) == [0.0]


def test_an_old_driver_is_asked_for_processes_in_the_old_way(
    reader: NvmlReader, library: Any, gpu_file: Path
) -> None:
    write_gpus(gpu_file, [FakeGpu(processes=((7, 100),))])
    del library.nvmlDeviceGetComputeRunningProcesses_v3
    assert reader.read().processes[0].pid == 7


def test_a_driver_without_processes_still_gives_the_utilisation(reader: NvmlReader, library: Any) -> None:
    del library.nvmlDeviceGetComputeRunningProcesses_v3, library.nvmlDeviceGetComputeRunningProcesses_v2
    sample = reader.read()
    assert utilizations(sample) == [0.0]
    assert sample.errors == ("GPU 0: no processes: Function Not Found",)


def test_a_name_that_is_not_text_does_not_hide_the_gpu(reader: NvmlReader, library: Any) -> None:
    def name(_handle: Any, buffer: Any, _length: Any) -> int:
        buffer.value = b"\xff\xfe"
        return 0

    library.nvmlDeviceGetName = name
    assert reader.read().gpus[0] == GpuState("", 0.0, 0.0, 24564.0)


def test_an_absurd_utilisation_is_unknown(reader: NvmlReader, gpu_file: Path) -> None:
    write_gpus(gpu_file, [FakeGpu(utilization=4294967)])
    assert utilizations(reader.read()) == [None]


def test_a_gpu_that_gives_no_handle_stays_in_the_list(
    reader: NvmlReader, library: Any, gpu_file: Path
) -> None:
    write_gpus(gpu_file, [FakeGpu(utilization=5), FakeGpu()])
    real = library.nvmlDeviceGetHandleByIndex_v2
    library.nvmlDeviceGetHandleByIndex_v2 = lambda i, handle: 15 if i.value == 1 else real(i, handle)
    sample = reader.read()
    assert utilizations(sample) == [5.0, None]
    assert sample.errors == ("GPU 1: no handle: GPU is lost",)


def test_no_gpu_at_all_is_unknown(reader: NvmlReader, gpu_file: Path) -> None:
    write_gpus(gpu_file, [])
    with pytest.raises(GpuUnavailable, match="sees 0 GPUs"):
        reader.read()


def test_a_driver_that_comes_back_is_opened_again(reader: NvmlReader, gpu_file: Path) -> None:
    reader.read()
    write_driver_error(gpu_file)
    with pytest.raises(GpuUnavailable, match="Driver Not Loaded"):
        reader.read()
    write_gpus(gpu_file, [FakeGpu(utilization=7)])
    assert utilizations(reader.read()) == [7.0]


def count_inits(library: Any) -> list[int]:
    inits: list[int] = []
    real = library.nvmlInitWithFlags

    def init(flags: Any) -> int:
        inits.append(1)
        code: int = real(flags)
        return code

    library.nvmlInitWithFlags = init
    return inits


def test_a_failing_init_is_not_repeated_at_every_sample(
    reader: NvmlReader, library: Any, gpu_file: Path, clock: Clock
) -> None:
    library.nvmlInitWithFlags = lambda _flags: 9
    inits = count_inits(library)
    for clock.now in (0.0, 1.0, 4.0):
        with pytest.raises(GpuUnavailable, match="Driver Not Loaded"):
            reader.read()
    assert len(inits) == 1
    clock.now = 6.0
    with pytest.raises(GpuUnavailable):
        reader.read()
    assert len(inits) == 2


def test_a_lasting_error_of_one_gpu_opens_the_driver_anew_now_and_then(
    reader: NvmlReader, library: Any, gpu_file: Path, clock: Clock
) -> None:
    inits = count_inits(library)
    write_gpus(gpu_file, [FakeGpu(utilization=None)])
    for clock.now in range(int(REINIT_SECONDS) + 3):
        reader.read()
    assert len(inits) == 2


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(_name: str) -> None:
        raise OSError("not found")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", no_library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    with pytest.raises(GpuUnavailable, match="Not Found"):
        NvmlReader().read()


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GpuUnavailable, match="nvidia-ml-py is not installed"):
        NvmlReader().read()


class Fixed:
    def __init__(self, result: GpuSample | Exception) -> None:
        self.result = result

    def read(self) -> GpuSample:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_the_fallback_is_used_while_the_first_fails() -> None:
    first, second = Fixed(GpuUnavailable("no NVML")), Fixed(GpuSample((GpuState("B", 2.0, None, None),)))
    reader = FirstWorking([first, second])
    assert reader.read().gpus[0].name == "B"
    first.result = GpuSample((GpuState("A", 1.0, None, None),))
    assert reader.read().gpus[0].name == "A"


def test_when_nothing_works_all_reasons_are_told() -> None:
    with pytest.raises(GpuUnavailable, match="no NVML; no smi"):
        FirstWorking([Fixed(GpuUnavailable("no NVML")), Fixed(GpuUnavailable("no smi"))]).read()


@pytest.mark.parametrize(
    "value", ["[N/A]", "ERR!", "[Not Supported]", "", "nan", "inf", "-1", "101", 4294967295, None]
)
def test_what_is_not_a_percentage_is_unknown(value: object) -> None:
    assert percent(value) is None


def test_numbers_are_read() -> None:
    assert (percent("97"), percent(0), amount("24564"), amount("inf")) == (97.0, 0.0, 24564.0, None)
