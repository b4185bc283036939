"""The occurrences are exactly those that a look at the wall clock every minute finds, in every zone, 2020–2035."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hibernation.domain.timetable import Timetable, occurrences, zone_keys
from tests.hibernation.domain.timetable.oracle import Found, Walk, changes, every_zone, expected, zone_of
from tests.hibernation.domain.timetable.strategies import days_off, drawn_near, timetables

NEAR, AROUND = timedelta(hours=8), timedelta(hours=26)
"""What is compared before and after: of every change of clocks no more than it can touch, since the walk takes time."""
ANY_DAY = datetime(2027, 2, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SKIPPED_NOON = datetime.combine(date(2011, 12, 30), time(12))
YEARS = range(2020, 2036)
DRAWN = 8
"""Timetables for each change of clocks."""

Change = tuple[datetime, timedelta, timedelta]


def changes_by_year() -> dict[int, dict[Change, list[str]]]:
    """Every change, and the zones that make it: their wall clocks show the same around it."""
    found: dict[int, dict[Change, list[str]]] = defaultdict(lambda: defaultdict(list))
    for key in every_zone():
        for change in changes(key):
            found[change[0].year][change].append(key)
    return found


@pytest.fixture(scope="module")
def by_year() -> dict[int, dict[Change, list[str]]]:
    return changes_by_year()


def walk_for(key: str, after: datetime, until: datetime) -> Walk:
    """Wide enough for all that is due between: the days beside it are asked for too."""
    return Walk(key, after - 2 * DAY, until + 3 * DAY)


def found(timetable: Timetable, after: datetime, until: datetime) -> list[Found]:
    return [(o.due_at, o.day, o.leg, o.nominal, o.note) for o in occurrences(timetable, after, until)]


@pytest.mark.parametrize("year", YEARS)
def test_around_every_change_of_clocks(year: int, by_year: dict[int, dict[Change, list[str]]]) -> None:
    dice = random.Random(year)
    assert by_year[year]
    for (at, before, _), zones in by_year[year].items():
        walk = walk_for(zones[0], at - NEAR, at + NEAR)
        after, until = at - NEAR, at + NEAR
        for n in range(max(DRAWN, len(zones))):
            timetable = drawn_near(dice, zones[n % len(zones)], (at + before).replace(tzinfo=None))
            off = days_off(timetable.exceptions)
            assert found(timetable, after, until) == expected(timetable, off, walk, after, until), timetable


def test_in_zones_that_never_change() -> None:
    dice = random.Random(0)
    still = {ANY_DAY.astimezone(zone_of(key)).utcoffset(): key for key in every_zone() if not changes(key)}
    assert len(still) > 20
    for key in still.values():
        walk = walk_for(key, ANY_DAY - AROUND, ANY_DAY + AROUND)
        for _ in range(DRAWN):
            timetable = drawn_near(dice, key, ANY_DAY.replace(tzinfo=None))
            off = days_off(timetable.exceptions)
            wanted = expected(timetable, off, walk, ANY_DAY - AROUND, ANY_DAY + AROUND)
            assert found(timetable, ANY_DAY - AROUND, ANY_DAY + AROUND) == wanted, timetable


def test_the_oracle_knows_the_same_zones() -> None:
    assert set(every_zone()) == zone_keys()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_at_any_time_in_any_zone(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(zone_keys())), "zone")
    minutes = st.integers(0, 16 * 365 * 1440).map(
        lambda n: datetime(2020, 1, 5, tzinfo=UTC) + timedelta(minutes=n)
    )
    near = [change[0] for change in changes(key)]
    middle = data.draw(st.sampled_from(near) | minutes if near else minutes, "middle")
    local = middle.astimezone(zone_of(key)).replace(tzinfo=None)
    timetable = data.draw(timetables(key, local), "timetable")
    walk, off = walk_for(key, middle - AROUND, middle + AROUND), days_off(timetable.exceptions)
    wanted = expected(timetable, off, walk, middle - AROUND, middle + AROUND)
    assert found(timetable, middle - AROUND, middle + AROUND) == wanted


def test_where_a_whole_day_was_skipped() -> None:
    dice = random.Random(1)
    skipped = datetime(2011, 12, 30, 10, tzinfo=UTC)
    after, until = skipped - 3 * DAY, skipped + 3 * DAY
    walk = walk_for("Pacific/Apia", after - DAY, until + DAY)
    for _ in range(500):
        timetable = drawn_near(dice, "Pacific/Apia", SKIPPED_NOON + timedelta(hours=dice.randint(-12, 11)))
        off = days_off(timetable.exceptions)
        wanted = expected(timetable, off, walk, after, until)
        assert found(timetable, after, until) == wanted, timetable
