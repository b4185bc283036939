"""Reading files that may be sparse, deep, or moving under our hands."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence

from agents.snapshot.format import CELL
from agents.snapshot.walk import DIR_FLAGS

_TICK_NS = 20_000_000
"""File times step with the kernel's tick (up to 10 ms): within one tick a write leaves no trace in them."""


def cells(size: int, runs: Sequence[tuple[int, int]]) -> list[tuple[int, int, bool]]:
    """``(offset, length, is a hole)`` in file order, covering ``size`` exactly; data is cut on the 8 MiB grid."""
    out: list[tuple[int, int, bool]] = []
    at = 0
    for start, end in [*runs, (size, size)]:
        if start > at:
            out.append((at, start - at, True))
        while start < end:
            stop = min(end, (start // CELL + 1) * CELL)
            out.append((start, stop - start, False))
            start = stop
        at = end
    return out


def data_runs(fd: int, size: int) -> list[tuple[int, int]]:
    """``(start, end)`` of what was written to a sparse file; all of it where the file system cannot tell."""
    runs, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            return [(0, size)]
        runs.append((start, min(end, size)))
        at = end
    return runs


def open_beneath(root_fd: int, path: str, flags: int) -> int:
    """Open a path of any length: beyond the kernel's 4 KiB it is walked directory by directory."""
    try:
        return os.open(path, flags, dir_fd=root_fd)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    *parents, name = path.split("/")
    fd = os.dup(root_fd)
    try:
        for parent in parents:
            fd, above = os.open(parent, DIR_FLAGS, dir_fd=fd), fd
            os.close(above)
        return os.open(name, flags, dir_fd=fd)
    finally:
        os.close(fd)


def wait_for_tick(info: os.stat_result) -> None:
    """Let a file written this very moment grow older than one tick, so that a later write shows in its times."""
    age = time.time_ns() - info.st_ctime_ns
    if 0 <= age < _TICK_NS:
        time.sleep((_TICK_NS - age) / 1e9)


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    return (
        one.st_ctime_ns == other.st_ctime_ns
        and one.st_mtime_ns == other.st_mtime_ns
        and one.st_size == other.st_size
        and one.st_ino == other.st_ino
    )


def read_up_to(fd: int, size: int) -> bytes:
    data = os.read(fd, size)
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data


def read_into(fd: int, view: memoryview, offset: int) -> int:
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], offset + done)
        if got == 0:
            break
        done += got
    return done
