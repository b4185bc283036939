"""Schedules as entries of django-celery-beat, for people to see. They poke; what is done is decided by our rows.

Each entry costs beat time at every look, so above ``DUMONT_BEAT_ENTRIES_MOST`` all of them are disabled and the tick
alone fires.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks

from hibernation.domain.timetable import Leg
from hibernation.models import Schedule
from hibernation.services.clock import db_now
from hibernation.services.schedules.repairing import repair_times
from hibernation.services.schedules.rows import timetable_of

TASK = "hibernation.run_schedule"
_PREFIX = "schedule of "
_NOTE = (
    "Made from the instance's schedule. It only pokes; change the schedule instead: edits here are undone."
)
_BATCH = 1000
_LATE = 300
"""Seconds after which a poke is worth nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one row of beat has to say."""

    name: str
    instance_id: str
    minute: str
    hour: str
    days: str
    timezone: str


def entries_of(row: Schedule) -> list[Entry]:
    """One for each leg, at the local time when it starts."""
    if not row.enabled:
        return []
    over_midnight = timetable_of(row).over_midnight
    return [
        _entry(row, leg, at, lead, shift)
        for leg, at, lead, shift in (
            (Leg.WAKE, row.wake_time, row.lead, 0),
            (Leg.SLEEP, row.sleep_time, timedelta(0), 1 if over_midnight else 0),
        )
        if at is not None
    ]


def _entry(row: Schedule, leg: Leg, at: time, lead: timedelta, shift: int) -> Entry:
    minutes = at.hour * 60 + at.minute - int(lead / timedelta(minutes=1))
    shift += minutes // 1440
    hour, minute = divmod(minutes % 1440, 60)
    # Of beat Sunday is 0.
    days = sorted((day + shift + 1) % 7 for day in row.days)
    listed = "*" if len(days) == 7 else ",".join(str(day) for day in days)
    name = f"{_PREFIX}{row.pk}: {leg}"
    return Entry(name, row.pk, str(minute), str(hour), listed, row.timezone)


def mirror(row: Schedule) -> None:
    """Make the entries of one schedule what they have to be, in the caller's transaction."""
    wished = {entry.name: entry for entry in entries_of(row)}
    names = [f"{_PREFIX}{row.pk}: {leg}" for leg in Leg]
    allowed = _are_allowed()
    repairs: list[str] = []
    _switch_all(allowed, repairs)
    found = list(PeriodicTask.objects.filter(name__in=names).select_related("crontab"))
    _repair(wished, found, allowed, repairs)
    if repairs:
        PeriodicTasks.update_changed()


@transaction.atomic
def sync_schedules() -> list[str]:
    """Repair what drifted: entries that are missing, stray or edited, and times that a new zone file moved.

    One sentence for each repair. Repeatable; beat reads its entries anew only if something was repaired.
    """
    repairs: list[str] = []
    rows = list(Schedule.objects.order_by("pk"))
    bad = repair_times(rows, repairs)
    wished = {entry.name: entry for row in rows if row.pk not in bad for entry in entries_of(row)}
    allowed = _are_allowed()
    _switch_all(allowed, repairs)
    found = list(PeriodicTask.objects.filter(task=TASK).select_related("crontab"))
    named = PeriodicTask.objects.filter(name__startswith=_PREFIX).exclude(task=TASK)
    found += list(named.select_related("crontab"))
    _repair(wished, found, allowed, repairs)
    if repairs:
        PeriodicTasks.update_changed()
    return repairs


def _are_allowed() -> bool:
    """Whether there are few enough schedules for beat to bear entries that are enabled."""
    most: int = settings.DUMONT_BEAT_ENTRIES_MOST
    enabled = Schedule.objects.filter(enabled=True)
    legs = enabled.order_by().values_list("wake_time", "sleep_time")[: most + 1]
    return sum((wake is not None) + (sleep is not None) for wake, sleep in legs) <= most


