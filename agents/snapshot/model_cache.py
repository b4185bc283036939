"""The cache of a model hub, as Hugging Face's library lays it out: what of it can be fetched again, and how.

``models--org--name/`` (or ``datasets--``) holds ``blobs/`` with the bytes and ``snapshots/<revision>/`` with links to
them. Only that layout is recognised, wherever it lies; anything unusual in it keeps the whole folder in the snapshot.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from agents.snapshot.format import FetchRow

BLOBS = "blobs"
RULE = "model cache"
"""What ``left_out`` says in place of a rule's line."""

_KINDS: dict[str, Literal["model", "dataset"]] = {"models": "model", "datasets": "dataset"}
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_REVISION = re.compile(r"[0-9a-f]{40}\Z")
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_FILES = 10_000
_LONGEST = 1000


class _Unusual(Exception):
    """This is not the layout that we know."""


@dataclass(slots=True)
class _Revision:
    name: str
    files: list[str] = field(default_factory=list)
    blobs: set[str] = field(default_factory=set)


def refetchable(fd: int, path: str) -> list[FetchRow] | None:
    """What brings the blobs of the folder at ``path``, opened as ``fd``, back; ``None`` if they must be kept.

    They are kept while something is being downloaded, and where one of them belongs to no revision. That the hub
    still has a revision, or lets this user have it, is not asked.
    """
    parent, _, name = path.rpartition("/")
    kind, *parts = name.split("--")
    if kind not in _KINDS or not 1 <= len(parts) <= 2 or not all(map(_PART.match, parts)):
        return None
    try:
        blobs = _blobs(fd)
        revisions = _revisions(fd)
    except (OSError, _Unusual):
        return None
    used = {blob for revision in revisions for blob in revision.blobs}
    if not revisions or blobs.keys() - used:
        return None
    return [
        FetchRow(
            _KINDS[kind],
            "/".join(parts),
            revision.name,
            parent,
            tuple(sorted(revision.files)),
            sum(blobs.get(blob, 0) for blob in revision.blobs),
        )
        for revision in revisions
    ]


def fetch_command(row: FetchRow, workspace: str) -> str:
    """A line for a shell that fetches exactly what was left out."""
    words = ["huggingface-cli", "download", row.repo, *row.files, "--revision", row.revision]
    words += ["--repo-type", "dataset"] if row.kind == "dataset" else []
    return shlex.join([*words, "--cache-dir", posixpath.join(workspace, row.path)])


def _blobs(fd: int) -> dict[str, int]:
    """Sizes by name. A folder whose blobs were left out before and not fetched since has none."""
    try:
        folder = os.open(BLOBS, _FLAGS, dir_fd=fd)
    except FileNotFoundError:
        return {}
    try:
        found = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(info.st_mode) or entry.name.endswith(".incomplete"):
                    raise _Unusual
                found[entry.name] = info.st_size
        return found
    finally:
        os.close(folder)


def _revisions(fd: int) -> list[_Revision]:
    folder = os.open("snapshots", _FLAGS, dir_fd=fd)
    try:
        revisions = [_Revision(name) for name in sorted(os.listdir(folder))]
        for revision in revisions:
            if not _REVISION.match(revision.name):
                raise _Unusual
            for name, target in _links(folder, revision.name):
                place = posixpath.normpath(posixpath.join("snapshots", posixpath.dirname(name), target))
                file = name.partition("/")[2]
                if posixpath.dirname(place) != BLOBS or file.startswith("-") or len(file) > _LONGEST:
                    raise _Unusual
                if len(revision.files) == _MOST_FILES:
                    raise _Unusual
                revision.files.append(file)
                revision.blobs.add(posixpath.basename(place))
        return revisions
    finally:
        os.close(folder)


def _links(parent: int, path: str, above: str = "") -> Iterator[tuple[str, str]]:
    """``(path, target)`` of every symlink below; a file in a link's place is simply part of the snapshot."""
    folder = os.open(path, _FLAGS, dir_fd=parent)
    try:
        for name in os.listdir(folder):
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            whole = f"{above}{path}/{name}"
            if stat.S_ISLNK(info.st_mode):
                yield whole, os.readlink(name, dir_fd=folder)
            elif stat.S_ISDIR(info.st_mode):
                if whole.count("/") > 20:
                    raise _Unusual
                yield from _links(folder, name, f"{above}{path}/")
    finally:
        os.close(folder)
