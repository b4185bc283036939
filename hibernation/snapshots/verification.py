"""Prove that a snapshot can be restored, with the control plane's own eyes on the stored bytes.

Nothing is unpacked to disk. Every failure is ``SnapshotUnproven`` and names the pack and what is wrong with it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property, partial

from agents.snapshot.checksum import crc32_of
from agents.snapshot.chunk import unpack_chunk
from agents.snapshot.cipher import Keys
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import Manifest, PackRow
from hibernation.domain.errors import SnapshotUnproven
from hibernation.snapshots.manifest import read_exactly
from hibernation.snapshots.store import ObjectInfo, Store

FEW_BYTES = 1 << 30
FEW_PACKS = 8
SHARE = 0.1
# A HEAD is mostly waiting, and S3 clients keep some 32 connections.
_LOOKERS = 16
# One pack arrives while another is decoded. Each holds a pack and a chunk or two: 60 MiB.
_READERS = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """A stored object that is not what it must be, and what is wrong with it in a sentence."""

    key: str
    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """Every pack asked after once. ``attested``: the store itself says that it received the right bytes."""

    attested: frozenset[str]
    faults: tuple[Fault, ...]


class Examiner:
    """Proves the packs of one manifest. Any thread may call it."""

    def __init__(self, store: Store, manifest: Manifest, keys: Keys) -> None:
        self.manifest = manifest
        self._store = store
        self._keys = keys
        self._settled: set[str] = set()
        self._numbers = {pack.key: number for number, pack in enumerate(manifest.packs)}

    @cached_property
    def claims(self) -> dict[str, str]:
        return pack_claims(self.manifest)

    @cached_property
    def _chunks(self) -> list[list[int]]:
        """The chunks of each pack, by its number."""
        found: list[list[int]] = [[] for _ in self.manifest.packs]
        for number, chunk in enumerate(self.manifest.chunks):
            found[chunk.pack].append(number)
        return found

    def settle(self, until: float) -> int:
        """Put every pack out of the machine's reach, until ``until`` (monotonic); how many are left."""
        if self._store.promises.once:
            return 0
        wanted = [pack.key for pack in self.manifest.packs if pack.key not in self._settled]
        with ThreadPoolExecutor(_LOOKERS, "settle") as threads:
            for key in threads.map(partial(self._settle, until), wanted):
                self._settled |= key
        return len(self.manifest.packs) - len(self._settled)

    def _settle(self, until: float, key: str) -> set[str]:
        if time.monotonic() >= until:
            return set()
        self._store.settle(key)
        return {key}

    def look(self) -> Look:
        """Ask the store for presence, size and, where it keeps one, checksum of every pack. Reads no bytes."""
        packs = self.manifest.packs
        with ThreadPoolExecutor(_LOOKERS, "look") as threads:
            infos = list(threads.map(lambda pack: self._store.head(pack.key), packs))
        faults = [_fault(pack, info) for pack, info in zip(packs, infos, strict=True)]
        attested = (info.key for info in infos if info is not None and info.crc32 is not None)
        bad = tuple(fault for fault in faults if fault is not None)
        return Look(frozenset(attested) - {fault.key for fault in bad}, bad)

    def prove(self, key: str, *, decode: bool) -> None:
        """Read one pack back whole and sum it up; with ``decode`` also decode and check each chunk and small file."""
        number = self._numbers.get(key)
        if number is None:
            raise SnapshotUnproven(f"pack {key} is not in the manifest")
        pack = self.manifest.packs[number]
        stored = read_exactly(self._store, key, pack.size, what="pack")
        if crc32_of([stored]) != pack.crc32:
            raise SnapshotUnproven(f"pack {key}: the stored bytes are not the frozen ones (crc32)")
        if decode:
            self._decode(number, stored)

    def prove_all(self, wanted: Iterable[tuple[str, bool]]) -> Iterator[tuple[str, SnapshotUnproven | None]]:
        """``prove`` of each ``(key, decode)``, some at a time; yields what came of it in the order of their ends.

        ``wanted`` is drawn from only when there is room, so that its end can depend on the time. Other errors are
        raised, after those under way have ended.
        """
        coming = iter(wanted)
        with ThreadPoolExecutor(_READERS, "prove") as threads:
            running: dict[Future[None], str] = {}
            while True:
                while len(running) < _READERS and (one := next(coming, None)) is not None:
                    running[threads.submit(self.prove, one[0], decode=one[1])] = one[0]
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), _unproven(done)

    def files_in(self, key: str) -> list[str]:
        """The paths of the files that need this pack."""
        number = self._numbers.get(key)
        chunks = self._chunks[number] if number is not None else []
        rows = (row for chunk in chunks for row, _, _ in self.manifest.chunk_files.get(chunk, ()))
        return sorted({row.path for row in rows})

    def _decode(self, number: int, stored: memoryview) -> None:
        key = self.manifest.packs[number].key
        for index in self._chunks[number]:
            chunk = self.manifest.chunks[index]
            try:
                raw = unpack_chunk(self._keys, chunk, stored[chunk.offset : chunk.offset + chunk.stored])
            except SnapshotError as error:
                raise SnapshotUnproven(f"pack {key}: chunk {chunk.id} does not decode: {error}") from error
            self._check_files(index, memoryview(raw), key)

    def _check_files(self, chunk: int, raw: memoryview, key: str) -> None:
        for file, _, ref in self.manifest.chunk_files.get(chunk, ()):
            _, offset, length = file.refs[ref]
            if file.hash and self._keys.name(raw[offset : offset + length]) != file.hash:
                raise SnapshotUnproven(f"pack {key}: {file.path!r} does not hold its bytes")


