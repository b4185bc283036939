"""Memory to decode in: a few page-aligned rooms, lent to one thread at a time, so that no chunk costs new pages."""

from __future__ import annotations

import mmap
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agents.snapshot.format import CELL


@dataclass(frozen=True, slots=True)
class Room:
    """``sealed`` takes a chunk as it was encoded, ``raw`` what it decodes to; both begin at a page."""

    sealed: memoryview
    raw: memoryview


class Rooms:
    """``count`` threads decode at once; the others wait. The room that was used last is lent first: it is warm."""

    def __init__(self, count: int) -> None:
        self._free: queue.LifoQueue[Room] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(Room(memoryview(mmap.mmap(-1, CELL)), memoryview(mmap.mmap(-1, CELL))))
        self._waiting = 0
        self._lock = threading.Lock()

    @property
    def are_short(self) -> bool:
        """Somebody waits for a room: chunks come faster than the processors decode them."""
        return self._waiting > 0

    @contextmanager
    def lent(self) -> Iterator[Room]:
        self._count(1)
        room = self._free.get()
        self._count(-1)
        try:
            yield room
        finally:
            self._free.put(room)

    def _count(self, more: int) -> None:
        with self._lock:
            self._waiting += more
