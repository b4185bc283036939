"""Freeze and thaw as detached jobs: started over a short SSH command, they outlive it and are asked how far they are.

A job is a folder: ``spec.json`` (what to do, put there before), ``progress.json``, ``journal``, ``lock``, ``pid``
and ``log``. Whoever runs holds the lock, so a job never runs twice at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from agents.snapshot.errors import SnapshotError, from_os_error
from agents.snapshot.progress import Progress, write_atomically
from agents.snapshot.writers import start_time

_STOP_SECONDS = 10.0


class Stopped(BaseException):
    """SIGTERM: the job ends as failed, code ``stopped``."""


def start(folder: Path, *, again: bool = False) -> dict[str, Any]:
    """Start the job unless it runs or has ended; a job that died is resumed. Returns its progress at once.

    ``again`` also starts a job that failed; it resumes from its journal.
    """
    lock = _try_lock(folder, attempts=5)
    if lock is None:
        return status(folder)
    try:
        before = _read_progress(folder)
        if before.get("state") == "done" or (before.get("state") == "failed" and not again):
            return before
        spec = _read_spec(folder)
        progress = Progress(folder / "progress.json", str(spec.get("job", "")), str(spec.get("kind", "")))
        _detach(folder, spec, progress, lock)
        return _read_progress(folder)
    finally:
        os.close(lock)


def status(folder: Path) -> dict[str, Any]:
    """The job's progress; state ``died`` if it neither runs nor ended, ``unknown`` if it was never started."""
    progress = _read_progress(folder)
    if not progress:
        return {"job": folder.name, "state": "unknown"}
    if progress["state"] == "running" and not _is_locked(folder):
        progress = _read_progress(folder)  # it may have ended between the two looks
        if progress["state"] == "running":
            progress["state"] = "died"
    return progress


def stop(folder: Path) -> dict[str, Any]:
    """End the job and wait until it is gone. Repeatable; a job that ended stays as it ended."""
    deadline = time.monotonic() + _STOP_SECONDS
    number = signal.SIGTERM
    while _is_locked(folder):
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        _signal_runner(folder, number)
        time.sleep(0.05)
    return status(folder)


def run(folder: Path, spec: dict[str, Any], progress: Progress) -> bool:
    """Do the job in this process; whether it was done. Every failure ends up in the progress, none is raised."""
    from agents.snapshot.freeze import freeze
    from agents.snapshot.spec import FreezeSpec, parse_spec
    from agents.snapshot.thaw import thaw
    from agents.snapshot.transfer import Transfer

    progress.start()
    try:
        parsed = parse_spec(spec)
        transfer = Transfer(
            parsed.control_url, parsed.token_file, parsed.snapshot, limit_bps=parsed.limit_bps
        )
        try:
            if isinstance(parsed, FreezeSpec):
                result = freeze(parsed, folder, progress, transfer)
            else:
                result = thaw(parsed, folder, progress, transfer)
        finally:
            transfer.close()
    except SnapshotError as error:
        progress.failed(error.code, str(error))
    except OSError as error:
        failure = from_os_error(error)
        progress.failed(failure.code, str(failure))
    except Stopped:
        progress.failed("stopped", "the job was stopped")
    except Exception as error:
        traceback.print_exc()
        progress.failed("internal", f"{type(error).__name__}: {error}")
    else:
        progress.done(result)
        return True
    return False


def _detach(folder: Path, spec: dict[str, Any], progress: Progress, lock: int) -> None:
    """Fork twice: the runner has no terminal and no parent to wait for it. It inherits the lock, without a gap."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    write_atomically(folder / "progress.json", json.dumps(progress.facts).encode())
    child = os.fork()
    if child:
        os.close(log)
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _be_runner(folder, spec, progress, log, lock)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _be_runner(folder: Path, spec: dict[str, Any], progress: Progress, log: int, lock: int) -> NoReturn:
    signal.signal(signal.SIGTERM, _on_term)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mark = {"pid": os.getpid(), "started": start_time(os.getpid())}
    write_atomically(folder / "pid", json.dumps(mark).encode())
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.closerange(3, lock)
    os.closerange(lock + 1, 1024)
    _tune()
    done = run(folder, spec, progress)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if done else 1)


def _tune() -> None:
    """Give way to the user's work; allow many descriptors; keep big buffers instead of returning them to the kernel.

    The last makes copies of chunks about eight times faster: without it each one faults its pages in again.
    """
    os.nice(10)
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)
        libc.mallopt(-1, 2**31 - 1)


def _on_term(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def _signal_runner(folder: Path, number: signal.Signals) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        mark = json.loads((folder / "pid").read_bytes())
        if mark["started"] is not None and start_time(mark["pid"]) == mark["started"]:
            os.kill(mark["pid"], number)


def _try_lock(folder: Path, attempts: int) -> int | None:
    """The lock, or ``None`` while someone runs. A ``status`` holds it for a moment only, hence the attempts."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for attempt in range(attempts):
        if attempt:
            time.sleep(0.05)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return fd
    os.close(fd)
    return None


def _is_locked(folder: Path) -> bool:
    try:
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _read_progress(folder: Path) -> dict[str, Any]:
    try:
        progress = json.loads((folder / "progress.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return progress if isinstance(progress, dict) and "state" in progress else {}


def _read_spec(folder: Path) -> dict[str, Any]:
    try:
        spec = json.loads((folder / "spec.json").read_bytes())
    except (OSError, ValueError) as error:
        raise SnapshotError("bad_spec", f"spec.json cannot be read: {error}") from error
    if not isinstance(spec, dict):
        raise SnapshotError("bad_spec", "spec.json is not an object")
    return spec
