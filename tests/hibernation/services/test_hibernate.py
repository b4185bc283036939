"""Hibernation from the first step to the last, on real rows, with every way it can be turned back."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hibernation.api.serializers import explanation
from hibernation.box.jobs import JobError, JobProgress
from hibernation.domain.states import InstanceStatus, MachineState, OperationState, SnapshotState
from hibernation.models import Instance, Operation, OperationStep, Pack, Snapshot, UsageInterval
from hibernation.services import operations
from hibernation.services.alarms import alarm_unconfirmed
from hibernation.services.clock import db_now
from hibernation.services.sweep import sweep
from hibernation.snapshots.verification import Examiner
from tests.factories import idle_for
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def swept(world: World, instance: Instance) -> Operation:
    assert sweep() == 1
    return instance.operations.get(state=OperationState.RUNNING)


def assert_turned_back(world: World, operation: Operation, code: str) -> None:
    """The machine runs on, nothing was destroyed, and the instance says why."""
    instance = operation.instance
    instance.refresh_from_db()
    assert world.provider.calls("destroy") == []
    assert instance.status == InstanceStatus.RUNNING
    assert operation.error_code == code
    assert operation.error in explanation(instance)
    assert instance.machines.get().state == MachineState.ACTIVE
    assert_consistent(instance)


def packs_of(world: World, operation: Operation) -> list[Path]:
    """The packs that the instance has stored so far."""
    stored = Pack.objects.filter(instance=operation.instance, kind="pack").order_by("id")
    return [world.store_root / key for key in stored.values_list("key", flat=True)]


def test_an_idle_machine_is_saved_proven_and_ended(world: World) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(swept(world, instance))
    instance.refresh_from_db()
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert instance.status == InstanceStatus.HIBERNATED
    assert instance.snapshot is not None
    assert instance.snapshot.state == SnapshotState.VERIFIED
    assert instance.machines.get().state == MachineState.DESTROYED
    assert operation.result == {
        "success": True,
        "snapshot_id": instance.snapshot.name,
        "instance_destroyed": True,
    }
    assert_consistent(instance)


def test_the_event_of_a_hibernation_tells_what_the_gpu_did_and_the_instance_nothing_any_more(
    world: World,
) -> None:
    instance = world.awake(**idle_for(4, gpu_utilization=2.5))
    world.run(swept(world, instance))
    instance.refresh_from_db()
    assert instance.events.get(event_type="hibernated").gpu_utilization == 2.5
    assert instance.gpu_utilization is None


def test_every_arrow_of_a_hibernation_has_its_event(world: World) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(swept(world, instance))
    arrows = (
        instance.events.exclude(status_to="")
        .order_by("id")
        .values_list("event_type", "status_from", "status_to")
    )
    assert list(arrows) == [
        ("hibernate_started", "idle", "hibernating"),
        ("hibernated", "hibernating", "hibernated"),
    ]
    assert events(instance) == ["hibernate_started", "snapshot_created", "snapshot_verified", "hibernated"]
    visits = OperationStep.objects.filter(operation=operation).order_by("id")
    assert [v.step for v in visits] == ["quiesce", "freeze", "verify", "fence", "destroy", "confirm"]
    assert all(after.entered_at == before.finished_at for before, after in pairwise(visits))


def test_the_rental_is_billed_from_launch_to_the_confirmed_end(world: World) -> None:
    instance = world.asleep()
    interval = UsageInterval.objects.get(instance=instance)
    assert interval.ended_at is not None
    assert interval.ended_at >= interval.started_at


def test_the_destroy_is_called_after_everything_else_and_once(world: World) -> None:
    instance = world.awake()
    world.run(world.hibernate(instance))
    contract = instance.machines.get().contract_id
    outside = [call.split()[0] for call in world.log]
    assert outside == ["freeze", "pause", "destroy", "list"]
    assert world.provider.calls("destroy") == [f"destroy {contract}"]


def test_the_point_of_no_return_is_on_the_row_when_the_destroy_is_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="destroy")
    seen = []

    def destroy(contract: str) -> None:
        row = Operation.objects.get(pk=operation.pk)
        seen.append(
            (row.point_of_no_return_at is not None, instance.machines.get().state, row.snapshot.state)
        )

    monkeypatch.setattr(world.provider, "destroy", destroy)
    world.step(operation)
    assert seen == [(True, MachineState.DESTROYING, SnapshotState.VERIFIED)]


def test_a_crash_after_the_point_of_no_return_looks_before_it_destroys_again(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="destroy")
    claimed = operations.claim(operation.pk, "destroy")
    assert isinstance(claimed, operations.Claim)
    world.log.clear()
    world.pass_time(400)
    world.run(operation, until="confirm")
    world.step(operation)
    world.pass_time(6)
    world.step(operation)
    world.run(operation)
    assert [call.split()[0] for call in world.log] == ["list", "list", "destroy", "list"]
    assert operation.state == OperationState.SUCCEEDED
    assert_consistent(instance)


def test_a_crash_after_the_destroy_does_not_destroy_twice(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="destroy")
    operations.claim(operation.pk, "destroy")
    world.provider.machines.clear()
    world.log.clear()
    world.pass_time(400)
    world.run(operation)
    assert world.log == ["list"]
    assert operation.state == OperationState.SUCCEEDED


@pytest.mark.parametrize("fault", ["destroys_refused", "destroys_ignored"])
def test_a_destroy_that_does_nothing_is_repeated_until_the_list_lacks_the_machine(
    world: World, fault: str
) -> None:
    instance = world.awake()
    setattr(world.provider, fault, 8)
    operation = world.run(world.hibernate(instance), until="confirm")
    for _ in range(40):
        world.pass_time(61)
        alarm_unconfirmed()
        if world.step(operation).state != OperationState.RUNNING:
            break
    assert operation.state == OperationState.SUCCEEDED
    assert len(world.provider.calls("destroy")) == 9
    assert "still_billing" in events(instance)
    assert events(instance).count("still_billing") == 1
    assert_consistent(instance)


def test_an_incomplete_list_confirms_nothing(world: World) -> None:
    from hibernation.domain.errors import ProviderUnavailable

    operation = world.run(world.hibernate(world.awake()), until="confirm")
    world.provider.list_error = ProviderUnavailable("cut short")
    world.step(operation)
    assert operation.state == OperationState.RUNNING
    assert operation.waiting_for == "cut short"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "is missing from the store"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[::-1]), "crc32"),
    ],
    ids=["missing", "truncated", "corrupted"],
)
def test_a_damaged_pack_keeps_the_machine(world: World, damage: object, says: str) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="verify")
    damage(packs_of(world, operation)[0])  # type: ignore[operator]
    world.run(operation)
    assert_turned_back(world, operation, "snapshot_unproven")
    assert says in operation.error
    assert instance.events.order_by("-id")[0].event_type == "failed"
    assert operation.state == OperationState.FAILED


def test_a_damaged_manifest_keeps_the_machine(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="verify")
    path = world.store_root / operation.snapshot.manifest_key
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    world.run(operation)
    assert_turned_back(world, operation, "snapshot_unproven")


def test_wrong_bytes_under_the_announced_hash_keep_the_machine(world: World) -> None:
    """A box that lies: the pack it announced and the pack that its manifest describes are not the same."""
    operation = world.run(world.hibernate(world.awake()), until="verify")
    Pack.objects.filter(kind="pack").update(crc32="1" * 8)
    world.run(operation)
    assert_turned_back(world, operation, "snapshot_unproven")


def test_a_pack_that_was_never_issued_to_the_instance_proves_nothing(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="verify")
    other = world.awake()
    Pack.objects.filter(kind="pack").update(instance=other)
    world.run(operation)
    assert_turned_back(world, operation, "snapshot_unproven")


def test_a_manifest_that_was_never_issued_to_the_instance_proves_nothing(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="verify")
    Pack.objects.filter(key=operation.snapshot.manifest_key).update(instance=world.awake())
    world.run(operation)
    assert_turned_back(world, operation, "snapshot_unproven")


def test_after_a_bad_copy_the_next_snapshot_reads_everything_again(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="verify")
    packs_of(world, operation)[0].unlink()
    world.run(operation)
    instance.refresh_from_db()
    assert instance.state_generation == 1
    second = world.run(world.hibernate(instance))
    assert second.state == OperationState.SUCCEEDED, second.error
    assert second.snapshot.packs.count() > 0
    assert not set(second.snapshot.packs.all()) & set(operation.snapshot.packs.all())
    assert_consistent(instance)


def test_a_pack_that_we_have_no_row_of_proves_nothing(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="verify")
    Pack.objects.filter(kind="pack").delete()
    world.run(operation)
    assert_turned_back(world, operation, "snapshot_unproven")


def test_a_pack_that_was_proven_long_ago_and_is_gone_keeps_the_machine(world: World) -> None:
    """The second snapshot builds on the first one's packs, which nobody reads back again."""
    instance = world.asleep()
    world.run(world.wake(instance))
    operation = world.run(world.hibernate(instance), until="verify")
    old = list(instance.packs.filter(kind="pack", verified_at__isnull=False))
    (world.store_root / old[0].key).unlink()
    world.run(operation)
    instance.refresh_from_db()
    assert (operation.error_code, instance.status) == ("snapshot_unproven", InstanceStatus.RUNNING)
    assert world.provider.calls("destroy") == []
    second = world.run(world.hibernate(instance))
    assert second.state == OperationState.SUCCEEDED, second.error
    assert not set(second.snapshot.packs.all()) & set(old)
    assert_consistent(instance)


