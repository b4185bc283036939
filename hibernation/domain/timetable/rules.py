"""What a person sets: at which local times, on which days, an instance wakes and sleeps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from enum import IntEnum

from hibernation.domain.timetable.holidays import NoCalendar, check_calendar
from hibernation.domain.timetable.zones import zone_keys


class Weekday(IntEnum):
    """As ``date.weekday()`` counts."""

    MON = 0
    TUE = 1
    WED = 2
    THU = 3
    FRI = 4
    SAT = 5
    SUN = 6


EVERY_DAY = frozenset(Weekday)
WORKDAYS = EVERY_DAY - {Weekday.SAT, Weekday.SUN}


@dataclass(frozen=True, slots=True)
class DateRange:
    """Local days, both ends included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Days on which the instance is not woken: public holidays, single days, and ranges.

    ``country``: ISO 3166 code of two letters, empty for no holidays; ``subdivision``: its state, as ``SP`` in ``BR``.
    """

    country: str = ""
    subdivision: str = ""
    dates: frozenset[date] = frozenset()
    ranges: tuple[DateRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Timetable:
    """When an instance wakes and sleeps on its user's clock. Either leg may be missing.

    ``days`` are the local days on which the wake is due; without a wake, those on which the sleep is. A sleep at or
    before the wake's time is due on the day after. Exceptions cancel wakes only: nobody wants the machine on a
    holiday, but one that somebody woke by hand should not bill through the night for want of its sleep.

    ==========================  ============  =====================================================
    timetable                   days          what is due
    ==========================  ============  =====================================================
    wake 09:00, sleep 18:00     Mon–Fri       wakes and sleeps Mon–Fri; nothing at the weekend
    wake 22:00, sleep 06:00     Fri           wakes Fri 22:00, sleeps Sat 06:00
    wake 22:00, sleep 06:00     Sun           wakes Sun 22:00, sleeps Mon 06:00
    wake 22:00, sleep 06:00     Mon–Fri       the last sleep of the week is Sat 06:00; none on Mon 06:00
    wake 09:00, sleep 09:00     Sat           wakes Sat 09:00, sleeps Sun 09:00: a day of 24 hours
    wake 09:00, sleep 09:00     every day     never asleep: each sleep is due with the next wake, and before it
    wake 22:00, sleep 06:00     Fri, a        no wake on Fri; the sleep of Sat 06:00 is still due
                                holiday
    wake 22:00, sleep 06:00     Fri; Sat is   wakes Fri 22:00, sleeps Sat 06:00: only the day of the wake counts
                                a holiday
    wake 09:00                  Sat           wakes Sat 09:00; the idle rule puts it to sleep
    sleep 18:00                 Mon–Fri       sleeps Mon–Fri, holidays too
    ==========================  ============  =====================================================

    The day of the week is the nominal one: a wake on Fri that a change of clocks moves into Sat is Friday's.
    """

    zone: str
    wake: time | None = None
    sleep: time | None = None
    days: frozenset[Weekday] = EVERY_DAY
    exceptions: Exceptions = Exceptions()
    enabled: bool = True

    @property
    def over_midnight(self) -> bool:
        """Whether the sleep is due on the day after its wake."""
        return self.wake is not None and self.sleep is not None and self.sleep <= self.wake


def problems(timetable: Timetable) -> dict[str, str]:
    """What is wrong with it, a sentence by the field's name; empty where it can be kept."""
    return dict(_problems(timetable))


def _problems(timetable: Timetable) -> Iterator[tuple[str, str]]:
    if timetable.zone not in zone_keys():
        yield "zone", f"{timetable.zone!r} is no IANA time zone, such as Europe/Berlin."
    for name in ("wake", "sleep"):
        at = getattr(timetable, name)
        if at is not None and (at.second or at.microsecond or at.tzinfo):
            yield name, "It is a plain local time of whole minutes."
    if timetable.wake is None and timetable.sleep is None:
        yield "wake", "Give a time to wake, a time to sleep, or both."
    if not timetable.days:
        yield "days", "Give at least one day of the week."
    yield from _exception_problems(timetable.exceptions)


def _exception_problems(exceptions: Exceptions) -> Iterator[tuple[str, str]]:
    try:
        check_calendar(exceptions.country, exceptions.subdivision)
    except NoCalendar as error:
        yield error.field, str(error)
    if any(span.last < span.first for span in exceptions.ranges):
        yield "ranges", "The last day of a range is not before its first."
