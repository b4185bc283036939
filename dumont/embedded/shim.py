"""Becomes another program whose life is bound to its parent's: ``shim.py PARENT SIGNAL IDENTITY COMMAND…``.
Run as a file with ``python -I -S`` so that it costs milliseconds; it must import nothing of the project.

The order matters: the kernel forgets the death signal when credentials change, so the identity comes first, and a
parent that died before the request was made is noticed by looking at who the parent is now.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_NEWUSER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)


def enter_user_namespace() -> None:
    """Root outside, ``nobody`` inside: PostgreSQL refuses to run as root, but files stay root's."""
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(_CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")


def become_nobody() -> None:
    """For root where user namespaces are forbidden, as in most containers."""
    _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _keep_reading_anywhere()


def _keep_reading_anywhere() -> None:
    """Keeps CAP_DAC_OVERRIDE over exec: the state and the wheels often lie below /root, closed to ``nobody``.

    Where the kernel says no, the program still runs if its folders are open to everybody.
    """
    mask = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if _libc.capset(header, sets) == 0:
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def stay() -> None:
    """The caller's own identity."""


IDENTITIES: dict[str, Callable[[], None]] = {
    "self": stay,
    "namespace": enter_user_namespace,
    "nobody": become_nobody,
}


def die_with(parent: int, signal_number: int) -> None:
    """Asks for ``signal_number`` when the parent's spawning thread ends; leaves at once if it already has."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))
    if os.getppid() != parent:
        sys.exit(1)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main() -> None:
    parent, signal_number, identity, *command = sys.argv[1:]
    IDENTITIES[identity]()
    die_with(int(parent), int(signal_number))
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