def test_a_failed_hibernation_is_not_tried_again_at_once(world: World) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(swept(world, instance), until="verify")
    packs_of(world, operation)[0].unlink()
    world.run(operation)
    instance.refresh_from_db()
    assert instance.hold_until is not None
    world.beat(instance, 0.0)
    instance.refresh_from_db()
    assert instance.hibernate_due_at == instance.hold_until


def test_work_during_the_freeze_vetoes_the_hibernation(world: World) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(swept(world, instance), until="verify")
    world.beat(instance, 80.0)
    world.run(operation)
    assert operation.state == OperationState.CANCELLED
    assert_turned_back(world, operation, "activity_resumed")
    assert events(instance)[-2:] == ["activity_resumed", "hibernate_vetoed"]
    assert "resume" in world.log


def test_an_unknown_gpu_during_the_freeze_vetoes_the_hibernation(world: World) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(swept(world, instance), until="fence")
    world.beat(instance, None)
    world.run(operation)
    assert_turned_back(world, operation, "activity_unknown")


@pytest.mark.parametrize(
    ("gpu", "code"),
    [((90.0,), "activity_resumed"), ((0.0, None), "activity_unknown"), ((), "activity_unknown")],
)
def test_the_last_look_on_the_box_can_veto(world: World, gpu: tuple[float | None, ...], code: str) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(swept(world, instance), until="fence")
    world.box(instance).gpu = gpu
    world.run(operation)
    assert_turned_back(world, operation, code)


