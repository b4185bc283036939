"""A quiet timetable, and moments in words."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from hibernation.domain.timetable import Leg, Note, Occurrence, Timetable

MONDAY_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def a_timetable(wake: str | None = "09:00", sleep: str | None = "18:00", **changes: Any) -> Timetable:
    return Timetable(changes.pop("zone", "UTC"), wake=clock(wake), sleep=clock(sleep), **changes)


def clock(text: str | None) -> time | None:
    return None if text is None else time.fromisoformat(text)


def at(text: str, zone: str = "UTC") -> datetime:
    """``2026-01-05 09:00``, by that zone's clock."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def due_at(text: str, leg: Leg = Leg.WAKE) -> Occurrence:
    moment = at(text)
    return Occurrence(leg, moment.replace(tzinfo=None), moment, Note.PLAIN, moment, moment.date())
