"""One piece of work beside the main thread, so that the story goes on meanwhile and Ctrl-C is never deaf."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .errors import DemoFailed

T = TypeVar("T")


class Background(Generic[T]):
    """Starts ``work`` at once. The thread ends with the process; what it started itself must be bound to it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, what: str, timeout: float, meanwhile: Callable[[], None] | None = None) -> T:
        """What the work returned or raised. ``DemoFailed`` if ``what`` takes longer than ``timeout`` s."""
        deadline = time.monotonic() + timeout
        while not self.done:
            if time.monotonic() > deadline:
                raise DemoFailed(f"{what} took longer than {timeout:.0f} s.")
            if meanwhile:
                meanwhile()
            self._thread.join(0.2)
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error
