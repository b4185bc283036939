"""The sweep on real rows: only what was seen idle over the whole window, however many and however contended."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from hibernation.domain.states import InstanceStatus, OperationState
from hibernation.models import Instance, Operation
from hibernation.services import sweep as sweeping
from hibernation.services.clock import db_now
from hibernation.services.instances import configure
from hibernation.services.sweep import sweep
from tests.factories import idle_for, make_hibernated, make_instance, make_machine
from tests.hibernation.services.test_operations import together
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def due(**more: Any) -> Instance:
    instance = make_instance(**idle_for(4, **more))
    make_machine(instance)
    return instance


def test_idle_long_enough_is_hibernated(world: World) -> None:
    instance = due()
    assert sweep() == 1
    instance.refresh_from_db()
    operation = instance.operations.get()
    assert (instance.status, operation.forced, operation.actor) == (
        InstanceStatus.HIBERNATING,
        False,
        "system",
    )
    assert operation.reason == "GPU idle for 3 minutes (threshold 5 %)"
    assert sweep() == 0
    assert_consistent_arrows(instance)


def assert_consistent_arrows(instance: Instance) -> None:
    told = instance.events.exclude(status_to="").values_list("status_from", "status_to")
    assert list(told) == [("idle", "hibernating")]


def test_idle_not_long_enough_is_left_alone(world: World) -> None:
    make_instance(**idle_for(2))
    assert sweep() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"last_heartbeat_at": None},
        {"auto_hibernation_enabled": False},
    ],
)
def test_what_cannot_be_judged_is_left_alone(world: World, fields: dict[str, Any]) -> None:
    instance = due(**fields)
    assert sweep() == 0
    instance.refresh_from_db()
    assert (instance.status, instance.hibernate_due_at) == (InstanceStatus.IDLE, None)


def test_a_silent_agent_is_never_hibernated_and_blocks_nobody(world: World) -> None:
    silent = [due(last_heartbeat_at=db_now() - timedelta(minutes=2)) for _ in range(3)]
    fresh = due()
    assert sweep() == 1
    assert list(Operation.objects.values_list("instance", flat=True)) == [fresh.pk]
    assert all(Instance.objects.get(pk=i.pk).status == InstanceStatus.IDLE for i in silent)


def test_silent_agents_at_the_front_do_not_end_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    for _ in range(3):
        due(last_heartbeat_at=db_now() - timedelta(minutes=2), idle_since=db_now() - timedelta(minutes=9))
    late = [due() for _ in range(3)]
    assert sweep() == 3
    assert set(Operation.objects.values_list("instance", flat=True)) == {i.pk for i in late}


def test_a_silent_agent_that_reports_again_starts_a_new_window(world: World) -> None:
    instance = world.awake(**idle_for(4, last_heartbeat_at=db_now() - timedelta(minutes=2)))
    sweep()
    world.beat(instance, 0.0)
    instance.refresh_from_db()
    assert instance.hibernate_due_at is not None
    assert instance.hibernate_due_at > db_now() + timedelta(minutes=2)


def test_more_than_one_batch_is_done_in_one_sweep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    for _ in range(5):
        due()
    assert sweep() == 5
    assert Operation.objects.filter(state=OperationState.RUNNING).count() == 5


def test_hibernated_long_enough_is_deleted_and_keeps_its_snapshot(world: World) -> None:
    instance = make_hibernated(delete_due_at=db_now())
    assert sweep() == 1
    instance.refresh_from_db()
    event = instance.events.get()
    assert (instance.status, event.event_type) == (InstanceStatus.DELETED, "deleted")
    assert instance.snapshot is not None
    assert event.snapshot_name == instance.snapshot.name
    assert (event.status_from, event.status_to) == ("hibernated", "deleted")


def test_hibernated_not_long_enough_is_kept(world: World) -> None:
    make_hibernated()
    assert sweep() == 0


def test_a_hold_after_a_failure_is_kept(world: World) -> None:
    instance = due(precopy_enabled=False)
    Instance.objects.filter(pk=instance.pk).update(hold_until=db_now() + timedelta(minutes=5))
    configure(instance.pk, {"pause_after": timedelta(minutes=1)}, actor="user:ana")
    assert sweep() == 0


def test_a_shorter_pause_takes_effect_at_once(world: World) -> None:
    instance = make_instance(**idle_for(2))
    make_machine(instance)
    configure(instance.pk, {"pause_after": timedelta(minutes=1)}, actor="user:ana")
    assert sweep() == 1


def test_switching_it_off_stops_the_countdown(world: World) -> None:
    instance = due()
    configure(instance.pk, {"auto_hibernation_enabled": False}, actor="user:ana")
    assert sweep() == 0


@pytest.mark.parametrize("gpus", [(None,), (), (0.0, None), (0.0,) * 7 + (99.0,), (5.1,)])
def test_a_machine_with_any_doubt_is_never_idle(world: World, gpus: tuple[float | None, ...]) -> None:
    instance = world.awake()
    for _ in range(5):
        world.beat(instance, *gpus)
        world.pass_time(60)
        assert sweep() == 0
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RUNNING
    assert instance.idle_since is None


def test_steady_idle_heartbeats_lead_to_hibernation(world: World) -> None:
    instance = world.awake()
    for _ in range(7):
        world.beat(instance, 5.0, 0.0)
        world.pass_time(30)
    assert sweep() == 1
    assert events(instance) == ["idle_detected", "hibernate_started"]


def test_a_gap_between_heartbeats_starts_the_window_anew(world: World) -> None:
    instance = world.awake(precopy_enabled=False)
    world.beat(instance, 0.0)
    world.pass_time(200)
    world.beat(instance, 0.0)
    assert sweep() == 0


def test_one_busy_heartbeat_restarts_the_window(world: World) -> None:
    instance = world.awake(**idle_for(4), precopy_enabled=False)
    world.beat(instance, 50.0)
    world.beat(instance, 0.0)
    assert sweep() == 0
    assert events(instance) == ["activity_resumed", "idle_detected"]
    assert_consistent(instance)


@pytest.mark.django_db(transaction=True)
def test_many_sweeps_at_once_hibernate_each_instance_once(world: World) -> None:
    instances = [due() for _ in range(6)]
    assert sum(together(sweep, 4)) == 6
    assert Operation.objects.count() == len(instances)


@pytest.mark.django_db(transaction=True)
def test_a_busy_heartbeat_that_holds_the_row_wins_over_the_sweep(world: World) -> None:
    instance = world.awake(**idle_for(4))
    locked, swept = threading.Event(), threading.Event()

    def beat() -> None:
        try:
            with transaction.atomic():
                world.beat(instance, 90.0)
                locked.set()
                swept.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=beat)
    thread.start()
    assert locked.wait(10)
    try:
        assert sweep() == 0
    finally:
        swept.set()
        thread.join(10)
    assert sweep() == 0
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.RUNNING
    assert_consistent(instance)
