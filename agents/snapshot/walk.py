"""What lies in a workspace right now: one lstat per entry, nothing opened but directories, no symlink followed."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from agents.snapshot.format import STAGING, DirRow, HardlinkRow, SymlinkRow

DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

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


@dataclass(slots=True)
class Tree:
    """A walked workspace. Paths are relative, '/'-separated; ``dirs`` starts with the root itself, path ''.

    Of several hard links the first path in sort order is in ``files``, the others are in ``hardlinks``.
    """

    files: list[Found] = field(default_factory=list)
    dirs: list[DirRow] = field(default_factory=list)
    symlinks: list[SymlinkRow] = field(default_factory=list)
    hardlinks: list[HardlinkRow] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unreadable: int = 0

    def cannot_read(self, path: str, error: OSError) -> None:
        self.skipped.append((path, f"unreadable: {error.strerror}"))
        self.unreadable += 1


def walk(root: str, exclude: Sequence[str] = ()) -> Tree:
    """The whole tree below ``root``. What vanishes meanwhile is left out; what cannot be read is counted.

    ``exclude``: a pattern without '/' matches any name, one with '/' the path from the root (a leading '/' anchors).
    """
    tree = Tree()
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    tree.dirs.append(_dir_row("", root_fd))
    stack = [(root_fd, _scan(tree, root_fd, "", exclude))]
    try:
        while stack:
            found = next(stack[-1][1], None)
            if found is None:
                os.close(stack.pop()[0])
                continue
            fd, path = found
            stack.append((fd, _scan(tree, fd, path + "/", exclude)))
    finally:
        for fd, _ in stack:
            os.close(fd)
    _separate_hardlinks(tree)
    return tree


def is_excluded(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(
        fnmatch.fnmatchcase(path, pattern.lstrip("/"))
        if "/" in pattern
        else fnmatch.fnmatchcase(name, pattern)
        for pattern in patterns
    )


def own_paths(workspace: str, *paths: Path) -> list[str]:
    """Patterns that keep the agent's own files out of a snapshot when they lie inside the workspace."""
    root = Path(os.path.realpath(workspace))
    found = [f"/{STAGING}"]
    for path in paths:
        own = Path(os.path.realpath(path))
        if root in own.parents:
            parts = own.relative_to(root).parts
            depth = parts.index(".dumont") + 1 if ".dumont" in parts else len(parts)
            found.append("/" + glob.escape("/".join(parts[:depth])))
    return found


def read_xattrs(fd: int) -> dict[str, str]:
    """The ``user.*`` attributes, values in hex; none where the file system has none."""
    try:
        names = [name for name in os.listxattr(fd) if name.startswith("user.")]
        return {name: os.getxattr(fd, name).hex() for name in names}
    except OSError:
        return {}


def _scan(tree: Tree, fd: int, prefix: str, exclude: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Note every entry of one directory; yield its subdirectories opened, for the caller to close."""
    for name, info in _entries(tree, fd, prefix):
        path = prefix + name
        if exclude and is_excluded(path, exclude):
            continue
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFREG:
            tree.files.append(Found(path, info))
        elif kind == stat.S_IFDIR:
            child = _open_dir(tree, fd, name, path)
            if child is not None:
                tree.dirs.append(_dir_row(path, child))
                yield child, path
        elif kind == stat.S_IFLNK:
            _note_symlink(tree, fd, name, path, info)
        else:
            tree.skipped.append((path, _KINDS.get(kind, "is of an unknown kind")))


def _entries(tree: Tree, fd: int, prefix: str) -> list[tuple[str, os.stat_result]]:
    found = []
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    tree.cannot_read(prefix + entry.name, error)
    except OSError as error:
        tree.cannot_read(prefix, error)
    return found


def _open_dir(tree: Tree, fd: int, name: str, path: str) -> int | None:
    try:
        return os.open(name, DIR_FLAGS, dir_fd=fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        tree.cannot_read(path, error)
        return None


def _dir_row(path: str, fd: int) -> DirRow:
    info = os.fstat(fd)
    mode = stat.S_IMODE(info.st_mode)
    return DirRow(path, mode, info.st_uid, info.st_gid, info.st_mtime_ns, read_xattrs(fd))


def _note_symlink(tree: Tree, fd: int, name: str, path: str, info: os.stat_result) -> None:
    try:
        target = os.readlink(name, dir_fd=fd)
    except FileNotFoundError:
        return
    except OSError as error:
        tree.cannot_read(path, error)
        return
    tree.symlinks.append(SymlinkRow(path, target, info.st_uid, info.st_gid, info.st_mtime_ns))


def _separate_hardlinks(tree: Tree) -> None:
    tree.files.sort(key=lambda found: found.path)
    first: dict[tuple[int, int], str] = {}
    files = []
    for found in tree.files:
        if found.stat.st_nlink > 1:
            same = first.setdefault((found.stat.st_dev, found.stat.st_ino), found.path)
            if same != found.path:
                tree.hardlinks.append(HardlinkRow(found.path, same))
                continue
        files.append(found)
    tree.files = files