def test_an_order_of_a_person_does_not_ask_the_gpu(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="fence")
    world.box(instance).gpu = (90.0,)
    world.beat(instance, 90.0)
    assert world.run(operation).state == OperationState.SUCCEEDED


def test_an_agent_that_fell_silent_keeps_the_machine(world: World) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(swept(world, instance), until="destroy")
    Instance.objects.filter(pk=instance.pk).update(last_heartbeat_at=db_now() - timedelta(minutes=2))
    world.step(operation)
    assert operation.step == "destroy"
    assert operation.point_of_no_return_at is None
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(minutes=6))
    world.run(operation)
    assert_turned_back(world, operation, "activity_unknown")


def test_a_workspace_that_changed_is_saved_again(world: World) -> None:
    instance = world.awake()
    world.box(instance).changes = [2]
    operation = world.run(world.hibernate(instance))
    assert operation.state == OperationState.SUCCEEDED
    assert operation.snapshot.round == 1
    assert len([call for call in world.log if call.startswith("freeze")]) == 2


def test_a_round_that_ends_badly_leaves_the_copy_of_the_round_before(world: World) -> None:
    instance = world.awake()
    world.box(instance).changes = [2]
    operation = world.run(world.hibernate(instance), until="fence")
    first = operation.snapshot
    world.step(operation)
    assert operations.claim(operation.pk, "freeze")
    lose(world, instance)
    world.run(operation)
    instance.refresh_from_db()
    operation.refresh_from_db()
    assert operation.snapshot != first
    assert (instance.status, instance.snapshot) == (InstanceStatus.HIBERNATED, first)
    assert "as of its last proven copy" in instance.last_error
    assert world.run(world.wake(instance)).state == OperationState.SUCCEEDED
    assert_consistent(instance)


