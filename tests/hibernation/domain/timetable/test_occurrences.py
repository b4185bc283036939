"""When legs are due: the table of ``Timetable``, known changes of clocks, leads, and how a stretch may be cut."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hibernation.domain.timetable import (
    LONGEST_LEAD,
    WORKDAYS,
    Exceptions,
    Leg,
    Note,
    Occurrence,
    Timetable,
    Weekday,
    due,
    load_zone,
    next_occurrence,
    occurrences,
    window_at,
    windows,
)
from tests.hibernation.domain.timetable.factories import MONDAY_NOON, a_timetable, at
from tests.hibernation.domain.timetable.strategies import timetables

FRI, SAT, SUN = (frozenset({day}) for day in (Weekday.FRI, Weekday.SAT, Weekday.SUN))
A_FRIDAY, A_SATURDAY = date(2026, 1, 9), date(2026, 1, 10)
TEN_MINUTES = timedelta(minutes=10)


def week(timetable: Timetable) -> str:
    """What is due from Monday 2026-01-05 up to the end of the Monday after, in words."""
    found = occurrences(timetable, at("2026-01-04 23:59"), at("2026-01-12 23:59"))
    return ", ".join(f"{one.leg} {one.nominal:%a %H:%M}" for one in found)


def times(timetable: Timetable, after: str, until: str, zone: str) -> list[str]:
    return [shown(one, zone) for one in occurrences(timetable, at(after, zone), at(until, zone))]


def shown(occurrence: Occurrence, zone: str) -> str:
    local_at = occurrence.due_at.astimezone(load_zone(zone))
    return f"{occurrence.leg} {local_at:%d %H:%M%z} {occurrence.note}".strip()


def test_a_day_of_work() -> None:
    assert week(a_timetable(days=WORKDAYS)) == (
        "wake Mon 09:00, sleep Mon 18:00, wake Tue 09:00, sleep Tue 18:00, wake Wed 09:00, sleep Wed 18:00, "
        "wake Thu 09:00, sleep Thu 18:00, wake Fri 09:00, sleep Fri 18:00, wake Mon 09:00, sleep Mon 18:00"
    )


@pytest.mark.parametrize(
    ("timetable", "wanted"),
    [
        (a_timetable("22:00", "06:00", days=FRI), "wake Fri 22:00, sleep Sat 06:00"),
        (a_timetable("22:00", "06:00", days=SUN), "sleep Mon 06:00, wake Sun 22:00, sleep Mon 06:00"),
        (a_timetable("09:00", "09:00", days=SAT), "wake Sat 09:00, sleep Sun 09:00"),
        (a_timetable("09:00", None, days=SAT), "wake Sat 09:00"),
        (a_timetable(None, "18:00", days=SAT), "sleep Sat 18:00"),
        (a_timetable(enabled=False), ""),
    ],
)
def test_the_days_are_those_of_the_wake(timetable: Timetable, wanted: str) -> None:
    assert week(timetable) == wanted


def test_a_week_of_nights_ends_on_saturday_morning() -> None:
    found = week(a_timetable("22:00", "06:00", days=WORKDAYS))
    assert "sleep Sat 06:00" in found
    assert found.startswith("wake Mon 22:00")


def test_of_a_sleep_and_the_next_wake_at_one_time_the_wake_comes_last() -> None:
    found = list(occurrences(a_timetable("09:00", "09:00"), at("2026-01-06 08:00"), at("2026-01-06 10:00")))
    assert [one.leg for one in found] == [Leg.SLEEP, Leg.WAKE]


@pytest.mark.parametrize(
    ("off", "wanted"),
    [
        (A_FRIDAY, "sleep Sat 06:00"),
        (A_SATURDAY, "wake Fri 22:00, sleep Sat 06:00"),
    ],
)
def test_an_exception_cancels_the_wake_of_its_day_and_no_sleep(off: date, wanted: str) -> None:
    timetable = a_timetable("22:00", "06:00", days=FRI, exceptions=Exceptions(dates=frozenset({off})))
    assert week(timetable) == wanted


def test_a_sleep_alone_knows_no_exceptions() -> None:
    off = Exceptions(dates=frozenset({A_FRIDAY}))
    assert week(a_timetable(None, "18:00", days=FRI, exceptions=off)) == "sleep Fri 18:00"


def test_a_holiday_cancels_the_wake() -> None:
    timetable = a_timetable(exceptions=Exceptions("BR", "SP"))
    found = list(occurrences(timetable, at("2026-07-08 19:00"), at("2026-07-10 17:00")))
    assert [(one.leg, one.nominal.day) for one in found] == [(Leg.SLEEP, 9), (Leg.WAKE, 10)]


NEW_YORK, LORD_HOWE, APIA = "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"


@pytest.mark.parametrize(
    ("zone", "wake", "day", "wanted"),
    [
        (NEW_YORK, "02:30", "2026-03-08", "wake 08 03:30-0400 skipped by DST, moved"),
        (NEW_YORK, "03:00", "2026-03-08", "wake 08 03:00-0400"),
        (NEW_YORK, "01:30", "2026-11-01", "wake 01 01:30-0400 repeated, first one"),
        (NEW_YORK, "02:00", "2026-11-01", "wake 01 02:00-0500"),
        (LORD_HOWE, "02:15", "2026-10-04", "wake 04 02:45+1100 skipped by DST, moved"),
        (LORD_HOWE, "01:45", "2026-04-05", "wake 05 01:45+1100 repeated, first one"),
        ("America/Havana", "00:00", "2026-03-08", "wake 08 01:00-0400 skipped by DST, moved"),
        ("Africa/Casablanca", "02:30", "2026-02-15", "wake 15 02:30+0100 repeated, first one"),
        ("Antarctica/Troll", "01:00", "2026-03-29", "wake 29 03:00+0200 skipped by DST, moved"),
    ],
)
def test_a_change_of_clocks(zone: str, wake: str, day: str, wanted: str) -> None:
    start = at(f"{day} 00:00", zone) - timedelta(hours=1)
    found = next_occurrence(a_timetable(wake, None, zone=zone), start)
    assert found is not None
    assert shown(found, zone) == wanted


def test_a_skipped_day_is_moved_to_the_next_and_stays_its_own_occurrence() -> None:
    friday = a_timetable("09:00", None, zone=APIA, days=FRI)
    [moved] = occurrences(friday, at("2011-12-29 00:00", APIA), at("2012-01-01 00:00", APIA))
    assert moved.nominal.date() == date(2011, 12, 30)
    assert moved.due_at == at("2011-12-31 09:00", APIA)
    assert moved.note is Note.MOVED


def test_a_wake_that_is_moved_past_midnight_belongs_to_its_nominal_day() -> None:
    saturday = a_timetable("23:30", None, zone="America/Scoresbysund", days=SAT)
    [moved] = occurrences(saturday, at("2026-03-28 12:00"), at("2026-03-29 12:00"))
    assert moved.day == date(2026, 3, 28)
    assert moved.due_at.astimezone(load_zone("America/Scoresbysund")).strftime("%a %H:%M") == "Sun 00:30"


@pytest.mark.parametrize("sleep", ["03:15", "03:30"])
def test_a_window_that_the_skipped_hour_swallows_is_not_woken_for(sleep: str) -> None:
    timetable = a_timetable("02:30", sleep, zone=NEW_YORK)
    assert times(timetable, "2026-03-08 00:00", "2026-03-08 23:00", NEW_YORK) == [f"sleep 08 {sleep}-0400"]


def test_a_sleep_that_is_moved_into_the_next_window_is_cut_at_its_wake() -> None:
    timetable = a_timetable("03:10", "02:45", zone=NEW_YORK)
    assert times(timetable, "2026-03-08 00:00", "2026-03-08 23:00", NEW_YORK) == [
        "sleep 08 03:10-0400 skipped by DST, moved to the next wake",
        "wake 08 03:10-0400",
    ]


def test_a_moved_sleep_long_before_the_next_wake_is_only_moved() -> None:
    timetable = a_timetable("22:00", "02:45", zone=NEW_YORK)
    assert times(timetable, "2026-03-08 00:00", "2026-03-08 21:00", NEW_YORK) == [
        "sleep 08 03:45-0400 skipped by DST, moved"
    ]


def test_the_stretch_is_open_at_its_start_and_closed_at_its_end() -> None:
    found = occurrences(a_timetable(), at("2026-01-05 09:00"), at("2026-01-05 18:00"))
    assert [one.leg for one in found] == [Leg.SLEEP]


def test_the_next_one_is_found_across_a_long_pause() -> None:
    pause = Exceptions(dates=frozenset(date(2026, 1, 1) + timedelta(days=n) for n in range(300)))
    found = next_occurrence(a_timetable("09:00", None, exceptions=pause), MONDAY_NOON)
    assert found is not None
    assert found.nominal == datetime.fromisoformat("2026-10-28 09:00")


@pytest.mark.parametrize(
    "timetable",
    [
        a_timetable(enabled=False),
        a_timetable(None, None),
        a_timetable(days=frozenset()),
        a_timetable(
            "09:00",
            None,
            exceptions=Exceptions(dates=frozenset(date(2026, 1, 1) + timedelta(days=n) for n in range(500))),
        ),
    ],
)
def test_a_timetable_without_any_in_over_a_year_has_no_next_one(timetable: Timetable) -> None:
    assert next_occurrence(timetable, MONDAY_NOON) is None


def test_an_unknown_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="Mars/Olympus"):
        next_occurrence(a_timetable(zone="Mars/Olympus"), MONDAY_NOON)


def test_a_zone_cannot_be_a_way_out_of_the_folder() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        load_zone("../zones")


def test_a_wake_starts_a_lead_early_and_keeps_its_identity() -> None:
    [early] = occurrences(a_timetable(), at("2026-01-06 08:00"), at("2026-01-06 10:00"), TEN_MINUTES)
    assert early.starts_at == at("2026-01-06 08:50")
    assert (early.leg, early.nominal) == (Leg.WAKE, datetime.fromisoformat("2026-01-06 09:00"))


def test_a_sleep_never_starts_early() -> None:
    [sleep] = occurrences(a_timetable(), at("2026-01-05 17:00"), at("2026-01-05 19:00"), TEN_MINUTES)
    assert sleep.starts_at == sleep.due_at


def test_a_wake_does_not_start_before_the_sleep_that_precedes_it() -> None:
    timetable = a_timetable("09:00", "08:55")
    [sleep, wake] = occurrences(timetable, at("2026-01-06 08:00"), at("2026-01-06 10:00"), TEN_MINUTES)
    assert wake.starts_at == sleep.due_at == at("2026-01-06 08:55")


def test_the_preceding_sleep_counts_even_if_it_is_not_asked_for() -> None:
    [wake] = occurrences(
        a_timetable("09:00", "08:55"), at("2026-01-06 08:57"), at("2026-01-06 10:00"), TEN_MINUTES
    )
    assert wake.starts_at == at("2026-01-06 08:55")


def test_a_lead_is_bounded() -> None:
    wake = next_occurrence(a_timetable("09:00", None), at("2026-01-06 08:00"), timedelta(days=9))
    assert wake is not None
    assert wake.starts_at == wake.due_at - LONGEST_LEAD


def test_a_lead_below_zero_is_none() -> None:
    wake = next_occurrence(a_timetable("09:00", None), at("2026-01-06 08:00"), -TEN_MINUTES)
    assert wake is not None
    assert wake.starts_at == wake.due_at


@pytest.mark.parametrize(("now", "legs"), [("08:49", []), ("08:50", ["wake"]), ("18:00", ["wake", "sleep"])])
def test_what_is_due_is_what_has_to_start(now: str, legs: list[str]) -> None:
    found = due(a_timetable(), at("2026-01-05 18:00"), at(f"2026-01-06 {now}"), TEN_MINUTES)
    assert [one.leg for one in found] == legs


def test_a_wake_that_started_early_is_not_due_again_once_settled() -> None:
    assert due(a_timetable(), at("2026-01-06 09:00"), at("2026-01-06 09:01"), TEN_MINUTES) == []


@pytest.mark.parametrize(
    ("now", "is_open"), [("08:49", False), ("08:50", True), ("17:59", True), ("18:00", False)]
)
def test_a_window_is_open_from_its_wake_to_its_sleep(now: str, is_open: bool) -> None:
    found = window_at(a_timetable(), at(f"2026-01-06 {now}"), TEN_MINUTES)
    assert (found is not None) is is_open


@pytest.mark.parametrize(
    ("after", "until", "count"),
    [("18:00", "23:00", 0), ("17:59", "23:00", 1), ("00:00", "09:00", 0), ("00:00", "09:01", 1)],
)
def test_a_window_shares_a_moment_with_the_stretch(after: str, until: str, count: int) -> None:
    found = list(windows(a_timetable(), at(f"2026-01-06 {after}"), at(f"2026-01-06 {until}")))
    assert len(found) == count


@pytest.mark.parametrize("timetable", [a_timetable("09:00", None), a_timetable(None, "18:00")])
def test_one_leg_makes_no_window(timetable: Timetable) -> None:
    assert list(windows(timetable, MONDAY_NOON, MONDAY_NOON + timedelta(days=9))) == []


def test_an_exception_day_has_no_window() -> None:
    timetable = a_timetable(exceptions=Exceptions(dates=frozenset({A_FRIDAY})))
    found = windows(timetable, at("2026-01-08 12:00"), at("2026-01-10 12:00"))
    assert [window.wake.day.day for window in found] == [8, 10]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_stretch_cut_in_two_has_the_same_occurrences(data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from([NEW_YORK, LORD_HOWE, APIA, "Africa/Casablanca"]))
    changed = data.draw(st.sampled_from(["2026-03-08", "2026-10-04", "2011-12-30", "2026-02-15"]))
    timetable = data.draw(timetables(zone, datetime.fromisoformat(changed)))
    lead = timedelta(minutes=data.draw(st.integers(0, 800)))
    start = at(changed) - timedelta(days=4)
    cut = start + timedelta(minutes=data.draw(st.integers(0, 8 * 1440)))
    end = start + timedelta(days=8)
    whole = list(occurrences(timetable, start, end, lead))
    assert [*occurrences(timetable, start, cut, lead), *occurrences(timetable, cut, end, lead)] == whole
    assert_in_order(whole)
    assert next_occurrence(timetable, start, lead) == next(iter(whole), next_occurrence(timetable, end, lead))


def assert_in_order(found: list[Occurrence]) -> None:
    assert [one.due_at for one in found] == sorted(one.due_at for one in found)
    assert [one.starts_at for one in found] == sorted(one.starts_at for one in found)
    assert len({(one.leg, one.nominal) for one in found}) == len(found)
