"""Fixtures for tests that start real processes: each checks for itself that nothing of it is left."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dumont.embedded.processes import Program
from dumont.embedded.supervisor import Supervisor

MakeProgram = Callable[..., Program]


def eventually(holds: Callable[[], object], timeout: float = 15.0) -> None:
    """Waits for other processes; there is no clock of ours to move."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@contextlib.contextmanager
def interrupt_after(seconds: float) -> Iterator[None]:
    """Raises ``KeyboardInterrupt`` in the main thread, as Ctrl-C does."""
    former = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def commands_naming(path: Path) -> list[str]:
    """The command lines, anywhere on this machine, that mention the path."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(path) in command:
                found.append(command)
    return found


@pytest.fixture
def make_program(tmp_path: Path) -> MakeProgram:
    """A program of one Python statement, by default one that just stays."""

    def make(name: str = "sleeper", code: str = "import time; time.sleep(600)", **options: object) -> Program:
        argv = (sys.executable, "-I", "-S", "-c", code, str(tmp_path))
        return Program(name, argv, tmp_path / "logs" / f"{name}.log", **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.close()
