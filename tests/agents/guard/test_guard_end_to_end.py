"""A real monitor and a real guard, hours pressed into seconds: the control plane dies, the box stops itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.contact import STATE_FILE, send
from agents.protocol import GuardTerms
from hibernation.box.bundle import agent_bundle
from hibernation.providers.local.fake_gpu import FakeGpu, write_gpus
from tests.agents.conftest import SCRIPT, Run
from tests.agents.server import Scripted, control_plane

from .api import KEY, provider_api

pytestmark = pytest.mark.network

PORTAL = (200, {}, b"<html>Welcome to our hotel</html>")
TERMS = GuardTerms(4.0, 5.0, "vast", "555")


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Machine:
    """A box: its agent home and whatever agent runs there."""

    def __init__(self, environment: dict[str, str]) -> None:
        # An SSH port that nobody uses: whoever else is logged in where the tests run is not on this box.
        self.environment = {**environment, "SSH_CONNECTION": "127.0.0.1 1 127.0.0.1 1"}
        self.home = Path(environment["HOME"]) / ".dumont"
        self.monitor: subprocess.Popen[bytes] | None = None

    def start(self, server: Scripted, *agent: str) -> None:
        options = ["--instance-id", "vast_1", "--control-url", server.url, "--interval", "1"]
        self.monitor = subprocess.Popen(
            [sys.executable, *(agent or [str(SCRIPT)]), *options],
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )

    def kill_monitor(self) -> None:
        assert self.monitor is not None
        self.monitor.kill()
        self.monitor.wait(10)

    def end(self) -> None:
        if self.monitor is not None and self.monitor.poll() is None:
            self.kill_monitor()
        send(self.home, {"end": True})
        until(lambda: not send(self.home, {}), 10)

    @property
    def has_guard(self) -> bool:
        return send(self.home, {})

    @property
    def log(self) -> str:
        path = self.home / "guard.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def machine(box: dict[str, str]) -> Iterator[Machine]:
    machine = Machine(box)
    yield machine
    machine.end()


def live(server: Scripted) -> list[dict[str, object]]:
    return [reading for reading in server.received if not reading["spooled"]]


def test_the_control_plane_dies_the_box_stops_itself_and_tells_when_it_is_back(machine: Machine) -> None:
    with provider_api((429, b"slow down")) as api:
        machine.environment |= api.environment
        with control_plane() as server:
            server.interval, server.guard = 1, TERMS
            machine.start(server)
            until(lambda: machine.has_guard and len(server.received) >= 3)
        machine.kill_monitor()  # It hung, or worse: the guard is there all the same.
        assert api.asked == []
        until(lambda: len(api.asked) >= 2)
        assert set(api.asked) == {("PUT", "/api/v0/instances/555/", f"Bearer {KEY}", '{"state": "stopped"}')}
    assert "stops itself in" in machine.log
    assert KEY not in machine.log + "".join(path.read_text() for path in machine.home.glob("guard*"))
    machine.end()  # The provider stopped it; somebody starts it again.
    with control_plane() as server:
        server.interval = 1
        machine.start(server)
        until(lambda: live(server))
        fact = live(server)[0]["guard"]
        assert isinstance(fact, dict)
        assert (fact["outcome"], fact["silent_seconds"] >= 4) == ("stopped", True)
        server.guard_noted = fact["id"]
        until(lambda: live(server)[-1]["guard"] is None)


def test_work_and_a_hold_keep_a_box_running_behind_a_captive_portal(
    machine: Machine, gpu_file: Path, run_agent: Run
) -> None:
    with provider_api() as api:
        machine.environment |= api.environment
        with control_plane() as server:
            server.interval, server.guard = 1, TERMS
            machine.start(server)
            until(lambda: machine.has_guard and len(server.received) >= 3)
            server.answers = [PORTAL] * 1000
        write_gpus(gpu_file, [FakeGpu(utilization=50)])
        time.sleep(6.0)
        assert api.asked == []
        held = run_agent("guard", "--hold", "1", "--state-dir", str(machine.home), command=["-m", "agents"])
        assert json.loads(held.stdout)["held"] == 3600.0, held.stderr
        write_gpus(gpu_file, [FakeGpu()])
        time.sleep(6.0)
        assert api.asked == []
        run_agent("guard", "--hold", "0", "--state-dir", str(machine.home), command=["-m", "agents"])
        until(lambda: api.asked)


def test_a_monitor_that_starts_in_the_silence_starts_the_guard(machine: Machine) -> None:
    with control_plane() as server:
        server.interval, server.guard = 1, TERMS
        machine.start(server)
        until((machine.home / STATE_FILE).exists)
        guard = _guard_pid(machine)
        os.kill(guard, signal.SIGKILL)
        until(lambda: not machine.has_guard)
    machine.kill_monitor()
    with control_plane() as nobody:
        nobody.answers = [(503, {}, b"")] * 100
        machine.start(nobody)
        until(lambda: machine.has_guard)
    assert _guard_pid(machine) != guard


@pytest.mark.parametrize("form", ["bundle", "module"])
def test_it_starts_however_the_monitor_was_started(machine: Machine, tmp_path: Path, form: str) -> None:
    (tmp_path / "agents.pyz").write_bytes(agent_bundle())
    agent = [str(tmp_path / "agents.pyz")] if form == "bundle" else ["-m", "agents"]
    with control_plane() as server:
        server.interval, server.guard = 1, TERMS
        machine.start(server, *agent, "monitor")
        until(lambda: machine.has_guard)
        server.action = "stop"
        until(lambda: not machine.has_guard)


def _guard_pid(machine: Machine) -> int:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if b"--guard" in command and f"HOME={machine.home.parent}".encode() in environment.split(b"\0"):
                return int(folder.name)
    raise AssertionError("there is no guard")


def test_there_is_nothing_to_hold_without_a_guard(run_agent: Run, tmp_path: Path) -> None:
    done = run_agent("guard", "--hold", "1", "--state-dir", str(tmp_path), command=["-m", "agents"])
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "no_guard"
    asked = run_agent("guard", "--state-dir", str(tmp_path), command=["-m", "agents"])
    assert json.loads(asked.stdout)["running"] is False


@pytest.mark.parametrize("hours", ["-1", "721", "nan", "long"])
def test_a_hold_of_no_sane_length_is_wrong_usage(run_agent: Run, hours: str) -> None:
    assert run_agent("guard", "--hold", hours, command=["-m", "agents"]).returncode == 2