def pack_claims(manifest: Manifest) -> dict[str, str]:
    """What the manifest says of each pack's content, as a SHA-256: a proof holds for these claims and no others."""
    hashes = [hashlib.sha256(pack.crc32.encode()) for pack in manifest.packs]
    for number, chunk in enumerate(manifest.chunks):
        said = hashes[chunk.pack]
        said.update(f"{chunk.offset},{chunk.stored},{chunk.codec},{chunk.length},{chunk.id};".encode())
        for file, _, ref in manifest.chunk_files.get(number, ()):
            _, offset, length = file.refs[ref]
            said.update(f"{offset},{length},{file.hash};".encode())
    return {pack.key: said.hexdigest() for pack, said in zip(manifest.packs, hashes, strict=True)}


def choose_to_decode(undecoded: Mapping[str, int], secret: bytes, *, everything: bool) -> set[str]:
    """Which of the packs that nobody has decoded yet (key → bytes) are decoded this time.

    All of them if they are few or small; else a tenth, at least ``FEW_PACKS``, that nobody without ``secret`` can
    foresee. The same secret chooses the same packs.
    """
    count = max(FEW_PACKS, math.ceil(len(undecoded) * SHARE))
    if everything or count >= len(undecoded) or sum(undecoded.values()) <= FEW_BYTES:
        return set(undecoded)
    drawn = sorted(undecoded, key=lambda key: hmac.digest(secret, key.encode(), "sha256"))
    return set(drawn[:count])


def _fault(pack: PackRow, info: ObjectInfo | None) -> Fault | None:
    if info is None:
        return Fault(pack.key, f"pack {pack.key} is missing from the store")
    if info.size != pack.size:
        return Fault(pack.key, f"pack {pack.key} has {info.size} bytes, {pack.size} were frozen")
    if info.crc32 is not None and info.crc32 != pack.crc32:
        return Fault(pack.key, f"pack {pack.key}: the store received other bytes (crc32)")
    return None


def _unproven(done: Future[None]) -> SnapshotUnproven | None:
    error = done.exception()
    if error is None or isinstance(error, SnapshotUnproven):
        return error
    raise error
