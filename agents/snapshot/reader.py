"""Read the files of a workspace into chunks: small ones into bundles, big ones cell by cell.

A file that moves while it is read is read once more; if it moves again, it is stored as read and reported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from agents.snapshot.catalog import Catalog, Chunk, FrozenFile, Ref
from agents.snapshot.chunk import pack_chunk
from agents.snapshot.cipher import Keys
from agents.snapshot.fileio import (
    cells,
    data_runs,
    open_beneath,
    read_into,
    read_up_to,
    same_file,
    wait_for_tick,
)
from agents.snapshot.format import CELL, SMALL_LIMIT, file_tier
from agents.snapshot.packer import Packer
from agents.snapshot.progress import Progress
from agents.snapshot.walk import Found, read_xattrs
from agents.snapshot.writers import mapped_files

T = TypeVar("T")
_Small = tuple[os.stat_result, bytes, dict[str, str], bool]
"""``(lstat before, bytes, attributes, it stood still)``."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MARGIN_NS = 20_000_000
"""File times lag behind the clock by up to the kernel's tick."""


class Moved(FileNotFoundError):
    """The file is gone or no regular file any more."""


@dataclass(slots=True)
class Outcome:
    """What reading found, filled by all threads (list appends are atomic)."""

    files: list[FrozenFile] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _GridFile:
    """A big file in work by several threads; the one that finishes the last cell settles it.

    ``moved`` only saves work: a cell without a reference is what makes the file be read again.
    """

    found: Found
    cells: list[tuple[int, int, bool]]
    refs: list[Ref | None]
    left: int
    moved: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Reader:
    """Turns found files into stored ones."""

    def __init__(self, root: str, keys: Keys, catalog: Catalog, packer: Packer, progress: Progress) -> None:
        self._keys = keys
        self._catalog = catalog
        self._packer = packer
        self._progress = progress
        self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._began_ns = time.time_ns() - _MARGIN_NS
        self._mapped_inodes, paths = mapped_files()
        above = os.path.realpath(root).rstrip("/") + "/"
        self._mapped_paths = frozenset(path.removeprefix(above) for path in paths if path.startswith(above))
        self._local = threading.local()
        self.outcome = Outcome()

    def close(self) -> None:
        os.close(self._root_fd)

    def bundle_task(self, batch: Sequence[Found]) -> Callable[[], None]:
        return lambda: self._bundle(batch)

    def grid_tasks(self, found: Found) -> Iterator[Callable[[], None]]:
        """One task per cell. A file that cannot be read gives none and is reported."""
        cells = self._guarded(found, lambda: self._plan(found))
        if not cells:
            return
        grid = _GridFile(found, cells, [None] * len(cells), len(cells))
        for number in range(len(cells)):
            yield lambda number=number: self._cell(grid, number)  # type: ignore[misc]

    def _guarded(self, found: Found, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except OSError as error:
            self._failed(found, error)
            return None

    def _failed(self, found: Found, error: OSError) -> None:
        """A file that vanished is «changed», one we may not read is «unreadable»."""
        if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.ELOOP:
            self.outcome.changed.append(found.path)
        else:
            self.outcome.unreadable.append((found.path, f"unreadable: {error.strerror}"))

    def _bundle(self, batch: Sequence[Found]) -> None:
        """Store the small files of ``batch`` that nobody stored yet as one chunk."""
        bundle = Chunk()
        parts: list[bytes] = []
        known = 0
        for found in batch:
            try:
                known += self._piece(found, bundle, parts)
            except OSError as error:
                self._failed(found, error)
        self._progress.add(size=known, files=len(batch))
        if parts:
            raw = b"".join(parts)
            bundle.id = self._keys.name(raw)
            self._store(bundle, raw, 0)

    def _piece(self, found: Found, bundle: Chunk, parts: list[bytes]) -> int:
        """Add a small file to the bundle. Returns how many of its bytes need not be stored."""
        read = self._read_still(found) or self._read_small(found.path)
        if read is None:
            self._whole(found)
            return 0
        before, data, xattrs, stable = read
        piece = self._keys.name(data)
        refs: tuple[Ref, ...] = ()
        known = len(data)
        if data:
            ref: Ref = (bundle, bundle.length, len(data))
            refs = (self._catalog.claim_piece(piece, ref),)
            if refs[0] is ref:
                known = 0
                parts.append(data)
                bundle.pieces.append((piece, bundle.length, len(data)))
                bundle.length += len(data)
        self._note(found.path, before, len(data), piece, refs, xattrs, stable)
        return known

    def _read_still(self, found: Found) -> _Small | None:
        """A small file that has not moved since the walk, which nearly all are; else ``None``."""
        info = found.stat
        if info.st_size >= SMALL_LIMIT or self._may_be_mapped(found.path, info):
            return None
        wait_for_tick(info)
        fd = open_beneath(self._root_fd, found.path, _FLAGS)
        try:
            data = read_up_to(fd, info.st_size)
            xattrs = read_xattrs(fd)
            if len(data) == info.st_size and same_file(info, os.fstat(fd)):
                return info, data, xattrs, True
            return None
        finally:
            os.close(fd)

    def _read_small(self, path: str) -> _Small | None:
        """A small file that moves: it gets two tries. ``None`` if it has become a big one."""
        for attempt in (1, 2):
            fd, before = self._open(path)
            try:
                if before.st_size >= SMALL_LIMIT:
                    return None
                wait_for_tick(before)
                data = read_up_to(fd, before.st_size)
                xattrs = read_xattrs(fd)
                stable = len(data) == before.st_size and same_file(before, os.fstat(fd))
            finally:
                os.close(fd)
            if stable or attempt == 2:
                break
        return before, data, xattrs, stable

    def _plan(self, found: Found) -> list[tuple[int, int, bool]]:
        """The runs of a big file. Only one with fewer blocks than bytes is opened, to look for its holes."""
        size = found.stat.st_size
        if found.stat.st_blocks * 512 >= size:
            return cells(size, [(0, size)])
        fd, info = self._open(found.path)
        try:
            return cells(info.st_size, data_runs(fd, info.st_size))
        finally:
            os.close(fd)

    def _cell(self, grid: _GridFile, number: int) -> None:
        self._guarded(grid.found, lambda: self._read_cell(grid, number))
        with grid.lock:
            grid.left -= 1
            last = grid.left == 0
        if last:
            self._guarded(grid.found, lambda: self._settle(grid))
            self._progress.add(files=1)

    def _read_cell(self, grid: _GridFile, number: int) -> None:
        if grid.moved:
            return
        fd, info = self._open(grid.found.path)
        try:
            if not same_file(info, grid.found.stat):
                grid.moved = True
                return
            wait_for_tick(info)
            grid.refs[number] = self._store_run(
                fd, grid.cells[number], file_tier(grid.found.path, info.st_mode, info.st_size)
            )
        finally:
            os.close(fd)

    def _settle(self, grid: _GridFile) -> None:
        """All cells are read. If the file stood still, note it; else read it once more from one descriptor."""
        refs = tuple(ref for ref in grid.refs if ref is not None)
        if len(refs) == len(grid.refs):
            fd, info = self._open(grid.found.path)
            try:
                if same_file(info, grid.found.stat):
                    return self._note(grid.found.path, info, info.st_size, "", refs, read_xattrs(fd), True)
            finally:
                os.close(fd)
        if grid.found.path not in self.outcome.changed and not self._is_unreadable(grid.found.path):
            self._whole(grid.found)
        return None

    def _is_unreadable(self, path: str) -> bool:
        return any(path == seen for seen, _ in self.outcome.unreadable)

    def _whole(self, found: Found) -> None:
        """Read a file that moved in one go. If it still moves, its end is where reading found it."""
        fd, before = self._open(found.path)
        try:
            wait_for_tick(before)
            refs: list[Ref] = []
            tier = file_tier(found.path, before.st_mode, before.st_size)
            for run in cells(before.st_size, data_runs(fd, before.st_size)):
                ref = self._store_run(fd, run, tier)
                if ref is None:
                    break
                refs.append(ref)
            size = sum(ref[2] for ref in refs)
            stable = size == before.st_size and same_file(before, os.fstat(fd))
            self._note(found.path, before, size, "", tuple(refs), read_xattrs(fd), stable)
        finally:
            os.close(fd)

    def _store_run(self, fd: int, run: tuple[int, int, bool], tier: int) -> Ref | None:
        """Store one run and say where it is; ``None`` when the file ends before the run does."""
        offset, length, is_hole = run
        if is_hole:
            self._progress.add(size=length)
            return None, 0, length
        view = self._buffer()[:length]
        if read_into(fd, view, offset) < length:
            return None
        chunk = Chunk(self._keys.name(view), length)
        stored = self._catalog.claim_chunk(chunk)
        if stored is chunk:
            self._store(chunk, view, tier)
        else:
            self._progress.add(size=length)
        return stored, 0, length

    def _store(self, chunk: Chunk, raw: bytes | memoryview, tier: int) -> None:
        chunk.codec, stored = pack_chunk(self._keys, chunk.id, raw, self._packer.level)
        self._packer.add(tier, chunk, stored)

    def _note(
        self,
        path: str,
        info: os.stat_result,
        size: int,
        digest: str,
        refs: tuple[Ref, ...],
        xattrs: dict[str, str],
        stable: bool,
    ) -> None:
        mode = stat.S_IMODE(info.st_mode)
        ctime = info.st_ctime_ns if stable else 0
        if not stable:
            self.outcome.changed.append(path)
        meta = (path, mode, info.st_uid, info.st_gid, info.st_mtime_ns, size)
        self.outcome.files.append(FrozenFile(*meta, digest, refs, xattrs, ctime, info.st_ino))

    def _open(self, path: str) -> tuple[int, os.stat_result]:
        fd = open_beneath(self._root_fd, path, _FLAGS)
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise Moved
        if self._may_be_mapped(path, info):
            with contextlib.suppress(OSError):
                os.fdatasync(fd)
            info = os.fstat(fd)
        return fd, info

    def _may_be_mapped(self, path: str, info: os.stat_result) -> bool:
        """Whether someone may write to it through a mapping that has been written to already.

        The kernel notes the time of the first such write only, until the page has reached the disk: a second write
        after ours would go unseen. Who mapped the file since we looked has touched it since we began.
        """
        return (
            info.st_ctime_ns >= self._began_ns
            or info.st_ino in self._mapped_inodes
            or path in self._mapped_paths
        )

    def _buffer(self) -> memoryview:
        found: memoryview | None = getattr(self._local, "buffer", None)
        if found is None:
            found = self._local.buffer = memoryview(bytearray(CELL))
        return found
