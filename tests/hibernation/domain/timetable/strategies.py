"""Timetables for the comparison with the oracle: by hypothesis, and drawn around a change of clocks."""

from __future__ import annotations

import random
from datetime import date, datetime, time, timedelta

from hypothesis import strategies as st

from hibernation.domain.timetable import EVERY_DAY, DateRange, Exceptions, Timetable, Weekday

DAY = timedelta(days=1)


def days_off(exceptions: Exceptions) -> set[date]:
    """The single days and the days of the ranges, one by one."""
    found = set(exceptions.dates)
    for span in exceptions.ranges:
        found |= {span.first + n * DAY for n in range((span.last - span.first).days + 1)}
    return found


def drawn_near(dice: random.Random, zone: str, local: datetime) -> Timetable:
    """A timetable whose legs are due near ``local``, the wall clock just before a change, or anywhere in the day."""

    def at() -> time:
        return (
            _near(local, dice.randint(-100, 200))
            if dice.random() < 0.8
            else _near(local, dice.randrange(1440))
        )

    wake = at() if dice.random() < 0.85 else None
    sleep = at() if wake is None or dice.random() < 0.85 else None
    days = (
        EVERY_DAY if dice.random() < 0.5 else frozenset(Weekday(n) for n in range(7) if dice.random() < 0.6)
    )
    off = frozenset(local.date() + n * DAY for n in (-2, -1, 0, 1, 2) if dice.random() < 0.15)
    return Timetable(zone, wake, sleep, days, Exceptions(dates=off))


def _near(local: datetime, minutes: int) -> time:
    return (local + timedelta(minutes=minutes)).time().replace(second=0, microsecond=0)


def times() -> st.SearchStrategy[time]:
    return st.builds(time, st.integers(0, 23), st.integers(0, 59))


@st.composite
def timetables(draw: st.DrawFn, zone: str, around: datetime) -> Timetable:
    near = st.integers(-100, 200).map(lambda minutes: _near(around, minutes))
    leg = st.none() | times() | near
    days = st.frozensets(st.sampled_from(Weekday), min_size=1)
    nearby = st.integers(-3, 3).map(lambda n: around.date() + n * DAY)
    ranges = st.builds(lambda first, days: DateRange(first, first + days * DAY), nearby, st.integers(0, 3))
    exceptions = st.builds(
        Exceptions,
        dates=st.frozensets(nearby, max_size=2),
        ranges=st.lists(ranges, max_size=1).map(tuple),
    )
    return Timetable(zone, draw(leg), draw(leg), draw(days), draw(exceptions))
