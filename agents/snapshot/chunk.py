"""A chunk on its way into a pack and back: encode and seal, unseal, decode and prove."""

from __future__ import annotations

from agents.snapshot.cipher import Keys, chunk_context
from agents.snapshot.codec import RAW, decode, encode
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import ChunkRow
from agents.snapshot.room import Room


def pack_chunk(keys: Keys, id: str, raw: bytes | memoryview, level: int = 1) -> tuple[int, bytes | bytearray]:
    """``(codec, stored bytes)`` of a chunk with this ``id``. The bytes never share memory with ``raw``."""
    codec, encoded = encode(raw, level)
    return codec, keys.seal(encoded, chunk_context(id, codec, len(raw)))


def unpack_chunk(
    keys: Keys, chunk: ChunkRow, stored: bytes | memoryview, room: Room | None = None
) -> bytes | memoryview:
    """The chunk's bytes, proven by its id; else ``SnapshotError('snapshot_unproven')``. Safe on hostile input.

    With a ``room`` they mostly lie in it, and last until it is used again.
    """
    target = (room.raw if chunk.codec == RAW else room.sealed) if room else None
    encoded = keys.unseal(stored, chunk_context(chunk.id, chunk.codec, chunk.length), target)
    raw = decode(chunk.codec, encoded, chunk.length, room.raw if room else None)
    if keys.name(raw) != chunk.id:
        raise SnapshotError("snapshot_unproven", f"chunk {chunk.id} decodes to other bytes")
    return raw
