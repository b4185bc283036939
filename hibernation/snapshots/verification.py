"""Prove that a snapshot can be restored, with the control plane's own eyes on the stored bytes.

Nothing is unpacked to disk. Every failure is ``SnapshotUnproven`` and names the pack and what is wrong with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from agents.snapshot.chunk import unpack_chunk
from agents.snapshot.cipher import Keys
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import Manifest, PackRow
from hibernation.domain.errors import SnapshotUnproven
from hibernation.snapshots.manifest import read_exactly
from hibernation.snapshots.store import Store


@dataclass(frozen=True, slots=True)
class PackProof:
    """A pack whose stored bytes were read back whole. ``chunks`` is how many of them were decoded and checked."""

    key: str
    size: int
    sha256: str
    chunks: int


def check_objects(store: Store, manifest: Manifest, expected: Mapping[str, tuple[int, str]]) -> None:
    """Every pack of the manifest is known to us (``expected``: key → size, sha256), stored, and as long as it must be.

    ``expected`` comes from our own records of what we signed, so a machine cannot pass off somebody else's pack.
    """
    for pack in manifest.packs:
        if pack.key not in expected:
            raise SnapshotUnproven(f"pack {pack.key} was never stored for this instance")
        if expected[pack.key] != (pack.size, pack.sha256):
            raise SnapshotUnproven(f"pack {pack.key}: the manifest and our record differ in size or sha256")
        info = store.head(pack.key)
        if info is None:
            raise SnapshotUnproven(f"pack {pack.key} is missing from the store")
        if info.size != pack.size:
            raise SnapshotUnproven(f"pack {pack.key} has {info.size} bytes, {pack.size} were frozen")
        if info.sha256 is not None and info.sha256 != pack.sha256:
            raise SnapshotUnproven(f"pack {pack.key}: the store received other bytes (sha256)")


def pack_claims(manifest: Manifest) -> dict[str, str]:
    """What the manifest says of each pack's content, as a SHA-256: a proof holds for these claims and no others."""
    hashes = [hashlib.sha256(pack.sha256.encode()) for pack in manifest.packs]
    for number, chunk in enumerate(manifest.chunks):
        said = hashes[chunk.pack]
        said.update(f"{chunk.offset},{chunk.stored},{chunk.codec},{chunk.length},{chunk.id};".encode())
        for file, _, ref in manifest.chunk_files.get(number, ()):
            _, offset, length = file.refs[ref]
            said.update(f"{offset},{length},{file.hash};".encode())
    return {pack.key: said.hexdigest() for pack, said in zip(manifest.packs, hashes, strict=True)}


def verify_pack(store: Store, manifest: Manifest, pack_key: str, keys: Keys, *, decode: bool) -> PackProof:
    """Read one pack back whole and hash it; with ``decode`` also decode and check each chunk and small file in it."""
    number, pack = _find(manifest, pack_key)
    stored = read_exactly(store, pack.key, pack.size, what="pack")
    sha256 = hashlib.sha256(stored).hexdigest()
    if sha256 != pack.sha256:
        raise SnapshotUnproven(f"pack {pack.key}: the stored bytes are not the frozen ones (sha256)")
    chunks = _check_chunks(manifest, number, stored, keys) if decode else 0
    return PackProof(pack.key, len(stored), sha256, chunks)


def _find(manifest: Manifest, pack_key: str) -> tuple[int, PackRow]:
    for number, pack in enumerate(manifest.packs):
        if pack.key == pack_key:
            return number, pack
    raise SnapshotUnproven(f"pack {pack_key} is not in the manifest")


def _check_chunks(manifest: Manifest, pack_number: int, stored: bytes, keys: Keys) -> int:
    view, checked = memoryview(stored), 0
    pack = manifest.packs[pack_number]
    for number, chunk in enumerate(manifest.chunks):
        if chunk.pack != pack_number:
            continue
        try:
            raw = unpack_chunk(keys, chunk, view[chunk.offset : chunk.offset + chunk.stored])
        except SnapshotError as error:
            raise SnapshotUnproven(f"pack {pack.key}: chunk {chunk.id} does not decode: {error}") from error
        _check_files(manifest, number, memoryview(raw), keys, pack.key)
        checked += 1
    return checked


def _check_files(manifest: Manifest, chunk: int, raw: memoryview, keys: Keys, pack_key: str) -> None:
    for file, _, ref in manifest.chunk_files.get(chunk, ()):
        _, offset, length = file.refs[ref]
        if file.hash and keys.name(raw[offset : offset + length]) != file.hash:
            raise SnapshotUnproven(f"pack {pack_key}: {file.path!r} does not hold its bytes")
