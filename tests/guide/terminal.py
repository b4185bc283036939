"""Runs the guide's lines as a person types them, with another host, port and token and nothing else changed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMANDS = Path(__file__).with_name("commands.md")
GUIDES_HOSTS = ("http://localhost:5000", "https://dumontcloud.com")
_PATIENCE = 180


@dataclass(frozen=True)
class Section:
    """``lines`` for a shell, in their order; ``reply``: what the guide says that the last of them answers."""

    lines: tuple[str, ...]
    reply: Any


def sections() -> dict[str, Section]:
    """By the word in each heading."""
    parts = re.split(r"^## \d (\w+)$", COMMANDS.read_text(), flags=re.MULTILINE)
    return {name: _section(text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _section(text: str) -> Section:
    blocks = re.findall(r"```(sh|json)\n(.*?)```", text, re.DOTALL)
    replies = [json.loads(block) for kind, block in blocks if kind == "json"]
    return Section(tuple(block for kind, block in blocks if kind == "sh"), next(iter(replies), None))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Terminal:
    """``folder`` is the test's own. The token reaches curl by a file, as it should."""

    folder: Path
    url: str
    token: str

    def retargeted(self, line: str) -> str:
        for host in GUIDES_HOSTS:
            line = line.replace(host, self.url)
        return line

    def run(self, line: str, **headers: str) -> Answer:
        """A line with curl, by a real shell and the real curl. ``headers`` are sent besides the guide's."""
        said, config = self.folder / "headers", self.folder / "curlrc"
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        lines = [f'header = "{name}: {value}"' for name, value in sent.items()]
        config.write_text("\n".join(["silent", "show-error", f'dump-header = "{said}"', *lines]))
        config.chmod(0o600)
        command = re.sub(r"^curl ", f"curl --config {config} ", self.retargeted(line))
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
        first, *rest = said.read_text().splitlines()
        told = dict(one.split(": ", 1) for one in rest if ": " in one)
        return Answer(
            int(first.split()[1]),
            {name.lower(): value for name, value in told.items()},
            json.loads(done.stdout),
        )


def differences(wanted: Any, found: Any, where: str = "reply") -> list[str]:
    """How ``found`` is not of the shape of ``wanted``: what is missing, and what is of another kind. More is fine."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        missing = [f"{where}.{name} is missing" for name in wanted if name not in found]
        return missing + [
            one
            for name in wanted
            if name in found
            for one in differences(wanted[name], found[name], f"{where}.{name}")
        ]
    return [] if _kind(wanted) == _kind(found) else [f"{where} is {found!r}, not like {wanted!r}"]


def _kind(value: Any) -> str:
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )
