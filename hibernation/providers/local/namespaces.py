"""Gives a machine its own root folder and its own processes, where the kernel allows it.

Inside, ``/workspace``, ``/root`` and ``/tmp`` are the machine's folders; the rest is the host's. This is to be like
a rented machine, not to be a wall: nothing here protects the host from the machine.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hibernation.providers.local.processes import die_with_parent

OWN_FOLDERS = {"root": "home", "tmp": "tmp", "workspace": "workspace"}

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_BIND, _MS_MOVE, _MS_REC, _MS_PRIVATE = 4096, 8192, 16384, 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)


def are_allowed(machine: Path, visible: Sequence[Path]) -> bool:
    """Whether a machine can have namespaces here. Tries it in a child, which ends. Call it from one thread only."""
    if any(path.is_relative_to("/workspace") for path in visible):
        return False  # making it visible would put folders into the machine's workspace
    return _succeeds_in_child(lambda: _try(machine, visible))


def leave_host() -> None:
    """The calling process gets its own mounts; its next child is process 1 of a new process namespace.

    Root stays real root, so that owners of files keep their numbers. A plain user becomes root of a user namespace.
    """
    user, group = os.geteuid(), os.getegid()
    _check(_LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWPID | (_CLONE_NEWUSER if user else 0)), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def build_root(machine: Path, visible: Sequence[Path]) -> None:
    """Process 1 of the namespace moves into the machine's root. ``visible`` folders keep their path in it."""
    _mount("none", "/", flags=_MS_REC | _MS_PRIVATE)  # from here on nothing reaches the host
    root = machine / "root"
    root.mkdir(exist_ok=True)
    _mount("tmpfs", root, "tmpfs", data="mode=755")
    _show_host(root)
    for name, folder in OWN_FOLDERS.items():
        _bind(machine / folder, root / name)
    (root / "proc").mkdir()
    _mount("proc", root / "proc", "proc")
    for path in visible:
        if path.parts[1:2] and path.parts[1] in OWN_FOLDERS:
            _bind(path, root / path.relative_to("/"))
    os.chdir(root)
    _mount(".", "/", flags=_MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _show_host(root: Path) -> None:
    for entry in os.scandir("/"):
        if entry.name in OWN_FOLDERS or entry.name == "proc":
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), root / entry.name)
        elif entry.is_dir():
            _bind(Path(entry.path), root / entry.name, recursive=True)


def _try(machine: Path, visible: Sequence[Path]) -> bool:
    leave_host()

    def enter() -> bool:
        die_with_parent()
        build_root(machine, visible)
        return os.access(sys.executable, os.X_OK) and all(path.is_dir() for path in visible)

    return _succeeds_in_child(enter)


def _succeeds_in_child(attempt: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if attempt() else 1)
        except OSError as error:
            print(f"No namespaces here: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _bind(source: Path, target: Path, *, recursive: bool = False) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _mount(source, target, flags=_MS_BIND | (_MS_REC if recursive else 0))


def _mount(
    source: Path | str, target: Path | str, kind: str | None = None, *, flags: int = 0, data: str = ""
) -> None:
    result = _LIBC.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
