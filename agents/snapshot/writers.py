"""Hold still whoever writes to the workspace while the last delta is frozen, and let them go again.

Processes are stopped with SIGSTOP and known by pid and start time, so that a reused pid is never touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.snapshot.progress import write_atomically

_PASSES = 3
_OURS = ("agents.pyz", "gpu_monitor_agent", "agents/__main__.py")


def pause_writers(workspace: str, record: Path) -> dict[str, Any]:
    """Stop every process that works in ``workspace``, or has a file there open for writing or mapped writable.

    Never stops ourselves, our ancestors, sshd, process 1, the agent, or what someone else stopped already. Who is
    stopped is recorded before it is stopped. Repeatable: a second call adds newcomers.
    """
    root = os.path.realpath(workspace)
    spared = _ancestors()
    record.parent.mkdir(parents=True, exist_ok=True)
    paused = _read(record)
    for _ in range(_PASSES):
        failed: list[dict[str, Any]] = []
        # Whoever runs is stopped, also one that is in the record: it may have been let go, or never been held.
        running = [entry for entry in _writers(root) if entry["pid"] not in spared]
        if not running:
            break
        known = {_mark(entry) for entry in paused}
        paused += [entry for entry in running if _mark(entry) not in known]
        write_atomically(record, json.dumps(paused).encode())
        failed = [{**entry, "why": why} for entry in running if (why := _signal(entry, signal.SIGSTOP))]
    return {"paused": paused, "failed": failed}


def resume_writers(record: Path) -> dict[str, Any]:
    """Let everyone in the record go on, and drop the record. Repeatable."""
    paused = _read(record)
    resumed = [entry for entry in paused if not _signal(entry, signal.SIGCONT)]
    record.unlink(missing_ok=True)
    return {"resumed": resumed, "gone": len(paused) - len(resumed)}


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a live process; ``None`` if there is none or it is a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def _writers(root: str) -> Iterator[dict[str, Any]]:
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":
            continue
        pid = int(name)
        fields = _stat(pid)
        if not fields or fields[0] in "TtZX" or _is_spared(pid):
            continue
        if _works_in(pid, root) or _writes_open(pid, root) or _writes_mapped(pid, root):
            yield {"pid": pid, "started": int(fields[19]), "name": _comm(pid)}


def _works_in(pid: int, root: str) -> bool:
    """Whoever stands in the workspace may open, write and close a file there between two looks."""
    with contextlib.suppress(OSError):
        return _is_beneath(os.readlink(f"/proc/{pid}/cwd") + "/", root)
    return False


def _writes_open(pid: int, root: str) -> bool:
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError, ValueError):
                if _is_beneath(os.readlink(f"/proc/{pid}/fd/{fd}"), root) and _is_writable(pid, fd):
                    return True
    return False


def _is_writable(pid: int, fd: str) -> bool:
    for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def _writes_mapped(pid: int, root: str) -> bool:
    """``numpy.memmap`` and friends close the file and go on writing through the mapping."""
    return any(_is_beneath(path, root) for _, path in _writable_maps(pid))


def mapped_files() -> tuple[frozenset[int], frozenset[str]]:
    """Inodes and paths that some process has mapped shared and writable: it may write without opening them again."""
    inodes, paths = set(), set()
    for name in os.listdir("/proc"):
        for inode, path in _writable_maps(name) if name.isdigit() else ():
            inodes.add(inode)
            paths.add(path)
    return frozenset(inodes), frozenset(paths)


def _writable_maps(pid: int | str) -> Iterator[tuple[int, str]]:
    with contextlib.suppress(OSError):
        for line in os.fsdecode(Path(f"/proc/{pid}/maps").read_bytes()).splitlines():
            parts = line.split(maxsplit=5)
            if len(parts) == 6 and parts[1][1] == "w" and parts[1][3] == "s":
                yield int(parts[4]), parts[5]


def _is_beneath(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")


def _is_spared(pid: int) -> bool:
    """sshd carries the control plane's own connection; the agent must go on reporting."""
    if _comm(pid).startswith("sshd"):
        return True
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return True
    return any(name in command for name in _OURS)


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return found


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the state on: [0] state, [1] parent, [19] start time."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def _comm(pid: int) -> str:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/comm").read_bytes()).strip()
    except OSError:
        return ""


def _signal(entry: dict[str, Any], number: signal.Signals) -> str:
    """Empty on success; else why not."""
    if start_time(entry["pid"]) != entry["started"]:
        return "gone"
    try:
        os.kill(entry["pid"], number)
    except OSError as error:
        return str(error.strerror)
    return ""


def _mark(entry: dict[str, Any]) -> tuple[int, int]:
    return entry["pid"], entry["started"]


def _read(record: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(record.read_bytes())
        return [
            entry for entry in entries if isinstance(entry["pid"], int) and isinstance(entry["started"], int)
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []
