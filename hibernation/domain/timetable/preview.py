"""What people are shown of a timetable before they keep it: its next occurrences, and what they will cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from hibernation.domain.timetable.occurrences import (
    NO_LEAD,
    Leg,
    Note,
    Occurrence,
    exception_on,
    occurrences,
    windows,
)
from hibernation.domain.timetable.rules import Exceptions, Timetable
from hibernation.domain.timetable.zones import load_zone

_CENT = Decimal("0.01")
_NONE_AWAKE = timedelta(0)


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One line. ``local_at`` carries the zone's offset of that moment; ``exception``: what cancels this wake."""

    local_at: datetime
    due_at: datetime
    starts_at: datetime
    leg: Leg
    note: Note
    exception: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Hours and money from now to the end of the preview, against a machine that is never put to sleep.

    The idle rule, people and failed wakes change the real bill. Money is rounded to the cent; ``None`` without a price.
    """

    hours_awake: Decimal
    hours: Decimal
    cost: Decimal | None
    always_on: Decimal | None


@dataclass(frozen=True, slots=True)
class Preview:
    rows: list[PreviewRow]
    forecast: Forecast | None


def preview(
    timetable: Timetable,
    now: datetime,
    days: int,
    lead: timedelta = NO_LEAD,
    price_per_hour: Decimal | None = None,
) -> Preview:
    """The next ``days`` times 24 hours. A timetable that is switched off shows nothing.

    Without both legs nobody can say how long the instance is awake: ``forecast`` is ``None``. ``ValueError`` for an
    unknown zone.
    """
    until = now + timedelta(days=days)
    rows = [*_due_rows(timetable, now, until, lead), *_cancelled_rows(timetable, now, until)]
    rows.sort(key=lambda row: row.due_at)
    return Preview(rows, forecast(timetable, now, until, lead, price_per_hour))


def forecast(
    timetable: Timetable,
    now: datetime,
    until: datetime,
    lead: timedelta = NO_LEAD,
    price_per_hour: Decimal | None = None,
) -> Forecast | None:
    """Hours awake in the windows, the lead included since it is billed, and their price."""
    if timetable.wake is None or timetable.sleep is None:
        return None
    stretches = (
        min(window.sleep.due_at, until) - max(window.wake.starts_at, now)
        for window in windows(timetable, now, until + lead, lead)
    )
    awake = sum((stretch for stretch in stretches if stretch > _NONE_AWAKE), _NONE_AWAKE)
    return Forecast(
        _hours(awake).quantize(_CENT, ROUND_HALF_UP),
        _hours(until - now).quantize(_CENT, ROUND_HALF_UP),
        _money(awake, price_per_hour),
        _money(until - now, price_per_hour),
    )


def _due_rows(timetable: Timetable, now: datetime, until: datetime, lead: timedelta) -> Iterator[PreviewRow]:
    for occurrence in occurrences(timetable, now, until, lead):
        yield _row(timetable, occurrence)


def _cancelled_rows(timetable: Timetable, now: datetime, until: datetime) -> Iterator[PreviewRow]:
    """The wakes that would be due if there were no exceptions."""
    for occurrence in occurrences(replace(timetable, exceptions=Exceptions()), now, until):
        name = exception_on(timetable.exceptions, occurrence.day) if occurrence.leg is Leg.WAKE else ""
        if name:
            yield _row(timetable, occurrence, name)


def _row(timetable: Timetable, occurrence: Occurrence, exception: str = "") -> PreviewRow:
    local_at = occurrence.due_at.astimezone(load_zone(timetable.zone))
    return PreviewRow(
        local_at, occurrence.due_at, occurrence.starts_at, occurrence.leg, occurrence.note, exception
    )


def _hours(duration: timedelta) -> Decimal:
    return Decimal(duration // timedelta(microseconds=1)) / 3_600_000_000


def _money(duration: timedelta, price_per_hour: Decimal | None) -> Decimal | None:
    if price_per_hour is None:
        return None
    return (_hours(duration) * price_per_hour).quantize(_CENT, ROUND_HALF_UP)
