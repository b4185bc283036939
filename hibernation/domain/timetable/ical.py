"""Timetables as a calendar file that people subscribe to. Pure.

Each window is an event of its own rather than one event with a recurrence rule: RFC 5545 drops a local time that the
clocks skip where we move it, knows no holidays but by listing every one, and cannot cut a window short. The times are
in UTC because the occurrences are instants already: a program shows them on its user's clock without a copy of the
zone's rules, which would have to agree with ours. ``icalendar`` is imported when the first file is made: it takes a
tenth of a second, and every process imports this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hibernation.domain.timetable.occurrences import NO_LEAD, Leg, Occurrence, Window, occurrences, windows
from hibernation.domain.timetable.rules import Timetable

if TYPE_CHECKING:
    from icalendar import Event

HORIZON = timedelta(days=60)
"""How far ahead events are listed. Programs that subscribe ask again every few hours."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One instance's timetable. ``key`` never changes and is unique within the installation; ``name`` is shown."""

    key: str
    name: str
    timetable: Timetable


def to_ical(plans: Sequence[Plan], now: datetime, horizon: timedelta = HORIZON) -> bytes:
    """An iCalendar file of all that is due up to ``now + horizon``, and of the windows that are open now.

    The same occurrence has the same UID in every file, so that a program replaces its event rather than doubling it.
    """
    from icalendar import Calendar

    calendar = Calendar()
    calendar.add("prodid", "-//Dumont//Schedules//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    for plan in plans:
        for event in _events(plan, now, now + horizon):
            event.add("dtstamp", now)
            calendar.add_component(event)
    file: bytes = calendar.to_ical()
    return file


def _events(plan: Plan, now: datetime, until: datetime) -> Iterator[Event]:
    """One per window, and one for each leg without a window: of a timetable with one leg, or on an exception day."""
    covered = set()
    for window in windows(plan.timetable, now, until):
        covered |= {window.wake, window.sleep}
        yield _window_event(plan, window)
    for occurrence in occurrences(plan.timetable, now, until, NO_LEAD):
        if occurrence not in covered:
            yield _leg_event(plan, occurrence)


def _window_event(plan: Plan, window: Window) -> Event:
    event = _event(plan, window.wake, f"{plan.name} awake", window.wake.note or window.sleep.note)
    event.add("dtend", window.sleep.due_at)
    return event


def _leg_event(plan: Plan, occurrence: Occurrence) -> Event:
    """An event without an end takes no time."""
    verb = "wakes" if occurrence.leg is Leg.WAKE else "sleeps"
    return _event(plan, occurrence, f"{plan.name} {verb}", occurrence.note)


def _event(plan: Plan, first: Occurrence, summary: str, note: str) -> Event:
    from icalendar import Event

    event = Event()
    event.add("uid", f"{plan.key}-{first.leg}-{first.nominal:%Y%m%dT%H%M}@dumont")
    event.add("summary", summary)
    event.add("dtstart", first.due_at)
    event.add("transp", "TRANSPARENT")
    event.add("description", _description(plan, first, note))
    return event


def _description(plan: Plan, first: Occurrence, note: str) -> str:
    when = f"{first.nominal:%Y-%m-%d %H:%M} {plan.timetable.zone}"
    return f"{when} ({note})" if note else when
