"""The fallback: reads the GPUs once through the program ``nvidia-smi``. What it cannot tell is None, never 0."""

from __future__ import annotations

import os
import shutil
import subprocess

from agents.gpu import GpuSample, GpuState, GpuUnavailable, amount, largest, percent, printable, process_name
from agents.protocol import MAX_ERROR_CHARS, MAX_GPUS, GpuProcess

TIMEOUT_SECONDS = 5.0


class SmiReader:
    """``nvidia-smi`` as a process of its own: works without nvidia-ml-py and after a driver update in place."""

    # The name comes last: it is the only field that may hold a comma.
    GPU_FIELDS = "uuid,utilization.gpu,memory.used,memory.total,name"
    PROCESS_FIELDS = "gpu_uuid,pid,used_gpu_memory"

    def __init__(self, command: str = "nvidia-smi", timeout: float = TIMEOUT_SECONDS) -> None:
        self._command = command
        self._timeout = timeout

    def read(self) -> GpuSample:
        lines = self._query(f"--query-gpu={self.GPU_FIELDS}")
        rows = [_fields(line, 5) for line in lines]
        if not 0 < len(rows) <= MAX_GPUS:
            raise GpuUnavailable(f"nvidia-smi lists {len(rows)} GPUs")
        gpus = tuple(_smi_state(row) for row in rows)
        errors = [
            f"GPU {i}: nvidia-smi gives no utilisation" for i, g in enumerate(gpus) if g.utilization is None
        ]
        index_of = {row[0]: index for index, row in enumerate(rows)}
        try:
            lines = self._query(f"--query-compute-apps={self.PROCESS_FIELDS}")
            processes = [_smi_process(_fields(line, 3), index_of) for line in lines]
        except GpuUnavailable as error:
            processes, errors = [], [*errors, str(error)]
        return GpuSample(gpus, largest(processes), tuple(errors))

    def _query(self, query: str) -> list[str]:
        path = shutil.which(self._command)
        if path is None:
            raise GpuUnavailable("nvidia-smi is not installed")
        arguments = [path, query, "--format=csv,noheader,nounits"]
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                arguments,
                capture_output=True,
                timeout=self._timeout,
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise GpuUnavailable(f"nvidia-smi did not answer within {self._timeout:g} s") from None
        except OSError as error:
            raise GpuUnavailable(f"nvidia-smi cannot be run: {error}") from None
        output = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            why = printable(output + done.stderr.decode(errors="replace"), MAX_ERROR_CHARS)
            raise GpuUnavailable(f"nvidia-smi failed with {done.returncode}: {why}")
        return [line for line in output.splitlines() if line.strip()]


def _fields(line: str, count: int) -> list[str]:
    parts = [part.strip() for part in line.split(",", count - 1)]
    if len(parts) != count:
        raise GpuUnavailable(f"nvidia-smi says: {printable(line)}")
    return parts


def _smi_state(row: list[str]) -> GpuState:
    return GpuState(printable(row[4]), percent(row[1]), amount(row[2]), amount(row[3]))


def _smi_process(row: list[str], index_of: dict[str, int]) -> GpuProcess:
    uuid, pid, memory = row
    if not pid.isdecimal() or uuid not in index_of:
        raise GpuUnavailable(f"nvidia-smi lists a process that makes no sense: {printable(', '.join(row))}")
    return GpuProcess(int(pid), index_of[uuid], process_name(int(pid)), amount(memory))
