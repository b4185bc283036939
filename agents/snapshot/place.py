"""Every write of a thaw. All of it happens below one directory: each component is opened with O_NOFOLLOW from its
parent's descriptor, so no symlink, old or new, can lead a write anywhere else.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agents.snapshot.direct import DirectDisk
from agents.snapshot.errors import SnapshotError
from agents.snapshot.format import STAGING, DirRow, FileRow, HardlinkRow, SymlinkRow
from agents.snapshot.room import Room
from agents.snapshot.walk import DIR_FLAGS, read_xattrs

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CACHED_DIRS = 32


@dataclass(slots=True)
class Place:
    """A workspace being filled. Any thread may call it. ``skipped`` says what could not be restored as it was."""

    root: str
    skipped: list[tuple[str, str]] = field(default_factory=list)
    _local: threading.local = field(default_factory=threading.local)
    _caches: list[OrderedDict[str, int]] = field(default_factory=list)
    _root_fd: int = -1
    _disk: DirectDisk = field(default_factory=DirectDisk)
    _is_root: bool = field(default_factory=lambda: os.geteuid() == 0)

    def open(self) -> None:
        os.makedirs(self.root, exist_ok=True)
        self._root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        for cache in self._caches:
            for fd in cache.values():
                os.close(fd)
            cache.clear()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def is_empty(self) -> bool:
        with os.scandir(self._root_fd) as entries:
            return next(entries, None) is None

    def make_dir(self, row: DirRow) -> None:
        """Repeatable. The directory is open to us until ``finish_dir``; a file or symlink in its place goes."""
        if row.path:
            parent, name = self._parent(row.path)
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                self._keep_or_replace_dir(parent, name)

    def finish_dir(self, row: DirRow) -> DirRow:
        """Owner, mode, attributes and times: last, and children before parents. Returns what it is like now."""
        try:
            fd = self._dir_fd(row.path)
        except (FileNotFoundError, NotADirectoryError):
            return row  # removed by the user since the workspace became usable
        self._own(row.path, fd, row.uid, row.gid)
        self._set_xattrs(row.path, fd, row.xattrs)
        with self._tolerate(row.path, "mode not restored"):
            os.fchmod(fd, row.mode)
            os.utime(fd, ns=(row.mtime_ns, row.mtime_ns))
        info = os.fstat(fd)
        return row._replace(mode=stat.S_IMODE(info.st_mode), uid=info.st_uid, gid=info.st_gid)

    def small_file(self, row: FileRow, data: bytes | memoryview) -> os.stat_result:
        """Write a whole file under its name. Its times are set last: a torn one never has those of the snapshot."""
        parent, name = self._parent(row.path)
        fd = self._create(name, parent, row.mode & 0o777)
        try:
            write_at(fd, data, 0)
            return self._finish_file(row, fd)
        finally:
            os.close(fd)

    def stage(self, number: int, size: int) -> None:
        """Begin a big file, all holes. One that an earlier run of the same thaw began keeps what it has."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(STAGING, 0o700, dir_fd=self._root_fd)
        folder, name = self._dir_fd(STAGING), str(number)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600, dir_fd=folder)
        except PermissionError:  # killed between its final, read-only mode and its rename
            os.unlink(name, dir_fd=folder)
            fd = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def open_staged(self, number: int) -> int:
        """A descriptor for reading and writing, for the caller to close. ``FileNotFoundError`` if not begun."""
        return os.open(str(number), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._dir_fd(STAGING))

    def write_staged(
        self, number: int, data: memoryview, at: int, room: Room | None = None, *, hurry: bool = False
    ) -> None:
        """Write into a big file. ``data`` begins where ``room.raw`` does, or that may be used to copy it.

        In a ``hurry``, and where copies are dear, it goes past the page cache.
        """
        if room is not None and (hurry or self._disk.copies_slowly):
            done = self._disk.write(str(number), self._dir_fd(STAGING), room, data, at)
            data, at = data[done:], at + done
        if data:
            fd, began = self.open_staged(number), time.thread_time()
            try:
                write_at(fd, data, at)
            finally:
                os.close(fd)
            self._disk.note_copy(len(data), time.thread_time() - began)

    def unstage(self, number: int, row: FileRow) -> os.stat_result:
        """A big file is whole: give it its metadata and its name."""
        parent, name = self._parent(row.path)
        fd = self.open_staged(number)
        try:
            self._finish_file(row, fd)
            self._clear_dir_conflict(
                row.path,
                lambda: os.rename(str(number), name, src_dir_fd=self._dir_fd(STAGING), dst_dir_fd=parent),
            )
            return os.fstat(fd)
        finally:
            os.close(fd)

    def drop_staging(self) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            fd = os.open(STAGING, DIR_FLAGS, dir_fd=self._root_fd)
            try:
                for name in os.listdir(fd):
                    os.unlink(name, dir_fd=fd)
            finally:
                os.close(fd)
            os.rmdir(STAGING, dir_fd=self._root_fd)

    def symlink(self, row: SymlinkRow) -> None:
        parent, name = self._parent(row.path)
        with contextlib.suppress(OSError):
            if os.readlink(name, dir_fd=parent) == row.target:
                return
        self._replace(row.path, name, parent, lambda: os.symlink(row.target, name, dir_fd=parent))
        with self._tolerate(row.path, "owner not restored"):
            if self._is_root:
                os.chown(name, row.uid, row.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(row.mtime_ns, row.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def hardlink(self, row: HardlinkRow) -> None:
        parent, name = self._parent(row.path)
        source, source_name = self._parent(row.target)
        with contextlib.suppress(FileNotFoundError):
            have = os.stat(name, dir_fd=parent, follow_symlinks=False)
            want = os.stat(source_name, dir_fd=source, follow_symlinks=False)
            if (have.st_dev, have.st_ino) == (want.st_dev, want.st_ino):
                return
        link = {"src_dir_fd": source, "dst_dir_fd": parent, "follow_symlinks": False}
        self._replace(row.path, name, parent, lambda: os.link(source_name, name, **link))  # type: ignore[arg-type]

    def look(self, path: str) -> os.stat_result | None:
        """The lstat of what is there now, if anything."""
        try:
            parent, name = self._parent(path)
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open_existing(self, path: str) -> int:
        """A descriptor for reading, for the caller to close; ``OSError`` unless it can be opened without a symlink."""
        parent, name = self._parent(path)
        return os.open(name, _OPEN, dir_fd=parent)

    def adopt(self, row: FileRow, fd: int) -> os.stat_result:
        """An existing file has the right bytes already: give it the right metadata."""
        return self._finish_file(row, fd)

    def _finish_file(self, row: FileRow, fd: int) -> os.stat_result:
        """Attributes, times, then whatever differs: a new file mostly has its owner and mode already."""
        mode = row.mode
        if mode & 0o6000:
            mode &= 0o1777
            self.skipped.append((row.path, "setuid/setgid bit not restored"))
        if row.xattrs:
            self._set_xattrs(row.path, fd, row.xattrs)
        os.utime(fd, ns=(row.mtime_ns, row.mtime_ns))
        info = os.fstat(fd)
        is_foreign = self._is_root and (info.st_uid, info.st_gid) != (row.uid, row.gid)
        if not is_foreign and stat.S_IMODE(info.st_mode) == mode:
            return info
        self._own(row.path, fd, row.uid, row.gid)
        os.fchmod(fd, mode)
        return os.fstat(fd)

    def _own(self, path: str, fd: int, uid: int, gid: int) -> None:
        """Only root can give files away; anyone else's restored files are their own, and that is no news."""
        if self._is_root:
            info = os.fstat(fd)
            if (info.st_uid, info.st_gid) != (uid, gid):
                with self._tolerate(path, "owner not restored"):
                    os.fchown(fd, uid, gid)

    def _set_xattrs(self, path: str, fd: int, xattrs: dict[str, str]) -> None:
        if xattrs and read_xattrs(fd) != xattrs:
            with self._tolerate(path, "extended attributes not restored"):
                for name, value in xattrs.items():
                    os.setxattr(fd, name, bytes.fromhex(value))

    @contextlib.contextmanager
    def _tolerate(self, path: str, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.skipped.append((path, f"{what}: {error.strerror}"))

    def _create(self, name: str, parent: int, mode: int) -> int:
        try:
            return os.open(name, _CREATE, mode, dir_fd=parent)
        except FileExistsError:
            pass
        self._clear_dir_conflict(name, lambda: os.unlink(name, dir_fd=parent))
        return os.open(name, _CREATE, mode, dir_fd=parent)

    def _replace(self, path: str, name: str, parent: int, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._clear_dir_conflict(path, lambda: os.unlink(name, dir_fd=parent))
            make()

    def _clear_dir_conflict(self, path: str, act: Callable[[], None]) -> None:
        """A directory that is not ours to delete stands where a file belongs: say so, and stop."""
        try:
            act()
        except IsADirectoryError as error:
            raise SnapshotError(
                "workspace_conflict", f"a directory stands in the place of {path!r}"
            ) from error

    def _keep_or_replace_dir(self, parent: int, name: str) -> None:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(info.st_mode):
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)
        elif not self._is_root and info.st_mode & 0o700 != 0o700:
            os.chmod(name, stat.S_IMODE(info.st_mode) | 0o700, dir_fd=parent)

    def _parent(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        return self._dir_fd(folder), name

    def _dir_fd(self, path: str) -> int:
        """A descriptor of a directory below the root, kept for this thread's next files: neighbours come together."""
        if not path:
            return self._root_fd
        cache: OrderedDict[str, int] | None = getattr(self._local, "dirs", None)
        if cache is None:
            cache = self._local.dirs = OrderedDict()
            self._caches.append(cache)
        if path in cache:
            cache.move_to_end(path)
            return cache[path]
        missing = [path]
        while (above := missing[-1].rpartition("/")[0]) and above not in cache:
            missing.append(above)
        fd = cache[above] if above else self._root_fd
        for folder in reversed(missing):
            fd = cache[folder] = os.open(folder.rpartition("/")[2], DIR_FLAGS, dir_fd=fd)
            self._evict(cache)
        return fd

    @staticmethod
    def _evict(cache: OrderedDict[str, int]) -> None:
        if len(cache) > _CACHED_DIRS:
            os.close(cache.popitem(last=False)[1])


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """All of ``data``, or an ``OSError``: a short write is not success."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done
