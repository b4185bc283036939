"""Shared pieces of the agent's tests: the environment of a box with fake GPUs, and running the agent on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hibernation.providers.local.fake_gpu import FakeGpu, prepare, write_gpus

SCRIPT = Path(__file__).parents[2] / "agents" / "gpu_monitor_agent.py"
Finished = subprocess.CompletedProcess[str]
Run = Callable[..., Finished]


@pytest.fixture(scope="session")
def fake_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fake_gpu")


@pytest.fixture
def gpu_file(tmp_path: Path) -> Path:
    path = tmp_path / "gpu.txt"
    write_gpus(path, [FakeGpu()])
    return path


@pytest.fixture
def box(tmp_path: Path, gpu_file: Path, fake_build: Path) -> dict[str, str]:
    """The environment of a machine with fake GPUs, its own home and a token."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        **{name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"},
        **prepare(fake_build, gpu_file),
        "HOME": str(home),
        "DUMONT_AGENT_TOKEN": "secret-token",
    }


@pytest.fixture
def run_agent(box: dict[str, str]) -> Run:
    """Runs the agent as a file, as on a real box; keyword arguments change the environment."""

    def run(
        *arguments: str, command: Sequence[str] = (str(SCRIPT),), **changes: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {**box, **changes}
        return subprocess.run(
            [sys.executable, *command, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run
