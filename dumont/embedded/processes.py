"""Starts and ends child processes. Every child is a session of its own, bound to this process's life, and is ended
as a whole group within a bounded time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import FrameType

from hibernation.domain.errors import DumontError

_HERE = Path(__file__).resolve().parent
_TICK = 0.02
_LOG_LIMIT = 8 * 1024 * 1024


class StartFailed(DumontError):
    """A part of the embedded stack did not start."""

    code = "start_failed"


class Identity(StrEnum):
    """Whom a program runs as; see ``shim``."""

    SELF = "self"
    NAMESPACE = "namespace"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and how to end it: ``stop_signal`` to the leader, then SIGKILL to its group after ``patience`` s.

    ``death_signal`` is what the kernel sends it when this process dies; its group is killed ``death_grace`` s later.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    identity: Identity = Identity.SELF
    stop_signal: signal.Signals = signal.SIGTERM
    patience: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    death_grace: float = 0.0


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Starts it with its output appended to its log.

    The kernel binds the child to the *thread* that calls this: call it from one that lives as long as the child may.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    _rotate(program.log)
    with program.log.open("ab") as log:
        return subprocess.Popen(
            bound(program.argv, program.death_signal, program.identity),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **program.env},
            cwd=program.cwd,
            start_new_session=True,
        )


def bound(argv: tuple[str, ...], death_signal: signal.Signals, identity: Identity) -> list[str]:
    """The command that becomes ``argv`` after binding itself to this process."""
    shim = [sys.executable, "-I", "-S", str(_HERE / "shim.py")]
    return [*shim, str(os.getpid()), str(int(death_signal)), identity, *argv]


def run(program: Program, timeout: float) -> None:
    """Runs it to its end. Raises ``StartFailed`` with the end of its log unless it succeeds within ``timeout`` s."""
    process = spawn(program)
    deadline = time.monotonic() + timeout
    try:
        while not ended(process):
            if time.monotonic() > deadline:
                raise StartFailed(f"{program.name} took longer than {timeout:.0f} s.{log_tail(program.log)}")
            time.sleep(_TICK)
    finally:
        status = end(process, program)
    if status != 0:
        raise StartFailed(f"{program.name} ended with status {status}.{log_tail(program.log)}")


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended. Does not reap it: its number, and so its group's, cannot pass to another meanwhile."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end(process: subprocess.Popen[bytes], program: Program) -> int:
    """Asks the group to stop, kills it when the program's patience is over, and returns the leader's status."""
    if not ended(process):
        kill_group(process.pid, program.stop_signal)
        wait_for_group(process.pid, program.patience)
    return reap(process)


def reap(process: subprocess.Popen[bytes]) -> int:
    """Takes what is left of an ended process's group along and returns its status. Only after ``ended``."""
    kill_group(process.pid)
    return process.wait()


def kill_group(group: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Safe to repeat: a group that is gone is what was wanted."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def group_members(group: int) -> list[int]:
    """The group's processes that still run; zombies do not count, since init may never reap them in a container."""
    return [pid for pid, state, owner in _process_table() if owner == group and state not in "ZX"]


def _process_table() -> Iterator[tuple[int, str, int]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # The name stands in parentheses and may contain anything, so the fields are counted from its end.
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                yield int(entry), fields[0], int(fields[2])


def wait_for_group(group: int, timeout: float = 5.0) -> bool:
    """Whether the whole group stopped running within ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while group_members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(_TICK)
    return True


def log_tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, ready to follow a sentence; empty when there is none."""
    with contextlib.suppress(OSError):
        text = log.read_text(errors="replace").splitlines()[-lines:]
        return f" The end of {log}:\n" + "\n".join(text)
    return ""


def _rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            log.rename(log.with_suffix(".log.1"))


@cache
def unprivileged_identity() -> Identity:
    """Whom to be for a program that refuses to run as root. Tried once: containers differ in what they allow."""
    if os.geteuid() != 0:
        return Identity.SELF
    probe = bound(("/bin/true",), signal.SIGKILL, Identity.NAMESPACE)
    allowed = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return Identity.NAMESPACE if allowed else Identity.NOBODY


@contextlib.contextmanager
def signals_as_exits() -> Iterator[None]:
    """SIGTERM and SIGHUP raise ``SystemExit(128 + n)`` in the main thread, so that ``with`` blocks get to clean up.

    SIGINT raises ``KeyboardInterrupt`` even where a shell that started this in the background had it ignored.
    """
    former = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    former[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
