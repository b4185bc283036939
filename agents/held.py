"""Lets the writers that a fence stopped go on, when the control plane no longer ends this machine and could not say so.

The control plane lets them go itself, over SSH. Where SSH stays away, its answers to heartbeats still arrive.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("dumont.agent")

PATIENCE_SECONDS = 60.0
"""An answer may be older than the fence; one this much later is not."""
_AWAKE = frozenset({"running", "idle"})


class HeldWriters:
    """``record`` says who is stopped. ``clock`` is monotonic."""

    def __init__(self, record: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._record = record
        self._clock = clock
        self._awake_since: float | None = None

    def heard(self, status: str) -> None:
        """The instance's status, as answered to a heartbeat. Raises nothing."""
        if status not in _AWAKE or not self._record.exists():
            self._awake_since = None
            return
        now = self._clock()
        if self._awake_since is None:
            self._awake_since = now
        elif now - self._awake_since >= PATIENCE_SECONDS:
            self._awake_since = None
            self._let_go()

    def _let_go(self) -> None:
        # Imported late: the monitor also runs where it was copied without the snapshot tools, and no fence ever was.
        from agents.snapshot.writers import resume_writers

        try:
            resumed = resume_writers(self._record)["resumed"]
        except OSError as error:
            log.warning("the stopped processes could not be let go: %s", error)
        else:
            log.info("nothing ends this machine any more: %d stopped processes go on", len(resumed))
