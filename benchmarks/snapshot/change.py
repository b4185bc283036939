"""One day's work in the workspace, and its undoing, so that every round starts from the same tree."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from benchmarks.snapshot.workspace import CHECKPOINT, LOG, lines, write_checkpoint

_TOUCHED = 0.015
_ADDED = 0.005


class NextDay:
    """A checkpoint trained on, 1.5 % of the small files edited, lines appended, some files deleted, some new.

    ``undo`` needs nothing but the folder ``stash`` beside the tree, also after a crash. The same inodes come back.
    """

    def __init__(self, tree: Path, stash: Path, scale: float) -> None:
        self._tree = tree
        self._stash = stash
        self._scale = scale
        self._trained = stash.with_name("trained.safetensors")

    def apply(self) -> None:
        if not self._trained.exists():
            temp = self._trained.with_suffix(".part")
            write_checkpoint(temp, self._scale, step=2000)
            temp.rename(self._trained)
        self._stash.mkdir(parents=True)
        log = self._tree / LOG
        (self._stash / "log").write_text(f"{log.stat().st_size} {log.stat().st_mtime_ns}")
        append(log, 8, max(1, int(20_000 * self._scale)))
        self._set_aside(self._tree / CHECKPOINT)
        shutil.copyfile(self._trained, self._tree / CHECKPOINT)
        self._edit_small_files()

    def undo(self) -> None:
        """Safe to repeat; nothing happens if nothing was applied."""
        if not self._stash.exists():
            return
        size, mtime = map(int, (self._stash / "log").read_text().split())
        os.truncate(self._tree / LOG, size)
        os.utime(self._tree / LOG, ns=(mtime, mtime))
        for path in [found for found in (self._stash / "tree").rglob("*") if found.is_file()]:
            path.replace(self._tree / path.relative_to(self._stash / "tree"))
        shutil.rmtree(self._tree / "repo/added", ignore_errors=True)
        shutil.rmtree(self._stash)

    def discard(self) -> None:
        """Forget the change: its tree was a restored one and is gone."""
        shutil.rmtree(self._stash, ignore_errors=True)

    def _edit_small_files(self) -> None:
        rng = random.Random(9)
        sources = sorted((self._tree / "repo/src").rglob("*.py"))
        count = sum(len(names) for _, _, names in os.walk(self._tree))
        chosen = rng.sample(sources, min(len(sources), max(3, int(count * _TOUCHED))))
        for number, path in enumerate(chosen):
            data = path.read_bytes()
            self._set_aside(path)
            if number % 10:
                path.write_bytes(data + b"# edited %d\n" % number)
        added = self._tree / "repo/added"
        added.mkdir()
        for number in range(max(1, int(count * _ADDED))):
            (added / f"new_{number}.py").write_bytes(b"".join(lines(rng, 10)))

    def _set_aside(self, path: Path) -> None:
        to = self._stash / "tree" / path.relative_to(self._tree)
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)


def append(path: Path, seed: int, count: int) -> None:
    with path.open("ab") as out:
        out.writelines(lines(random.Random(seed), count))
