"""Snapshot format v2: its sizes, its ids and the rows of a manifest, a snapshot's table of contents.

Used on the machine and by the control plane alike; it touches no file and no network. ``docs/snapshot-format.md``
says the same for people. The rows are named tuples because on disk they are JSON arrays, by the 100,000; the bounds
in their types are checked while a manifest is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

FORMAT = 2
SMALL_LIMIT = 1 << 20
"""Files of at least this many bytes are cut on the grid; smaller ones are bundled."""
CELL = 8 << 20
BUNDLE = 4 << 20
PACK = 32 << 20
MAX_PACK = PACK + CELL + (1 << 20)
MAX_MANIFEST_STORED = 128 << 20
MAX_MANIFEST = 768 << 20
MAX_DEPTH = 1000
MAX_NAME = 255
MAX_TARGET = 4095
STAGING = ".dumont-thaw"
"""Where a thaw lets big files grow, in the workspace's own file system. Never part of a snapshot."""
HOLE = -1
"""In place of a chunk's index: this run of the file was never written and reads as zeros."""

_MAX_ROWS = 20_000_000
Text = Annotated[str, Meta(max_length=4096)]
Path = Annotated[str, Meta(max_length=65_536)]
Digest = Annotated[str, Meta(max_length=64)]
Checksum = Annotated[str, Meta(max_length=8)]
Index = Annotated[int, Meta(ge=0, le=_MAX_ROWS)]
Size = Annotated[int, Meta(ge=0, le=1 << 62)]
Mode = Annotated[int, Meta(ge=0, le=0o7777)]
Owner = Annotated[int, Meta(ge=0, le=1 << 32)]
Time = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stored = Annotated[int, Meta(ge=0, le=MAX_PACK)]
Xattrs = Annotated[
    dict[Annotated[str, Meta(max_length=255)], Annotated[str, Meta(max_length=2 * 65_536)]],
    Meta(max_length=1000),
]
"""Names and values in hex of ``user.*`` attributes."""

Ref = tuple[
    Annotated[int, Meta(ge=HOLE, le=_MAX_ROWS)],
    Annotated[int, Meta(ge=0, le=CELL)],
    Annotated[int, Meta(ge=1, le=1 << 62)],
]
"""``(index of the chunk or HOLE, offset inside the decoded chunk, length)``, in the order of the file."""
Refs = Annotated[tuple[Ref, ...], Meta(max_length=_MAX_ROWS)]


class PackRow(NamedTuple):
    """One stored object. ``crc32`` (hex) and ``size`` are of the stored bytes; tier 0 is needed before work starts."""

    key: Text
    size: Annotated[int, Meta(ge=1, le=MAX_PACK)]
    crc32: Checksum
    tier: Literal[0, 1]


class ChunkRow(NamedTuple):
    """``stored`` bytes at ``offset`` of a pack, which decode to ``length`` bytes whose keyed BLAKE3 is ``id``."""

    id: Digest
    pack: Index
    offset: Stored
    stored: Annotated[int, Meta(ge=1, le=MAX_PACK)]
    length: Annotated[int, Meta(ge=1, le=CELL)]
    codec: Annotated[int, Meta(ge=0, le=255)]


class FileRow(NamedTuple):
    """A regular file. ``hash`` is the keyed BLAKE3 of a bundled file, '' for one on the grid (its chunks say it)."""

    path: Path
    mode: Mode
    uid: Owner
    gid: Owner
    mtime_ns: Time
    size: Size
    hash: Digest
    refs: Refs
    xattrs: Xattrs


class DirRow(NamedTuple):
    path: Path
    mode: Mode
    uid: Owner
    gid: Owner
    mtime_ns: Time
    xattrs: Xattrs


class SymlinkRow(NamedTuple):
    path: Path
    target: Annotated[str, Meta(min_length=1, max_length=2 * MAX_TARGET)]
    uid: Owner
    gid: Owner
    mtime_ns: Time


class HardlinkRow(NamedTuple):
    """A second name of the file at ``target``, which is a path of the same manifest."""

    path: Path
    target: Path


class LeftOutRow(NamedTuple):
    """What a rule kept out of the snapshot: an entry, and for a directory all that lies below it."""

    path: Path
    rule: Text
    files: Size
    bytes: Size


class FetchRow(NamedTuple):
    """One revision of a model or data set whose bytes were left out, to be fetched again from its hub.

    ``path`` is the cache folder that it lies in, ``files`` are the names that were there, ``bytes`` their size.
    """

    kind: Literal["model", "dataset"]
    repo: Text
    revision: Text
    path: Path
    files: Annotated[tuple[Text, ...], Meta(max_length=10_000)]
    bytes: Size


@dataclass(frozen=True)
class Manifest:
    """Everything about one snapshot but the bytes. No slots: ``chunk_files`` is computed once and kept."""

    snapshot: Text
    parent: Text | None
    created_at: Text
    packs: Annotated[list[PackRow], Meta(max_length=_MAX_ROWS)]
    chunks: Annotated[list[ChunkRow], Meta(max_length=_MAX_ROWS)]
    files: Annotated[list[FileRow], Meta(max_length=_MAX_ROWS)]
    dirs: Annotated[list[DirRow], Meta(max_length=_MAX_ROWS)]
    symlinks: Annotated[list[SymlinkRow], Meta(max_length=_MAX_ROWS)]
    hardlinks: Annotated[list[HardlinkRow], Meta(max_length=_MAX_ROWS)]
    skipped: Annotated[list[tuple[Path, Text]], Meta(max_length=_MAX_ROWS)]
    changed_while_read: Annotated[list[Path], Meta(max_length=_MAX_ROWS)]
    unreadable_total: Size
    left_out: Annotated[list[LeftOutRow], Meta(max_length=_MAX_ROWS)] = field(default_factory=list)
    to_fetch: Annotated[list[FetchRow], Meta(max_length=_MAX_ROWS)] = field(default_factory=list)

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
