"""Numbers as people read them. Sizes are decimal: 1 MB is 1,000,000 bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def size(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"


def files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def printable(path: str) -> str:
    """A file name that cannot harm a terminal: control characters and undecodable bytes are escaped."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain(value: object) -> str:
    """Text of somebody else on one line: what could move a cursor, hide or turn text around is shown as its escape."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode()
        for c in str(value)
    )


def duration(seconds: float) -> str:
    """``42s``, ``2:31``, ``1:02:31``; never less than nothing."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest}s"


def progress(facts: Mapping[str, Any]) -> str:
    """One line from an operation's progress; empty when there is none."""
    if "packs_total" in facts:
        return f"{facts['packs_done']} of {facts['packs_total']} packs read back"
    if not facts.get("files_total"):
        return str(facts.get("phase", ""))
    done, total = facts["bytes_done"], facts["bytes_total"]
    parts = [f"{size(done)} of {size(total)}", f"{facts['files_done']:,} of {files(facts['files_total'])}"]
    if total:
        parts.insert(0, f"{100 * done / total:.0f} %")
    if facts.get("rate_bps"):
        parts.append(f"{size(facts['rate_bps'])}/s")
    if facts.get("eta_seconds"):
        parts.append(f"{facts['eta_seconds']:.0f} s left")
    return ", ".join(parts)
