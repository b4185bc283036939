"""The same fake where there is no C compiler: the real pynvml talks to this object instead of the library.

It only stands in for ``libnvidia-ml.so.1``; every other library loads as ever. Each call reads the text file anew.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from .gpu_file import FakeDriverError, FakeGpu, gpus_now

LIBRARY = "libnvidia-ml.so.1"
INVALID_ARGUMENT, NOT_SUPPORTED, INSUFFICIENT_SIZE, UNKNOWN = 2, 3, 7, 999
MIB = 1024 * 1024
NO_INSTANCE = 0xFFFFFFFF
_TEXTS = {0: b"Success", 3: b"Not Supported", 9: b"Driver Not Loaded", 15: b"GPU is lost"}


def install() -> None:
    """Make ``ctypes.CDLL("libnvidia-ml.so.1")`` give the stub in this process. Must run before pynvml is imported."""
    real = ctypes.CDLL

    class StubbedCDLL(real):  # type: ignore[misc, valid-type]
        def __new__(cls, name: str | None = None, *_args: Any, **_kwargs: Any) -> Any:
            return StubLibrary() if name == LIBRARY else super().__new__(cls)

    ctypes.CDLL = StubbedCDLL  # type: ignore[misc]


class StubLibrary:
    """The symbols pynvml looks up for the agent's calls; an unknown one is «function not found», as in old drivers."""

    def __init__(self) -> None:
        for symbol, function in _SYMBOLS.items():
            setattr(self, symbol, _checked(function))
        self.nvmlErrorString = _error_string


def _checked(function: Callable[..., int]) -> Callable[..., int]:
    def call(*arguments: Any) -> int:
        try:
            return function(gpus_now(), *arguments)
        except FakeDriverError as error:
            return error.code

    return call


def _error_string(code: int) -> bytes:
    return _TEXTS.get(code, b"Unknown Error")


def _target(reference: Any) -> Any:
    """What ``byref(x)`` points at."""
    return reference._obj


def _nothing(_gpus: list[FakeGpu], *_arguments: Any) -> int:
    return 0


def _count(gpus: list[FakeGpu], count: Any) -> int:
    _target(count).value = len(gpus)
    return 0


def _handle_by_index(gpus: list[FakeGpu], index: Any, handle: Any) -> int:
    # As in the C fake: index plus one, so that no handle is NULL.
    ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = index.value + 1
    return 0 if index.value < len(gpus) else INVALID_ARGUMENT


def _of(gpus: list[FakeGpu], handle: Any) -> FakeGpu:
    index = (ctypes.cast(handle, ctypes.c_void_p).value or 0) - 1
    if not 0 <= index < len(gpus):
        raise FakeDriverError(INVALID_ARGUMENT)
    return gpus[index]


def _say(text: str, buffer: Any, length: Any) -> int:
    encoded = text.encode()
    if len(encoded) >= length.value:
        return INSUFFICIENT_SIZE
    buffer.value = encoded
    return 0


def _driver_version(_gpus: list[FakeGpu], version: Any, length: Any) -> int:
    return _say("550.54.15", version, length)


def _cuda_version(_gpus: list[FakeGpu], version: Any) -> int:
    _target(version).value = 12040
    return 0


def _name(gpus: list[FakeGpu], handle: Any, name: Any, length: Any) -> int:
    return _say(_of(gpus, handle).name, name, length)


def _utilization(gpus: list[FakeGpu], handle: Any, rates: Any) -> int:
    gpu = _of(gpus, handle)
    if gpu.mig:
        return NOT_SUPPORTED
    if gpu.utilization is None:
        return UNKNOWN
    _target(rates).gpu = _target(rates).memory = gpu.utilization
    return 0


def _mig_mode(gpus: list[FakeGpu], handle: Any, current: Any, pending: Any) -> int:
    _target(current).value = _target(pending).value = _of(gpus, handle).mig
    return 0


def _memory(gpus: list[FakeGpu], handle: Any, memory: Any) -> int:
    gpu, info = _of(gpus, handle), _target(memory)
    info.total, info.used = gpu.memory_total * MIB, gpu.memory_used * MIB
    info.free = info.total - info.used
    return 0


def _processes(gpus: list[FakeGpu], handle: Any, count: Any, infos: Any) -> int:
    running, room = _of(gpus, handle).processes, _target(count).value
    _target(count).value = len(running)
    if room < len(running):
        return INSUFFICIENT_SIZE
    for index, (pid, memory) in enumerate(running):
        infos[index].pid, infos[index].usedGpuMemory = pid, memory * MIB
        infos[index].gpuInstanceId = infos[index].computeInstanceId = NO_INSTANCE
    return 0


_SYMBOLS: dict[str, Callable[..., int]] = {
    "nvmlInit_v2": _nothing,
    "nvmlInitWithFlags": _nothing,
    "nvmlShutdown": _nothing,
    "nvmlSystemGetDriverVersion": _driver_version,
    "nvmlSystemGetCudaDriverVersion_v2": _cuda_version,
    "nvmlDeviceGetCount_v2": _count,
    "nvmlDeviceGetHandleByIndex_v2": _handle_by_index,
    "nvmlDeviceGetName": _name,
    "nvmlDeviceGetUtilizationRates": _utilization,
    "nvmlDeviceGetMigMode": _mig_mode,
    "nvmlDeviceGetMemoryInfo": _memory,
    "nvmlDeviceGetComputeRunningProcesses_v2": _processes,
    "nvmlDeviceGetComputeRunningProcesses_v3": _processes,
}
