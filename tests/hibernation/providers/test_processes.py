from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hibernation.providers.local.processes import (
    MARKER,
    ProcessId,
    identify,
    is_alive,
    kill_machine,
    members,
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"], env={MARKER: "ours"}) as process:
        yield process
        process.kill()


def test_a_pid_used_again_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    process = identify(sleeper.pid)
    assert process is not None
    assert is_alive(process)
    assert not is_alive(ProcessId(process.pid, process.started - 1))


def test_a_keeper_whose_pid_was_used_again_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    now = identify(sleeper.pid)
    assert now is not None
    kill_machine(ProcessId(now.pid, now.started - 1), "another marker")
    assert is_alive(now)


def test_a_marker_finds_its_processes_only(sleeper: subprocess.Popen[bytes]) -> None:
    assert {process.pid for process in members(None, "ours")} == {sleeper.pid}
    assert members(None, "our") == set()


def test_remains_of_a_process_are_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    process = identify(sleeper.pid)
    assert process is not None
    kill_machine(None, "ours")
    assert not is_alive(process)
    assert identify(sleeper.pid) is None


def test_a_descendant_that_hides_its_environment_ends_too() -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '100'], env={}).pid, flush=True); input()"
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env={MARKER: "parent"}, stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        hidden = identify(int(parent.stdout.readline()))
        assert hidden is not None
        kill_machine(None, "parent")
        assert not is_alive(hidden)


def test_we_are_never_among_the_victims() -> None:
    assert all(process.pid != os.getpid() for process in members(identify(os.getpid()), "none"))


def test_processes_that_do_not_end_are_an_error(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hibernation.providers.local.processes._send", lambda process, number: None)
    with pytest.raises(TimeoutError, match=str(sleeper.pid)):
        kill_machine(None, "ours", timeout=0.05)
