"""Keeps a set of programs running: one thread spawns, reaps and restarts them, and lives as long as they do, because
the kernel binds a child to the thread that spawned it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .processes import Program, StartFailed, ended, kill_group, log_tail, reap, spawn, wait_for_group

_TICK = 0.05
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 5.0
_SETTLED_AFTER = 10.0
_WATCHDOG = Path(__file__).resolve().parent / "watchdog.py"


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    delay: float = _FIRST_DELAY
    deaths: int = 0
    paused: bool = False
    leaving: bool = False


class Supervisor:
    """A program that dies is started again after 0.2 s, then later and later up to 5 s; all methods are safe to repeat.

    Use it from any thread. ``close`` must be called; if this process dies first, the watchdog ends what is left.
    """

    def __init__(self) -> None:
        self._children: dict[str, _Child] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._watchdog: subprocess.Popen[str] | None = None
        self._closing = False

    def add(self, *programs: Program) -> None:
        """Starts them and returns when every one has a process."""
        with self._changed:
            self._open()
            children = [self._children.setdefault(program.name, _Child(program)) for program in programs]
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(child.process or child.deaths for child in children))

    def remove(self, *names: str) -> None:
        """Ends them side by side: the stop signal to each leader, SIGKILL to each group when its patience is over."""
        with self._changed:
            leaving = [self._children[name] for name in names if name in self._children]
            for child in leaving:
                child.leaving = True
                if child.process:
                    # Not send_signal(): it would reap the leader, and the group could no longer be named safely.
                    os.kill(child.process.pid, child.program.stop_signal)
            self._await_end(leaving)
            for child in leaving:
                self._children.pop(child.program.name, None)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signals the whole group at once; the program is restarted as after any death."""
        with self._changed:
            if process := self._children[name].process:
                kill_group(process.pid, number)

    def pause_restart(self, name: str) -> None:
        with self._changed:
            self._children[name].paused = True

    def resume_restart(self, name: str) -> None:
        with self._changed:
            self._children[name].paused = False
            self._children[name].due = 0.0
            self._changed.notify_all()

    def pid(self, name: str) -> int | None:
        """The running leader, ``None`` between death and restart."""
        with self._changed:
            process = self._children[name].process
            return process.pid if process and not ended(process) else None

    def check(self, deaths: int = 3) -> None:
        """Raises ``StartFailed`` with the end of its log for a program that died ``deaths`` times."""
        with self._changed:
            for child in self._children.values():
                if child.deaths >= deaths:
                    raise StartFailed(f"{child.program.name} does not stay up.{log_tail(child.program.log)}")

    def close(self) -> None:
        """Ends everything, the thread and the watchdog."""
        self.remove(*reversed(self._children))
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join()
            self._thread = None
        self._end_watchdog()

    def _open(self) -> None:
        if self._thread is None:
            self._closing = False
            self._watchdog = _start_watchdog()
            self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
            self._thread.start()

    def _await_end(self, leaving: list[_Child]) -> None:
        started = time.monotonic()
        while remaining := [child for child in leaving if child.process]:
            for child in remaining:
                if child.process and time.monotonic() - started > child.program.patience:
                    kill_group(child.process.pid)
            self._changed.wait(_TICK)

    def _run(self) -> None:
        with self._changed:
            while not self._closing:
                for child in list(self._children.values()):
                    self._tend(child)
                self._changed.notify_all()
                self._changed.wait(_TICK)

    def _tend(self, child: _Child) -> None:
        if child.process and ended(child.process):
            self._bury(child)
        elif child.process is None and not (child.paused or child.leaving) and child.due <= time.monotonic():
            self._start(child)

    def _start(self, child: _Child) -> None:
        child.started = time.monotonic()
        try:
            child.process = spawn(child.program)
        except OSError:
            self._schedule(child)
            return
        self._tell_watchdog(f"+{child.process.pid} {child.program.death_grace}")

    def _bury(self, child: _Child) -> None:
        process = child.process
        if process is None:
            return
        reap(process)
        wait_for_group(process.pid)
        self._tell_watchdog(f"-{process.pid}")
        child.process = None
        self._schedule(child)

    def _schedule(self, child: _Child) -> None:
        now = time.monotonic()
        if now - child.started >= _SETTLED_AFTER:
            child.delay, child.deaths = _FIRST_DELAY, 0
        child.deaths += 1
        child.due = now + child.delay
        child.delay = min(child.delay * 2, _LONGEST_DELAY)

    def _tell_watchdog(self, line: str) -> None:
        # The watchdog may have been killed by hand; the death signal still binds every leader.
        if self._watchdog and self._watchdog.stdin:
            try:
                self._watchdog.stdin.write(line + "\n")
                self._watchdog.stdin.flush()
            except BrokenPipeError:
                return

    def _end_watchdog(self) -> None:
        if self._watchdog:
            self._watchdog.communicate()
            self._watchdog = None


def _start_watchdog() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_WATCHDOG)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
