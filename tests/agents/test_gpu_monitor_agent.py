"""The command line, as a process: ``--test`` and its exit codes, stopping, and the ways the agent can be started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.identity import only_agent
from hibernation.providers.local.fake_gpu import FakeGpu, smi_folder, write_driver_error, write_gpus

from .conftest import SCRIPT, Run
from .server import Scripted, control_plane

pytestmark = pytest.mark.network


def arguments(server: Scripted, *more: str) -> list[str]:
    return ["--instance-id", "vast_12345", "--control-url", server.url, *more]


def test_one_reading_is_printed_and_sent(run_agent: Run, gpu_file: Path) -> None:
    write_gpus(gpu_file, [*[FakeGpu()] * 7, FakeGpu(utilization=97)])
    with control_plane() as server:
        done = run_agent(*arguments(server, "--test", "--workspace", "/"))
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == server.received[0]
    assert printed["gpu_utilization"] == 97.0
    assert printed["gpu_utilizations"] == [0.0] * 7 + [97.0]
    assert printed["samples"] >= 2
    assert printed["workspace_free_bytes"] > 0
    assert server.tokens == ["Bearer secret-token"]


def test_a_gpu_that_cannot_be_read_is_sent_as_null_and_told(run_agent: Run, gpu_file: Path) -> None:
    write_driver_error(gpu_file)
    with control_plane() as server:
        done = run_agent(*arguments(server, "--test"))
    assert done.returncode == 3
    assert server.received[0]["gpu_utilization"] is None
    assert "Driver Not Loaded" in done.stderr


def test_nvidia_smi_takes_over_where_nvml_fails(run_agent: Run, gpu_file: Path) -> None:
    write_gpus(gpu_file, [FakeGpu(utilization=55)])
    path = f"{smi_folder()}{os.pathsep}{os.environ['PATH']}"
    with control_plane() as server:
        done = run_agent(*arguments(server, "--test"), LD_LIBRARY_PATH="", DUMONT_FAKE_GPU_STUB="", PATH=path)
    assert done.returncode == 0, done.stderr
    assert server.received[0]["gpu_utilization"] == 55.0


def test_a_server_that_is_away_is_exit_code_one_with_the_reason(run_agent: Run) -> None:
    done = run_agent(*arguments(Scripted(url="http://127.0.0.1:1"), "--test"))
    assert done.returncode == 1
    assert "not sent: cannot reach the server" in done.stderr
    assert json.loads(done.stdout)["gpu_utilization"] == 0.0


def test_a_refused_token_says_what_to_do(run_agent: Run) -> None:
    with control_plane((401, {}, b"{}")) as server:
        done = run_agent(*arguments(server, "--test"))
    assert done.returncode == 1
    assert "enrolment command for vast_12345" in done.stderr


def test_no_token_is_wrong_usage_and_names_the_file(run_agent: Run, box: dict[str, str]) -> None:
    done = run_agent(*arguments(Scripted(url="http://127.0.0.1:1"), "--test"), DUMONT_AGENT_TOKEN="")
    assert done.returncode == 2
    assert f"{box['HOME']}/.dumont/token" in done.stderr


def test_the_token_file_is_used_before_the_environment(run_agent: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    with control_plane() as server:
        run_agent(*arguments(server, "--test", "--token-file", str(tmp_path / "token")))
    assert server.tokens == ["Bearer from-file"]


@pytest.mark.parametrize("token", ["", "two lines\nhere", "naïve"])
def test_a_token_that_cannot_be_one_is_refused(run_agent: Run, tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    server = Scripted(url="http://127.0.0.1:1")
    done = run_agent(*arguments(server, "--test", "--token-file", str(tmp_path / "token")))
    assert done.returncode == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["--control-url", "http://127.0.0.1:1"],
        ["--instance-id", "../etc", "--control-url", "http://127.0.0.1:1"],
        ["--instance-id", "vast_1", "--control-url", "dumont"],
        ["--instance-id", "vast_1", "--control-url", "http://127.0.0.1:1", "--interval", "0"],
        ["--instance-id", "vast_1", "--control-url", "http://127.0.0.1:1", "--interval", "often"],
        ["--instance-id", "vast_1", "--control-url", "http://127.0.0.1:1", "--state-dir", "/dev/null/x"],
    ],
)
def test_wrong_usage_is_exit_code_two(run_agent: Run, wrong: list[str]) -> None:
    done = run_agent(*wrong)
    assert done.returncode == 2
    assert "error:" in done.stderr


def test_help_helps(run_agent: Run) -> None:
    done = run_agent("--help")
    assert done.returncode == 0
    for word in ("--instance-id", "--control-url", "--interval", "--test", "exit codes", "~/.dumont/token"):
        assert word in done.stdout


def test_plain_http_to_elsewhere_is_warned_about(run_agent: Run) -> None:
    done = run_agent(*arguments(Scripted(url="http://dumont.invalid"), "--test"))
    assert "not encrypted" in done.stderr


def test_it_runs_from_a_folder_of_any_name(run_agent: Run, tmp_path: Path) -> None:
    shutil.copytree(
        SCRIPT.parent, tmp_path / "copied", ignore=shutil.ignore_patterns("__pycache__", "__init__.py")
    )
    with control_plane() as server:
        done = run_agent(*arguments(server, "--test"), command=[str(tmp_path / "copied" / SCRIPT.name)])
    assert done.returncode == 0, done.stderr


def test_it_runs_from_a_zip_bundle(run_agent: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "agents.pyz"
    with zipfile.ZipFile(bundle, "w") as archive:
        for path in SCRIPT.parent.glob("*.py"):
            archive.write(path, f"agents/{path.name}")
        archive.writestr(
            "__main__.py", "import sys\nfrom agents.gpu_monitor_agent import main\nsys.exit(main())\n"
        )
    with control_plane() as server:
        done = run_agent(*arguments(server, "--test"), command=[str(bundle)])
    assert done.returncode == 0, done.stderr


def test_it_needs_no_packages(run_agent: Run) -> None:
    with control_plane() as server:
        done = run_agent(*arguments(server, "--test"), command=["-S", str(SCRIPT)], DUMONT_FAKE_GPU_STUB="")
    assert done.returncode == 3
    assert "nvidia-ml-py is not installed" in done.stderr


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def running(box: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A monitor that is surely gone afterwards."""
    command = [sys.executable, str(SCRIPT), *arguments]
    with subprocess.Popen(command, env=box, stderr=subprocess.PIPE, text=True) as agent:
        try:
            yield agent
        finally:
            agent.kill()


