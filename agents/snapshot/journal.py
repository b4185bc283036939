"""What has been done so far, one line at a time, so that a killed job goes on where it stopped.

A torn last line, which a kill leaves behind, is ignored.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agents.snapshot.catalog import Chunk, Pack
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import FORMAT
from agents.snapshot.spec import FreezeSpec

ADOPT_SECONDS = 24 * 3600
"""Half of what the control plane grants to packs that no snapshot refers to."""
_SKEW_SECONDS = 60.0
_MARK = b"dumont journal"
_PATIENCE = 15.0


class Journal:
    """An append-only file of JSON lines. Any thread may append."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._is_closed = False
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._is_torn():
            os.write(self._fd, b"\n")

    def append(self, fact: Any) -> None:
        """After ``close`` it does nothing: an upload may end after the freeze that gave up on it."""
        line = msgspec.json.encode(fact) + b"\n"
        with self._lock:
            if not self._is_closed:
                os.write(self._fd, line)

    def lines(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            for line in file:
                try:
                    yield msgspec.json.decode(line)
                except msgspec.DecodeError:
                    continue

    def begin(self, head: Any) -> None:
        """Forget everything; the first line is ``head``."""
        os.ftruncate(self._fd, 0)
        self.append(head)

    def hold(self) -> None:
        """Keep every other process out until ``close``; one that is being stopped is waited for."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SnapshotError("busy", "another freeze of this workspace runs") from None
            time.sleep(0.05)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            os.close(self._fd)

    def _is_torn(self) -> bool:
        size = os.fstat(self._fd).st_size
        return size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"


def journal_path(state_file: Path) -> Path:
    return state_file.with_suffix(".journal")


def open_packs_journal(spec: FreezeSpec) -> Journal:
    """The packs stored since the parent, whichever freeze stored them; emptied if it has another parent or keys.

    Held by one freeze at a time: ``SnapshotError('busy')``.
    """
    path = journal_path(spec.state_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(path)
    try:
        journal.hold()
        head = {"format": FORMAT, "parent": spec.parent, "keys": spec.keys.mark(_MARK)}
        if next(journal.lines(), None) != head:
            journal.begin(head)
    except BaseException:
        journal.close()
        raise
    return journal


def pack_fact(pack: Pack) -> dict[str, Any]:
    """A stored pack as a journal line, with all that is needed to refer to its chunks."""
    return {
        "at": time.time(),
        "pack": [pack.tier, pack.key, pack.size, pack.crc32],
        "chunks": [[c.id, c.length, c.codec, c.stored, c.offset, c.pieces] for c in pack.chunks],
    }


def state_fact(snapshot: str) -> dict[str, Any]:
    """A state file of ``snapshot`` is made of the parent's packs and of those in this journal. Written before it."""
    return {"state": snapshot}


@dataclass(frozen=True, slots=True)
class Adopted:
    """What earlier freezes left: packs, and the snapshots of which every pack may be referred to."""

    packs: list[Pack]
    snapshots: frozenset[str]


def adopt(journal: Journal) -> Adopted:
    """The stored packs that may be referred to: an old one nobody refers to may be deleted any time now.

    By this machine's clock; a time in the future is no time at all.
    """
    now = time.time()
    packs, snapshots, are_all_young = [], set(), True
    for fact in journal.lines():
        if "state" in fact:
            snapshots.add(fact["state"])
        elif "pack" in fact:
            if now - ADOPT_SECONDS < fact["at"] < now + _SKEW_SECONDS:
                packs.append(_pack(fact))
            else:
                are_all_young = False
    return Adopted(packs, frozenset(snapshots if are_all_young else ()))


def _pack(fact: dict[str, Any]) -> Pack:
    pack = Pack(*fact["pack"])
    for name, length, codec, stored, offset, pieces in fact["chunks"]:
        known = [(piece, at, size) for piece, at, size in pieces]
        pack.chunks.append(Chunk(name, length, codec, stored, offset, pack, known))
    return pack


def boot_id() -> str:
    """Changes when the machine restarts: what was written before may then not have reached its disk."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
