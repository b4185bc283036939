"""Makes a workspace as people leave them behind: code, an environment, weights, data and every oddity of a file tree.
The same seed makes the same tree, to the byte and to the nanosecond."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from random import Random

_EPOCH = 1_700_000_000
_BLOCK = 1_000_000
_TORN_NAME = b"caf\xe9.txt"  # Latin-1: not valid UTF-8


def make_workspace(root: Path, *, seed: int = 1, weight_bytes: int = 60_000_000) -> None:
    """Fills the new folder ``root``. Needs no rights beyond its owner's."""
    rng = Random(seed)
    root.mkdir()
    _code(root / "project", rng)
    _environment(root / "venv", rng)
    _weights(root / "checkpoints", rng, weight_bytes)
    _data(root / "data", rng)
    _links(root)
    _oddities(root / "odd", rng)
    _date(root, rng)


def _code(folder: Path, rng: Random) -> None:
    for package in ("", "models", "training"):
        (folder / package).mkdir()
        for number in range(6):
            lines = [f"def step_{rng.randrange(10**6)}(x):\n    return x * {n}\n" for n in range(40)]
            (folder / package / f"module_{number}.py").write_text("\n".join(lines))
    run = folder / "run.sh"
    run.write_text("#!/bin/sh\nexec python -m training\n")
    run.chmod(0o755)


def _environment(folder: Path, rng: Random) -> None:
    packages = folder / "lib" / "python3.11" / "site-packages"
    for number in range(25):
        package = packages / f"package_{number:02d}"
        (package / "__pycache__").mkdir(parents=True)
        for name in ("__init__", "core", "io", "util", "version"):
            (package / f"{name}.py").write_text(f"# {name}\n" * rng.randrange(1, 400))
            (package / "__pycache__" / f"{name}.cpython-311.pyc").write_bytes(rng.randbytes(800))
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to("/usr/bin/python3")


def _weights(folder: Path, rng: Random, size: int) -> None:
    """Half of it noise, as trained numbers are to a compressor; half of it one block again and again."""
    folder.mkdir()
    repeated = (bytes(range(256)) * (_BLOCK // 256 + 1))[:_BLOCK]
    with (folder / "model.safetensors").open("wb") as file:
        for start in range(0, size, 2 * _BLOCK):
            file.write(rng.randbytes(_BLOCK)[: size - start])
            file.write(repeated[: max(0, size - start - _BLOCK)])


def _data(folder: Path, rng: Random) -> None:
    folder.mkdir()
    for name in ("train", "test"):
        rows = ({"id": n, "text": f"line {rng.randrange(10**9)}", "label": n % 7} for n in range(12_000))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (folder / "index.sparse").open("wb") as file:
        file.seek(40_000_000)
        file.write(b"the rest is holes")
        file.truncate(64_000_000)


def _links(root: Path) -> None:
    (root / "latest").symlink_to("checkpoints/model.safetensors")
    (root / "code").symlink_to("project")
    (root / "checkpoints" / "dangling").symlink_to("../nowhere/at/all")
    os.link(root / "data" / "train.jsonl", root / "data" / "train-again.jsonl")
    os.link(root / "data" / "train.jsonl", root / "project" / "train-too.jsonl")


def _oddities(folder: Path, rng: Random) -> None:
    (folder / "empty" / "deeper" / "still empty").mkdir(parents=True)
    (folder / "nothing in it").touch()
    for name in ("a\nnewline", "-rf", "'quoted' \"twice\"", "ünï-漢字-🦀", "x" * 255, " spaces "):
        (folder / name).write_bytes(rng.randbytes(100))
    # Some file systems refuse names that are no text, extended attributes or FIFOs; the rest still stands for itself.
    with contextlib.suppress(OSError):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), _TORN_NAME))).write_bytes(b"torn")
    with contextlib.suppress(OSError):
        os.setxattr(folder / "nothing in it", "user.origin", b"the demo")
    with contextlib.suppress(OSError):
        os.mkfifo(folder / "pipe")
    _write_protected(folder)


def _write_protected(folder: Path) -> None:
    sealed = folder / "sealed"
    sealed.mkdir()
    (sealed / "read-only").write_text("not to be written\n")
    (sealed / "read-only").chmod(0o444)
    (sealed / "private").write_text("not to be seen\n")
    (sealed / "private").chmod(0o600)
    sealed.chmod(0o555)


def _date(root: Path, rng: Random) -> None:
    """Last of all, since whatever is made in a directory changes its date. Ownership is enough for that."""
    paths = [
        os.path.join(folder, name) for folder, folders, names in os.walk(root) for name in folders + names
    ]
    dated: set[int] = set()
    for path in sorted([str(root), *paths]):
        inode = os.lstat(path).st_ino
        if inode not in dated:
            dated.add(inode)
            moment = _EPOCH * 10**9 + rng.randrange(10**16)
            os.utime(path, ns=(moment, moment), follow_symlinks=False)
