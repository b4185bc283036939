"""What a machine remembers of its last snapshot: its manifest, and the inode and ctime of every file of it.

The state file only saves work. Missing, damaged or of another snapshot or key, it is ignored and everything is read.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from agents.snapshot.catalog import Kept
from agents.snapshot.cipher import Keys
from agents.snapshot.codec import unzstd
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import FORMAT, MAX_MANIFEST, DirRow, Manifest
from agents.snapshot.manifest import compress_manifest, decode_manifest, encode_manifest
from agents.snapshot.progress import write_atomically
from agents.snapshot.rules import RuleBook
from agents.snapshot.walk import Found, Tree

_MARK = b"dumont state file"


class _File(msgspec.Struct):
    """As it lies on the disk. ``manifest`` is compressed as in the store; the arrays go along with its files."""

    format: int
    keys: str
    rules: list[bytes]
    own: list[bytes]
    models: bool
    manifest: bytes
    inodes: bytes
    ctimes: bytes


_decoder = msgspec.msgpack.Decoder(_File)


@dataclass(frozen=True, slots=True)
class State:
    """The parent's rows and, by the number of the file, its inode and ctime (0: read it again next time)."""

    manifest: Manifest
    inodes: Sequence[int]
    ctimes: Sequence[int]
    book: RuleBook

    def split(self, files: Iterable[Found]) -> tuple[list[Kept], list[Found]]:
        """Files that nobody touched since, as they are remembered, and the others.

        Untouched means the same inode, size and times. The ctime catches a reset mtime, and a change of mode, owner
        or attributes.
        """
        rows, inodes, ctimes = self.manifest.files, self.inodes, self.ctimes
        numbers = {row[0]: number for number, row in enumerate(rows)}
        kept, touched = [], []
        for found in files:
            path, info = found
            number = numbers.get(path)
            if (
                number is not None
                and ctimes[number] == info.st_ctime_ns
                and inodes[number] == info.st_ino
                and (row := rows[number]).mtime_ns == info.st_mtime_ns
                and row.size == info.st_size
            ):
                kept.append(Kept(row, info.st_ctime_ns, info.st_ino))
            else:
                touched.append(found)
        return kept, touched


def save_state(path: Path, frame: bytes, looks: Sequence[Kept], book: RuleBook, keys: Keys) -> None:
    """Replace the state file atomically. Its folder is created. ``frame`` is the manifest, compressed.

    ``looks`` go along with the files of the manifest.
    """
    file = _File(
        format=FORMAT,
        keys=keys.mark(_MARK),
        rules=list(map(os.fsencode, book.lines)),
        own=list(map(os.fsencode, book.own)),
        models=book.leave_out_models,
        manifest=frame,
        inodes=array("Q", [kept.inode for kept in looks]).tobytes(),
        ctimes=array("q", [kept.ctime_ns for kept in looks]).tobytes(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, msgspec.msgpack.encode(file))


def save_restored(
    path: Path,
    manifest: Manifest,
    looks: Sequence[Kept],
    book: RuleBook,
    keys: Keys,
    frame: bytes | None = None,
) -> None:
    """The state file of a machine that was restored: only what is there as the snapshot had it is remembered.

    ``frame`` is the manifest, compressed, if the caller has it: it is used if all of its files are remembered as they
    are listed.
    """
    rows = [kept.row for kept in looks]
    if frame is None or rows != manifest.files:
        frame = compress_manifest(encode_manifest(replace(manifest, files=rows)))
    save_state(path, frame, looks, book, keys)


def load_state(path: Path, keys: Keys | None = None) -> State | None:
    """The state, or ``None`` if there is none to trust: none written, damaged, or made under other ``keys``."""
    try:
        file = _decoder.decode(path.read_bytes())
        if file.format != FORMAT or (keys and file.keys != keys.mark(_MARK)):
            return None
        manifest = decode_manifest(unzstd(file.manifest, MAX_MANIFEST))
        inodes, ctimes = array("Q", file.inodes).tolist(), array("q", file.ctimes).tolist()
    except (OSError, ValueError, SnapshotError):
        return None
    if not len(manifest.files) == len(inodes) == len(ctimes):
        return None
    rules, own = tuple(map(os.fsdecode, file.rules)), tuple(map(os.fsdecode, file.own))
    return State(manifest, inodes, ctimes, RuleBook(rules, own, file.models))


def differences(state: State, tree: Tree) -> list[str]:
    """Paths that were created, deleted or changed since the state was written. A directory's times do not count."""
    before = state.manifest
    kept, touched = state.split(tree.files)
    changed = {found.path for found in touched}
    changed |= {row.path for row in before.files} - {found.row.path for found in kept}
    changed |= _odd_ones(map(_dir_mark, before.dirs), map(_dir_mark, tree.dirs))
    changed |= _odd_ones((row[:2] for row in before.symlinks), (row[:2] for row in tree.symlinks))
    changed |= _odd_ones(map(tuple, before.hardlinks), map(tuple, tree.hardlinks))
    return sorted(changed)


def _odd_ones(before: Any, now: Any) -> set[str]:
    """Paths of the rows that only one side has."""
    return {mark[0] for mark in set(before) ^ set(now)}


def _dir_mark(row: DirRow) -> tuple[str, int, int, int]:
    return row[:4]
