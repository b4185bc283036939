"""What every tool of the contest is asked: store the workspace, store it again, bring it back."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.snapshot.meter import Cost


@dataclass(frozen=True, slots=True)
class Stage:
    """Folders that all tools share. The workspace has the same path before and after a restore, as on a new machine."""

    box: Path
    repos: Path
    store_url: str

    @property
    def workspace(self) -> Path:
        return self.box / "workspace"


class Tool(Protocol):
    """``snapshot("first")`` then ``snapshot("next")`` of the same tree; ``restore`` brings the first back.

    ``forget_next`` removes the second snapshot before ``snapshot("next")`` is taken again, on the restored box.
    """

    name: str
    on_restored: bool
    """Whether it stores again on the restored box; then ``variants`` do so on the same repository after it."""
    variants: tuple[Tool, ...]

    def version(self) -> str: ...
    def reset(self) -> None: ...
    def snapshot(self, label: str) -> Cost: ...
    def restore(self) -> Cost: ...
    def forget_next(self) -> None: ...
    def stored(self) -> int: ...


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def warm(folder: Path) -> None:
    """Read everything once and let the disk come to rest: the same start for every tool."""
    subprocess.run(
        ["bash", "-c", 'find "$0" -type f -print0 | xargs -0 cat >/dev/null', str(folder)], check=True
    )
    subprocess.run(["sync"], check=True)


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
