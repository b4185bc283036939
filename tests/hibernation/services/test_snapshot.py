"""Snapshots of a machine that goes on: pre-copy, periodic and ordered, on real rows and with the real engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hibernation.api.serializers import explanation
from hibernation.box.jobs import JobError, JobProgress
from hibernation.domain.errors import Conflict
from hibernation.domain.states import (
    InstanceStatus,
    MachineState,
    OperationKind,
    OperationState,
    SnapshotPurpose,
    SnapshotState,
)
from hibernation.models import Instance, Operation, Snapshot
from hibernation.services.clock import db_now
from hibernation.services.instances import configure
from hibernation.services.requests import request_snapshot
from hibernation.services.retention import delete_snapshot
from hibernation.services.sweep import sweep
from tests.factories import make_hibernated, make_snapshot
from tests.hibernation.services.test_hibernate import lose
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db

SAVING = JobProgress("", "freeze", "running", bytes_done=10, bytes_total=100, rate_bps=5.0, eta_seconds=18.0)


def ordered(instance: Instance, **more: Any) -> Operation:
    return request_snapshot(instance.pk, actor="user:ana", reason="asked", **more)


def started(instance: Instance) -> Operation:
    assert sweep() == 1
    return instance.operations.get(state=OperationState.RUNNING)


def idle(world: World, **more: Any) -> tuple[Instance, Operation]:
    """An instance with its first idle reading, and the pre-copy that follows."""
    instance = world.awake(**more)
    world.beat(instance, 0.0)
    return instance, started(instance)


def test_the_first_idle_reading_starts_a_precopy(world: World) -> None:
    instance, operation = idle(world)
    assert (operation.kind, operation.forced) == (OperationKind.SNAPSHOT, False)
    assert operation.params == {"purpose": SnapshotPurpose.PRE_COPY}
    world.run(operation)
    instance.refresh_from_db()
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert instance.status == InstanceStatus.IDLE
    assert instance.snapshot == operation.snapshot
    assert instance.snapshot.state == SnapshotState.VERIFIED
    assert instance.machines.get().state == MachineState.ACTIVE
    assert world.provider.calls("destroy") == []
    assert events(instance) == [
        "idle_detected",
        "snapshot_started",
        "snapshot_created",
        "snapshot_verified",
    ]
    assert sweep() == 0
    assert_consistent(instance)


def test_the_hibernation_that_follows_sends_and_proves_only_the_tail(world: World) -> None:
    instance, precopy = idle(world)
    world.run(precopy)
    (world.box(instance).workspace / "tail.txt").write_text("written since")
    hibernate = world.run(world.hibernate(instance))
    assert hibernate.state == OperationState.SUCCEEDED, hibernate.error
    assert hibernate.snapshot.parent == precopy.snapshot
    assert set(precopy.snapshot.packs.all()) < set(hibernate.snapshot.packs.all())
    assert hibernate.snapshot.packs.count() == precopy.snapshot.packs.count() + 1
    wake = world.run(world.wake(instance))
    assert wake.state == OperationState.SUCCEEDED, wake.error
    assert (world.box(instance).workspace / "tail.txt").read_text() == "written since"


@pytest.mark.parametrize(
    "fields",
    [{"precopy_enabled": False}, {"auto_hibernation_enabled": False}],
    ids=["off", "never hibernated"],
)
def test_no_precopy_where_none_is_wanted(world: World, fields: dict[str, Any]) -> None:
    world.beat(world.awake(**fields), 0.0)
    assert sweep() == 0


def test_work_stops_a_precopy_without_alarm(world: World) -> None:
    instance, operation = idle(world)
    world.box(instance).before_job = [SAVING]
    world.run(operation, until="freeze")
    world.step(operation)
    assert operation.progress["eta_seconds"] == 18.0
    world.beat(instance, 97.0)
    world.run(operation)
    instance.refresh_from_db()
    assert (operation.state, operation.error_code) == (OperationState.CANCELLED, "activity_resumed")
    assert (instance.status, instance.last_error) == (InstanceStatus.RUNNING, "")
    assert (instance.hold_until, instance.state_generation) == (None, 0)
    assert operation.snapshot.state == SnapshotState.FAILED
    assert "stop" in world.log
    assert events(instance)[-2:] == ["activity_resumed", "snapshot_abandoned"]
    assert_consistent(instance)


def test_a_job_that_gave_way_by_itself_ends_it_as_well(world: World) -> None:
    instance, operation = idle(world)
    yielded = JobError("activity_resumed", "a GPU works")
    world.box(instance).before_job = [JobProgress("", "freeze", "failed", error=yielded)]
    world.run(operation)
    assert (operation.state, operation.error_code) == (OperationState.CANCELLED, "activity_resumed")


def test_what_was_done_when_it_was_stopped_is_kept(world: World) -> None:
    """The job ended between the last look at it and the order to stop."""
    instance, operation = idle(world)
    box = world.box(instance)
    box.before_job = [SAVING]
    world.run(operation, until="freeze")
    world.step(operation)
    name = operation.snapshot.name
    spec = world.specs[name]
    box.start_job(name, spec, False)
    world.beat(instance, 97.0)
    world.run(operation)
    operation.snapshot.refresh_from_db()
    assert operation.snapshot.state == SnapshotState.FROZEN
    hibernate = world.run(world.hibernate(instance))
    assert hibernate.state == OperationState.SUCCEEDED, hibernate.error
    assert hibernate.snapshot.parent == operation.snapshot


def test_a_flapping_gpu_starts_a_precopy_now_and_then(world: World) -> None:
    instance = world.awake()
    starts = 0
    for _ in range(20):
        world.beat(instance, 0.0)
        if sweep():
            starts += 1
            operation = instance.operations.get(state=OperationState.RUNNING)
            world.beat(instance, 97.0)
            world.run(operation)
        world.beat(instance, 97.0)
        world.pass_time(30)
    assert 3 <= starts <= 5
    assert events(instance).count("snapshot_abandoned") == starts


@pytest.mark.parametrize("status", ["running", "idle"])
def test_a_periodic_snapshot_is_made_also_while_the_gpu_works(world: World, status: str) -> None:
    instance = world.awake(precopy_enabled=False)
    world.beat(instance, 97.0 if status == "running" else 0.0)
    configure(instance.pk, {"snapshot_interval": timedelta(minutes=10)}, actor="user:ana")
    assert sweep() == 0
    world.pass_time(601)
    operation = started(instance)
    assert operation.params == {"purpose": SnapshotPurpose.PERIODIC}
    world.run(operation, until="freeze")
    world.beat(instance, 97.0)
    world.run(operation)
    assert operation.state == OperationState.SUCCEEDED, operation.error
    instance.refresh_from_db()
    assert instance.snapshot == operation.snapshot
    due = operation.snapshot.frozen_at + timedelta(minutes=10)
    assert abs(instance.snapshot_due_at - due) < timedelta(seconds=1)


def test_background_and_yielding_are_told_to_the_box(world: World) -> None:
    instance, operation = idle(world, transfer_limit_mbit=80, gpu_usage_threshold=7.0)
    world.run(operation)
    told = world.specs[operation.snapshot.name]
    assert (told["background"], told["yield_above"], told["limit_bps"]) == (True, 7.0, 10_000_000)
    order = world.run(ordered(instance))
    told = world.specs[order.snapshot.name]
    assert (told["background"], told["yield_above"]) == (False, None)


def test_an_order_makes_a_precopy_unconditional(world: World) -> None:
    instance, precopy = idle(world)
    assert ordered(instance) == precopy
    world.beat(instance, 97.0)
    world.run(precopy)
    assert precopy.state == OperationState.SUCCEEDED
    assert precopy.params == {"purpose": SnapshotPurpose.ORDERED}


def test_an_order_is_answered_once_per_key(world: World) -> None:
    instance = world.awake()
    first = world.run(ordered(instance, idempotency_key="k"))
    assert ordered(instance, idempotency_key="k") == first
    assert ordered(instance, idempotency_key="l") != first


def test_an_order_waits_for_one_that_turns_back(world: World) -> None:
    instance, precopy = idle(world)
    world.beat(instance, 97.0)
    waiting = ordered(instance)
    assert waiting.state == OperationState.QUEUED
    world.run(precopy)
    world.run(waiting)
    assert waiting.state == OperationState.SUCCEEDED, waiting.error


def test_there_is_nothing_to_save_without_a_machine_or_beside_another_operation(world: World) -> None:
    with pytest.raises(Conflict, match="nothing to save"):
        ordered(make_hibernated())
    instance = world.awake()
    world.hibernate(instance)
    with pytest.raises(Conflict, match="nothing to save"):
        ordered(instance)


def test_a_due_hibernation_waits_for_the_snapshot_and_starts_at_its_end(world: World) -> None:
    instance, precopy = idle(world)
    for _ in range(7):
        world.pass_time(30)
        world.beat(instance, 0.0)
    assert sweep() == 0
    world.run(precopy)
    hibernate = started(instance)
    assert hibernate.kind == OperationKind.HIBERNATE
    assert world.run(hibernate).state == OperationState.SUCCEEDED, hibernate.error
    assert hibernate.snapshot.parent == precopy.snapshot
    assert_consistent(instance)


def wait_idle(world: World, instance: Instance, minutes: float) -> None:
    for _ in range(round(minutes * 2)):
        world.pass_time(30)
        world.beat(instance, 0.0)


def test_a_background_snapshot_that_keeps_a_hibernation_waiting_is_overtaken(world: World) -> None:
    """Beside a CPU that is never free it would go on for hours, and the machine bills."""
    instance, precopy = idle(world)
    world.run(precopy, until="freeze")
    world.box(instance).before_job = [SAVING] * 9
    world.step(precopy)
    wait_idle(world, instance, 7)
    assert sweep() == 0
    precopy.refresh_from_db()
    assert precopy.cancel_reason == ""
    wait_idle(world, instance, 2)
    assert sweep() == 1
    world.run(precopy)
    assert (precopy.state, precopy.error_code) == (OperationState.CANCELLED, "superseded")
    world.box(instance).before_job = []
    hibernate = started(instance)
    assert hibernate.kind == OperationKind.HIBERNATE
    assert world.run(hibernate).state == OperationState.SUCCEEDED, hibernate.error
    assert_consistent(instance)


def test_an_ordered_hibernation_overtakes_too_but_nothing_that_was_ordered_or_is_nearly_done(
    world: World,
) -> None:
    instance, precopy = idle(world)
    world.hibernate(instance)
    world.pass_time(301)
    Operation.objects.filter(pk=precopy.pk).update(step="verify")
    assert sweep() == 0
    Operation.objects.filter(pk=precopy.pk).update(step="freeze", params={"purpose": SnapshotPurpose.ORDERED})
    assert sweep() == 0
    Operation.objects.filter(pk=precopy.pk).update(params={"purpose": SnapshotPurpose.PERIODIC})
    assert (sweep(), sweep()) == (1, 0)
    precopy.refresh_from_db()
    assert precopy.cancel_reason == "superseded"


def test_an_ordered_hibernation_is_queued_behind_a_snapshot_however_that_ends(world: World) -> None:
    instance, precopy = idle(world)
    hibernate = world.hibernate(instance)
    assert hibernate.state == OperationState.QUEUED
    Operation.objects.filter(pk=precopy.pk).update(cancel_reason="cancelled")
    with pytest.raises(Conflict, match="a hibernation waits"):
        ordered(instance)
    world.run(precopy)
    assert precopy.state == OperationState.CANCELLED
    assert world.run(hibernate).state == OperationState.SUCCEEDED, hibernate.error


def test_a_wake_takes_a_waiting_hibernation_back_and_is_refused_otherwise(world: World) -> None:
    instance, precopy = idle(world)
    with pytest.raises(Conflict, match="awake already"):
        world.wake(instance)
    hibernate = world.hibernate(instance)
    wake = world.wake(instance)
    world.run(precopy)
    for operation in (precopy, hibernate, wake):
        operation.refresh_from_db()
    assert (precopy.state, hibernate.state, wake.state) == ("succeeded", "cancelled", "succeeded")
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.IDLE


def test_a_lost_host_costs_what_was_written_since_the_last_snapshot(world: World) -> None:
    instance = world.awake()
    world.run(ordered(instance))
    (world.box(instance).workspace / "late.txt").write_text("lost")
    world.pass_time(720)
    lose(world, instance)
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    assert "13 min old" in instance.last_error
    assert events(instance)[-1] == "machine_lost"
    wake = world.run(world.wake(instance))
    assert wake.state == OperationState.SUCCEEDED, wake.error
    assert (world.box(instance).workspace / "notes.txt").read_text() == "hello"
    assert_consistent(instance)


def test_a_machine_builds_upon_what_it_was_woken_from_not_upon_what_was_frozen_elsewhere_since(
    world: World,
) -> None:
    instance = world.awake()
    first = world.run(ordered(instance))
    unproven = world.run(ordered(instance), until="verify")
    lose(world, instance)
    world.run(unproven)
    world.run(world.wake(instance))
    third = world.run(ordered(instance))
    assert third.state == OperationState.SUCCEEDED, third.error
    assert third.snapshot.parent == first.snapshot
    assert set(third.snapshot.packs.all()) == set(first.snapshot.packs.all())
    assert world.run(ordered(instance)).snapshot.parent == third.snapshot


def test_a_snapshot_whose_machine_is_lost_ends_and_lets_a_wake_through(world: World) -> None:
    instance = world.awake()
    world.run(ordered(instance))
    second = world.run(ordered(instance), until="freeze")
    lose(world, instance)
    wake = world.wake(instance)
    assert wake.state == OperationState.QUEUED
    world.run(second)
    assert second.error_code == "machine_lost"
    assert world.run(wake).state == OperationState.SUCCEEDED, wake.error
    assert_consistent(instance)


def test_a_copy_that_lacks_files_replaces_no_whole_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = world.awake()
    box = world.box(instance)
    real = box._work

    def partly(job: str, spec: Any) -> JobProgress:
        seen = real(job, spec)
        return replace(seen, result={**(seen.result or {}), "unreadable_total": 2})

    monkeypatch.setattr(box, "_work", partly)
    first = world.run(ordered(instance))
    instance.refresh_from_db()
    assert first.result["unreadable_files"] == 2
    assert instance.snapshot == first.snapshot
    refused = world.run(world.hibernate(instance))
    assert refused.error_code == "unreadable_files"
    monkeypatch.setattr(box, "_work", real)
    whole = world.run(ordered(instance))
    monkeypatch.setattr(box, "_work", partly)
    world.run(ordered(instance))
    instance.refresh_from_db()
    assert instance.snapshot == whole.snapshot
    assert_consistent(instance)


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_job_left_behind_is_stopped_before_the_next_begins(world: World, is_deleted: bool) -> None:
    instance, operation = idle(world)
    box = world.box(instance)
    box.before_job = [SAVING]
    world.run(operation, until="freeze")
    world.step(operation)
    world.beat(instance, 97.0)
    box.unreachable = True
    world.step(operation)
    world.pass_time(60)
    world.run(operation)
    assert operation.state == OperationState.CANCELLED
    box.unreachable = False
    world.log.clear()
    if is_deleted:
        delete_snapshot(instance.pk, operation.snapshot.name, actor="user:ana")
    world.run(world.hibernate(instance), until="freeze")
    assert world.log == ["stop"]


def test_a_failed_periodic_snapshot_is_told_and_tried_again(world: World) -> None:
    instance = world.awake(snapshot_interval=timedelta(minutes=10), snapshot_due_at=db_now())
    world.pass_time(601)
    operation = started(instance)
    failure = JobProgress("", "freeze", "failed", error=JobError("upload_failed", "the store is away"))
    world.box(instance).before_job = [failure] * 4
    world.run(operation)
    instance.refresh_from_db()
    assert operation.state == OperationState.FAILED
    assert events(instance)[-1] == "failed"
    assert (instance.status, instance.hold_until, instance.state_generation) == ("running", None, 0)
    assert instance.snapshot_due_at - operation.started_at == timedelta(seconds=60)


def test_what_was_frozen_long_ago_and_never_proven_is_not_built_upon(world: World) -> None:
    instance = world.awake()
    old = make_snapshot(instance, state=SnapshotState.FROZEN, verified_at=None)
    Snapshot.objects.filter(pk=old.pk).update(frozen_at=db_now() - timedelta(hours=25))
    operation = world.run(ordered(instance))
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert operation.snapshot.parent is None


def test_the_status_says_what_a_waiting_hibernation_waits_for_and_what_a_loss_left(world: World) -> None:
    instance, precopy = idle(world)
    Instance.objects.filter(pk=instance.pk).update(hibernate_due_at=None)
    instance.refresh_from_db()
    assert "waits for it" in explanation(instance)
    world.run(precopy)
    lose(world, instance)
    instance.refresh_from_db()
    assert "last proven copy, 1 min old" in explanation(instance)
