"""What a job has done so far, one line at a time, so that a killed one goes on where it stopped.

A torn last line, which a kill leaves behind, is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.snapshot.catalog import Chunk, Pack


class Journal:
    """An append-only file of JSON lines. One ``write`` call per line, so lines of several threads do not mix."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._is_torn():
            os.write(self._fd, b"\n")

    def append(self, fact: Any) -> None:
        os.write(self._fd, json.dumps(fact, separators=(",", ":")).encode() + b"\n")

    def lines(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def clear(self) -> None:
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        os.close(self._fd)

    def _is_torn(self) -> bool:
        size = os.fstat(self._fd).st_size
        return size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"


def pack_fact(pack: Pack) -> dict[str, Any]:
    """A stored pack as a journal line, with all that is needed to refer to its chunks."""
    return {
        "pack": [pack.tier, pack.key, pack.size, pack.sha256],
        "chunks": [[c.id, c.length, c.codec, c.stored, c.offset, c.pieces] for c in pack.chunks],
    }


def packs_of(journal: Journal) -> Iterator[Pack]:
    """The packs that an earlier run of this freeze stored."""
    for fact in journal.lines():
        pack = Pack(*fact["pack"])
        for name, length, codec, stored, offset, pieces in fact["chunks"]:
            known = [(piece, at, size) for piece, at, size in pieces]
            pack.chunks.append(Chunk(name, length, codec, stored, offset, pack, known))
        yield pack


def boot_id() -> str:
    """Changes when the machine restarts: what was written before may then not have reached its disk."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
