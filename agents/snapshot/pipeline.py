"""Run many tasks on a few threads, and find out how many threads are worth having."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

_PERIOD = 0.5
_WORTH_IT = 1.1
_AGAIN = 10.0
"""Seconds after which a step that gained nothing is tried once more: networks change."""


class Growth:
    """From ``first`` to ``most`` threads: half as many again as long as the last step raised the throughput.

    ``moved`` tells the bytes moved so far, ``is_short`` whether work waits for a thread. Not thread-safe.
    """

    def __init__(
        self,
        first: int,
        most: int,
        moved: Callable[[], int],
        is_short: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = first
        self._most = most
        self._moved = moved
        self._is_short = is_short
        self._clock = clock
        self._best = 0.0
        self._mark = (clock(), moved())
        self._again_at = 0.0

    def look(self) -> int:
        """How many threads to start now. Cheap: call it after every task."""
        now, moved = self._clock(), self._moved()
        then, before = self._mark
        if now - then < _PERIOD:
            return 0
        self._mark = (now, moved)
        if not self._is_short():
            return 0
        rate = (moved - before) / (now - then)
        if rate < self._best * _WORTH_IT and now < self._again_at:
            return 0
        self._best = max(rate, self._best)
        self._again_at = now + _AGAIN
        step = min(max(1, self.threads // 2), self._most - self.threads)
        self.threads += step
        return step


class Crew:
    """Threads that take tasks from one source, one at a time, until it ends or one fails. They die with the process.

    An endless source costs no memory. ``growth`` adds threads on the way.
    """

    def __init__(
        self, tasks: Iterable[Callable[[], None]], threads: int, growth: Growth | None = None
    ) -> None:
        self.errors: list[BaseException] = []
        self._source = iter(tasks)
        self._growth = growth
        self._taking = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._start(threads)

    def join(self) -> None:
        """Wait for the end. Raises the first failure."""
        while self._threads:
            self._threads.pop().join()
        if self.errors:
            raise self.errors[0]

    def _start(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._work, daemon=True, name="crew")
            thread.start()
            self._threads.append(thread)  # by a thread that itself is waited for: none is missed

    def _work(self) -> None:
        while not self.errors:
            try:
                with self._taking:
                    task = next(self._source, None)
                    more = self._growth.look() if self._growth else 0
                if task is None or self.errors:
                    return
                self._start(more)
                task()
            except BaseException as error:
                self.errors.append(error)


class Closes(Protocol):
    def close(self) -> None: ...


@contextlib.contextmanager
def closed_after(*used: Closes) -> Iterator[None]:
    """Close what threads use, unless a signal takes us away from threads that still run.

    A descriptor closed under them could by then be another file. The process ends, and closes it, anyway.
    """
    try:
        yield
    except Exception:
        for one in used:
            one.close()
        raise
    for one in used:
        one.close()


def run_all(tasks: Iterable[Callable[[], None]], threads: int, growth: Growth | None = None) -> None:
    """Run all tasks; the first failure stops all and is raised."""
    Crew(tasks, threads, growth).join()
