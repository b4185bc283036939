"""Tells what happens, line by line with the seconds since the start, and keeps every line for the report."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import datetime
from typing import Any, TextIO

_LIVE_EVERY = 1.0
_ERASE, _BOLD, _RED, _GREEN, _PLAIN = "\r\x1b[2K", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


class Story:
    """``say`` tells something that happened, ``live`` how something under way stands. For one thread.

    On a terminal the live line is replaced in place; elsewhere, and with NO_COLOR or TERM=dumb, it is a plain line
    at most once a second.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._fancy = _is_terminal(self._out)
        self._started = time.time()
        self._live = ""
        self._live_at = float("-inf")
        self.timeline: list[dict[str, Any]] = []

    @property
    def started(self) -> float:
        """Seconds since 1970."""
        return self._started

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.time() - self._started

    def heading(self, text: str) -> None:
        self._write("")
        self._tell("heading", text, self.elapsed, _BOLD)

    def say(self, text: str, at: str | None = None, kind: str = "note") -> None:
        """``at``: when it happened, ISO 8601, if not now."""
        moment = datetime.fromisoformat(at).timestamp() - self._started if at else self.elapsed
        self._tell(kind, text, max(0.0, moment))

    def good(self, text: str) -> None:
        self._tell("good", text, self.elapsed, _GREEN)

    def bad(self, text: str) -> None:
        self._tell("bad", text, self.elapsed, _RED)

    def live(self, text: str) -> None:
        if text == self._live:
            return
        if self._fancy:
            width = shutil.get_terminal_size().columns
            self._raw(_ERASE + f"{self.elapsed:7.1f} s  {text}"[: width - 1])
        elif time.monotonic() - self._live_at >= _LIVE_EVERY:
            self._raw(f"{self.elapsed:7.1f} s    {text}\n")
        else:
            return
        self._live, self._live_at = text, time.monotonic()

    def plain(self, text: str) -> None:
        """Text that is not part of what happened: tables, commands to copy."""
        self._write(text)

    def _tell(self, kind: str, text: str, at: float, colour: str = "") -> None:
        self.timeline.append({"at": round(at, 3), "kind": kind, "text": text})
        shown = f"{colour}{text}{_PLAIN}" if colour and self._fancy else text
        self._write(f"{at:7.1f} s  {shown}")

    def _write(self, line: str) -> None:
        self._raw((_ERASE if self._fancy else "") + line + "\n")
        self._live = ""

    def _raw(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _is_terminal(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
