"""Public holidays by country, with their names in English, from the ``holidays`` package.

It is imported when a country is first asked for, and only that country's module: all of them take a second and 20 MB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

_CODE = re.compile("[A-Z]{2}")


class NoCalendar(ValueError):
    """No holidays are known for that country or subdivision; ``field`` names which."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_calendar(country: str, subdivision: str) -> None:
    """Raises ``NoCalendar`` unless the holidays are known. No country at all is fine."""
    if country:
        _calendar(country, subdivision, date.min.year)
    elif subdivision:
        raise NoCalendar("subdivision", "Give its country too.")


def holiday(country: str, subdivision: str, day: date) -> str:
    """The holiday's name in English, or an empty string. An unknown calendar has no holidays."""
    return holidays_of(country, subdivision, day.year).get(day, "") if country else ""


def holidays_of(country: str, subdivision: str, year: int) -> Mapping[date, str]:
    """A year's holidays; none where the package fails at them, for a day without one is a day like others."""
    try:
        return _holidays_of(country, subdivision, year)
    except Exception:
        return {}


@lru_cache(maxsize=2048)
def _holidays_of(country: str, subdivision: str, year: int) -> Mapping[date, str]:
    """A year's holidays. Computed once: the first asking takes some milliseconds, the next ones next to nothing."""
    try:
        return _calendar(country, subdivision, year)
    except NoCalendar:
        return {}


def _calendar(country: str, subdivision: str, year: int) -> dict[date, str]:
    from holidays import country_holidays

    if not _CODE.fullmatch(country):
        raise NoCalendar("country", f"{country!r} is no country code of two capital letters, as DE or BR.")
    try:
        known = country_holidays(country)
    except NotImplementedError:
        raise NoCalendar("country", f"No holidays are known for {country!r}.") from None
    if subdivision and subdivision not in {*known.subdivisions, *known.subdivisions_aliases}:
        parts = ", ".join(known.subdivisions) or "none"
        raise NoCalendar("subdivision", f"{country} has no {subdivision!r}; it has {parts}.")
    # Without a language it would take the environment's.
    return dict(country_holidays(country, subdiv=subdivision or None, years=year, language="en_US"))
