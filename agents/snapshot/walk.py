"""What lies in a workspace right now: one lstat per entry, nothing opened but directories, no symlink followed."""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from agents.snapshot import model_cache
from agents.snapshot.format import STAGING, DirRow, FetchRow, HardlinkRow, LeftOutRow, SymlinkRow
from agents.snapshot.rules import RuleBook

DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_COUNTED = 50_000
"""Entries looked at in one walk to tell how big the directories are that rules leave out: about 0.1 s."""

_KIND = 0o170000
_KINDS = {
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a character device",
    stat.S_IFBLK: "is a block device",
}


class Found(NamedTuple):
    """A regular file and its lstat."""

    path: str
    stat: os.stat_result


_path = operator.itemgetter(0)


@dataclass(slots=True)
class Tree:
    """A walked workspace. Paths are relative, '/'-separated; ``dirs`` starts with the root itself, path ''.

    Files are sorted by path. Of several hard links the first is in ``files``, the others are in ``hardlinks``.
    """

    files: list[Found] = field(default_factory=list)
    dirs: list[DirRow] = field(default_factory=list)
    symlinks: list[SymlinkRow] = field(default_factory=list)
    hardlinks: list[HardlinkRow] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unreadable: int = 0
    left_out: list[LeftOutRow] = field(default_factory=list)
    to_fetch: list[FetchRow] = field(default_factory=list)
    counted: int = 0

    @property
    def is_counted(self) -> bool:
        """Whether the sizes in ``left_out`` are whole; else they are at least that."""
        return self.counted < MOST_COUNTED

    def cannot_read(self, path: str, error: OSError) -> None:
        self.skipped.append((path, f"unreadable: {error.strerror}"))
        self.unreadable += 1


def walk(root: str, book: RuleBook | None = None, *, count_left_out: bool = True) -> Tree:
    """The whole tree below ``root``, less what ``book`` leaves out.

    What vanishes meanwhile is missing; what cannot be read is counted. Without ``count_left_out`` the directories
    that are left out are not looked into.
    """
    return _Walk(book or RuleBook(), count_left_out).run(root)


def own_paths(workspace: str, *paths: Path) -> tuple[str, ...]:
    """Paths of the agent's own files that lie inside the workspace, and of what a thaw keeps there."""
    root = Path(os.path.realpath(workspace))
    found = [STAGING]
    for path in paths:
        own = Path(os.path.realpath(path))
        if root in own.parents:
            parts = own.relative_to(root).parts
            depth = parts.index(".dumont") + 1 if ".dumont" in parts else len(parts)
            found.append("/".join(parts[:depth]))
    return tuple(found)


def read_xattrs(fd: int) -> dict[str, str]:
    """The ``user.*`` attributes, values in hex; none where the file system has none."""
    try:
        names = [name for name in os.listxattr(fd) if name.startswith("user.")]
        return {name: os.getxattr(fd, name).hex() for name in names}
    except OSError:
        return {}


