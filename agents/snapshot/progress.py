"""How far a job is, for people and for the heartbeat: a JSON file, replaced atomically a few times a second."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_PERIOD = 0.25
_WINDOW = 10.0


def utc_now() -> str:
    """ISO 8601, UTC, milliseconds, 'Z'."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """The file holds either the old or the new bytes, whenever the process dies."""
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    os.replace(temp, path)


class Progress:
    """Counters that any thread may raise; ``start`` begins writing them to ``path`` four times a second.

    ``bytes_done`` and ``bytes_total`` are bytes of the workspace's files; in a freeze they are done once stored.
    ``bytes_moved`` went over the network. The rate is the mean of the phase's last ten seconds, in bytes of files.
    """

    def __init__(self, path: Path, job: str, kind: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._facts: dict[str, Any] = {
            "job": job,
            "kind": kind,
            "state": "running",
            "phase": "start",
            "bytes_done": 0,
            "bytes_total": 0,
            "files_done": 0,
            "files_total": 0,
            "bytes_moved": 0,
            "rate_bps": 0,
            "eta_seconds": None,
            "started_at": utc_now(),
            "updated_at": utc_now(),
            "error": None,
            "result": None,
        }
        self._moved: Callable[[], int] = lambda: 0
        self._usable_at: int | None = None
        if kind == "thaw":
            self._facts |= {"usable": False, "usable_eta_seconds": None}

    def start(self) -> None:
        self._write()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
        self._ticker.start()

    def set(self, **facts: Any) -> None:
        """A new phase begins to measure its rate anew: looking at a file and fetching it take different times."""
        with self._lock:
            self._facts.update(facts)
            if "phase" in facts:
                self._samples = deque([(time.monotonic(), self._facts["bytes_done"])])

    def follow(self, moved: Callable[[], int]) -> None:
        """``moved`` tells the bytes that went over the network so far."""
        self._moved = moved

    def usable_after(self, size: int) -> None:
        """The workspace will be usable when ``size`` more bytes are done."""
        with self._lock:
            self._usable_at = self._facts["bytes_done"] + size

    def add(self, *, size: int = 0, files: int = 0) -> None:
        with self._lock:
            self._facts["bytes_done"] += size
            self._facts["files_done"] += files

    def done(self, result: dict[str, Any]) -> None:
        self._end(state="done", phase="done", result=result, eta_seconds=0)

    def failed(self, code: str, message: str) -> None:
        self._end(state="failed", error={"code": code, "message": message[:1000]}, eta_seconds=None)

    @property
    def facts(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._facts)

    def _end(self, **facts: Any) -> None:
        self._ended.set()
        if self._ticker is not None and self._ticker is not threading.current_thread():
            self._ticker.join()
        self._write(facts)

    def _tick(self) -> None:
        while not self._ended.wait(_PERIOD):
            self._write()

    def _write(self, last: Mapping[str, Any] | None = None) -> None:
        with self._lock:
            self._measure()
            self._facts.update(last or {})
            self._facts["updated_at"] = utc_now()
            data = json.dumps(self._facts).encode()
        write_atomically(self._path, data)

    def _measure(self) -> None:
        now, done = time.monotonic(), self._facts["bytes_done"]
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        rate = (done - before) / max(now - then, 0.001)
        self._facts["rate_bps"] = int(rate)
        self._facts["bytes_moved"] = self._moved()
        self._facts["eta_seconds"] = _seconds(self._facts["bytes_total"] - done, rate)
        if self._usable_at is not None:
            left = 0 if self._facts["usable"] else self._usable_at - done
            self._facts["usable_eta_seconds"] = _seconds(left, rate)


def _seconds(left: int, rate: float) -> float | None:
    if left <= 0:
        return 0.0
    return round(left / rate, 1) if rate > 0 else None
