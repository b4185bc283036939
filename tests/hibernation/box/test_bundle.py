from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from hibernation.box.bundle import agent_bundle, bundle_sha256


def test_the_same_sources_give_the_same_bytes() -> None:
    first, version = agent_bundle(), bundle_sha256()
    agent_bundle.cache_clear()
    assert agent_bundle() == first
    assert bundle_sha256() == version


def test_it_holds_the_agent_and_nothing_else() -> None:
    names = zipfile.ZipFile(io.BytesIO(agent_bundle())).namelist()
    assert "__main__.py" in names
    assert "agents/__main__.py" in names
    assert all(name == "__main__.py" or name.startswith("agents/") for name in names)
    assert all(name.endswith(".py") for name in names)


def test_it_runs_alone(tmp_path: Path) -> None:
    bundle = tmp_path / "agents.pyz"
    bundle.write_bytes(agent_bundle())
    command = [sys.executable, str(bundle), "job", "status", "--dir", str(tmp_path / "none")]
    done = subprocess.run(
        command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=30, check=True
    )
    assert '"unknown"' in done.stdout
