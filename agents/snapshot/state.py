"""What a machine remembers of its last snapshot: the lstat of every file and where its bytes are stored.

The state file only saves work. Missing, damaged or of another snapshot or key, it is ignored and everything is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.snapshot.catalog import Chunk, FrozenFile, Pack, tabulate
from agents.snapshot.cipher import Keys
from agents.snapshot.codec import unzstd, zstd
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import (
    FORMAT,
    HOLE,
    MAX_MANIFEST,
    ChunkRow,
    DirRow,
    HardlinkRow,
    SymlinkRow,
)
from agents.snapshot.progress import write_atomically
from agents.snapshot.walk import Found, Tree

_MARK = b"dumont state file"


@dataclass(frozen=True, slots=True)
class State:
    """``files`` by path; directories, symlinks and hard links as sets to compare with."""

    snapshot: str
    exclude: tuple[str, ...]
    packs: list[Pack]
    files: dict[str, FrozenFile]
    dirs: frozenset[tuple[str, int, int, int]]
    symlinks: frozenset[tuple[str, str]]
    hardlinks: frozenset[tuple[str, str]]


def save_state(
    path: Path,
    *,
    snapshot: str,
    keys: Keys,
    exclude: Sequence[str],
    files: Iterable[FrozenFile],
    dirs: Iterable[DirRow],
    symlinks: Iterable[SymlinkRow],
    hardlinks: Iterable[HardlinkRow],
) -> None:
    """Replace the state file atomically. Its folder is created."""
    kept = list(files)
    table = tabulate(kept)
    document = {
        "format": FORMAT,
        "snapshot": snapshot,
        "keys": keys.mark(_MARK),
        "exclude": list(exclude),
        "packs": table.packs,
        "chunks": table.chunks,
        "files": [(*row, file.ctime_ns, file.inode) for row, file in zip(table.files, kept, strict=True)],
        "dirs": [dir_mark(row) for row in dirs],
        "symlinks": [row[:2] for row in symlinks],
        "hardlinks": list(hardlinks),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, zstd(json.dumps(document, separators=(",", ":")).encode(), level=1))


def load_state(path: Path, keys: Keys | None = None) -> State | None:
    """The state, or ``None`` if there is none to trust: none written, damaged, or made under other ``keys``."""
    try:
        document = json.loads(unzstd(path.read_bytes(), MAX_MANIFEST))
        if document["format"] != FORMAT or (keys and document["keys"] != keys.mark(_MARK)):
            return None
        packs = [Pack(tier, name, size, sha256) for name, size, sha256, tier in document["packs"]]
        chunks = [_chunk(ChunkRow(*row), packs) for row in document["chunks"]]
        return State(
            snapshot=document["snapshot"],
            exclude=tuple(document["exclude"]),
            packs=packs,
            files={row[0]: _file(row, chunks) for row in document["files"]},
            dirs=frozenset((a, b, c, d) for a, b, c, d in document["dirs"]),
            symlinks=frozenset((a, b) for a, b in document["symlinks"]),
            hardlinks=frozenset((a, b) for a, b in document["hardlinks"]),
        )
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, SnapshotError):
        return None


def is_unchanged(known: FrozenFile | None, found: Found) -> bool:
    """Same inode, size, times, owner and mode: nobody wrote to it since. The ctime catches a reset mtime."""
    if known is None:
        return False
    info = found.stat
    return (
        known.ctime_ns == info.st_ctime_ns
        and known.inode == info.st_ino
        and known.size == info.st_size
        and known.mtime_ns == info.st_mtime_ns
    )


def differences(state: State, tree: Tree) -> list[str]:
    """Paths that were created, deleted or changed since the state was written. A directory's times do not count."""
    walked = {found.path for found in tree.files}
    changed = [found.path for found in tree.files if not is_unchanged(state.files.get(found.path), found)]
    changed += [path for path in state.files if path not in walked]
    changed += [mark[0] for mark in state.dirs ^ {dir_mark(row) for row in tree.dirs}]
    changed += [mark[0] for mark in state.symlinks ^ {(row.path, row.target) for row in tree.symlinks}]
    changed += [mark[0] for mark in state.hardlinks ^ {tuple(row) for row in tree.hardlinks}]
    return sorted(set(changed))


def dir_mark(row: DirRow) -> tuple[str, int, int, int]:
    return row[:4]


def _chunk(row: ChunkRow, packs: list[Pack]) -> Chunk:
    pack = packs[row.pack]
    chunk = Chunk(row.id, row.length, row.codec, row.stored, row.offset, pack)
    pack.chunks.append(chunk)
    return chunk


def _file(row: Any, chunks: list[Chunk]) -> FrozenFile:
    refs = tuple((None if c == HOLE else chunks[c], offset, length) for c, offset, length in row[7])
    return FrozenFile._make((*row[:7], refs, *row[8:]))
