"""The private folders of an embedded stack: who owns them, which one may be used at a time, and socket folders
short enough for the kernel."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hibernation.domain.errors import DumontError

from .shim import NOBODY

# sun_path holds 108 bytes with its closing zero; PostgreSQL's socket has the longest name below the folder.
_LONGEST_PATH = 107
_LONGEST_NAME = "postgres/.s.PGSQL.5432"


class StateInUse(DumontError):
    """Another process uses this state folder."""

    code = "state_in_use"


class StateUnusable(DumontError):
    """The state folder cannot be used."""

    code = "state_unusable"


def private_folder(path: Path) -> Path:
    """Makes it, 0700. Raises ``StateUnusable`` if it cannot be made or belongs to somebody else."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnusable(f"{path} cannot be made: {error.strerror}.") from error
    owner = path.stat().st_uid
    if owner not in _ours():
        raise StateUnusable(f"{path} belongs to user {owner}.")
    path.chmod(0o700)
    return path


def _ours() -> set[int]:
    # Root hands PostgreSQL's folders to nobody where it has to, and takes them back.
    return {os.geteuid(), NOBODY} if os.geteuid() == 0 else {os.geteuid()}


def give(path: Path, owner: int) -> None:
    """Makes the whole tree ``owner``'s. Costs one ``stat`` when it already is."""
    if path.stat().st_uid == owner:
        return
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            os.chown(Path(folder, name), owner, owner, follow_symlinks=False)
        # The top comes last: as long as it is the former owner's, the next try starts over.
        os.chown(folder, owner, owner)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file; the kernel lets go of it when this process dies. Raises ``StateInUse`` without waiting."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateInUse(f"Another process runs on {path.parent}.") from None
        yield


def socket_folder(state: Path, name: str) -> Path:
    """A fresh 0700 folder for one server's sockets: ``<state>/run/<name>``.

    Where that is too long for a socket, ``<state>/run`` is a link to a private folder in /tmp, which the next start
    finds again. Whatever lay in the folder is removed: sockets and lock files of a server that is gone.
    """
    folder = _run_folder(state) / name
    shutil.rmtree(folder, ignore_errors=True)
    return private_folder(folder)


def release_socket_folder(state: Path, name: str) -> None:
    """Removes it, and with the last one the folder in /tmp. Safe to repeat."""
    run = state / "run"
    shutil.rmtree(run / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        run.resolve(strict=True).rmdir()
        run.unlink(missing_ok=True)


def _run_folder(state: Path) -> Path:
    run = state / "run"
    if len(os.fsencode(run / _LONGEST_NAME)) <= _LONGEST_PATH:
        return private_folder(run)
    if not (run.is_symlink() and _is_private(run.readlink())):
        run.unlink(missing_ok=True)
        run.symlink_to(tempfile.mkdtemp(prefix="dumont-", dir="/tmp"))
    return run.readlink()


def _is_private(folder: Path) -> bool:
    """Whether nobody else could have made or opened it; /tmp is everybody's."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in _ours() and stat.S_IMODE(found.st_mode) == 0o700
