"""Memory to decode in: a few page-aligned rooms, lent to one thread at a time, so that no chunk costs new pages."""

from __future__ import annotations

import mmap
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
    """``count`` threads decode at once; the others wait, the urgent ones not behind those that are not.

    The room that was used last is lent first: it is warm.
    """

    def __init__(self, count: int) -> None:
        self._free = [
            Room(memoryview(mmap.mmap(-1, CELL)), memoryview(mmap.mmap(-1, CELL))) for _ in range(count)
        ]
        self._waiting = {True: 0, False: 0}
        lock = threading.Lock()
        self._turns = {True: threading.Condition(lock), False: threading.Condition(lock)}

    @property
    def are_short(self) -> bool:
        """Somebody waits for a room: chunks come faster than the processors decode them."""
        return any(self._waiting.values())

    @contextmanager
    def lent(self, *, urgent: bool = True) -> Iterator[Room]:
        turn = self._turns[urgent]
        with turn:
            self._waiting[urgent] += 1
            turn.wait_for(lambda: self._free and (urgent or not self._waiting[True]))
            self._waiting[urgent] -= 1
            room = self._free.pop()
            if self._free and not self._waiting[True]:
                self._turns[False].notify()
        try:
            yield room
        finally:
            with turn:
                self._free.append(room)
                self._turns[self._waiting[True] > 0].notify()
