"""How long to wait before the next look. Pure; jitter is added where a crowd could form, not here."""

from __future__ import annotations


def poll_seconds(waits: int, *, first: float = 0.25, factor: float = 1.3, cap: float = 5.0) -> float:
    """Seconds before poll number ``waits + 1``: quick at first, so that short work costs no waiting, then calm."""
    return min(cap, first * factor ** min(waits, 60))


def retry_seconds(failures: int, *, first: float = 1.0, cap: float = 60.0) -> float:
    """Seconds before retry number ``failures + 1``: doubling from ``first`` to ``cap``."""
    return min(cap, first * 2.0 ** min(failures, 30))
