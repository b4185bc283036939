"""Names processes so that a pid used again is never mistaken for the old one, and ends those of one machine."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARKER = "DUMONT_MACHINE"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for good: its pid and when it started, in clock ticks since the host booted."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class _Stat:
    process: ProcessId
    parent: int
    zombie: bool


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; None if there is none, or only its remains."""
    stat = _stat(pid)
    return stat.process if stat and not stat.zombie else None


def is_alive(process: ProcessId) -> bool:
    return identify(process.pid) == process


def members(keeper: ProcessId | None, marker: str) -> set[ProcessId]:
    """Every live process of a machine: what carries its marker, and all that descends from that or the keeper."""
    running = {stat.process.pid: stat for stat in _all_stats()}
    found = {pid for pid in running if _carries(pid, marker)}
    if keeper and is_alive(keeper):
        found.add(keeper.pid)
    fresh = found
    while fresh:
        fresh = {pid for pid, stat in running.items() if stat.parent in fresh} - found
        found = found | fresh
    return {running[pid].process for pid in found if pid in running and not running[pid].zombie} - {
        _ourselves()
    }


def kill_machine(keeper: ProcessId | None, marker: str, timeout: float = 10.0) -> None:
    """Ends every process of a machine, and returns when none is left. Repeatable. ``TimeoutError`` if some stay.

    The keeper is stopped first and ends last: while it exists, whatever loses its parent becomes its child.
    """
    deadline = time.monotonic() + timeout
    if keeper:
        _send(keeper, signal.SIGSTOP)
    while left := members(keeper, marker):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Processes of the machine do not end: {sorted(p.pid for p in left)}")
        for process in left - {keeper} or left:
            _send(process, signal.SIGKILL)
        time.sleep(0.01)


def die_with_parent() -> None:
    """The kernel kills the calling process when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """What descends from the calling process and loses its parent becomes its child, not the host's."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _send(process: ProcessId, number: signal.Signals) -> None:
    """Signals this very process or nothing. The descriptor pins it before its start time is compared."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if is_alive(process):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _ourselves() -> ProcessId | None:
    return identify(os.getpid())


def _all_stats() -> Iterator[_Stat]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := _stat(int(name))):
            yield stat


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything; the fields after its last parenthesis are plain.
    fields = text.rpartition(")")[2].split()
    return _Stat(ProcessId(pid, int(fields[19])), parent=int(fields[1]), zombie=fields[0] in "ZX")


def _carries(pid: int, marker: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARKER}={marker}".encode() in environment.split(b"\0")
