"""When the legs of a timetable are due. Pure: the same timetable and moment give the same answer for ever.

A local time that a change of clocks skips is due later by as much as was skipped; of one that comes twice, only the
first counts. A skipped hour may not turn a day over: a window that it swallows whole is not woken for, since the wake
would come after its sleep and last for a day; and a sleep that it moves into the next day's window is cut at that wake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from hibernation.domain.timetable.holidays import holiday
from hibernation.domain.timetable.rules import Exceptions, Timetable
from hibernation.domain.timetable.zones import load_zone

FURTHEST = timedelta(days=400)
"""How far ahead the next occurrence is looked for. A timetable without one in over a year has none."""
LONGEST_LEAD = timedelta(hours=12)
"""A wake starts no earlier than this, however slow the last ones were."""
NO_LEAD = timedelta(0)
_DAY = timedelta(days=1)
_REACH = 3 * _DAY
"""How many days before its due time a leg's day can lie: over midnight, moved by a skipped day, the clock set back."""


class Leg(StrEnum):
    WAKE = "wake"
    SLEEP = "sleep"


class Note(StrEnum):
    """What a change of clocks did to an occurrence."""

    PLAIN = ""
    MOVED = "skipped by DST, moved"
    REPEATED = "repeated, first one"
    CUT = "skipped by DST, moved to the next wake"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One due time of one leg.

    ``leg`` and ``nominal``, the local time as the timetable says it, identify it for ever: they do not depend on the
    lead nor on the clocks. ``day``: the day of ``days`` it belongs to. ``starts_at``: when to begin, a lead before
    ``due_at`` for a wake, but never before the occurrence that comes before it is due.
    """

    leg: Leg
    nominal: datetime
    due_at: datetime
    note: Note
    starts_at: datetime
    day: date


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch the timetable wants the instance awake for: ``wake.due_at <= t < sleep.due_at``."""

    wake: Occurrence
    sleep: Occurrence


def occurrences(
    timetable: Timetable, after: datetime, until: datetime, lead: timedelta = NO_LEAD
) -> Iterator[Occurrence]:
    """Those with ``after < due_at <= until``, by ``due_at``; of several at one instant the last says what to be.

    Filtered by ``due_at`` and not by ``starts_at``, so that a lead that changes neither loses nor repeats one.
    ``ValueError`` for an unknown zone.
    """
    if not timetable.enabled:
        return
    lead = min(max(lead, NO_LEAD), LONGEST_LEAD)
    zone = load_zone(timetable.zone)
    day = (after - lead).astimezone(zone).date() - _REACH
    last = until.astimezone(zone).date() + _DAY
    before: datetime | None = None
    while day <= last:
        for leg, nominal, due_at, note in _legs(timetable, zone, day):
            if due_at > until:
                return
            if due_at > after:
                starts_at = _start(leg, due_at, lead, before)
                yield Occurrence(leg, nominal, due_at, note, starts_at, day)
            before = due_at
        day += _DAY


def next_occurrence(timetable: Timetable, after: datetime, lead: timedelta = NO_LEAD) -> Occurrence | None:
    """The first with ``due_at > after``; ``None`` within ``FURTHEST``.

    Others may be due at the same instant: who acts asks for all ``occurrences`` since the last one he settled.
    """
    return next(occurrences(timetable, after, after + FURTHEST, lead), None)


def due(
    timetable: Timetable, settled: datetime, now: datetime, lead: timedelta = NO_LEAD
) -> list[Occurrence]:
    """What has to start by ``now``, in order. ``settled``: the ``due_at`` of the last one dealt with.

    Before the first, it is when the timetable was set or last changed: what was due earlier is nobody's wish.
    """
    upcoming = occurrences(timetable, settled, now + LONGEST_LEAD, lead)
    return [occurrence for occurrence in upcoming if occurrence.starts_at <= now]


