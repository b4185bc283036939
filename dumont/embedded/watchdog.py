"""Outlives the parent just long enough to end the process groups it left behind. The death signal reaches only the
process that asked for it, not its children (a web server's worker, a pool's children): this reaches whole groups.

Reads ``+GROUP SECONDS`` and ``-GROUP`` lines on standard input. At its end every group still listed is killed after
its seconds of grace. Run as a file with ``python -I -S``; it must import nothing of the project.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

_TICK = 0.05


def follow(lines: Iterable[str]) -> dict[int, float]:
    """The groups alive when the lines end, with the grace each may take, in seconds."""
    groups: dict[int, float] = {}
    for line in lines:
        group, _, grace = line[1:].partition(" ")
        if line.startswith("+"):
            groups[int(group)] = float(grace)
        else:
            groups.pop(int(group), None)
    return groups


def finish(groups: dict[int, float]) -> None:
    started = time.monotonic()
    while groups:
        elapsed = time.monotonic() - started
        for group in [group for group, grace in groups.items() if elapsed >= grace]:
            _signal(group, signal.SIGKILL)
            del groups[group]
        for group in [group for group in groups if not _signal(group, 0)]:
            del groups[group]
        time.sleep(_TICK)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    # Only the end of the input ends it: a signal for the whole session must not take the watchdog first.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    finish(follow(sys.stdin))
