"""What can be kept as a timetable, and which days are exceptions."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, time

import pytest

from hibernation.domain.timetable import DateRange, Exceptions, Timetable, exception_on, problems
from tests.hibernation.domain.timetable.factories import a_timetable

CHRISTMAS, DAY_BEFORE = date(2026, 12, 25), date(2026, 12, 24)


def test_a_plain_timetable_has_no_problems() -> None:
    assert problems(a_timetable(zone="America/Sao_Paulo", exceptions=Exceptions("BR", "SP"))) == {}


@pytest.mark.parametrize(
    ("timetable", "field", "words"),
    [
        (a_timetable(zone="Berlin"), "zone", "'Berlin' is no IANA time zone"),
        (a_timetable(zone=""), "zone", "no IANA time zone"),
        (a_timetable(zone="../zones"), "zone", "no IANA time zone"),
        (Timetable("UTC", time(9, 0, 30)), "wake", "whole minutes"),
        (Timetable("UTC", None, time(9, tzinfo=UTC)), "sleep", "plain local time"),
        (a_timetable(None, None), "wake", "a time to wake, a time to sleep, or both"),
        (a_timetable(days=frozenset()), "days", "at least one day"),
        (a_timetable(exceptions=Exceptions("XX")), "country", "No holidays are known for 'XX'"),
        (a_timetable(exceptions=Exceptions("registry")), "country", "two capital letters"),
        (a_timetable(exceptions=Exceptions("de")), "country", "two capital letters"),
        (
            a_timetable(exceptions=Exceptions("BR", "Bavaria")),
            "subdivision",
            "BR has no 'Bavaria'; it has AC",
        ),
        (a_timetable(exceptions=Exceptions("", "SP")), "subdivision", "its country"),
        (a_timetable(exceptions=Exceptions(ranges=(DateRange(CHRISTMAS, DAY_BEFORE),))), "ranges", "before"),
    ],
)
def test_what_cannot_be_kept_is_named_by_its_field(timetable: Timetable, field: str, words: str) -> None:
    found = problems(timetable)
    assert list(found) == [field]
    assert words in found[field]


def test_a_range_of_one_day_can_be_kept() -> None:
    assert problems(a_timetable(exceptions=Exceptions(ranges=(DateRange(CHRISTMAS, CHRISTMAS),)))) == {}


@pytest.mark.parametrize(
    ("exceptions", "day", "name"),
    [
        (Exceptions("DE"), CHRISTMAS, "Christmas Day"),
        (Exceptions("DE"), DAY_BEFORE, ""),
        (Exceptions("JP"), date(2026, 1, 12), "Coming of Age Day"),
        (Exceptions("BR"), date(2026, 7, 9), ""),
        (Exceptions("BR", "SP"), date(2026, 7, 9), "Constitutionalist Revolution"),
        (Exceptions("DE", dates=frozenset({CHRISTMAS})), CHRISTMAS, "Christmas Day"),
        (Exceptions(dates=frozenset({CHRISTMAS})), CHRISTMAS, "day off"),
        (Exceptions(ranges=(DateRange(DAY_BEFORE, CHRISTMAS),)), DAY_BEFORE, "day off"),
        (Exceptions(ranges=(DateRange(DAY_BEFORE, CHRISTMAS),)), CHRISTMAS, "day off"),
        (Exceptions(ranges=(DateRange(DAY_BEFORE, CHRISTMAS),)), date(2026, 12, 26), ""),
        (Exceptions(), CHRISTMAS, ""),
    ],
)
def test_an_exception_is_named(exceptions: Exceptions, day: date, name: str) -> None:
    assert exception_on(exceptions, day) == name


def test_a_calendar_that_the_library_dropped_has_no_holidays() -> None:
    assert exception_on(Exceptions("XX"), CHRISTMAS) == ""


def test_the_names_are_english_whatever_the_environment_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "pt_BR")
    assert exception_on(Exceptions("BR"), date(2031, 9, 7)) == "Independence Day"


def test_neither_library_is_imported_before_it_is_needed() -> None:
    code = "import sys, hibernation.domain.timetable; print({'holidays', 'icalendar'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_calendar_at_which_the_library_fails_has_no_holidays(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **more: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("holidays.country_holidays", broken)
    assert exception_on(Exceptions("SE"), date(2031, 12, 25)) == ""
