"""Waiting for other processes: there is no clock of ours to move."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TICK = 0.05


def eventually(look: Callable[[], T | None], what: str, within: float = 45.0) -> T:
    """The first true thing that ``look`` returns; ``AssertionError`` naming ``what`` after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(TICK)
    return found
