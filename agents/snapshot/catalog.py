"""Which bytes are already stored, and where: the dedup index of one freeze.

Chunks are found by id, small files («pieces» of a bundle) by their own id. It fills from the state file, from the
journal of a freeze that was cut short, and from what this freeze stores itself. Safe for several threads: every
claim is one atomic ``dict.setdefault``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.snapshot.format import HOLE, ChunkRow, FileRow, Manifest, PackRow
from agents.snapshot.format import Ref as RowRef


@dataclass(slots=True, eq=False)
class Pack:
    """A stored object, or one being filled: then ``parts`` holds its bytes and ``key`` is still empty."""

    tier: int
    key: str = ""
    size: int = 0
    crc32: str = ""
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

    def add_known(self, known: Known, files: Iterable[FileRow]) -> None:
        """Learn the chunks and small files of an earlier snapshot."""
        for pack in known.packs:
            self.add_pack(pack)
        for file in files:
            if file.hash and len(file.refs) == 1 and file.refs[0][0] != HOLE:
                chunk, offset, length = file.refs[0]
                self._pieces.setdefault(file.hash, (known.chunks[chunk], offset, length))


class Kept(NamedTuple):
    """A file of an earlier snapshot, as its manifest has it, with the ctime (0: unknown) and inode it then had."""

    row: FileRow
    ctime_ns: int
    inode: int


@dataclass(slots=True)
class Known:
    """The packs and chunks of an earlier snapshot, by their numbers in its manifest."""

    packs: list[Pack] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)


def known_packs(manifest: Manifest) -> Known:
    known = Known([Pack(row.tier, row.key, row.size, row.crc32) for row in manifest.packs])
    for row in manifest.chunks:
        pack = known.packs[row.pack]
        chunk = Chunk(row.id, row.length, row.codec, row.stored, row.offset, pack)
        pack.chunks.append(chunk)
        known.chunks.append(chunk)
    return known


@dataclass(slots=True)
class Table:
    """Files, sorted by path, with what a manifest says of them. Chunks and packs that nobody uses are left out."""

    packs: list[PackRow] = field(default_factory=list)
    chunks: list[ChunkRow] = field(default_factory=list)
    files: list[Kept] = field(default_factory=list)


def tabulate(known: Known, kept: Iterable[Kept], fresh: Iterable[FrozenFile]) -> Table:
    """The table of ``kept`` files, which refer to ``known`` chunks by number, and of ``fresh`` ones.

    Every chunk must be stored by now: its pack has a key. Rows that need no new numbers are taken over as they are.
    """
    files, fresh = list(kept), list(fresh)
    used = {ref[0] for file in files for ref in file.row.refs}
    chunks = [chunk for number, chunk in enumerate(known.chunks) if number in used]
    numbers = {chunk.id: number for number, chunk in enumerate(chunks)}
    if len(numbers) != len(known.chunks):
        moved = {number: numbers.get(chunk.id, HOLE) for number, chunk in enumerate(known.chunks)}
        moved[HOLE] = HOLE
        files = [file._replace(row=_renumbered(file.row, moved)) for file in files]
    if fresh:
        files += [_numbered(file, numbers, chunks) for file in fresh]
        files.sort(key=lambda file: file.row.path)
    packs, rows = _number_packs(chunks)
    return Table(packs, rows, files)


def _renumbered(row: FileRow, moved: dict[int, int]) -> FileRow:
    return row._replace(refs=tuple((moved[chunk], offset, length) for chunk, offset, length in row.refs))


def _numbered(file: FrozenFile, numbers: dict[str, int], chunks: list[Chunk]) -> Kept:
    """Two chunks with the same bytes, stored by chance, become one: the first."""
    refs: list[RowRef] = []
    for chunk, offset, length in file.refs:
        number = HOLE
        if chunk is not None:
            number = numbers.setdefault(chunk.id, len(chunks))
            if number == len(chunks):
                chunks.append(chunk)
        refs.append((number, offset, length))
    return Kept(FileRow(*file[:7], tuple(refs), file.xattrs), file.ctime_ns, file.inode)


def _number_packs(chunks: Iterable[Chunk]) -> tuple[list[PackRow], list[ChunkRow]]:
    numbers: dict[Pack, int] = {}
    packs: list[PackRow] = []
    rows: list[ChunkRow] = []
    for chunk in chunks:
        pack = chunk.pack
        if pack is None or not pack.key:
            raise RuntimeError(f"chunk {chunk.id} was never stored")
        number = numbers.setdefault(pack, len(packs))
        if number == len(packs):
            packs.append(PackRow(pack.key, pack.size, pack.crc32, 1 if pack.tier else 0))
        rows.append(ChunkRow(chunk.id, number, chunk.offset, chunk.stored, chunk.length, chunk.codec))
    return packs, rows
