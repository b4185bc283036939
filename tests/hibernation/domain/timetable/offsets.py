"""A second oracle, fast enough for every zone and year: from offsets from UTC, sampled and bisected to the minute.

It takes the rules of clocks from ``zoneinfo`` alone and the rules of timetables from their documentation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hibernation.domain.timetable import Timetable

Due = tuple[datetime, str, str]
"""When, which leg, and what a change of clocks did to it."""
_EPOCH, _DAY = datetime(1970, 1, 1), timedelta(days=1)  # noqa: DTZ001 - of UTC and of wall clocks alike
_SAMPLED = 24 * 60
"""Minutes between two samples: two changes of one zone are days apart."""
_BESIDE = timedelta(days=10)


def expected(timetable: Timetable, zone: ZoneInfo, after: datetime, until: datetime) -> list[Due]:
    """All that is due with ``after < due <= until``, which are in UTC, in order."""
    clock = _Clock(zone, after - _BESIDE, until + _BESIDE)
    found = sorted(_all(timetable, clock, after.date() - _BESIDE / 2, until.date() + _BESIDE / 2))
    moments = ((_moment(minute), leg, note) for minute, _, _, leg, note in found)
    return [due for due in moments if after < due[0] <= until]


class _Clock:
    def __init__(self, zone: ZoneInfo, first: datetime, last: datetime) -> None:
        self._zone = zone
        self._since, self._offsets = [_minutes(first)], [self._offset(_minutes(first))]
        for minute in range(_minutes(first), _minutes(last), _SAMPLED):
            self._look(minute, minute + _SAMPLED)

    def _look(self, low: int, high: int) -> None:
        new = self._offset(high)
        if new == self._offsets[-1]:
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._offset(middle) != new else (low, middle)
        self._since.append(high)
        self._offsets.append(new)

    def _offset(self, minute: int) -> int:
        utc = (_EPOCH + timedelta(minutes=minute)).replace(tzinfo=self._zone)
        return round((self._zone.fromutc(utc).utcoffset() or timedelta(0)) / timedelta(minutes=1))

    def due(self, local: int) -> tuple[int, str]:
        """The minute in UTC at which the wall clock shows that minute, and the note."""
        near = range(max(0, bisect_right(self._since, local) - 3), len(self._since))[:6]
        shown = [local - self._offsets[n] for n in near if self._holds(n, local - self._offsets[n])]
        if shown:
            return min(shown), "repeated, first one" if len(shown) > 1 else ""
        before = next(
            n
            for n in near
            if self._since[n + 1] + self._offsets[n] <= local < self._since[n + 1] + self._offsets[n + 1]
        )
        return local - self._offsets[before], "skipped by DST, moved"

    def _holds(self, n: int, minute: int) -> bool:
        return self._since[n] <= minute and (n + 1 == len(self._since) or minute < self._since[n + 1])


def _all(
    timetable: Timetable, clock: _Clock, first: date, last: date
) -> Iterator[tuple[int, date, int, str, str]]:
    day = first
    while day <= last:
        if day.weekday() in timetable.days:
            wake = _wake(timetable, clock, day)
            if wake is not None:
                yield wake[0], day, 0, "wake", wake[1]
            if timetable.sleep is not None:
                at, note = _sleep(timetable, clock, day)
                following = _wake(timetable, clock, day + _DAY)
                if note.startswith("skipped") and following is not None and following[0] < at:
                    at, note = following[0], "skipped by DST, moved to the next wake"
                yield at, day, 1, "sleep", note
        day += _DAY


def _wake(timetable: Timetable, clock: _Clock, day: date) -> tuple[int, str] | None:
    """None where its window is swallowed by a skipped hour."""
    off = day in timetable.exceptions.dates or day.weekday() not in timetable.days
    if timetable.wake is None or off:
        return None
    wake = clock.due(_local(day, timetable.wake))
    if timetable.sleep is not None and _sleep(timetable, clock, day)[0] <= wake[0]:
        return None
    return wake


def _sleep(timetable: Timetable, clock: _Clock, day: date) -> tuple[int, str]:
    assert timetable.sleep is not None
    is_next_day = timetable.wake is not None and timetable.sleep <= timetable.wake
    return clock.due(_local(day + _DAY if is_next_day else day, timetable.sleep))


def _local(day: date, at: time) -> int:
    return _minutes(datetime.combine(day, at))


def _minutes(moment: datetime) -> int:
    return round((moment.replace(tzinfo=None) - _EPOCH) / timedelta(minutes=1))


def _moment(minute: int) -> datetime:
    return (_EPOCH + timedelta(minutes=minute)).replace(tzinfo=UTC)
