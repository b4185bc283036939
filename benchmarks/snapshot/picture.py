"""What a tree looks like, to prove that a restore brought it back."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from blake3 import blake3

Picture = dict[str, tuple[object, ...]]


def picture(root: Path) -> Picture:
    """Path → kind, mode, mtime in seconds (all that GNU tar keeps) and the hash of the bytes, or the link's target."""
    found: Picture = {}
    for folder, dirs, names in os.walk(root):
        for name in [*names, *(d for d in dirs if os.path.islink(os.path.join(folder, d)))]:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = _fact(path)
    return found


def check_same(name: str, wanted: Picture, root: Path, *, metadata: bool = True) -> None:
    """Raises ``SystemExit`` with the first differences. ``metadata=False``: bytes and links only."""
    found = picture(root)
    keep = slice(None) if metadata else slice(2, None)
    different = [
        path
        for path in wanted.keys() | found.keys()
        if wanted.get(path, ())[keep] != found.get(path, ())[keep]
    ]
    if different:
        raise SystemExit(f"{name}: {len(different)} paths differ after the restore: {sorted(different)[:5]}")


def _fact(path: str) -> tuple[object, ...]:
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        return ("", 0, os.readlink(path))
    return (stat.S_IMODE(info.st_mode), int(info.st_mtime), blake3().update_mmap(path).hexdigest())
