"""Small files shared by several processes: locked, replaced whole, removed whole."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds ``path`` alone, against other threads and other processes alike. Not reentrant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_json(path: Path, default: Any) -> Any:
    """What is stored there; ``default`` if there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default


def write_json(path: Path, value: Any) -> None:
    """Replaces the file whole: a reader sees the old value or the new one. One writer at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(value, indent=1))
    fresh.replace(path)


def remove_tree(folder: Path) -> None:
    """Removes a folder with everything in it, also what its owner made unwritable. Repeatable."""
    with suppress(FileNotFoundError):
        folder.chmod(0o700)
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(folder / entry.name)
            else:
                os.unlink(entry.path)
        folder.rmdir()