def windows(
    timetable: Timetable, after: datetime, until: datetime, lead: timedelta = NO_LEAD
) -> Iterator[Window]:
    """The windows that share a moment with ``after <= t < until``. A timetable of one leg has none."""
    wake: Occurrence | None = None
    for occurrence in occurrences(timetable, after - _REACH, until + _REACH, lead):
        if occurrence.leg is Leg.WAKE:
            wake = occurrence
        elif wake is not None and wake.day == occurrence.day and after < occurrence.due_at:
            if wake.due_at >= until:
                return
            yield Window(wake, occurrence)


def window_at(timetable: Timetable, now: datetime, lead: timedelta = NO_LEAD) -> Window | None:
    """The window that is open at ``now``, the lead before it included."""
    for window in windows(timetable, now, now + LONGEST_LEAD, lead):
        if window.wake.starts_at <= now < window.sleep.due_at:
            return window
    return None


def exception_on(exceptions: Exceptions, day: date) -> str:
    """Why no wake is due on that day, as a person would name it; an empty string on any other day."""
    name = holiday(exceptions.country, exceptions.subdivision, day)
    if name:
        return name
    if day in exceptions.dates or any(day in span for span in exceptions.ranges):
        return "day off"
    return ""


_Due = tuple[Leg, datetime, datetime, Note]


def _legs(timetable: Timetable, zone: ZoneInfo, day: date) -> Iterator[_Due]:
    """The legs of one day, in order. In the order of days they are in the order of their due times."""
    if day.weekday() not in timetable.days:
        return
    wake = _wake(timetable, zone, day)
    if wake is not None:
        yield wake
    sleep = _sleep(timetable, zone, day)
    if sleep is not None:
        yield _cut(timetable, zone, day, sleep)


def _wake(timetable: Timetable, zone: ZoneInfo, day: date) -> _Due | None:
    """The wake of a day of ``days``, unless it is an exception or its window has no length."""
    if timetable.wake is None or exception_on(timetable.exceptions, day):
        return None
    wake, sleep = _resolve(Leg.WAKE, zone, day, timetable.wake), _sleep(timetable, zone, day)
    return None if sleep is not None and sleep[2] <= wake[2] else wake


def _sleep(timetable: Timetable, zone: ZoneInfo, day: date) -> _Due | None:
    if timetable.sleep is None:
        return None
    return _resolve(Leg.SLEEP, zone, day + _DAY if timetable.over_midnight else day, timetable.sleep)


def _cut(timetable: Timetable, zone: ZoneInfo, day: date, sleep: _Due) -> _Due:
    leg, nominal, due_at, note = sleep
    tomorrow = day + _DAY
    if note is not Note.MOVED or tomorrow.weekday() not in timetable.days:
        return sleep
    wake = _wake(timetable, zone, tomorrow)
    return (leg, nominal, wake[2], Note.CUT) if wake is not None and wake[2] < due_at else sleep


def _resolve(leg: Leg, zone: ZoneInfo, day: date, at: time) -> _Due:
    """When a local time is due, and why not just then.

    Without a fold, Python reads a skipped time by the offset before the change, which moves it by what was skipped,
    and a repeated one as the first. Where a zone's rules change and its offset does not (Nuuk, 29 October 2023), it
    reads one of the two by an offset that never was: what the clock does not show is no reading.
    """
    nominal = datetime.combine(day, at)
    local = nominal.replace(tzinfo=zone)
    due_at = local.astimezone(UTC)
    if local.utcoffset() == local.replace(fold=1).utcoffset():
        return leg, nominal, due_at, Note.PLAIN
    readings = (due_at, local.replace(fold=1).astimezone(UTC))
    shown = [one for one in readings if one.astimezone(zone).replace(tzinfo=None) == nominal]
    if not shown:
        return leg, nominal, due_at, Note.MOVED
    return leg, nominal, shown[0], Note.REPEATED if len(shown) > 1 else Note.PLAIN


def _start(leg: Leg, due_at: datetime, lead: timedelta, before: datetime | None) -> datetime:
    if leg is Leg.SLEEP or not lead:
        return due_at
    early = due_at - lead
    return early if before is None or before < early else before
