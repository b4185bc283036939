"""GPUs for machines that have none: a fake NVML below the real nvidia-ml-py, driven by a text file.

``prepare`` gives the environment a machine's processes need; ``write_gpus`` makes its GPUs idle or busy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from .gpu_file import VARIABLE, FakeGpu, read_gpus, write_driver_error, write_gpus

__all__ = ["VARIABLE", "FakeGpu", "prepare", "read_gpus", "smi_folder", "write_driver_error", "write_gpus"]

_HERE = Path(__file__).resolve().parent
_SOURCE = _HERE / "nvml.c"
_BUILD_SECONDS = 60


def prepare(state_dir: Path, gpu_file: Path | None = None, compiler: str = "cc") -> dict[str, str]:
    """Environment variables that give a process the fake GPUs; ``gpu_file`` names its text file, if known already.

    Builds the library below ``state_dir`` once; without a working C compiler the ctypes stub takes its place. Safe
    to repeat and to call from several processes. The folders named must be visible inside the machine.
    """
    library = _library(state_dir.resolve() / "fake_gpu", compiler)
    if library is not None:
        environment = {"LD_LIBRARY_PATH": _first_in("LD_LIBRARY_PATH", library.parent)}
    else:
        environment = {"DUMONT_FAKE_GPU_STUB": "1", "PYTHONPATH": _first_in("PYTHONPATH", _HERE / "hook")}
    return environment | ({VARIABLE: str(gpu_file.resolve())} if gpu_file else {})


def smi_folder() -> Path:
    """The folder of the fake ``nvidia-smi``, to be put on a machine's PATH."""
    return _HERE / "bin"


def _library(folder: Path, compiler: str) -> Path | None:
    """The built library, or None where it cannot be built. Named by its source, so that a changed one is rebuilt."""
    version = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    library = folder / version / "libnvidia-ml.so.1"
    if library.exists():
        return library
    path = shutil.which(compiler)
    if path is None:
        return None
    library.parent.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return library if library.exists() or _build(path, library) else None


def _build(compiler: str, library: Path) -> bool:
    fresh = library.with_name(".building")
    command = [compiler, "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", str(fresh), str(_SOURCE)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return False  # A compiler without headers, say; the stub does as well.
    fresh.replace(library)
    return True


def _first_in(variable: str, folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get(variable)]))
