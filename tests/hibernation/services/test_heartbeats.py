"""Receiving heartbeats on real rows: what they change, and that a refused one changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hibernation.domain.states import InstanceStatus, MachineState
from hibernation.models import Machine, ReadingHour
from hibernation.services.clock import db_now
from hibernation.services.heartbeats import Forbidden, StaleHeartbeat
from hibernation.services.tokens import issue_agent_token
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def test_idle_and_busy_heartbeats_move_the_instance(world: World) -> None:
    instance = world.awake()
    assert world.beat(instance, 1.0).status == "idle"
    assert world.beat(instance, 60.0).status == "running"
    told = instance.events.order_by("id").values_list("event_type", "status_from", "status_to", "actor")
    assert list(told) == [
        ("idle_detected", "running", "idle", "agent"),
        ("activity_resumed", "idle", "running", "agent"),
    ]
    assert_consistent(instance)


def test_an_unknown_gpu_ends_idleness(world: World) -> None:
    instance = world.awake()
    world.beat(instance, 1.0)
    world.beat(instance, 1.0, None)
    instance.refresh_from_db()
    assert (instance.status, instance.hibernate_due_at) == (InstanceStatus.RUNNING, None)


def test_the_answer_says_when_to_prepare(world: World) -> None:
    instance = world.awake()
    assert world.beat(instance, 1.0).action == "none"
    world.hibernate(instance)
    assert world.beat(instance, 1.0).action == "prepare_hibernate"


def snapshot_of_rows(world: World) -> list[object]:
    return [list(m.objects.order_by("pk").values()) for m in (Machine, ReadingHour)]


@pytest.mark.parametrize("seq", [5, 4, 1])
def test_a_replayed_or_late_heartbeat_changes_nothing(world: World, seq: int) -> None:
    instance = world.awake()
    world.beat(instance, 1.0, seq=5)
    before = snapshot_of_rows(world)
    with pytest.raises(StaleHeartbeat):
        world.beat(instance, 90.0, seq=seq)
    assert snapshot_of_rows(world) == before
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.IDLE


def test_an_old_token_is_refused_and_the_new_one_starts_its_own_sequence(world: World) -> None:
    instance = world.awake()
    old = world.box(instance).token
    world.beat(instance, 1.0, seq=1000)
    new = issue_agent_token(instance.machines.get())
    with pytest.raises(Forbidden):
        world.beat(instance, 90.0, token=old, seq=1001)
    world.beat(instance, 1.0, token=new, seq=1)


@pytest.mark.parametrize("state", [MachineState.DESTROYING, MachineState.DESTROYED, MachineState.LOST])
def test_a_rental_that_ended_is_not_heard(world: World, state: MachineState) -> None:
    instance = world.awake()
    Machine.objects.update(state=state)
    with pytest.raises(Forbidden):
        world.beat(instance, 1.0)
    assert not ReadingHour.objects.exists()
    assert events(instance) == []


def test_a_token_speaks_for_its_own_instance_only(world: World) -> None:
    mine, other = world.awake(), world.awake()
    with pytest.raises(Forbidden):
        world.beat(other, 1.0, token=world.box(mine).token)


def test_a_spooled_reading_is_history_and_nothing_else(world: World) -> None:
    instance = world.awake()
    world.beat(instance, 80.0)
    before = list(Machine.objects.values())
    taken = datetime.now(UTC) - timedelta(hours=3)
    world.beat(instance, 33.0, seq=1, spooled=True, taken_at=taken)
    instance.refresh_from_db()
    assert list(Machine.objects.values()) == before
    assert instance.gpu_utilization == 80.0
    hour = ReadingHour.objects.get(hour_at=taken.replace(minute=0, second=0, microsecond=0))
    assert hour.gpu_max[taken.minute] == 33


def test_a_spooled_reading_is_filed_under_its_own_hour_whatever_zone_it_names(world: World) -> None:
    instance = world.awake()
    taken = datetime.now(UTC).replace(minute=10) - timedelta(hours=3)
    world.beat(
        instance, 33.0, spooled=True, taken_at=taken.astimezone(timezone(timedelta(hours=5, minutes=30)))
    )
    hour = ReadingHour.objects.get()
    assert hour.hour_at == taken.replace(minute=0, second=0, microsecond=0)
    assert hour.gpu_max[10] == 33


@pytest.mark.parametrize("offset", [timedelta(days=-2), timedelta(hours=1), timedelta(days=-700000)])
def test_a_spooled_reading_from_an_impossible_time_is_dropped(world: World, offset: timedelta) -> None:
    instance = world.awake()
    world.beat(instance, 33.0, spooled=True, taken_at=datetime.now(UTC) + offset)
    assert not ReadingHour.objects.exists()


def test_the_minute_keeps_its_maximum(world: World) -> None:
    instance = world.awake()
    moment = db_now().replace(second=30) - timedelta(hours=1)
    for used in (20.0, 70.0, None, 30.0):
        world.beat(instance, used, spooled=True, taken_at=moment)
    hour = ReadingHour.objects.get()
    assert hour.gpu_max[moment.minute] == 70
    assert hour.gpu_max.count(-1) == 59


def test_the_utilization_shown_is_the_busiest_gpu_or_unknown(world: World) -> None:
    instance = world.awake()
    for gpus, shown in [
        ((3.0, 40.0), 40.0),
        ((None,), None),
        ((), None),
        ((0.0, None), None),
        ((40.0, None), 40.0),
    ]:
        world.beat(instance, *gpus)
        instance.refresh_from_db()
        assert instance.gpu_utilization == shown
