"""Writes that pass the page cache by. Copying a chunk into it costs more than decoding the chunk; where data comes in
faster than processors take it, or memory is slow to come by as in many virtual machines, that copy is what a restore
waits for. Elsewhere the cache is worth it: what is in there need not be read again.
"""

from __future__ import annotations

import errno
import os
import threading
import time

from agents.snapshot.room import Room

LEAST = 1 << 20
"""Bytes below which a trip to the disk costs more than the copy."""
_PAGE = 4096
_FLAG = getattr(os, "O_DIRECT", 0)
_TRIAL = 64 << 20
_SOME_COPIES = 32 << 20
_SLOW_COPY = 1.5e9
"""Bytes a second of processor time: memory that is at hand is copied into at two to five times this rate."""
_TOO_SLOW = 200e6
"""Bytes a second: a disk slower than this in one thread is better fed from the cache."""


class DirectDisk:
    """Whether direct writes work here and are fast enough. Any thread may call it."""

    def __init__(self) -> None:
        self.works = bool(_FLAG)
        self._bytes, self._seconds = 0, 0.0
        self._copied, self._copying = 0, 0.0
        self._lock = threading.Lock()

    def write(self, name: str, folder: int, room: Room, data: memoryview, at: int) -> int:
        """Write the whole pages of ``data``, which begin at ``at``; how many bytes that were, 0 if it cannot be done.

        ``data`` either begins where ``room.raw`` does or is copied there. Raises ``OSError`` of the disk itself.
        """
        size = len(data) & -_PAGE
        if not self.works or size < LEAST or at % _PAGE:
            return 0
        if data.obj is not room.raw.obj:
            room.raw[: len(data)] = data
            data = room.raw
        began = time.monotonic()
        try:
            _write(name, folder, data[:size], at)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self.works = False
            return 0
        self._note(size, time.monotonic() - began)
        return size

    @property
    def copies_slowly(self) -> bool:
        """The copies into the page cache, by what they took so far, cost more than they are worth."""
        return self._copied >= _SOME_COPIES and self._copied < self._copying * _SLOW_COPY

    def note_copy(self, size: int, seconds: float) -> None:
        """``size`` bytes took so much processor time on their way into the page cache."""
        with self._lock:
            self._copied += size
            self._copying += seconds

    def _note(self, size: int, seconds: float) -> None:
        with self._lock:
            self._bytes += size
            self._seconds += seconds
            if self._bytes > _TRIAL and self._bytes < self._seconds * _TOO_SLOW:
                self.works = False


def _write(name: str, folder: int, data: memoryview, at: int) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | _FLAG, dir_fd=folder)
    try:
        if os.pwrite(fd, data, at) != len(data):
            raise OSError(errno.EINVAL, "a short direct write")  # the rest would not be aligned: begin again
    finally:
        os.close(fd)
