"""Whether this machine is what was rented: its GPUs answer and store what they are given, and how fast it downloads.

Needs no framework: NVML or ``nvidia-smi`` name the GPUs, the driver's own library lets each of them work.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agents.gpu import FirstWorking, GpuSample, GpuUnavailable, NvmlReader, printable
from agents.nvidia_smi import SmiReader

MEMORY_BYTES = 64 << 20
_PATTERN = 0x5AC3_9E71
_READ_BACK = 4096
_BLOCK = 1 << 16
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Download:
    """One signed GET of an object of ``size`` bytes."""

    url: str
    headers: dict[str, str]
    size: int


def selftest(downloads: Sequence[Download], seconds: float) -> dict[str, Any]:
    """``error`` instead of ``gpus`` where none can be read. ``compute`` says what failed, empty where nothing did.

    ``download`` has the bytes and seconds of reading all ``downloads`` at once, for ``seconds`` at most.
    """
    answer: dict[str, Any] = {"gpus": [], "driver": "", "cuda": "", "compute": ""}
    try:
        sample = FirstWorking([NvmlReader(), SmiReader()]).read()
    except GpuUnavailable as error:
        answer["error"] = printable(str(error), 300)
    else:
        answer["gpus"] = _named(sample)
        answer["driver"], answer["cuda"] = versions()
        answer["compute"] = compute_fault()
    answer["download"] = measure(downloads, seconds) if downloads else None
    return answer


def _named(sample: GpuSample) -> list[dict[str, Any]]:
    return [{"name": gpu.name, "memory_mib": gpu.memory_total} for gpu in sample.gpus]


def versions() -> tuple[str, str]:
    """The driver's version and the newest CUDA it serves, such as ``12.8``; empty where NVML does not tell."""
    try:
        import pynvml
    except ImportError:
        return "", ""
    driver, cuda = "", ""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        with contextlib.suppress(pynvml.NVMLError):
            driver = printable(str(pynvml.nvmlSystemGetDriverVersion()))
        with contextlib.suppress(pynvml.NVMLError):
            number = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
            cuda = f"{number // 1000}.{number % 1000 // 10}"
        pynvml.nvmlShutdown()
    return driver, cuda


def compute_fault() -> str:
    """Let every GPU fill some memory and read a part of it back; what failed, empty where nothing did.

    Also empty where the driver's library is not to be had: an image may come without it.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    try:
        _check(cuda, cuda.cuInit(0), "cuInit")
        count = ctypes.c_int()
        _check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)), "cuDeviceGetCount")
        for index in range(count.value):
            _work_on(cuda, index)
    except (CudaFault, AttributeError) as error:
        return printable(str(error), 300)
    return "" if count.value else "the driver sees no GPU"


class CudaFault(Exception):
    """A call of the driver failed, or a GPU gave back other bytes than it was given."""


def _work_on(cuda: Any, index: int) -> None:
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), index), f"GPU {index}: cuDeviceGet")
    retained = cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    _check(cuda, retained, f"GPU {index}: cuDevicePrimaryCtxRetain")
    try:
        _check(cuda, cuda.cuCtxSetCurrent(context), f"GPU {index}: cuCtxSetCurrent")
        _fill_and_read(cuda, index)
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)


def _fill_and_read(cuda: Any, index: int) -> None:
    memory, back = ctypes.c_uint64(), (ctypes.c_uint32 * (_READ_BACK // 4))()
    allocated = cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(MEMORY_BYTES))
    _check(cuda, allocated, f"GPU {index}: cuMemAlloc")
    try:
        filled = cuda.cuMemsetD32_v2(memory, ctypes.c_uint(_PATTERN), ctypes.c_size_t(MEMORY_BYTES // 4))
        _check(cuda, filled, f"GPU {index}: cuMemsetD32")
        end = ctypes.c_uint64(memory.value + MEMORY_BYTES - _READ_BACK)
        copied = cuda.cuMemcpyDtoH_v2(back, end, ctypes.c_size_t(_READ_BACK))
        _check(cuda, copied, f"GPU {index}: cuMemcpyDtoH")
    finally:
        cuda.cuMemFree_v2(memory)
    if any(word != _PATTERN for word in back):
        raise CudaFault(f"GPU {index} gave back other bytes than it was given")


def _check(cuda: Any, code: int, what: str) -> None:
    if code != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(code, ctypes.byref(text))
        raise CudaFault(f"{what}: {(text.value or b'').decode(errors='replace') or code}")


def measure(downloads: Sequence[Download], seconds: float) -> dict[str, Any]:
    """Read every object at once, each over one connection. ``seconds`` from the first answer on, connecting apart."""
    readers = [_Reader(download, time.monotonic() + _CONNECT_SECONDS + seconds) for download in downloads]
    threads = [threading.Thread(target=reader.read, args=(seconds,), daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_CONNECT_SECONDS + 2 * seconds)
    begun = [reader.began for reader in readers if reader.began]
    if not begun:
        return {"bytes": 0, "seconds": 0.0, "error": next((r.error for r in readers if r.error), "no answer")}
    elapsed = max(reader.ended for reader in readers) - min(begun)
    return {"bytes": sum(reader.bytes for reader in readers), "seconds": round(max(elapsed, 0.0), 4)}


class _Reader:
    """One object read to its end, or until the time is up."""

    def __init__(self, download: Download, give_up_at: float) -> None:
        self._download = download
        self._give_up_at = give_up_at
        self.began = self.ended = 0.0
        self.bytes = 0
        self.error = ""

    def read(self, seconds: float) -> None:
        try:
            self._read(seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = printable(f"{type(error).__name__}: {error}", 200)

    def _read(self, seconds: float) -> None:
        address = urlsplit(self._download.url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.netloc, timeout=_CONNECT_SECONDS)
        try:
            span = {"Range": f"bytes=0-{self._download.size - 1}"}
            connection.request(
                "GET", f"{address.path}?{address.query}", headers={**self._download.headers, **span}
            )
            response = connection.getresponse()
            if response.status not in (200, 206):
                raise http.client.HTTPException(f"HTTP {response.status}")
            self.began = self.ended = time.monotonic()
            while time.monotonic() < min(self.began + seconds, self._give_up_at):
                piece = response.read1(_BLOCK)
                if not piece:
                    return
                self.bytes += len(piece)
                self.ended = time.monotonic()
        finally:
            connection.close()
