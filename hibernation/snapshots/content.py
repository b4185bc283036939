"""The bytes of one stored file, fetched and proven chunk by chunk while they are read."""

from __future__ import annotations

from collections.abc import Iterator

from agents.snapshot.chunk import unpack_chunk
from agents.snapshot.cipher import Keys
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import HOLE
from hibernation.domain.errors import SnapshotUnproven
from hibernation.snapshots.store import ObjectMissing, Store
from hibernation.snapshots.tree import Entry, Tree

BLOCK = 256 << 10
_ZEROS = memoryview(bytes(BLOCK))


class Damaged(SnapshotUnproven):
    """``pack`` does not hold what this file needs of it."""

    def __init__(self, pack: str, message: str) -> None:
        super().__init__(message)
        self.pack = pack


class Content:
    """Reads one file. It holds one decoded chunk at a time; nothing unproven ever leaves it."""

    def __init__(self, store: Store, tree: Tree, keys: Keys, entry: Entry) -> None:
        self._store = store
        self._tree = tree
        self._keys = keys
        self._entry = entry
        self._last: tuple[int, memoryview] | None = None

    def blocks(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from ``start`` to ``end`` (exclusive), ``BLOCK`` at a time at most. Holes are zeros.

        Raises ``Damaged`` before the first byte of a chunk that is not what the snapshot says; ``StoreError`` where
        the store says nothing about it.
        """
        at = 0
        for chunk, offset, length in self._entry.refs:
            first, last = max(start - at, 0), min(end - at, length)
            at += length
            if first >= last:
                continue
            if chunk == HOLE:
                yield from _zeros(last - first)
            else:
                raw = self._chunk(chunk)[offset : offset + length]
                for cut in range(first, last, BLOCK):
                    yield raw[cut : min(cut + BLOCK, last)]

    def _chunk(self, number: int) -> memoryview:
        if self._last is None or self._last[0] != number:
            self._last = None
            self._last = (number, memoryview(self._fetch(number)))
        return self._last[1]

    def _fetch(self, number: int) -> bytes | memoryview:
        chunk = self._tree.chunks[number]
        key = self._tree.packs[chunk.pack]
        try:
            stored = self._store.read(key, chunk.offset, chunk.stored)
            return unpack_chunk(self._keys, chunk, stored)
        except ObjectMissing as error:
            raise Damaged(key, f"pack {key} is missing from the store") from error
        except SnapshotError as error:
            raise Damaged(key, f"pack {key}: chunk {chunk.id} does not decode: {error}") from error


def _zeros(length: int) -> Iterator[memoryview]:
    while length > 0:
        yield _ZEROS[: min(length, BLOCK)]
        length -= BLOCK
