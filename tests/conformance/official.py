"""The official vast.ai client in a virtual environment of its own, pointed at a fake and at nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hibernation.providers.local.files import locked
from tests.fakes.vast import VastFake

PINNED = "vastai==1.9.1"

_INSTALL_SECONDS = 800
_UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|name resolution|Name or service not known"
)


class IndexUnreachable(Exception):
    """The package index does not answer, so there is nothing to test with."""


def installed_client() -> Path:
    """The folder of the environment, made once (175 MB) and kept in the user's cache. ``IndexUnreachable``."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dumont"
    folder = cache / PINNED.replace("==", "-")
    with locked(cache / f"{folder.name}.lock"):
        if not (folder / "complete").exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "--disable-pip-version-check",
    ]
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-input", PINNED],
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
    )
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr):
        raise IndexUnreachable(f"{PINNED} cannot be had: the package index does not answer")
    assert done.returncode == 0, done.stderr
    (folder / "complete").touch()


@dataclass(frozen=True, slots=True)
class Official:
    """Runs the client. It exits 0 on most errors, so look at what it printed and at the fake."""

    folder: Path
    home: Path
    fake: VastFake

    def run(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """One command of the command line."""
        return self._start([str(self.folder / "bin" / "vastai"), *words], env)

    def raw(self, *words: str) -> Any:
        """What it prints with ``--raw``."""
        done = self.run(*words, "--raw")
        assert done.stdout.strip(), done.stderr
        return json.loads(done.stdout)

    def sdk(self, expression: str) -> Any:
        """The value of an expression about ``vast``, the SDK's object; an exception as ``{"raised": its class}``."""
        script = (
            "import json\n"
            "from vastai import VastAI\n"
            f"vast = VastAI(api_key={self.fake.key!r}, server_url={self.fake.url!r})\n"
            f"try:\n    value = {expression}\n"
            "except Exception as error:\n    value = {'raised': type(error).__name__}\n"
            "print(json.dumps(value))\n"
        )
        done = self._start([str(self.folder / "bin" / "python"), "-c", script], None)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def _start(self, command: list[str], env: dict[str, str] | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**self._env(), **(env or {})},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _env(self) -> dict[str, str]:
        places = {
            f"XDG_{name}_HOME": str(self.home / name.lower()) for name in ("CONFIG", "CACHE", "DATA", "STATE")
        }
        return {
            **places,
            "HOME": str(self.home),
            "PATH": os.defpath,
            "COLUMNS": "300",
            "VAST_URL": self.fake.url,
            "VAST_API_KEY": self.fake.key,
            "VASTAI_NO_UPDATE_CHECK": "1",
        }
