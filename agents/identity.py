"""What the agent keeps in its home (``--state-dir``): the lock of the one running agent, boot id, sequence number."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("dumont.agent")

KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class AlreadyRunning(Exception):
    """Another agent holds the lock of this home."""


@contextmanager
def only_agent(state_dir: Path) -> Iterator[None]:
    """Hold the lock of this home, or raise ``AlreadyRunning``. The kernel frees it when the process dies."""
    with (state_dir / "agent.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyRunning(f"an agent (pid {lock.read(20).strip() or '?'}) already runs here") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path``: whoever reads it, now or after a crash, sees the old text or the new, never a part."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def boot_id(state_dir: Path, kernel: Path = KERNEL_BOOT_ID) -> str:
    """Same as long as box boot and agent home are the same. Containers share their host's boot id: hence a nonce."""
    try:
        boot = kernel.read_text().strip()
    except OSError:
        boot = "unknown"
    return f"{boot}.{_nonce(state_dir / 'nonce')}"


def _nonce(path: Path) -> str:
    try:
        if (kept := path.read_text().strip()).isalnum():
            return kept
    except (OSError, ValueError):
        pass  # Not there yet, or damaged: a new one tells the server that this is a new agent home.
    nonce = secrets.token_hex(8)
    try:
        write_atomically(path, nonce + "\n")
    except OSError as error:
        log.warning("cannot keep the agent's nonce: %s", error)
    return nonce


class SequenceNumber:
    """Numbers that only rise, over restarts, crashes and two processes of one home (a monitor and a ``--test``).

    Each number is on disk before it is used. A new run also starts at the wall clock's seconds if that is higher: it
    covers a lost file and a full disk, for at most one number a second is used. The clock alone would not do, it may
    go back.
    """

    def __init__(self, state_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = state_dir / "seq"
        self._lock_path = state_dir / "seq.lock"
        self._last = int(clock()) - 1

    def next(self) -> int:
        try:
            with self._lock_path.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._last = max(self._last, self._kept()) + 1
                write_atomically(self._path, f"{self._last}\n")
        except OSError as error:
            self._last += 1
            log.warning("cannot keep the sequence number: %s", error)
        return self._last

    def _kept(self) -> int:
        try:
            return int(self._path.read_text())
        except (OSError, ValueError):
            return 0
