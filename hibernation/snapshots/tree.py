"""A manifest as folders to look into: every entry found by its path, in a small part of the manifest's memory.

Names are texts with surrogates for bytes that are not UTF-8, as in the manifest; order is that of the bytes.
"""

from __future__ import annotations

import marshal
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zstandard

from agents.snapshot.format import ChunkRow, Manifest, Ref

_ROW_BYTES = 400
_FOLDER_BYTES = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing below a folder. ``kind`` is dir, file or symlink; ``mode`` is ``None`` for a symlink, which has none.

    ``target``: where a symlink leads, or the path of the file that a hard link is another name of.
    """

    path: str
    kind: str
    mode: int | None
    size: int
    mtime_ns: int
    target: str = ""
    hash: str = ""
    refs: tuple[Ref, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Tree:
    """Each folder's entries are packed on their own and unpacked when somebody looks. Any thread may look.

    ``weight`` is about how many bytes of memory it takes.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.chunks: list[ChunkRow] = manifest.chunks
        self.packs = [pack.key for pack in manifest.packs]
        folders: dict[bytes, list[tuple[Any, ...]]] = {_bytes(row.path): [] for row in manifest.dirs}
        folders.setdefault(b"", [])
        for path, *facts in _rows(manifest):
            folder, _, name = _bytes(path).rpartition(b"/")
            folders[folder].append((name, *facts))
        packer = zstandard.ZstdCompressor(level=1)
        self._folders = {path: packer.compress(marshal.dumps(sorted(rows))) for path, rows in folders.items()}
        self._order = sorted(self._folders)
        packed = sum(len(blob) for blob in self._folders.values())
        self.weight = packed + len(self._folders) * _FOLDER_BYTES + len(self.chunks) * _ROW_BYTES

    def entry(self, path: str) -> Entry | None:
        """What stands under ``path``; the workspace itself has the path ''."""
        whole = _bytes(path)
        if whole.startswith(b"/"):
            return None
        if not whole:
            return Entry("", "dir", None, 0, 0)
        folder, _, name = whole.rpartition(b"/")
        rows = self._rows(folder)
        at = bisect_right(rows, name, key=lambda row: row[0]) - 1
        return _entry(folder, rows[at]) if at >= 0 and rows[at][0] == name else None

    def entries(self, folder: str, after: str, limit: int) -> list[Entry]:
        """At most ``limit`` entries of a folder whose names come after ``after``."""
        parent = _bytes(folder)
        rows = self._rows(parent)
        start = bisect_right(rows, _bytes(after), key=lambda row: row[0]) if after else 0
        return [_entry(parent, row) for row in rows[start : start + limit]]

    def search(self, folder: str, word: str, after: str, limit: int) -> list[Entry]:
        """At most ``limit`` entries below a folder whose names hold ``word``, whatever its case, after ``after``.

        ``after`` is the path of the last one found before.
        """
        found: list[Entry] = []
        for entry in self._below(_bytes(folder), _bytes(after)):
            if word.casefold() in entry.name.casefold():
                found.append(entry)
                if len(found) == limit:
                    break
        return found

    def _below(self, top: bytes, after: bytes) -> Iterator[Entry]:
        last_folder, _, last_name = after.rpartition(b"/")
        unpacker = zstandard.ZstdDecompressor()
        for folder in self._order:
            inside = not top or folder == top or folder.startswith(top + b"/")
            if inside and (not after or folder >= last_folder):
                for row in self._rows(folder, unpacker):
                    if not after or (folder, row[0]) > (last_folder, last_name):
                        yield _entry(folder, row)

    def _rows(self, folder: bytes, unpacker: zstandard.ZstdDecompressor | None = None) -> Any:
        """``unpacker``: of one thread, for many folders: to make one takes longer than to use it."""
        blob = self._folders.get(folder)
        if blob is None:
            return []
        # Packed by this very process, so that reading it back is safe.
        return marshal.loads((unpacker or zstandard.ZstdDecompressor()).decompress(blob))  # noqa: S302


def _rows(manifest: Manifest) -> Iterator[tuple[Any, ...]]:
    """``(path, kind, mode, size, mtime_ns, target, hash, refs)`` of everything but the workspace itself."""
    files = {file.path: file for file in manifest.files} if manifest.hardlinks else {}
    for folder in manifest.dirs:
        if folder.path:
            yield (folder.path, "dir", folder.mode, 0, folder.mtime_ns, "", "", ())
    for file in manifest.files:
        yield (file.path, "file", file.mode, file.size, file.mtime_ns, "", file.hash, file.refs)
    for link in manifest.symlinks:
        yield (link.path, "symlink", None, 0, link.mtime_ns, link.target, "", ())
    for name in manifest.hardlinks:
        file = files[name.target]
        yield (name.path, "file", file.mode, file.size, file.mtime_ns, file.path, file.hash, file.refs)


def _entry(folder: bytes, row: tuple[Any, ...]) -> Entry:
    name, kind, mode, size, mtime_ns, target, digest, refs = row
    path = (folder + b"/" if folder else b"") + name
    return Entry(path.decode("utf-8", "surrogateescape"), kind, mode, size, mtime_ns, target, digest, refs)


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
