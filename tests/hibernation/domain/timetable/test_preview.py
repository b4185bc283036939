"""What people are shown: lines in local time, named exceptions, and the cost to the cent."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from hibernation.domain.timetable import WORKDAYS, Exceptions, Note, Timetable, Weekday, preview
from tests.hibernation.domain.timetable.factories import MONDAY_NOON, a_timetable, at


def lines(timetable: Timetable, start: str, days: int) -> list[str]:
    rows = preview(timetable, at(start), days).rows
    return [f"{row.leg} {row.local_at:%m-%d %H:%M%z} {row.note}{row.exception}".strip() for row in rows]


def test_the_lines_are_in_local_time_with_its_offset() -> None:
    assert lines(a_timetable(zone="Europe/Berlin"), "2026-03-28 12:00", 1) == [
        "sleep 03-28 18:00+0100",
        "wake 03-29 09:00+0200",
    ]


def test_a_cancelled_wake_is_shown_with_the_holiday_that_cancels_it() -> None:
    timetable = a_timetable(zone="Europe/Berlin", exceptions=Exceptions("DE"))
    assert lines(timetable, "2026-12-24 20:00", 2) == [
        "wake 12-25 09:00+0100 Christmas Day",
        "sleep 12-25 18:00+0100",
        "wake 12-26 09:00+0100 Second Day of Christmas",
        "sleep 12-26 18:00+0100",
    ]


def test_a_change_of_clocks_is_noted() -> None:
    [row] = preview(a_timetable("02:30", None, zone="America/New_York"), at("2026-03-08 00:00"), days=1).rows
    assert row.note is Note.MOVED
    assert row.due_at == at("2026-03-08 03:30", "America/New_York")


def test_the_start_of_a_wake_is_shown_too() -> None:
    rows = preview(a_timetable(), MONDAY_NOON, days=1, lead=timedelta(minutes=10)).rows
    assert [row.due_at - row.starts_at for row in rows] == [timedelta(0), timedelta(minutes=10)]


@pytest.mark.parametrize(
    ("wake", "sleep", "price", "cost", "always_on"),
    [
        ("09:00", "15:00", "1.50", "270.00", "1080.00"),
        ("20:00", "00:00", "0.30", "36.00", "216.00"),
        ("22:00", "04:00", "1.50", "270.00", "1080.00"),
    ],
)
def test_thirty_days_cost_what_they_should(
    wake: str, sleep: str, price: str, cost: str, always_on: str
) -> None:
    found = preview(a_timetable(wake, sleep), at("2026-01-05 05:00"), 30, price_per_hour=Decimal(price))
    assert found.forecast is not None
    assert (found.forecast.cost, found.forecast.always_on) == (Decimal(cost), Decimal(always_on))


def test_a_window_that_is_open_now_counts_from_now_on() -> None:
    found = preview(a_timetable(), at("2026-01-05 12:00"), 1, price_per_hour=Decimal(1)).forecast
    assert found is not None
    assert (found.hours_awake, found.hours) == (Decimal("9.00"), Decimal("24.00"))


def test_the_lead_is_paid_for_as_well() -> None:
    timetable, lead = a_timetable(days=frozenset({Weekday.TUE})), timedelta(minutes=20)
    found = preview(timetable, MONDAY_NOON, 7, lead, Decimal(3)).forecast
    assert found is not None
    assert (found.hours_awake, found.cost) == (Decimal("9.33"), Decimal("28.00"))


def test_the_start_of_a_window_past_the_end_counts_up_to_the_end() -> None:
    found = preview(a_timetable(), at("2026-01-05 08:50"), 1, timedelta(minutes=20), Decimal(3)).forecast
    assert found is not None
    assert found.cost == Decimal("28.00")


def test_a_changed_clock_changes_the_hours() -> None:
    timetable = a_timetable("00:00", "06:00", zone="America/New_York", days=frozenset({Weekday.SUN}))
    hours = [preview(timetable, at(day), 2).forecast for day in ("2026-03-07 12:00", "2026-10-31 12:00")]
    assert [one and one.hours_awake for one in hours] == [Decimal("5.00"), Decimal("7.00")]


def test_without_a_price_there_are_hours_only() -> None:
    found = preview(a_timetable(days=WORKDAYS), MONDAY_NOON, 7).forecast
    assert found is not None
    assert (found.hours_awake, found.cost, found.always_on) == (Decimal("45.00"), None, None)


@pytest.mark.parametrize("timetable", [a_timetable("09:00", None), a_timetable(None, "18:00")])
def test_nobody_can_say_what_one_leg_costs(timetable: Timetable) -> None:
    assert preview(timetable, MONDAY_NOON, 7, price_per_hour=Decimal(1)).forecast is None


def test_a_timetable_that_is_off_shows_nothing() -> None:
    assert preview(a_timetable(enabled=False), MONDAY_NOON, 7).rows == []
