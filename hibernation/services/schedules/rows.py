"""A schedule's row as the domain knows it, and its next occurrence as a row keeps it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from django.conf import settings

from hibernation.domain.timetable import (
    DateRange,
    Exceptions,
    Leg,
    Occurrence,
    Terms,
    Timetable,
    Weekday,
    WhenBusy,
    next_occurrence,
    occurrences,
    window_at,
)
from hibernation.models import Schedule, ScheduleRun
from hibernation.services.schedules.clock import real_time

NEXT_FIELDS = ("settled_at", "lead", "next_run_at", "next_leg", "next_due_at")


def timetable_of(row: Schedule) -> Timetable:
    days = _weekdays(tuple(row.days))
    return Timetable(row.timezone, row.wake_time, row.sleep_time, days, _exceptions_of(row), row.enabled)


@lru_cache(maxsize=128)
def _weekdays(days: tuple[int, ...]) -> frozenset[Weekday]:
    return frozenset(Weekday(day) for day in days)


def _exceptions_of(row: Schedule) -> Exceptions:
    if not (row.holiday_country or row.holiday_subdivision or row.off_dates or row.off_ranges):
        return _NONE
    return Exceptions(
        row.holiday_country,
        row.holiday_subdivision,
        frozenset(row.off_dates),
        tuple(DateRange(first, last) for first, last in row.off_ranges),
    )


_NONE = Exceptions()


def terms_of(row: Schedule, leg: Leg) -> Terms:
    return Terms(
        ready_by=row.ready_by,
        force=row.force,
        when_busy=WhenBusy(row.when_busy),
        wait_at_most=row.wait_at_most,
        give_up_after=row.give_up_after,
        stay_awake=row.stay_awake,
        grace=grace_of(leg),
    )


def grace_of(leg: Leg) -> timedelta:
    grace: timedelta = settings.DUMONT_WAKE_GRACE if leg is Leg.WAKE else settings.DUMONT_SLEEP_GRACE
    return grace


def settle(row: Schedule, settled_at: datetime, lead: timedelta, timetable: Timetable | None = None) -> None:
    """Nothing up to ``settled_at`` is to be done any more. The caller saves ``NEXT_FIELDS``."""
    row.settled_at, row.lead = settled_at, lead
    timetable = timetable or timetable_of(row)
    reckon = next_after.__wrapped__ if has_own_days(timetable) else next_after
    following = reckon(timetable, settled_at, lead)
    row.next_run_at = following.starts_at if following else None
    row.next_due_at = following.due_at if following else None
    row.next_leg = following.leg if following else ""


def has_own_days(timetable: Timetable) -> bool:
    """Then it is hardly ever another's too, and may have a thousand of them: it is not worth remembering."""
    return bool(timetable.exceptions.dates or timetable.exceptions.ranges)


@lru_cache(maxsize=20_000)
def next_after(timetable: Timetable, settled_at: datetime, lead: timedelta) -> Occurrence | None:
    """Remembered: those that are due together mostly have the same times, too."""
    return next_occurrence(timetable, settled_at, lead)


def awake_until(row: Schedule, now: datetime) -> datetime | None:
    """Until when, by the real clock, idleness ends nothing; ``None`` outside the window and without that wish."""
    if not row.stay_awake or not row.enabled:
        return None
    window = window_at(timetable_of(row), now, row.lead)
    return None if window is None else real_time(window.sleep.due_at)


def is_wished(row: Schedule, run: ScheduleRun) -> bool:
    """Whether the schedule as it is now has that occurrence."""
    if run.timezone != row.timezone:
        return False
    around = occurrences(timetable_of(row), run.due_at - _A_DAY, run.due_at + _A_DAY)
    return (run.leg, run.nominal) in {(one.leg.value, nominal_text(one)) for one in around}


_A_DAY = timedelta(days=1)
"""More than a new zone file moves a local time by."""


def nominal_text(occurrence: Occurrence) -> str:
    return occurrence.nominal.isoformat(timespec="minutes")
