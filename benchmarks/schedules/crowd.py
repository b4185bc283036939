"""Thousands of instances at rest with a schedule each, the same every time, written straight into the tables."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

ZONE = "America/Sao_Paulo"
NINE = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""Nine o'clock in that zone, on a Monday."""
EVENING = NINE - timedelta(hours=12)
_ZONES = ("Europe/Berlin", "Asia/Tokyo", "America/New_York", "Asia/Kolkata", "Australia/Sydney", "UTC")
_DAYS = ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6])
_BATCH = 2000
_A_DAY_OFF = date(2026, 12, 24)


def fill(count: int, at_nine: int) -> None:
    """``count`` schedules, of which ``at_nine`` wake at nine, the others at any minute of any zone but that hour."""
    from hibernation.models import Instance, Schedule, Snapshot
    from tests.factories import make_hibernated

    template = make_hibernated(provider="bench")
    snapshot = template.snapshot
    assert snapshot is not None
    draw = random.Random(1)
    for first in range(0, count, _BATCH):
        names = [f"bench_{number:06}" for number in range(first, min(first + _BATCH, count))]
        Instance.objects.bulk_create(
            _like(template, id=name, snapshot=snapshot, delete_due_at=None, status="deleted")
            for name in names
        )
        Snapshot.objects.bulk_create(
            _like(snapshot, id=None, name=f"{name}_hibernate", instance_id=name) for name in names
        )
        Schedule.objects.bulk_create(
            _schedule(name, first + place, at_nine, draw) for place, name in enumerate(names)
        )
    _point_to_snapshots()


def _like(row: Any, **more: Any) -> Any:
    facts = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return type(row)(
        **{name: value for name, value in facts.items() if name not in _named(row, more)}, **more
    )


def _named(row: Any, more: dict[str, Any]) -> Iterator[str]:
    for name in more:
        yield row._meta.get_field(name).attname


def _schedule(name: str, number: int, at_nine: int, draw: random.Random) -> Any:
    from hibernation.models import Schedule
    from hibernation.services.schedules.rows import settle

    is_early = number < at_nine
    row = Schedule(
        instance_id=name,
        wake_time=time(9) if is_early else time(draw.choice((3, 4, 5, 6)), draw.randrange(60)),
        sleep_time=time(draw.choice((17, 18, 19, 20, 21, 22)), draw.choice((0, 15, 30, 45))),
        timezone=ZONE if is_early else draw.choice(_ZONES),
        days=draw.choice(_DAYS),
        off_dates=[_A_DAY_OFF] if draw.random() < 0.1 else [],
        settled_at=EVENING,
        changed_at=EVENING,
    )
    settle(row, EVENING if is_early else NINE + timedelta(hours=1), timedelta(0))
    return row


def _point_to_snapshots() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE instance_status AS i SET snapshot_id = s.id FROM hibernation_snapshot AS s "
            "WHERE s.instance_id = i.id AND i.id LIKE 'bench_%%'"
        )
        cursor.execute("VACUUM ANALYZE")


def empty() -> None:
    from django.db import connection
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    from hibernation.models import Instance

    PeriodicTask.objects.all()._raw_delete("default")
    CrontabSchedule.objects.all()._raw_delete("default")
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {Instance._meta.db_table} CASCADE")
