"""What this box shows of work, seen by the guard itself: jobs, SSH sessions, GPUs. What cannot be seen is work."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from agents import jobs
from agents.activity import ESTABLISHED, ssh_port
from agents.gpu import GpuReader
from agents.guard.countdown import Look
from agents.sampler import Sampler

SAMPLE_SECONDS = 5.0
"""Often enough for hours; the monitor's pace, with nvidia-smi run for each sample, would cost too much twice."""
IDLE = Look()
_LOGGED_IN = re.compile(r"sshd(-session)?: [^\s\[\]]+@[^\s\[\]]+\s*")


class Signs:
    """Looks at one box. The GPUs are watched from ``open`` to ``close`` only; a hung driver hangs nobody else."""

    def __init__(self, state_dir: Path, reader: GpuReader, sessions: Sessions) -> None:
        self._jobs = state_dir / "jobs"
        self._reader = reader
        self._sessions = sessions
        self._sampler: Sampler | None = None

    def open(self, period: float) -> None:
        if self._sampler is None:
            self._sampler = Sampler(self._reader, period)
            self._sampler.start()

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None

    def look(self, threshold: float, session: float) -> Look:
        """Since the look before. Busy: a GPU above ``threshold`` per cent; an SSH session, ``session`` seconds old."""
        for busy in (self._job(), self._sessions.look(session), self._gpus(threshold)):
            if busy != IDLE:
                return busy
        return IDLE

    def _job(self) -> Look:
        try:
            folders = [entry for entry in self._jobs.iterdir() if entry.is_dir()]
            running = [folder.name for folder in folders if jobs.is_running(folder)]
        except FileNotFoundError:
            return IDLE
        except OSError as error:
            return Look(f"the jobs cannot be looked at: {error.strerror}", unknown=True)
        return Look(f"the job {running[0]} runs") if running else IDLE

    def _gpus(self, threshold: float) -> Look:
        if self._sampler is None:
            return Look("the GPUs are not watched yet", unknown=True)
        gpus = self._sampler.take()
        known = [used for used in gpus.utilizations if used is not None]
        if known and max(known) > threshold:
            return Look(f"a GPU is at {max(known):g} %, more than {threshold:g} %")
        if not known or len(known) < len(gpus.utilizations):
            return Look("; ".join(gpus.errors) or "the GPUs could not be read", unknown=True)
        return IDLE


class Sessions:
    """Who is logged in over SSH. Machines with a public address are knocked at all day: a connection alone is nobody.

    A session is one that sshd names with its user, or, with other servers, one that outlived the time to log in.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._proc = proc
        self._clock = clock
        self._port = ssh_port(environment)
        self._seen: dict[str, float] = {}

    def look(self, session: float) -> Look:
        now = self._clock()
        connections = self._connections()
        if connections is None:
            return Look("the SSH sessions cannot be seen", unknown=True)
        self._seen = {name: self._seen.get(name, now) for name in connections}
        if any(now - since >= session for since in self._seen.values()) or any(self._logged_in()):
            return Look("somebody is logged in over SSH")
        return IDLE

    def _connections(self) -> set[str] | None:
        tables = [self._table(name) for name in ("tcp", "tcp6")]
        known = [table for table in tables if table is not None]
        return set().union(*known) if known else None

    def _table(self, name: str) -> set[str] | None:
        try:
            rows = [line.split() for line in (self._proc / "net" / name).read_text().splitlines()[1:]]
            return {
                f"{row[1]} {row[2]}"
                for row in rows
                if row[3] == ESTABLISHED and int(row[1].rpartition(":")[2], 16) == self._port
            }
        except (OSError, ValueError, IndexError):
            return None

    def _logged_in(self) -> Iterator[str]:
        for folder in self._proc.iterdir():
            if folder.name.isdigit() and _LOGGED_IN.fullmatch(title := _title(folder)):
                yield title


def _title(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
