"""Public holidays by country, with their names in English, from the ``holidays`` package."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache

from holidays import country_holidays, list_supported_countries


class NoCalendar(ValueError):
    """No holidays are known for that country or subdivision; ``field`` names which."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_calendar(country: str, subdivision: str) -> None:
    """Raises ``NoCalendar`` unless the holidays are known. No country at all is fine."""
    if not country:
        if subdivision:
            raise NoCalendar("subdivision", "Give its country too.")
        return
    known = _countries().get(country)
    if known is None:
        raise NoCalendar("country", f"No holidays are known for {country!r}; it takes a code as DE or BR.")
    if subdivision and subdivision not in known:
        raise NoCalendar(
            "subdivision", f"{country} has no {subdivision!r}; it has {', '.join(known) or 'none'}."
        )


def holiday(country: str, subdivision: str, day: date) -> str:
    """The holiday's name in English, or an empty string. An unknown calendar has no holidays."""
    return holidays_of(country, subdivision, day.year).get(day, "") if country else ""


@lru_cache(maxsize=2048)
def holidays_of(country: str, subdivision: str, year: int) -> Mapping[date, str]:
    """A year's holidays. Computed once: the first asking takes some milliseconds, the next ones next to nothing."""
    try:
        check_calendar(country, subdivision)
    except NoCalendar:
        return {}
    return dict(country_holidays(country, subdiv=subdivision or None, years=year, language="en_US"))


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, list[str]]:
    return list_supported_countries(include_aliases=True)