def terminate(agent: subprocess.Popen[str]) -> str:
    """Send SIGTERM and give the log."""
    agent.send_signal(signal.SIGTERM)
    return agent.communicate(timeout=15)[1]


def test_the_monitor_beats_until_the_server_says_stop(box: dict[str, str]) -> None:
    with control_plane() as server, running(box, *arguments(server, "--interval", "1")) as agent:
        server.interval = 1
        until(lambda: len(server.received) >= 2)
        server.action = "stop"
        _, log = agent.communicate(timeout=15)
    assert agent.returncode == 0, log
    numbers = [reading["seq"] for reading in server.received]
    assert numbers == sorted(set(numbers))
    assert {reading["gpu_utilization"] for reading in server.received} == {0.0}


def test_a_signal_ends_it_at_once_and_cleanly(box: dict[str, str]) -> None:
    with control_plane() as server, running(box, *arguments(server)) as agent:
        until(lambda: server.received)
        began = time.monotonic()
        log = terminate(agent)
        took = time.monotonic() - began
    assert agent.returncode == 0
    assert took < 3
    assert "stopped by a signal" in log
    assert "Traceback" not in log


def test_readings_of_an_outage_arrive_after_a_restart(box: dict[str, str]) -> None:
    with control_plane(*[(503, {}, b"")] * 9) as server:
        with running(box, *arguments(server)) as agent:
            until(lambda: server.received)
            terminate(agent)
        lost = server.received[0]
        server.answers.clear()
        server.received.clear()
        with running(box, *arguments(server)) as agent:
            until(lambda: len(server.received) >= 2)
            terminate(agent)
    current, late = server.received[:2]
    assert (lost["spooled"], current["spooled"], late["spooled"]) == (False, False, True)
    assert late["seq"] == lost["seq"] < current["seq"]


def test_a_second_agent_in_the_same_home_refuses_to_run(run_agent: Run, tmp_path: Path) -> None:
    with only_agent(tmp_path):
        done = run_agent(*arguments(Scripted(url="http://127.0.0.1:1"), "--state-dir", str(tmp_path)))
    assert done.returncode == 1
    assert f"pid {os.getpid()}" in done.stderr


def test_a_test_may_run_beside_the_monitor(run_agent: Run, tmp_path: Path) -> None:
    with only_agent(tmp_path), control_plane() as server:
        done = run_agent(*arguments(server, "--test", "--state-dir", str(tmp_path)))
    assert done.returncode == 0, done.stderr
