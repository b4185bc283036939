"""Tells whoever may be on this box that it is about to stop itself, and how to keep it: a file and every terminal."""

from __future__ import annotations

import contextlib
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

from agents.guard.asking import in_words

log = logging.getLogger("dumont.agent")

FILE = "GUARD_WARNING.txt"
_WALL_SECONDS = 5.0


def wall(text: str) -> None:
    """To every terminal, where the box has such a thing."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["wall"], input=text.encode(), timeout=_WALL_SECONDS, capture_output=True)


class LastWarning:
    """Raised once and taken back once, however often it is called for."""

    def __init__(self, state_dir: Path, hold_command: str, shout: Callable[[str], None] = wall) -> None:
        self._path = state_dir / FILE
        self._hold_command = hold_command
        self._shout = shout
        self._is_raised = False
        self._remove()

    def give(self, silent: float, left: float) -> None:
        if self._is_raised:
            return
        self._is_raised = True
        text = (
            f"Dumont: no contact with the control plane for {in_words(silent)}, and nothing works here.\n"
            f"This machine stops itself in {in_words(left)}. Its disk is kept, what is in memory is not.\n"
            f"To keep it running for 8 hours more: {self._hold_command} --hold 8\n"
        )
        log.warning("%s", text.replace("\n", " ").strip())
        try:
            self._path.write_text(text)
        except OSError as error:
            log.warning("the warning cannot be written: %s", error)
        self._shout(text)

    def take_back(self) -> None:
        if self._is_raised:
            self._is_raised = False
            log.info("this machine does not stop itself now")
            self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
