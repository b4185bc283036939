"""The calendar file: read back by a reader of such files."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from icalendar import Calendar

from hibernation.domain.timetable import Exceptions, Plan, Timetable, Weekday, to_ical
from tests.hibernation.domain.timetable.factories import MONDAY_NOON, a_timetable, at

TWO_DAYS = timedelta(days=2)


def events(timetable: Timetable, now: str = "2026-01-05 08:00", name: str = "vast_1") -> list[Any]:
    return list(
        Calendar.from_ical(to_ical([Plan("vast_1", name, timetable)], at(now), TWO_DAYS)).walk("VEVENT")
    )


def test_each_window_is_one_event_in_utc() -> None:
    found = events(a_timetable("22:00", "06:00", zone="Europe/Berlin"))
    assert [(event.start, event.end) for event in found] == [
        (at("2026-01-05 21:00"), at("2026-01-06 05:00")),
        (at("2026-01-06 21:00"), at("2026-01-07 05:00")),
    ]


def test_a_window_that_is_open_now_is_listed_whole() -> None:
    first = events(a_timetable(), "2026-01-05 12:00")[0]
    assert (first.start, first.end) == (at("2026-01-05 09:00"), at("2026-01-05 18:00"))


def test_a_leg_alone_takes_no_time() -> None:
    [event, _] = events(a_timetable(None, "18:00"))
    assert event["SUMMARY"] == "vast_1 sleeps"
    assert event.start == at("2026-01-05 18:00")
    assert "DTEND" not in event


def test_the_sleep_of_an_exception_day_stands_alone() -> None:
    timetable = a_timetable("09:00", "18:00", exceptions=Exceptions("BR"))
    found = events(timetable, "2026-12-25 00:00")
    assert [event["SUMMARY"] for event in found] == ["vast_1 awake", "vast_1 sleeps"]


def test_the_same_occurrence_has_the_same_uid_in_every_file() -> None:
    first, later = events(a_timetable(), "2026-01-05 08:00"), events(a_timetable(), "2026-01-06 08:00")
    assert later[0]["UID"] == first[1]["UID"] == "vast_1-wake-20260106T0900@dumont"


def test_no_two_events_share_a_uid() -> None:
    plans = [Plan(f"vast_{n}", "same name", a_timetable(zone=zone)) for n, zone in enumerate(["UTC", "UTC"])]
    found = Calendar.from_ical(to_ical(plans, MONDAY_NOON)).walk("VEVENT")
    assert len({event["UID"] for event in found}) == len(found) > 100


def test_the_name_is_told_whatever_it_holds() -> None:
    name = "my, box; with\nlines and a very long name that has to be folded somewhere: ünïcode ✓ " * 2
    assert events(a_timetable(), name=name)[0]["SUMMARY"] == f"{name} awake"


def test_the_local_time_and_the_change_of_clocks_are_told() -> None:
    timetable = a_timetable("02:30", "05:00", zone="America/New_York", days=frozenset({Weekday.SUN}))
    [event] = events(timetable, "2026-03-07 12:00")
    assert event["DESCRIPTION"] == "2026-03-08 02:30 America/New_York (skipped by DST, moved)"


def test_a_file_without_events_is_a_calendar_too() -> None:
    calendar = Calendar.from_ical(to_ical([], MONDAY_NOON))
    assert (calendar["VERSION"], calendar["METHOD"], calendar.walk("VEVENT")) == ("2.0", "PUBLISH", [])
