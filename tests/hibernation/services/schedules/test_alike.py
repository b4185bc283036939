"""What is worked out once for many is what each of them would have got alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.db.models import Model

from hibernation.domain.states import InstanceStatus
from hibernation.models import Instance, Schedule
from hibernation.services.clock import db_now
from hibernation.services.schedules.alike import alike
from hibernation.services.schedules.firing import fire_batch
from tests.factories import idle_for, make_hibernated, make_machine, make_operation, make_snapshot
from tests.hibernation.services.schedules.day import MONDAY, Day, at, keep
from tests.hibernation.services.world import World

pytestmark = pytest.mark.django_db
Maker = Callable[[World], Instance]


def asleep(**more: Any) -> Maker:
    return lambda world: make_hibernated(**more)


def awake(**more: Any) -> Maker:
    return lambda world: world.awake(**more)


def idle(minutes: float) -> Maker:
    return lambda world: world.awake(**idle_for(minutes))


def with_wakes_of(minutes: int) -> Maker:
    def make(world: World) -> Instance:
        instance, began = make_hibernated(), db_now() - timedelta(hours=3)
        make_operation(
            instance, kind="wake", step="hook", state="succeeded", snapshot=instance.snapshot,
            created_at=began, finished_at=began + timedelta(minutes=minutes),
        )  # fmt: skip
        return instance

    return make


def kept_warm(world: World) -> Instance:
    instance = make_hibernated()
    until = db_now() + timedelta(hours=1)
    make_machine(instance, state="parked", parked_until=until, parked_snapshot=instance.snapshot)
    return instance


def damaged(world: World) -> Instance:
    instance = make_hibernated()
    copy = make_snapshot(instance, damaged_at=db_now(), state_reason="lacks a pack")
    Instance.objects.filter(pk=instance.pk).update(snapshot=copy)
    return instance


def being_saved(world: World) -> Instance:
    instance = world.awake()
    make_operation(instance, kind="hibernate", step="freeze")
    Instance.objects.filter(pk=instance.pk).update(status=InstanceStatus.HIBERNATING)
    return instance


KINDS: tuple[tuple[Maker, dict[str, Any]], ...] = (
    (asleep(), {}),
    (asleep(status="deleted", delete_due_at=None), {}),
    (asleep(), {"sleep_time": time(17)}),
    (asleep(), {"days": (0, 1)}),
    (asleep(), {"off_dates": (MONDAY,)}),
    (asleep(), {"stay_awake": True}),
    (asleep(), {"ready_by": True}),
    (with_wakes_of(9), {"ready_by": True}),
    (with_wakes_of(20), {"ready_by": True}),
    (kept_warm, {}),
    (damaged, {}),
    (being_saved, {}),
    (awake(gpu_utilization=90.0), {}),
    (awake(gpu_utilization=90.0), {"force": True}),
    (awake(gpu_utilization=90.0), {"when_busy": "skip"}),
    (idle(4), {}),
    (idle(4), {"stay_awake": True}),
    (idle(1), {}),
)
_COPY = re.compile(r"vast_\d+(_hibernate_\d+)?")
_NAMES = ("id", "operation", "snapshot", "machine", "instance", "name", "data")


def columns(row: Model) -> dict[str, Any]:
    """But for names and numbers, and for moments by the real clock, of which it counts only whether they are set."""
    found = {}
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        if field.name in _NAMES:
            value = value is not None
        elif isinstance(value, datetime) and not isinstance(row, Schedule) and field.name != "due_at":
            value = "a moment"
        found[field.name] = _COPY.sub("it", value) if isinstance(value, str) else value
    return found


def all_of(instance: Instance) -> list[dict[str, Any]]:
    instance.refresh_from_db()
    rows: list[Model] = [Schedule.objects.get(pk=instance.pk), instance]
    for many in (instance.schedule_runs, instance.operations, instance.events):
        rows += many.order_by("pk")
    moments = ("changed_at", "instance")
    return [{k: v for k, v in columns(row).items() if k not in moments} for row in rows]


@pytest.mark.parametrize("moment", [at(9), at(9, 40), at(18), at(18, day=2)], ids=["9", "late", "18", "days"])
def test_many_at_once_get_what_each_gets_alone(world: World, day: Day, moment: datetime) -> None:
    together, alone = ([make(world) for make, _ in KINDS for _ in range(2)] for _ in range(2))
    for instances in (together, alone):
        for instance, (_, wish) in zip(instances, (kind for kind in KINDS for _ in range(2)), strict=True):
            keep(instance, **wish)
    for instance in alone:
        fire_batch(moment, instance.pk)
    fire_batch(moment)
    for one, other in zip(together, alone, strict=True):
        assert all_of(one) == all_of(other)


def test_what_differs_in_nothing_is_worked_out_once(world: World, day: Day) -> None:
    instances = [make(world) for make, _ in KINDS[:2] for _ in range(5)]
    for instance in instances:
        keep(instance)
    groups = alike([instance.pk for instance in instances], db_now())
    assert sorted(len(group.instance_ids) for group in groups) == [5, 5]


def test_those_that_work_are_alike_whenever_they_were_heard_of_last(world: World, day: Day) -> None:
    instances = [world.awake(last_heartbeat_at=db_now() - timedelta(seconds=n)) for n in range(3)]
    for instance in instances:
        keep(instance)
    [group] = alike([instance.pk for instance in instances], db_now())
    assert len(group.instance_ids) == 3
