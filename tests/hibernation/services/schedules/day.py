"""A day to move through by hand: the schedules' clock stands where a test puts it, everything else goes on."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from hibernation.models import Instance, Schedule, ScheduleRun
from hibernation.services.schedules import clock, put_schedule, run_due_schedules
from hibernation.services.schedules.changing import ScheduleWish

ZONE = "America/Sao_Paulo"
"""Three hours behind UTC, all year."""
MONDAY = date(2026, 3, 2)
PLAIN = ScheduleWish(wake_time=time(9), sleep_time=time(18), timezone=ZONE)


def at(hour: int, minute: int = 0, second: int = 0, *, day: int = 0) -> datetime:
    """A local time of that zone, on the Monday or so many days later."""
    moment = datetime.combine(MONDAY, time(hour, minute, second), UTC)
    return moment + timedelta(days=day, hours=3)


class Day:
    """``go`` sets the clock and runs the tick; the clock is what the schedules see, and nothing else sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = at(8)
        monkeypatch.setattr(clock, "db_now", lambda: self.now)

    def go(self, moment: datetime) -> int:
        self.now = moment
        return run_due_schedules()


def keep(instance: Instance, **more: Any) -> Schedule:
    """Wakes at 09:00 and sleeps at 18:00, every day, unless said otherwise."""
    wish = {"wake_time": time(9), "sleep_time": time(18), "timezone": ZONE} | more
    return put_schedule(instance.pk, ScheduleWish(**wish), actor="user:ana")


def runs(instance: Instance) -> list[tuple[str, str, str]]:
    """Leg, local time and state, in the order they came due."""
    rows = ScheduleRun.objects.filter(instance=instance).order_by("pk")
    return [(leg, nominal[-5:], state) for leg, nominal, state in rows.values_list("leg", "nominal", "state")]


def ask_now(instance: Instance) -> None:
    """As if the pause before the next look had passed."""
    from hibernation.services.clock import db_now

    ScheduleRun.objects.filter(instance=instance, ask_at__isnull=False).update(ask_at=db_now())
