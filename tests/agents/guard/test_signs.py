"""What counts as work on a box: a job, somebody logged in, a GPU; and whatever cannot be seen."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.gpu import GpuSample, GpuState, GpuUnavailable
from agents.guard.countdown import Look
from agents.guard.signs import IDLE, Sessions, Signs

HEADER = "  sl  local_address rem_address   st\n"
LISTENING = "   0: 00000000:0016 00000000:0000 0A\n"


class Gpus:
    """``used`` per GPU in per cent, None where it cannot be read; no list at all: the driver is gone."""

    def __init__(self, *used: float | None) -> None:
        self.used: tuple[float | None, ...] | None = used

    def read(self) -> GpuSample:
        if self.used is None:
            raise GpuUnavailable("the driver is gone")
        return GpuSample(tuple(GpuState("GPU", used, 0.0, 1.0) for used in self.used))


class Proc:
    """A ``/proc`` with SSH connections and processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        (root / "net").mkdir(parents=True)
        self.connect()

    def connect(self, *peers: str) -> None:
        rows = [f"   1: 0100007F:0016 {peer} 01\n" for peer in peers]
        (self.root / "net" / "tcp").write_text(HEADER + LISTENING + "".join(rows))

    def title(self, pid: int, text: str) -> None:
        (self.root / str(pid)).mkdir()
        (self.root / str(pid) / "cmdline").write_text(text + "\0\0\0")

    def sessions(self) -> Sessions:
        return Sessions(self.root, lambda: self.now, {})


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path / "proc")


def seen(signs: Signs, threshold: float = 5.0) -> Look:
    """The first look after the GPUs were read."""
    time.sleep(0.05)
    return signs.look(threshold, session=150.0)


@pytest.fixture
def gpus() -> Gpus:
    return Gpus(0.0, 2.0)


@pytest.fixture
def signs(tmp_path: Path, proc: Proc, gpus: Gpus) -> Iterator[Signs]:
    signs = Signs(tmp_path, gpus, proc.sessions())
    signs.open(0.01)
    yield signs
    signs.close()


def test_quiet_gpus_and_nobody_there_is_idle(signs: Signs) -> None:
    assert seen(signs) == IDLE


@pytest.mark.parametrize(
    ("used", "unknown"), [((0.0, 6.0), False), ((None, 99.0), False), ((0.0, None), True), ((), True)]
)
def test_a_gpu_above_the_threshold_or_unknown_is_busy(
    signs: Signs, gpus: Gpus, used: tuple[float | None, ...], unknown: bool
) -> None:
    gpus.used = used
    seen(signs)  # The number of GPUs may have changed, which makes that interval unknown.
    look = seen(signs)
    assert look.busy
    assert look.unknown is unknown


def test_the_threshold_itself_is_idle(signs: Signs, gpus: Gpus) -> None:
    gpus.used = (5.0, 5.0)
    seen(signs)
    assert seen(signs) == IDLE


def test_gpus_that_cannot_be_read_are_unknown_with_the_reason(signs: Signs, gpus: Gpus) -> None:
    gpus.used = None
    seen(signs)
    assert seen(signs) == Look("the driver is gone", unknown=True)


def test_gpus_that_nobody_watches_are_unknown(tmp_path: Path, proc: Proc) -> None:
    assert Signs(tmp_path, Gpus(0.0), proc.sessions()).look(5.0, 150.0).unknown


def test_a_job_that_runs_is_work(signs: Signs, tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "freeze-1"
    job.mkdir(parents=True)
    (tmp_path / "jobs" / "stray-file").touch()
    assert seen(signs) == IDLE
    with (job / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert seen(signs).busy == "the job freeze-1 runs"
    assert seen(signs) == IDLE


def test_a_connection_that_lasts_is_a_session(proc: Proc) -> None:
    sessions = proc.sessions()
    proc.connect("0A00000A:D431")
    assert sessions.look(150.0) == IDLE
    proc.now = 150.0
    assert sessions.look(150.0).busy


def test_those_who_knock_and_go_are_nobody(proc: Proc) -> None:
    sessions = proc.sessions()
    for proc.now in range(0, 3600, 15):
        proc.connect(f"0A00000A:{int(proc.now) // 60:04X}")
        assert sessions.look(150.0) == IDLE


@pytest.mark.parametrize(
    ("title", "busy"),
    [
        ("sshd: root@pts/0", True),
        ("sshd-session: root@notty", True),
        ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", False),
        ("sshd: admin@evil [preauth]", False),
        ("sshd-session: root [priv]", False),
        ("python train.py", False),
    ],
)
def test_sshd_names_who_is_logged_in(proc: Proc, title: str, busy: bool) -> None:
    proc.title(4711, title)
    assert bool(proc.sessions().look(150.0).busy) is busy


def test_sessions_that_cannot_be_seen_are_unknown(proc: Proc) -> None:
    (proc.root / "net" / "tcp").unlink()
    assert proc.sessions().look(150.0).unknown
