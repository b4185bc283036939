"""Snapshot format v2: its sizes, its ids and the rows of a manifest, a snapshot's table of contents.

Used on the machine and by the control plane alike; it touches no file and no network. ``docs/snapshot-format.md``
says the same for people. The rows are named tuples because on disk they are JSON arrays, by the 100,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

FORMAT = 2
SMALL_LIMIT = 1 << 20
"""Files of at least this many bytes are cut on the grid; smaller ones are bundled."""
CELL = 8 << 20
BUNDLE = 4 << 20
PACK = 32 << 20
MAX_PACK = PACK + CELL + (1 << 20)
MAX_MANIFEST_STORED = 128 << 20
MAX_MANIFEST = 768 << 20
STAGING = ".dumont-thaw"
"""Where a thaw lets big files grow, in the workspace's own file system. Never part of a snapshot."""
HOLE = -1
"""In place of a chunk's index: this run of the file was never written and reads as zeros."""

Ref = tuple[int, int, int]
"""``(index of the chunk or HOLE, offset inside the decoded chunk, length)``, in the order of the file."""


class PackRow(NamedTuple):
    """One stored object. ``sha256`` and ``size`` are of the stored bytes; tier 0 is needed before work can start."""

    key: str
    size: int
    sha256: str
    tier: int


class ChunkRow(NamedTuple):
    """``stored`` bytes at ``offset`` of a pack, which decode to ``length`` bytes whose keyed BLAKE3 is ``id``."""

    id: str
    pack: int
    offset: int
    stored: int
    length: int
    codec: int


class FileRow(NamedTuple):
    """A regular file. ``hash`` is the keyed BLAKE3 of a bundled file, '' for one on the grid (its chunks say it)."""

    path: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    hash: str
    refs: tuple[Ref, ...]
    xattrs: dict[str, str]


class DirRow(NamedTuple):
    path: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[str, str]


class SymlinkRow(NamedTuple):
    path: str
    target: str
    uid: int
    gid: int
    mtime_ns: int


class HardlinkRow(NamedTuple):
    """A second name of the file at ``target``, which is a path of the same manifest."""

    path: str
    target: str


@dataclass(frozen=True)
class Manifest:
    """Everything about one snapshot but the bytes. No slots: ``chunk_files`` is computed once and kept."""

    snapshot: str
    parent: str | None
    created_at: str
    packs: list[PackRow]
    chunks: list[ChunkRow]
    files: list[FileRow]
    dirs: list[DirRow]
    symlinks: list[SymlinkRow]
    hardlinks: list[HardlinkRow]
    skipped: list[tuple[str, str]]
    changed_while_read: list[str]
    unreadable_total: int

    @cached_property
    def chunk_files(self) -> dict[int, list[tuple[FileRow, int, int]]]:
        """Which files lie in a chunk: index → ``(file, offset in the file, index into its refs)``."""
        found: dict[int, list[tuple[FileRow, int, int]]] = {}
        for file in self.files:
            at = 0
            for number, (chunk, _, length) in enumerate(file.refs):
                if chunk != HOLE:
                    found.setdefault(chunk, []).append((file, at, number))
                at += length
        return found


@dataclass(frozen=True, slots=True)
class ManifestRef:
    """Where a manifest is stored and what it must be: ``sha256`` of the stored, ``id`` of the decoded bytes."""

    key: str
    size: int
    sha256: str
    id: str


def file_tier(path: str, mode: int, size: int) -> int:
    """0 for what a workspace needs to be usable: small files, shared libraries, programs. 1 for bulk."""
    name = path.rpartition("/")[2]
    if size < SMALL_LIMIT or name.endswith(".so") or ".so." in name:
        return 0
    return 0 if mode & 0o100 and size < 64 << 20 else 1
