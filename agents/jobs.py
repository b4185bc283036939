"""Freeze and thaw as detached jobs: started over a short SSH command, they outlive it and are asked how far they are.

A job is a folder: ``spec.json`` (what to do, put there before), ``progress.json``, ``lock``, ``pid`` and ``log``, for
a thaw also ``journal``. Whoever runs holds the lock, so a job never runs twice at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from agents.snapshot.errors import SnapshotError, from_os_error
from agents.snapshot.progress import Progress, write_atomically
from agents.snapshot.writers import start_time

if TYPE_CHECKING:
    from agents.snapshot.spec import FreezeSpec, ThawSpec

_STOP_SECONDS = 10.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_LOWEST = 2 << 13 | 7
"""The last of the ordinary, «best effort» class."""
_IOPRIO_IDLE = 3 << 13


class Stopped(BaseException):
    """A signal: the job ends as failed with this ``code``, wherever its main thread is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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
    if progress["state"] == "running" and not is_running(folder):
        progress = _read_progress(folder)  # it may have ended between the two looks
        if progress["state"] == "running":
            progress["state"] = "died"
    return progress


def stop(folder: Path) -> dict[str, Any]:
    """End the job and wait until it is gone. Repeatable; a job that ended stays as it ended."""
    deadline = time.monotonic() + _STOP_SECONDS
    number = signal.SIGTERM
    while is_running(folder):
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        _signal_runner(folder, number)
        time.sleep(0.05)
    return status(folder)


def is_running(folder: Path) -> bool:
    """Whether the job of this folder has a process now, whatever its progress says. Also on a read-only disk."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def run(folder: Path, spec: dict[str, Any], progress: Progress) -> bool:
    """Do the job in this process; whether it was done. Every failure ends up in the progress, none is raised."""
    from agents.snapshot.spec import parse_spec

    progress.start()
    try:
        parsed = parse_spec(spec)
        with _yielding(parsed):
            result = _work(parsed, folder, progress)
    except SnapshotError as error:
        progress.failed(error.code, str(error))
    except OSError as error:
        failure = from_os_error(error)
        progress.failed(failure.code, str(failure))
    except Stopped as stop:
        progress.failed(stop.code, str(stop))
    except Exception as error:
        traceback.print_exc()
        progress.failed("internal", f"{type(error).__name__}: {error}")
    else:
        progress.done(result)
        return True
    return False


def _work(spec: FreezeSpec | ThawSpec, folder: Path, progress: Progress) -> dict[str, Any]:
    from agents.snapshot.spec import FreezeSpec
    from agents.snapshot.transfer import Transfer

    transfer = Transfer(spec.control_url, spec.token_file, spec.snapshot, limit_bps=spec.limit_bps)
    try:
        if isinstance(spec, FreezeSpec):
            from agents.snapshot.freeze import freeze

            return freeze(spec, folder, progress, transfer)
        from agents.snapshot.thaw import thaw

        return thaw(spec, folder, progress, transfer)
    finally:
        transfer.close()


@contextlib.contextmanager
def _yielding(spec: FreezeSpec | ThawSpec) -> Iterator[None]:
    """Inside it, ``Stopped('activity_resumed')`` is raised wherever the main thread is, once a GPU is busy.

    The other threads end with the process: what was on its way is dropped.
    """
    limit = getattr(spec, "yield_above", None)
    if limit is None:
        yield
        return
    from agents.gpu import FirstWorking, NvmlReader
    from agents.gpu_watch import GpuWatch
    from agents.nvidia_smi import SmiReader

    reasons: list[str] = []

    def resumed(number: int, frame: object) -> None:
        raise Stopped("activity_resumed", reasons[0])

    def tell(why: str) -> None:
        reasons.append(why)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, resumed)
    with GpuWatch(FirstWorking([NvmlReader(), SmiReader()]), limit, tell):
        yield


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
    _tune(is_background=spec.get("background") is True)
    done = run(folder, spec, progress)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if done else 1)


def _tune(*, is_background: bool) -> None:
    """Give way to the user's work, in the background to all of it; allow many descriptors; keep big buffers.

    The last makes copies of chunks about eight times faster: without it the kernel takes each one back and it faults
    its pages in again. One arena for all threads makes one thread's freed buffer the next one's.
    """
    _give_way(is_background)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # we multiply nothing: its idle threads only spin
    gc.disable()  # no cycles of any size here, and 100,000 rows to walk through each time
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_ARENA_MAX, 1)


def _give_way(is_background: bool) -> None:
    """The threads that start later inherit all of it. Where memory runs out, the kernel ends us before any work."""
    os.nice(19 if is_background else 10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError, AttributeError):
        policy = os.SCHED_IDLE if is_background else os.SCHED_BATCH
        os.sched_setscheduler(0, policy, os.sched_param(0))
    call = _IOPRIO_SET.get(platform.machine())
    if call is not None:
        with contextlib.suppress(OSError, AttributeError):
            value = _IOPRIO_IDLE if is_background else _IOPRIO_LOWEST
            ctypes.CDLL(None).syscall(call, _IOPRIO_WHO_PROCESS, 0, value)


def _on_term(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped("stopped", "the job was stopped")


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
