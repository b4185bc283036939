"""Processor time of the programs of a stack, each with all of its children, living and dead."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(leaders: dict[str, int | None]) -> dict[str, float]:
    """User and system seconds by name; ``leaders`` are process ids. A child that nobody has waited for is lost."""
    table = _table()
    return {name: _of_tree(pid, table) for name, pid in leaders.items() if pid is not None}


def _of_tree(pid: int, table: dict[int, tuple[int, float]]) -> float:
    own = table[pid][1] if pid in table else 0.0
    return own + sum(_of_tree(child, table) for child, (parent, _) in table.items() if parent == pid)


def _table() -> dict[int, tuple[int, float]]:
    """Parent and seconds, those of reaped children included, by process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                found[int(entry)] = int(fields[1]), sum(map(int, fields[11:15])) / _TICKS
    return found
