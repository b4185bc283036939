"""Compare a restored workspace with its manifest, from the bytes on disk: independent of the thaw that wrote them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agents.snapshot.cipher import Keys
from agents.snapshot.format import HOLE, DirRow, FileRow, Manifest, SymlinkRow

Fetch = Callable[[int], bytes | memoryview]
"""The decoded bytes of a chunk of the manifest, straight from the store."""

_BLOCK = 1 << 20
_LATENT = stat.S_ISUID | stat.S_ISGID


@dataclass(slots=True)
class Comparison:
    """What was looked at, and every difference as ``(path, what differs)``."""

    files: int = 0
    bytes: int = 0
    differences: list[tuple[str, str]] = field(default_factory=list)


def compare(manifest: Manifest, keys: Keys, root: str, fetch: Fetch) -> Comparison:
    """Every entry's kind, size, bytes, mode, time, and links, and that nothing else is there.

    Set-user-id and set-group-id bits of files are never restored, and owners only by root.
    """
    return _Comparer(manifest, keys, root, fetch).run()


class _Comparer:
    def __init__(self, manifest: Manifest, keys: Keys, root: str, fetch: Fetch) -> None:
        self._manifest = manifest
        self._keys = keys
        self._root = os.fsencode(root)
        self._fetch = fetch
        self._found = Comparison()

    def run(self) -> Comparison:
        manifest, found = self._manifest, self._found
        for dir_ in manifest.dirs:
            self._note(dir_.path, self._dir(dir_))
        for file in manifest.files:
            self._note(file.path, self._file(file))
        for link in manifest.symlinks:
            self._note(link.path, self._symlink(link))
        for name in manifest.hardlinks:
            same = self._inode(name.path) == self._inode(name.target) != None  # noqa: E711 - a chain
            self._note(name.path, iter(() if same else (f"is no other name of {name.target}",)))
        found.differences += [(path, "was never saved") for path in sorted(self._extra())]
        return found

    def _note(self, path: str, differences: Iterator[str]) -> None:
        try:
            self._found.differences += [(path, what) for what in differences]
        except OSError as error:
            self._found.differences.append((path, error.strerror or "cannot be read"))

    def _dir(self, row: DirRow) -> Iterator[str]:
        info = os.lstat(self._at(row.path))
        if not stat.S_ISDIR(info.st_mode):
            yield "is no directory"
        yield from _metadata(info, row, row.mode)

    def _symlink(self, row: SymlinkRow) -> Iterator[str]:
        at = self._at(row.path)
        if os.fsdecode(os.readlink(at)) != row.target:
            yield "leads somewhere else"
        if os.lstat(at).st_mtime_ns != row.mtime_ns:
            yield "has another time"

    def _file(self, row: FileRow) -> Iterator[str]:
        fd = os.open(self._at(row.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            info = os.fstat(fd)
            self._found.files += 1
            self._found.bytes += info.st_size
            yield from _metadata(info, row, row.mode & ~_LATENT)
            if not stat.S_ISREG(info.st_mode) or info.st_size != row.size:
                yield f"has {info.st_size} bytes, not {row.size}"
            elif not self._same_bytes(fd, row):
                yield "holds other bytes"
        finally:
            os.close(fd)

    def _same_bytes(self, fd: int, row: FileRow) -> bool:
        if row.hash:
            return self._keys.name(os.pread(fd, row.size, 0)) == row.hash
        at = 0
        for chunk, offset, length in row.refs:
            right = (
                _is_zero(fd, at, length) if chunk == HOLE else self._same_run(fd, at, chunk, offset, length)
            )
            if not right:
                return False
            at += length
        return True

    def _same_run(self, fd: int, at: int, chunk: int, offset: int, length: int) -> bool:
        data, row = os.pread(fd, length, at), self._manifest.chunks[chunk]
        if length == row.length:
            return self._keys.name(data) == row.id
        return data == bytes(self._fetch(chunk)[offset : offset + length])

    def _inode(self, path: str) -> tuple[int, int] | None:
        try:
            info = os.lstat(self._at(path))
        except OSError:
            return None
        return info.st_dev, info.st_ino

    def _extra(self) -> set[str]:
        manifest = self._manifest
        kinds = (manifest.dirs, manifest.files, manifest.symlinks, manifest.hardlinks)
        known = {os.fsencode(row.path) for kind in kinds for row in kind}
        there = (
            os.path.relpath(os.path.join(folder, name), self._root)
            for folder, dirs, names in os.walk(self._root)
            for name in (*dirs, *names)
        )
        return {os.fsdecode(path) for path in there if path not in known}

    def _at(self, path: str) -> bytes:
        return os.path.join(self._root, os.fsencode(path)) if path else self._root


def _metadata(info: os.stat_result, row: DirRow | FileRow, mode: int) -> Iterator[str]:
    if stat.S_IMODE(info.st_mode) != mode:
        yield f"has mode {stat.S_IMODE(info.st_mode):04o}, not {mode:04o}"
    if info.st_mtime_ns != row.mtime_ns:
        yield "has another time"
    if os.geteuid() == 0 and (info.st_uid, info.st_gid) != (row.uid, row.gid):
        yield "has another owner"


def _is_zero(fd: int, at: int, length: int) -> bool:
    end = at + length
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return True
            raise
        block = os.pread(fd, max(0, min(_BLOCK, end - at)), at)
        if block.count(0) != len(block):
            return False
        at += max(len(block), 1)
    return True
