"""The clock that schedules live by: the database's own, or for trying out one that runs faster.

``DUMONT_SCHEDULE_CLOCK`` is two moments and a speed: at the first, by the real clock, it shows the second, and goes on
so many times as fast. Nothing but schedules sees it: leases, idleness, events and bills are in real time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from hibernation.services.clock import db_now


def schedule_now() -> datetime:
    """The present moment for schedules."""
    now = db_now()
    if settings.DUMONT_SCHEDULE_CLOCK is None:
        return now
    real, shown, speed = settings.DUMONT_SCHEDULE_CLOCK
    moment: datetime = shown + (now - real) * speed
    return moment


def real_time(moment: datetime) -> datetime:
    """When a moment of a schedule comes by the real clock."""
    if settings.DUMONT_SCHEDULE_CLOCK is None:
        return moment
    real, shown, speed = settings.DUMONT_SCHEDULE_CLOCK
    found: datetime = real + (moment - shown) / speed
    return found


def scaled(span: timedelta) -> timedelta:
    """What a real stretch of time is to schedules."""
    return span if settings.DUMONT_SCHEDULE_CLOCK is None else span * settings.DUMONT_SCHEDULE_CLOCK[2]
