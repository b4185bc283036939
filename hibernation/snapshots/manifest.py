"""Read a stored manifest for the control plane. The machine that wrote it is not trusted."""

from __future__ import annotations

import hashlib

import zstandard

from agents.snapshot.cipher import MANIFEST, Keys
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import MAX_MANIFEST, MAX_MANIFEST_STORED, Manifest, ManifestRef
from agents.snapshot.manifest import check_refs, unpack_manifest
from hibernation.domain.errors import Conflict, SnapshotUnproven
from hibernation.snapshots.store import ObjectMissing, Store

__all__ = ["Keys", "Manifest", "ManifestRef", "check_manifest_complete", "read_manifest"]

_BLOCK = 1 << 20


class ManifestTooBig(Conflict):
    """This snapshot's table of contents is larger than this process may hold."""

    code = "manifest_too_big"


def read_manifest(store: Store, ref: ManifestRef, keys: Keys, most: int = MAX_MANIFEST) -> Manifest:
    """The manifest that ``ref`` names, every row checked. Raises ``SnapshotUnproven`` saying what is wrong.

    ``ManifestTooBig`` if it decodes to more than ``most`` bytes: parsed it takes several times as many.
    """
    if not 0 < ref.size <= MAX_MANIFEST_STORED:
        raise SnapshotUnproven(f"manifest {ref.key}: {ref.size} bytes is no size for a manifest")
    stored = bytes(read_exactly(store, ref.key, ref.size, what="manifest"))
    if hashlib.sha256(stored).hexdigest() != ref.sha256:
        raise SnapshotUnproven(f"manifest {ref.key}: the stored bytes are not the frozen ones (sha256)")
    try:
        if most < MAX_MANIFEST:
            _check_decoded_size(stored, keys, most)
        return unpack_manifest(stored, keys, ref.id)
    except SnapshotError as error:
        raise SnapshotUnproven(f"manifest {ref.key}: {error}") from error


def check_manifest_complete(manifest: Manifest) -> None:
    """Every file's references cover it exactly and lie inside chunks that lie inside packs."""
    try:
        check_refs(manifest)
    except SnapshotError as error:
        raise SnapshotUnproven(f"snapshot {manifest.snapshot}: {error}") from error


def _check_decoded_size(stored: bytes, keys: Keys, most: int) -> None:
    try:
        claimed = zstandard.get_frame_parameters(keys.unseal(stored, MANIFEST)).content_size
    except zstandard.ZstdError:
        return  # whoever decodes it says what is wrong
    if claimed > most:
        raise ManifestTooBig(
            f"This snapshot's table of contents has {claimed} bytes; {most} are allowed here."
        )


def read_exactly(store: Store, key: str, size: int, *, what: str) -> memoryview:
    """The whole object, if it has exactly ``size`` bytes; never reads more than one byte beyond."""
    stored, done = memoryview(bytearray(size + 1)), 0
    try:
        with store.open(key) as file:
            while done <= size and (block := file.read(min(_BLOCK, size + 1 - done))):
                stored[done : done + len(block)] = block
                done += len(block)
    except ObjectMissing as error:
        raise SnapshotUnproven(f"{what} {key} is missing from the store") from error
    if done != size:
        found = f"{done}" if done < size else f"more than {size}"
        raise SnapshotUnproven(f"{what} {key} has {found} bytes, {size} were frozen")
    return stored[:size]