def reads_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the packs that verification reads back from now on."""
    read: list[str] = []
    real = Examiner.prove

    def noted(self: Examiner, key: str, *, decode: bool) -> None:
        read.append(key)
        real(self, key, decode=decode)

    monkeypatch.setattr(Examiner, "prove", noted)
    return read


def test_a_proof_is_made_again_only_when_it_is_old_or_the_claims_differ(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.asleep()
    old = set(instance.snapshot.packs.values_list("key", flat=True))
    read = reads_of(monkeypatch)
    for days, again in ((0, set()), (8, old)):
        world.run(world.wake(instance))
        Pack.objects.update(verified_at=db_now() - timedelta(days=days))
        read.clear()
        assert world.run(world.hibernate(instance)).state == OperationState.SUCCEEDED
        assert set(read) & old == again
    world.run(world.wake(instance))
    Pack.objects.update(proof="of other claims")
    read.clear()
    world.run(world.hibernate(instance))
    assert set(read) >= old


def test_a_workspace_that_never_rests_keeps_the_machine(world: World) -> None:
    instance = world.awake()
    world.box(instance).changes = [1] * 9
    operation = world.run(world.hibernate(instance))
    assert_turned_back(world, operation, "workspace_busy")


@pytest.mark.parametrize(
    ("field", "value"),
    [("state", SnapshotState.FROZEN), ("state", SnapshotState.FAILED), ("round", 7)],
)
def test_nothing_is_destroyed_without_a_verified_snapshot_of_this_round(
    world: World, field: str, value: object
) -> None:
    operation = world.run(world.hibernate(world.awake()), until="destroy")
    Snapshot.objects.filter(pk=operation.snapshot_id).update(**{field: value})
    world.run(operation)
    assert_turned_back(world, operation, "snapshot_unproven")


def test_nothing_is_destroyed_without_a_fence_of_this_round(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="destroy")
    operation.memo["fenced_round"] = None
    operation.save(update_fields=["memo"])
    world.step(operation)
    assert operation.step == "fence"
    assert world.provider.calls("destroy") == []


def test_a_fence_that_is_old_is_raised_again(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="destroy")
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(seconds=61))
    world.step(operation)
    assert operation.step == "fence"
    assert world.provider.calls("destroy") == []


def test_nothing_is_destroyed_after_a_cancel(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="destroy")
    Operation.objects.filter(pk=operation.pk).update(cancel_reason="cancelled")
    world.run(operation)
    assert_turned_back(world, operation, "cancelled")


def test_a_deadline_that_passed_keeps_the_machine(world: World) -> None:
    operation = world.run(world.hibernate(world.awake()), until="freeze")
    Operation.objects.filter(pk=operation.pk).update(deadline_at=db_now())
    world.run(operation)
    assert_turned_back(world, operation, "deadline")


def test_progress_is_shown_while_the_freeze_runs(world: World) -> None:
    instance = world.awake()
    world.box(instance).before_job = [JobProgress("", "freeze", "running", bytes_done=5, bytes_total=10)]
    operation = world.run(world.hibernate(instance), until="freeze")
    world.step(operation)
    assert operation.progress["bytes_done"] == 5
    assert operation.waiting_for == "the workspace is being saved"
    assert world.run(operation).state == OperationState.SUCCEEDED


def test_a_freeze_that_died_is_started_again(world: World) -> None:
    instance = world.awake()
    died = JobProgress("", "freeze", "died")
    world.box(instance).before_job = [died, died]
    assert world.run(world.hibernate(instance)).state == OperationState.SUCCEEDED


def test_a_freeze_that_always_fails_keeps_the_machine(world: World) -> None:
    instance = world.awake()
    failed = JobProgress("", "freeze", "failed", error=JobError("disk_full", "no room"))
    world.box(instance).before_job = [failed] * 9
    operation = world.run(world.hibernate(instance))
    assert_turned_back(world, operation, "disk_full")


def report(**more: Any) -> JobProgress:
    """What a box says of a freeze that is done."""
    manifest = {"key": "k", "size": 1, "sha256": "0" * 64, "id": "0" * 64}
    said = {"manifest": manifest, "files": 1, "bytes_logical": 1, "bytes_stored_new": 1}
    return JobProgress("", "freeze", "done", result=said | more)


def test_files_that_cannot_be_read_keep_the_machine(world: World) -> None:
    instance = world.awake()
    world.box(instance).before_job = [report(unreadable_total=2)]
    operation = world.run(world.hibernate(instance))
    assert_turned_back(world, operation, "unreadable_files")


@pytest.mark.parametrize(
    "lie",
    [
        {"files": "many"},
        {"files": -1},
        {"bytes_logical": 2**63},
        {"manifest": {}},
        {"manifest": {"key": "k" * 256, "size": 1, "sha256": "0" * 64, "id": "0" * 64}},
        {"manifest": {"key": "k", "size": 2**63, "sha256": "0" * 64, "id": "0" * 64}},
        {"manifest": {"key": "k", "size": 1, "sha256": "0" * 65, "id": "0" * 64}},
        {"manifest": {"key": "k", "size": 1, "sha256": "0" * 64, "id": "0" * 65}},
    ],
    ids=lambda lie: str(lie)[:50],
)
def test_a_result_that_makes_no_sense_is_not_believed(world: World, lie: dict[str, Any]) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="freeze")
    world.box(instance).before_job = [report(**lie)]
    world.step(operation)
    assert operation.step == "freeze"
    assert "makes no sense" in operation.waiting_for


@pytest.mark.parametrize(("step", "minutes"), [("quiesce", 4), ("freeze", 11), ("fence", 6)])
def test_a_box_that_does_not_answer_is_given_up_in_time(world: World, step: str, minutes: int) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until=step)
    world.box(instance).unreachable = True
    world.step(operation)
    assert (operation.step, operation.failures) == (step, 1)
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(minutes=minutes))
    world.step(operation)
    assert operation.step == "release"
    world.box(instance).unreachable = False
    world.run(operation)
    assert_turned_back(world, operation, "box_unreachable")


def test_a_machine_that_vanishes_before_it_was_saved_fails_the_instance(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="freeze")
    lose(world, instance)
    world.run(operation)
    instance.refresh_from_db()
    assert (instance.status, operation.error_code) == (InstanceStatus.FAILED, "machine_lost")
    assert_consistent(instance)


def test_a_machine_that_vanishes_after_the_proof_leaves_a_hibernated_instance(world: World) -> None:
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="fence")
    lose(world, instance)
    world.run(operation)
    instance.refresh_from_db()
    assert (instance.status, operation.state) == (InstanceStatus.HIBERNATED, OperationState.SUCCEEDED)
    assert_consistent(instance)


def test_a_machine_with_an_older_agent_gets_the_present_one_first(world: World) -> None:
    instance = world.awake()
    world.box(instance).outdated = True
    operation = world.hibernate(instance)
    world.log.clear()
    world.run(operation)
    assert world.log[0] == "install"
    assert operation.state == OperationState.SUCCEEDED
    assert_consistent(instance)


def lose(world: World, instance: Instance) -> None:
    from hibernation.services.reconcile import reconcile

    world.provider.machines.clear()
    reconcile()
    world.pass_time(70)
    reconcile()
    assert instance.machines.get().state == MachineState.LOST
