"""Durations in words. Pure."""

from __future__ import annotations

from datetime import timedelta


def in_words(duration: timedelta) -> str:
    """``40 s``, ``12 min`` or ``3 h``, rounded down."""
    seconds = max(0.0, duration.total_seconds())
    if seconds < 60:
        return f"{seconds // 1:g} s"
    return f"{seconds // 60:g} min" if seconds < 7200 else f"{seconds // 3600:g} h"
