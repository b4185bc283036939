"""When legs are due, found out the slow way: by looking at a wall clock every minute. Shares no code with the domain.

Local times that no minute shows are moved by ``dateutil``, a second opinion on what a change of clocks does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from io import BytesIO
from zoneinfo import ZoneInfo

from dateutil.tz import resolve_imaginary

from hibernation.domain.timetable import Timetable

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

Found = tuple[datetime, date, str, datetime, str]
"""Due, day, leg, nominal, note: sorts as occurrences are ordered, but for the leg."""


@cache
def zone_of(key: str) -> ZoneInfo:
    return ZoneInfo.from_file(BytesIO(zone_file(key)), key)


def zone_file(key: str) -> bytes:
    return files("tzdata.zoneinfo").joinpath(*key.split("/")).read_bytes()


def every_zone() -> list[str]:
    return files("tzdata").joinpath("zones").read_text().split()


class Walk:
    """A stretch of UTC, minute by minute, by a zone's wall clock. ``first``: when each local minute was shown first.
    ``days``: the local days whose legs lie in it."""

    def __init__(self, key: str, start: datetime, end: datetime) -> None:
        self.zone = zone_of(key)
        self.first: dict[datetime, datetime] = {}
        self.repeated: set[datetime] = set()
        at = start
        while at < end:
            local = at.astimezone(self.zone).replace(tzinfo=None)
            if self.first.setdefault(local, at) is not at:
                self.repeated.add(local)
            at += MINUTE
        self.days = _whole_days(min(self.first).date(), max(self.first).date())

    def due(self, nominal: datetime) -> tuple[datetime, str]:
        if nominal in self.first:
            return self.first[nominal], "repeated, first one" if nominal in self.repeated else ""
        moved = resolve_imaginary(nominal.replace(tzinfo=self.zone)).replace(tzinfo=None)
        return self.first[moved], "skipped by DST, moved"


def _whole_days(first: date, last: date) -> list[date]:
    """The days whose legs lie between for certain, a skipped day too."""
    return [first + n * DAY for n in range(1, (last - first).days - 2)]


def expected(
    timetable: Timetable, off: set[date], walk: Walk, after: datetime, until: datetime
) -> list[Found]:
    """All that is due in ``after < t <= until``, which lies well inside the walk. ``off``: the exception days."""
    found = [leg for day in walk.days for leg in _of_day(timetable, off, walk, day)]
    found.sort(key=lambda leg: (leg[0], leg[1], leg[2] == "sleep"))
    return [leg for leg in found if after < leg[0] <= until]


def _of_day(timetable: Timetable, off: set[date], walk: Walk, day: date) -> Iterator[Found]:
    if day.weekday() not in {int(weekday) for weekday in timetable.days}:
        return
    wake = _wake(timetable, off, walk, day)
    if wake is not None:
        yield wake
    if timetable.sleep is None:
        return
    due_at, day, leg, nominal, note = _sleep(timetable, walk, day)
    tomorrow = day + DAY
    after = _wake(timetable, off, walk, tomorrow) if tomorrow.weekday() in timetable.days else None
    if "moved" in note and after is not None and due_at > after[0]:
        due_at, note = after[0], "skipped by DST, moved to the next wake"
    yield due_at, day, leg, nominal, note


def _wake(timetable: Timetable, off: set[date], walk: Walk, day: date) -> Found | None:
    if timetable.wake is None or day in off:
        return None
    nominal = datetime.combine(day, timetable.wake)
    due_at, note = walk.due(nominal)
    if timetable.sleep is not None and _sleep(timetable, walk, day)[0] <= due_at:
        return None
    return due_at, day, "wake", nominal, note


def _sleep(timetable: Timetable, walk: Walk, day: date) -> Found:
    assert timetable.sleep is not None
    crosses = timetable.wake is not None and timetable.wake >= timetable.sleep
    nominal = datetime.combine(day + DAY if crosses else day, timetable.sleep)
    due_at, note = walk.due(nominal)
    return due_at, day, "sleep", nominal, note


def changes(key: str) -> tuple[tuple[datetime, timedelta, timedelta], ...]:
    """Every change of a zone's offset in 2020–2035: the first minute of the new one, the offset before, and after.

    Looks once a day, so two changes within a day that cancel out are not seen; there are none.
    """
    return _changes(zone_file(key))


@cache
def _changes(file: bytes) -> tuple[tuple[datetime, timedelta, timedelta], ...]:
    """Many names share a file."""
    zone, found = ZoneInfo.from_file(BytesIO(file)), []
    at, end = datetime(2019, 12, 25, tzinfo=UTC), datetime(2036, 1, 8, tzinfo=UTC)
    before = at.astimezone(zone).utcoffset()
    while at < end:
        at += DAY
        after = at.astimezone(zone).utcoffset()
        if after != before:
            assert before is not None
            assert after is not None
            found.append((_first_minute(zone, at - DAY, at, before), before, after))
        before = after
    return tuple(found)


def _first_minute(zone: ZoneInfo, old: datetime, new: datetime, before: timedelta) -> datetime:
    while new - old > MINUTE:
        middle = old + (new - old) // MINUTE // 2 * MINUTE
        if middle.astimezone(zone).utcoffset() == before:
            old = middle
        else:
            new = middle
    return new
