"""In every zone there is, over all of 2020–2035, the occurrences are exactly those of a second oracle."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta

import pytest

from hibernation.domain.timetable import Exceptions, Note, Timetable, Weekday, occurrences
from tests.hibernation.domain.timetable.offsets import expected
from tests.hibernation.domain.timetable.oracle import every_zone, zone_file, zone_of

FROM, TO = datetime(2020, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
PARTS = 12
"""So that they spread over processors."""


def every_rules() -> list[str]:
    """One zone of all that share their rules."""
    return sorted({zone_file(key): key for key in sorted(every_zone())}.values())


def drawn(key: str) -> Timetable:
    """The same for that zone every time; hours at which clocks change are drawn more often."""
    dice = random.Random(key)
    wake, sleep = (time(dice.choice((0, 1, 2, 3, 23, dice.randrange(24))), dice.randrange(60)) for _ in "ab")
    legs = dice.choices([(wake, sleep), (wake, None), (None, sleep)], [8, 1, 1])[0]
    days = frozenset(day for day in Weekday if dice.random() < 0.6) or frozenset({Weekday.SUN})
    off = frozenset(date(2020, 1, 1) + timedelta(days=dice.randrange(5844)) for _ in range(200))
    return Timetable(key, *legs, days, Exceptions(dates=off))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_zone_and_year(part: int) -> None:
    compared = 0
    for key in every_rules()[part::PARTS]:
        timetable = drawn(key)
        found = [(o.due_at, o.leg.value, o.note.value) for o in occurrences(timetable, FROM, TO)]
        assert found == expected(timetable, zone_of(key), FROM, TO), timetable
        compared += len(found)
    assert compared > 100_000


def test_where_rules_change_and_the_offset_does_not() -> None:
    """Nuuk had left its daylight saving time for good in March and ended it on paper in October."""
    timetable = Timetable("America/Nuuk", wake=time(23, 9))
    day = datetime(2023, 10, 28, 12, tzinfo=UTC)
    [found] = occurrences(timetable, day, day + timedelta(days=1))
    assert (found.due_at, found.note) == (datetime(2023, 10, 29, 1, 9, tzinfo=UTC), Note.PLAIN)
