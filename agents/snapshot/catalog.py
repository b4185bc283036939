"""Which bytes are already stored, and where: the dedup index of one freeze.

Chunks are found by id, small files («pieces» of a bundle) by their own id. It fills from the state file, from the
journal of a freeze that was cut short, and from what this freeze stores itself. Safe for several threads: every
claim is one atomic ``dict.setdefault``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.snapshot.format import HOLE, ChunkRow, FileRow, PackRow
from agents.snapshot.format import Ref as RowRef


@dataclass(slots=True, eq=False)
class Pack:
    """A stored object, or one being filled: then ``parts`` holds its bytes and ``key`` is still empty."""

    tier: int
    key: str = ""
    size: int = 0
    sha256: str = ""
    parts: list[bytes | bytearray] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Chunk:
    """One chunk; ``pack`` is set as soon as its bytes are in a pack."""

    id: str = ""
    length: int = 0
    codec: int = 0
    stored: int = 0
    offset: int = 0
    pack: Pack | None = None
    pieces: list[tuple[str, int, int]] = field(default_factory=list)


Ref = tuple[Chunk | None, int, int]
"""``(chunk or None for a hole, offset in the decoded chunk, length)``."""


class FrozenFile(NamedTuple):
    """A regular file as stored, and what its lstat said then: if that still holds, it need not be opened again.

    ``ctime_ns`` 0 means «read it again next time».
    """

    path: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    hash: str
    refs: tuple[Ref, ...]
    xattrs: dict[str, str]
    ctime_ns: int
    inode: int


class Catalog:
    """See the module."""

    def __init__(self) -> None:
        self._chunks: dict[str, Chunk] = {}
        self._pieces: dict[str, Ref] = {}

    def claim_chunk(self, chunk: Chunk) -> Chunk:
        """The chunk with these bytes: the caller's own means that nobody stored it yet, and the caller must."""
        return self._chunks.setdefault(chunk.id, chunk)

    def claim_piece(self, piece: str, ref: Ref) -> Ref:
        """Where the small file with this id lies: the caller's own ``ref`` means that it must be stored there."""
        return self._pieces.setdefault(piece, ref)

    def add_pack(self, pack: Pack) -> None:
        """Learn a pack that is stored already, with its chunks and their pieces."""
        for chunk in pack.chunks:
            self._chunks.setdefault(chunk.id, chunk)
            for piece, offset, length in chunk.pieces:
                self._pieces.setdefault(piece, (chunk, offset, length))

    def add_files(self, files: Iterable[FrozenFile]) -> None:
        """Learn the small files of an earlier snapshot."""
        for file in files:
            if file.hash and file.refs:
                self._pieces.setdefault(file.hash, file.refs[0])


@dataclass(slots=True)
class Table:
    """Files in the rows of a manifest: chunks and packs numbered in order of first use, unused ones left out."""

    packs: list[PackRow] = field(default_factory=list)
    chunks: list[ChunkRow] = field(default_factory=list)
    files: list[FileRow] = field(default_factory=list)
    used: list[Pack] = field(default_factory=list)


def tabulate(files: Iterable[FrozenFile]) -> Table:
    """Every chunk must be stored by now: its pack has a key."""
    table = Table()
    pack_numbers: dict[Pack, int] = {}
    chunk_numbers: dict[Chunk, int] = {}

    def number(chunk: Chunk | None) -> int:
        if chunk is None:
            return HOLE
        if chunk not in chunk_numbers:
            pack = chunk.pack
            if pack is None or not pack.key:
                raise RuntimeError(f"chunk {chunk.id} was never stored")
            if pack not in pack_numbers:
                pack_numbers[pack] = len(table.packs)
                table.packs.append(PackRow(pack.key, pack.size, pack.sha256, pack.tier))
                table.used.append(pack)
            chunk_numbers[chunk] = len(table.chunks)
            place = (pack_numbers[pack], chunk.offset, chunk.stored, chunk.length, chunk.codec)
            table.chunks.append(ChunkRow(chunk.id, *place))
        return chunk_numbers[chunk]

    for file in files:
        refs: tuple[RowRef, ...] = tuple(
            (number(chunk), offset, length) for chunk, offset, length in file.refs
        )
        table.files.append(FileRow(*file[:7], refs, file.xattrs))
    return table
