"""Brings a tree into a machine's workspace with everything a file system knows about it. The source is only read."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dumont.embedded.processes import Identity, bound

from .errors import DemoFailed

_SPARE = 300_000_000
_COMPLAINTS = 20


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to move. ``bytes``: as allocated on disk, so that holes count nothing."""

    files: int
    bytes: int

    @property
    def patience(self) -> float:
        """Seconds that one pass over it may take on a slow, busy disk, above what an empty one takes."""
        return self.files / 200 + self.bytes / 5e6


def measure(folder: Path) -> Extent:
    """Counts what can be seen."""
    files = allocated = 0
    for at, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        for name in names:
            try:
                allocated += os.lstat(os.path.join(at, name)).st_blocks * 512
            except OSError:
                continue
    return Extent(files, allocated)


def check_space(extent: Extent, state: Path) -> None:
    """The tree stands there twice, once on a machine and once in the store."""
    needed, free = 2 * extent.bytes + _SPARE, shutil.disk_usage(state).free
    if free < needed:
        raise DemoFailed(f"{state} has {free / 1e9:.1f} GB free; this workspace needs {needed / 1e9:.1f} GB.")


def copy_tree(source: Path, target: Path) -> list[str]:
    """Copies ``source`` to the new folder ``target``: modes, dates, links of both kinds, holes, attributes.

    Returns what ``cp`` complained about, such as files it may not read; those are missing in the copy.
    """
    # Bound to this thread: a demo that is killed leaves no copying behind.
    argv = ("cp", "-a", "--reflink=auto", "--sparse=auto", "--", str(source), str(target))
    copied = subprocess.run(
        bound(argv, signal.SIGKILL, Identity.SELF),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    complaints = copied.stderr.decode(errors="backslashreplace").splitlines()
    if not target.is_dir():
        raise DemoFailed(f"{source} could not be copied: {' '.join(complaints[:_COMPLAINTS])}")
    return complaints


def move_into(source: Path, workspace: Path) -> None:
    """Moves what is in ``source`` into the existing ``workspace``, and the folder's own mode and dates onto it.

    Both must lie on one file system. The workspace itself stays: the machine has it mounted.
    """
    info, attributes = source.stat(), _attributes(source)
    source.chmod(0o700)
    for name in os.listdir(source):
        _move(source / name, workspace / name)
    for attribute, value in attributes.items():
        os.setxattr(workspace, attribute, value)
    workspace.chmod(stat.S_IMODE(info.st_mode))
    os.utime(workspace, ns=(info.st_atime_ns, info.st_mtime_ns))
    source.rmdir()


def _move(source: Path, target: Path) -> None:
    info = source.lstat()
    if stat.S_ISDIR(info.st_mode) and not info.st_mode & stat.S_IWUSR:
        # A directory that moves gets a new '..', for which its owner must be allowed to write to it.
        source.chmod(0o700)
        source.rename(target)
        target.chmod(stat.S_IMODE(info.st_mode))
    else:
        source.rename(target)


def _attributes(folder: Path) -> dict[str, bytes]:
    try:
        return {n: os.getxattr(folder, n) for n in os.listxattr(folder) if n.startswith("user.")}
    except OSError:
        return {}