def _repair(
    wished: dict[str, Entry], found: Sequence[PeriodicTask], allowed: bool, repairs: list[str]
) -> None:
    now, kept = db_now(), set()
    crontabs = _Crontabs(wished.values())
    for task in found:
        entry = wished.get(task.name)
        if entry is None:
            PeriodicTask.objects.filter(pk=task.pk).delete()
            repairs.append(f"{task.name}: stray, deleted")
            continue
        kept.add(task.name)
        changed = _differences(task, entry, allowed, crontabs)
        if changed:
            PeriodicTask.objects.filter(pk=task.pk).update(**changed, last_run_at=now if allowed else None)
            repairs.append(f"{task.name}: {', '.join(sorted(changed))} put right")
    missing = [entry for name, entry in wished.items() if name not in kept]
    for first in range(0, len(missing), _BATCH):
        PeriodicTask.objects.bulk_create(
            [_task(entry, allowed, now, crontabs) for entry in missing[first : first + _BATCH]],
            ignore_conflicts=True,
        )
    repairs += [f"{entry.name}: missing, made" for entry in missing]


def _switch_all(allowed: bool, repairs: list[str]) -> None:
    """A schedule more or less than the most may change the state of all entries."""
    ours = PeriodicTask.objects.filter(task=TASK).exclude(enabled=allowed)
    # Without its last run it would count as due since it was made.
    switched = ours.update(enabled=allowed, last_run_at=db_now() if allowed else None)
    if switched:
        repairs.append(f"{switched} entries {'enabled' if allowed else 'disabled: there are too many'}")


class _Crontabs:
    """Rows of local times, shared by the entries that have the same. Those that lack are made at once, in one go."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        wished = {_times(entry) for entry in entries}
        self._known: dict[_Times, CrontabSchedule] = {}
        found = CrontabSchedule.objects.filter(day_of_month="*", month_of_year="*")
        found = found.filter(timezone__in={zone for *_, zone in wished})
        if len(wished) < _FEW:
            found = found.filter(hour__in={hour for _, hour, *_ in wished})
        for row in found.order_by("-pk"):
            self._known[row.minute, row.hour, row.day_of_week, str(row.timezone)] = row
        lacking = sorted(wished - set(self._known))
        made = CrontabSchedule.objects.bulk_create(
            (
                CrontabSchedule(minute=minute, hour=hour, day_of_week=days, timezone=zone)
                for minute, hour, days, zone in lacking
            ),
            _BATCH,
        )
        self._known.update(zip(lacking, made, strict=True))

    def get(self, entry: Entry) -> CrontabSchedule:
        return self._known[_times(entry)]


_FEW = 10
_Times = tuple[str, str, str, str]


def _times(entry: Entry) -> _Times:
    return entry.minute, entry.hour, entry.days, entry.timezone


def _task(entry: Entry, allowed: bool, now: datetime, crontabs: _Crontabs) -> PeriodicTask:
    return PeriodicTask(
        name=entry.name, last_run_at=now if allowed else None, **_fields(entry, allowed, crontabs)
    )


def _fields(entry: Entry, allowed: bool, crontabs: _Crontabs) -> dict[str, Any]:
    return {
        "task": TASK,
        "crontab": crontabs.get(entry),
        "interval": None,
        "solar": None,
        "clocked": None,
        "args": json.dumps([entry.instance_id]),
        "kwargs": "{}",
        "queue": "control",
        "exchange": None,
        "routing_key": None,
        "headers": "{}",
        "priority": None,
        "expires": None,
        "expire_seconds": _LATE,
        "one_off": False,
        "start_time": None,
        "enabled": allowed,
        "description": _NOTE,
    }


def _differences(task: PeriodicTask, entry: Entry, allowed: bool, crontabs: _Crontabs) -> dict[str, Any]:
    return {
        name: value
        for name, value in _fields(entry, allowed, crontabs).items()
        if getattr(task, name) != value
    }
