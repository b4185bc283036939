"""The workspaces of the chaos tests: made with every kind of entry, compared whole."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

Fingerprint = dict[str, tuple[object, ...]]

_OLD = 1_600_000_000_123_456_789
_CHUNK = 300_000


def fill(root: Path, seed: str) -> None:
    """Some hundred kilobytes that differ for each seed, with modes and times of their own."""
    source = random.Random(seed)
    for number in range(12):
        folder = root / f"project-{number % 4}" / f"part-{number}"
        folder.mkdir(parents=True)
        for size in (0, 17, 4_096, 9_001):
            (folder / f"{size}.bin").write_bytes(source.randbytes(size))
    (root / "big.bin").write_bytes(source.randbytes(_CHUNK))
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "private").mkdir(mode=0o700)
    (root / "empty").mkdir()
    (root / "name with ünïcode").write_text(seed)
    os.link(root / "big.bin", root / "hard")
    (root / "link").symlink_to("project-0/part-0/17.bin")
    (root / "dangling").symlink_to("nowhere")
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 20)
    _age(root)


def fingerprint(root: Path) -> Fingerprint:
    """Everything a snapshot promises to bring back: kind, mode, time, size, content, targets, shared names."""
    names: dict[int, str] = {}
    found: Fingerprint = {}
    for path in sorted(root.rglob("*")):
        name, facts = str(path.relative_to(root)), path.lstat()
        first = names.setdefault(facts.st_ino, name)
        kind = stat.S_IFMT(facts.st_mode)
        size = facts.st_size if stat.S_ISREG(facts.st_mode) else None
        found[name] = (kind, stat.S_IMODE(facts.st_mode), facts.st_mtime_ns, size, _content(path), first)
    return found


def differences(original: Fingerprint, found: Fingerprint) -> list[str]:
    """The first few names that are missing, new or changed."""
    names = sorted(original.keys() | found.keys())
    return [
        f"{name}: {original.get(name)} became {found.get(name)}"
        for name in names
        if original.get(name) != found.get(name)
    ][:5]


def _content(path: Path) -> str:
    if path.is_symlink():
        return os.readlink(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _age(root: Path) -> None:
    """Times in the past, children before their folders."""
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        moment = _OLD + number * 1_000_000_007
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