class _Walk:
    """One walk: the tree so far and the rules it obeys."""

    def __init__(self, book: RuleBook, count_left_out: bool) -> None:
        self._tree = Tree()
        self._own = frozenset(book.own)
        self._rules = None if book.rules.is_empty else book.rules
        self._leave_out_models = book.leave_out_models
        self._blobs: set[str] = set()
        self._count_left_out = count_left_out
        self._linked: list[Found] = []

    def run(self, root: str) -> Tree:
        root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._tree.dirs.append(_dir_row("", root_fd))
        stack = [(root_fd, self._scan(root_fd, ""))]
        try:
            while stack:
                found = next(stack[-1][1], None)
                if found is None:
                    os.close(stack.pop()[0])
                    continue
                fd, path = found
                stack.append((fd, self._scan(fd, path + "/")))
        finally:
            for fd, _ in stack:
                os.close(fd)
        _separate_hardlinks(self._tree, self._linked)
        self._tree.files.sort(key=_path)
        return self._tree

    def _scan(self, fd: int, prefix: str) -> Iterator[tuple[int, str]]:
        """Note every entry of one directory; yield its subdirectories opened, for the caller to close."""
        dirs: list[tuple[str, str, os.stat_result]] = []
        try:
            with os.scandir(fd) as entries:
                self._note_all(entries, fd, prefix, dirs)
        except OSError as error:
            self._tree.cannot_read(prefix, error)
        for name, path, info in dirs:
            if path in self._blobs:
                self._leave_out(fd, name, path, info, model_cache.RULE)
            elif (child := self._enter(fd, name, path)) is not None:
                yield child, path

    def _note_all(
        self,
        entries: Iterable[os.DirEntry[str]],
        fd: int,
        prefix: str,
        dirs: list[tuple[str, str, os.stat_result]],
    ) -> None:
        """The loop that runs once for each of a million entries: hence the local names."""
        tree, own, rules = self._tree, self._own, self._rules
        note_file, linked = tree.files.append, self._linked
        for entry in entries:
            name = entry.name
            path = prefix + name
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                tree.cannot_read(path, error)
                continue
            kind = info.st_mode & _KIND
            if path in own:
                continue
            if rules and (line := rules.left_out_by(name, path, kind == stat.S_IFDIR)) is not None:
                self._leave_out(fd, name, path, info, line)
            elif kind == stat.S_IFREG:
                found = Found(path, info)
                note_file(found)
                if info.st_nlink > 1:
                    linked.append(found)
            elif kind == stat.S_IFDIR:
                dirs.append((name, path, info))
            elif kind == stat.S_IFLNK:
                self._note_symlink(fd, name, path, info)
            else:
                tree.skipped.append((path, _KINDS.get(kind, "is of an unknown kind")))

    def _enter(self, fd: int, name: str, path: str) -> int | None:
        try:
            child = os.open(name, DIR_FLAGS, dir_fd=fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tree.cannot_read(path, error)
            return None
        self._tree.dirs.append(_dir_row(path, child))
        if self._leave_out_models:
            fetched = model_cache.refetchable(child, path)
            if fetched is not None:
                self._tree.to_fetch += fetched
                self._blobs.add(f"{path}/{model_cache.BLOBS}")
        return child

    def _leave_out(self, fd: int, name: str, path: str, info: os.stat_result, line: str) -> None:
        files, size = 1, info.st_size
        if stat.S_ISDIR(info.st_mode):
            files, size = self._sum(fd, name) if self._count_left_out else (0, 0)
        self._tree.left_out.append(LeftOutRow(path, line, files, size))

    def _sum(self, parent: int, name: str) -> tuple[int, int]:
        """Files and bytes below a directory, as far as they may be counted."""
        files = size = 0
        try:
            fd = os.open(name, DIR_FLAGS, dir_fd=parent)
        except OSError:
            return 0, 0
        try:
            for child, info in _glance(fd):
                self._tree.counted += 1
                if not self._tree.is_counted:
                    break
                below = self._sum(fd, child) if stat.S_ISDIR(info.st_mode) else (1, info.st_size)
                files, size = files + below[0], size + below[1]
        finally:
            os.close(fd)
        return files, size

    def _note_symlink(self, fd: int, name: str, path: str, info: os.stat_result) -> None:
        try:
            target = os.readlink(name, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            self._tree.cannot_read(path, error)
            return
        self._tree.symlinks.append(SymlinkRow(path, target, info.st_uid, info.st_gid, info.st_mtime_ns))


def _glance(fd: int) -> Iterator[tuple[str, os.stat_result]]:
    """Entries and their lstat, as many as can be had."""
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except OSError:
                    continue
    except OSError:
        return


def _dir_row(path: str, fd: int) -> DirRow:
    info = os.fstat(fd)
    mode = stat.S_IMODE(info.st_mode)
    return DirRow(path, mode, info.st_uid, info.st_gid, info.st_mtime_ns, read_xattrs(fd))


def _separate_hardlinks(tree: Tree, linked: list[Found]) -> None:
    """Of the files with several names keep the first one; the others become hard links to it."""
    first: dict[tuple[int, int], str] = {}
    others = {}
    for found in sorted(linked, key=_path):
        same = first.setdefault((found.stat.st_dev, found.stat.st_ino), found.path)
        if same != found.path:
            others[found.path] = same
    if others:
        tree.files = [found for found in tree.files if found.path not in others]
        tree.hardlinks = [HardlinkRow(path, target) for path, target in others.items()]
