"""The whole demo, as a person starts it: to its end, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dumont.demo.compare import compare
from dumont.demo.inventory import take_inventory
from dumont.demo.options import MARK
from dumont.embedded.folders import exclusive

pytestmark = pytest.mark.network


def start(state: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dumont.demo", "--state", str(state), "--idle-seconds", "1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def belonging_to(state: Path) -> Iterator[str]:
    """The command lines of processes whose command line or environment names the state folder."""
    wanted = os.fsencode(state)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if wanted in command or wanted in (entry / "environ").read_bytes():
                    yield command.replace(b"\0", b" ").decode()


def test_a_workspace_comes_back_identical_and_nothing_is_left_running(tmp_path: Path) -> None:
    workspace, state = tmp_path / "workspace", tmp_path / "state"
    (workspace / "empty").mkdir(parents=True)
    (workspace / "notes.txt").write_text("mine")
    (workspace / "link").symlink_to("notes.txt")
    workspace.chmod(0o755)
    before = take_inventory(str(workspace))
    with start(state, "--workspace", str(workspace)) as demo:
        story, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, story
    assert "IDENTICAL" in story
    assert list(belonging_to(state)) == []
    report = json.loads((state / "report.json").read_text())
    assert report["result"] == "identical"
    first, second = (machine["contract_id"] for machine in report["machines"])
    assert compare(before, take_inventory(str(state / "machines" / second / "workspace"))) == []
    assert not (state / "machines" / first).exists()
    assert compare(before, take_inventory(str(workspace))) == []


@pytest.mark.chaos
def test_an_rtx_3090_in_the_eu_is_found_rented_reached_and_woken_on_vast(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start(state, "--provider", "vast-fake") as demo:
        story, _ = demo.communicate(timeout=150)
    assert demo.returncode == 0, story
    assert list(belonging_to(state)) == []
    report = json.loads((state / "report.json").read_text())
    assert report["result"] == "identical"
    assert [(machine["gpu_type"], machine["region"]) for machine in report["machines"]] == [
        ("RTX 3090", "EU")
    ] * 2
    assert all(machine["cost_by_kind"]["gpu"] > 0 for machine in report["machines"])
    wake = report["operations"][-1]
    stages = [step["step"] for step in wake["steps"]]
    assert stages == ["choose", "launch", "loading", "reach", "install", "test", "thaw", "confirm"]
    assert "stages: choose" in story


def test_an_interrupt_ends_everything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start(state) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "its GPU gets work" in line:
                break
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert list(belonging_to(state)) == []
    assert json.loads((state / "report.json").read_text())["result"] == "interrupted"


def test_a_second_demo_on_the_same_state_says_so_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "machines").mkdir()
    began = time.monotonic()
    with exclusive(tmp_path / MARK), start(tmp_path) as demo:
        told, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "Another process runs on" in told
    assert (tmp_path / "machines").is_dir()
    assert time.monotonic() - began < 30
