"""Everything that is to come back of a workspace, read with nothing of Dumont's own engine: what it is compared by."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
_SPECIAL = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name. ``content``: a file's SHA-256, or ``unreadable: why``. ``linked_to``: the first path, in sort order, of
    the file's other names; empty for a file with one name. ``xattrs``: the ``user.*`` attributes."""

    kind: str
    mode: int
    mtime_ns: int
    uid: int
    gid: int
    size: int = 0
    content: str = ""
    target: str = ""
    linked_to: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """``entries`` by path from the root, the root itself as '.'. ``skipped``: what no snapshot holds, and its kind."""

    entries: dict[str, Entry] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> int:
        return sum(entry.kind == "file" for entry in self.entries.values())

    @property
    def bytes(self) -> int:
        """Of all files, each counted once however many names it has."""
        return sum(entry.size for path, entry in self.entries.items() if entry.linked_to in ("", path))

    @property
    def unreadable(self) -> list[str]:
        """Entries that the caller may not look into: only what ``stat`` says of them is compared."""
        return [path for path, entry in self.entries.items() if entry.content.startswith("unreadable")]

    def counts(self) -> dict[str, int]:
        kinds = [entry.kind for entry in self.entries.values()]
        names = {"files": "file", "directories": "directory", "symlinks": "symlink"}
        counted = {name: kinds.count(kind) for name, kind in names.items()}
        linked = sum(bool(entry.linked_to) for entry in self.entries.values())
        return counted | {"hard_linked_names": linked, "skipped": len(self.skipped), "bytes": self.bytes}


def take_inventory(root: str) -> Inventory:
    """Reads the whole tree below ``root``; follows no symlink. Nobody should write there meanwhile."""
    inventory = Inventory()
    names: dict[tuple[int, int], list[str]] = {}
    for path, full in _walk(root):
        info = os.lstat(full)
        kind = stat.S_IFMT(info.st_mode)
        if kind in _SPECIAL:
            inventory.skipped[path] = _SPECIAL[kind]
            continue
        if kind == stat.S_IFREG and info.st_nlink > 1:
            names.setdefault((info.st_dev, info.st_ino), []).append(path)
        inventory.entries[path] = _entry(full, info, _KINDS[kind])
    for linked in names.values():
        _note_links(inventory, linked)
    return inventory


def _walk(root: str) -> Iterator[tuple[str, str]]:
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        full = os.path.join(root, path)
        yield path, full
        if os.path.isdir(full) and not os.path.islink(full):
            # A directory that cannot be listed yields nothing more; its entry says why.
            waiting += [os.path.normpath(os.path.join(path, name)) for name in _names(full)]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _entry(full: str, info: os.stat_result, kind: str) -> Entry:
    entry = Entry(kind, stat.S_IMODE(info.st_mode), info.st_mtime_ns, info.st_uid, info.st_gid)
    if kind == "symlink":
        return replace(entry, target=os.readlink(full))
    details: dict[str, Any] = {"content": _listable(full)}
    if kind == "file":
        details = {"size": info.st_size, "content": _digest(full)}
    return replace(entry, xattrs=_xattrs(full), **details)


def _digest(full: str) -> str:
    try:
        with open(full, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _listable(full: str) -> str:
    return "" if os.access(full, os.R_OK | os.X_OK) else "unreadable: Permission denied"


def _xattrs(full: str) -> tuple[tuple[str, bytes], ...]:
    try:
        names = sorted(name for name in os.listxattr(full) if name.startswith("user."))
        return tuple((name, os.getxattr(full, name)) for name in names)
    except OSError:
        return ()  # the file system has none


def _note_links(inventory: Inventory, paths: list[str]) -> None:
    """Names outside the tree do not count: no snapshot could bring them back."""
    if len(paths) > 1:
        first = min(paths)
        for path in paths:
            inventory.entries[path] = replace(inventory.entries[path], linked_to=first)
