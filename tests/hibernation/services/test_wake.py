"""Waking from the first step to the last, on real rows: one launch whatever the provider answers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hibernation.box.jobs import JobError, JobProgress
from hibernation.domain.errors import OfferGone, ProviderRefused, ProviderUnavailable
from hibernation.domain.states import InstanceStatus, MachineState, OperationState
from hibernation.models import Host, Instance, Machine, Operation, Snapshot
from hibernation.services import operations
from hibernation.services.clock import db_now
from hibernation.services.instances import register_instance
from hibernation.services.reconcile import reconcile
from tests.factories import PROVIDER, make_offer
from tests.hibernation.services.box import tree
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def assert_awake(world: World, operation: Operation) -> Machine:
    """Awake on exactly one machine that bills; returns it."""
    instance = operation.instance
    instance.refresh_from_db()
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert instance.status == InstanceStatus.RUNNING
    machine = instance.machines.get(state=MachineState.ACTIVE)
    assert machine.contract_id in world.provider.machines
    assert_consistent(instance)
    return machine


def only_ours_bill(world: World, instance: Instance) -> None:
    """After the reconciler's work only the instance's live machine is listed."""
    for _ in range(4):
        reconcile()
        world.pass_time(61)
        # The agents go on reporting.
    live = set(instance.machines.filter(state=MachineState.ACTIVE).values_list("contract_id", flat=True))
    assert set(world.provider.machines) == live


def test_the_workspace_comes_back_byte_for_byte_elsewhere(world: World) -> None:
    instance = world.awake()
    before = tree(world.box(instance).workspace)
    world.run(world.hibernate(instance))
    operation = world.run(world.wake(instance))
    machine = assert_awake(world, operation)
    assert tree(world.box(machine).workspace) == before
    assert len(before) == 2


def test_a_copy_that_was_proven_before_the_veto_comes_back_when_the_machine_is_lost(world: World) -> None:
    instance = world.awake()
    before = tree(world.box(instance).workspace)
    hibernation = world.run(world.hibernate(instance), until="fence")
    Operation.objects.filter(pk=hibernation.pk).update(cancel_reason="cancelled")
    assert world.run(hibernation).state == OperationState.CANCELLED
    world.provider.machines.clear()
    for _ in range(2):
        reconcile()
        world.pass_time(61)
    machine = assert_awake(world, world.run(world.wake(instance)))
    assert tree(world.box(machine).workspace) == before


def test_every_arrow_of_a_wake_has_its_event(world: World) -> None:
    instance = world.asleep()
    first = instance.events.order_by("-id")[0].pk
    operation = world.run(world.wake(instance))
    told = (
        instance.events.filter(pk__gt=first)
        .order_by("id")
        .values_list("event_type", "status_from", "status_to")
    )
    assert list(told) == [
        ("wake_started", "hibernated", "waking"),
        ("offer_selected", "", ""),
        ("machine_launched", "", ""),
        ("machine_reached", "", ""),
        ("machine_tested", "", ""),
        ("restored", "", ""),
        ("woke", "waking", "running"),
    ]
    assert operation.result["snapshot_restored"] is True


def test_a_first_start_restores_nothing(world: World) -> None:
    instance = register_instance("vast_first", provider=PROVIDER, actor="user:ana")
    operation = world.run(world.wake(instance))
    assert_awake(world, operation)
    assert operation.result["snapshot_restored"] is False
    assert events(instance)[0] == "registered"


def test_a_first_start_that_failed_can_be_tried_again(world: World) -> None:
    instance = register_instance("vast_again", provider=PROVIDER, actor="user:ana")
    world.provider.offers, offers = [], world.provider.offers
    operation = world.wake(instance)
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(minutes=11))
    assert world.run(operation).error_code == "no_offer"
    world.provider.offers = offers
    assert_awake(world, world.run(world.wake(instance)))


def test_the_cheapest_offer_that_fits_the_wish_is_taken(world: World) -> None:
    instance = world.asleep()
    world.provider.offers.append(make_offer(7, gpu_type="RTX 5090"))
    operation = world.run(world.wake(instance, params={"gpu_type": "RTX 5090"}))
    assert world.provider.calls("launch") == ["launch offer-7"]
    assert assert_awake(world, operation).price_per_hour == make_offer(7).price_per_hour


def test_the_intent_is_on_record_before_the_money_is_spent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.asleep()
    seen = []

    def launch(spec: object) -> str:
        row = Machine.objects.get(instance=instance, state=MachineState.INTENDED)
        seen.append(row.label == spec.label)  # type: ignore[attr-defined]
        return world.provider.rent(row.label)

    monkeypatch.setattr(world.provider, "launch", launch)
    assert_awake(world, world.run(world.wake(instance)))
    assert seen == [True]


def test_a_lost_answer_is_resolved_by_the_label(world: World) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(ProviderUnavailable("timed out"), True)]
    operation = world.run(world.wake(instance))
    assert_awake(world, operation)
    assert len(world.provider.calls("launch")) == 1


def test_a_worker_killed_between_the_launch_and_its_record_launches_once(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="launch")
    claimed = operations.claim(operation.pk, "launch")
    assert isinstance(claimed, operations.Claim)
    operations.perform.perform(operation.pk, claimed.effect)
    world.pass_time(20)
    assert_awake(world, world.run(operation))
    assert len(world.provider.calls("launch")) == 1
    only_ours_bill(world, instance)


def test_an_error_without_a_machine_leads_to_another_launch_after_a_while(world: World) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(ProviderUnavailable("timed out"), False)]
    operation = world.run(world.wake(instance), until="launch")
    for _ in range(3):
        world.step(operation)
    assert len(world.provider.calls("launch")) == 1
    world.pass_time(31)
    assert_awake(world, world.run(operation))
    assert world.provider.calls("launch") == ["launch offer-1", "launch offer-2"]
    assert instance.machines.filter(state=MachineState.ABANDONED).count() == 1


def test_an_abandoned_launch_that_shows_up_later_is_ended(world: World) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(ProviderUnavailable("timed out"), False)]
    operation = world.run(world.wake(instance), until="launch")
    world.step(operation)
    world.step(operation)
    world.pass_time(31)
    world.run(operation)
    abandoned = instance.machines.get(state=MachineState.ABANDONED)
    world.provider.rent(abandoned.label, contract="777")
    only_ours_bill(world, instance)
    abandoned.refresh_from_db()
    assert (abandoned.state, abandoned.contract_id) == (MachineState.DESTROYED, "777")
    assert_consistent(instance)


@pytest.mark.parametrize("error", [OfferGone(), ProviderRefused("no credit")])
def test_a_refused_offer_leads_to_the_next(world: World, error: ProviderRefused) -> None:
    instance = world.asleep()
    world.provider.launch_faults = [(error, False)]
    assert_awake(world, world.run(world.wake(instance)))
    assert world.provider.calls("launch") == ["launch offer-1", "launch offer-2"]
    assert instance.machines.filter(state=MachineState.VOID).count() == 1


def test_refusals_without_end_fail_the_wake_and_keep_the_snapshot(world: World) -> None:
    instance = world.asleep()
    world.provider.offers = [make_offer(n) for n in range(1, 9)]
    world.provider.launch_faults = [(OfferGone(), False)] * 9
    operation = world.run(world.wake(instance))
    instance.refresh_from_db()
    assert (operation.error_code, instance.status) == ("machines_exhausted", InstanceStatus.FAILED)
    assert len(world.provider.calls("launch")) == 5
    assert instance.snapshot is not None
    assert_consistent(instance)
    world.provider.launch_faults.clear()
    assert_awake(world, world.run(world.wake(instance)))


def test_no_offer_names_what_to_relax(world: World) -> None:
    instance = world.asleep()
    operation = world.wake(instance, params={"gpu_type": "H900", "max_price": "0.1"})
    world.step(operation)
    assert operation.waiting_for == "no offer fits now"
    world.step(operation)
    assert "take RTX 4090 instead of H900" in operation.waiting_for
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(minutes=11))
    world.run(operation)
    assert operation.error_code == "no_offer"
    assert "H900" in operation.error
    assert_consistent(instance)


def test_a_machine_that_is_never_reached_is_sent_away(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="reach")
    first = operation.machine
    world.box(first).unreachable = True
    world.step(operation)
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(minutes=11))
    assert_awake(world, world.run(operation))
    assert "machine_rejected" in events(instance)
    only_ours_bill(world, instance)
    first.refresh_from_db()
    assert first.state == MachineState.DESTROYED
    assert_consistent(instance)


def test_a_restore_that_fails_is_tried_again_then_elsewhere(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="thaw")
    first = operation.machine
    failed = JobProgress("", "thaw", "failed", error=JobError("io_error", "bad disk"))
    world.box(first).before_job = [failed] * 9
    machine = assert_awake(world, world.run(operation))
    assert machine != first
    only_ours_bill(world, instance)


def test_a_copy_that_cannot_be_restored_is_not_tried_on_machine_after_machine(world: World) -> None:
    instance = world.asleep()
    for path in world.store_root.rglob("*"):
        if path.is_file():
            path.unlink()
    operation = world.run(world.wake(instance))
    instance.refresh_from_db()
    assert (operation.error_code, instance.status) == ("snapshot_unproven", InstanceStatus.FAILED)
    assert len(world.provider.calls("launch")) == 1
    only_ours_bill(world, instance)
    assert_consistent(instance)


def test_an_agent_that_never_reports_is_installed_again_then_the_machine_sent_away(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="confirm")
    first = operation.machine
    world.box(first).reports = False
    world.log.clear()
    for _ in range(2):
        Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(minutes=4))
        world.step(operation)
        world.run(operation, until="confirm") if operation.step != "choose" else None
    assert world.log.count("install") == 1
    assert assert_awake(world, world.run(operation)) != first


def test_a_wake_past_its_deadline_sends_its_machine_away(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="install")
    Operation.objects.filter(pk=operation.pk).update(deadline_at=db_now())
    world.run(operation)
    instance.refresh_from_db()
    assert (operation.error_code, instance.status) == ("deadline", InstanceStatus.FAILED)
    only_ours_bill(world, instance)
    assert_consistent(instance)


def test_a_machine_lost_during_the_wake_is_replaced(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="install")
    first = operation.machine
    world.provider.machines.clear()
    reconcile()
    world.pass_time(70)
    reconcile()
    first.refresh_from_db()
    assert first.state == MachineState.LOST
    assert assert_awake(world, world.run(operation)) != first


def test_after_a_wake_the_instance_hibernates_again(world: World) -> None:
    instance = world.asleep()
    world.run(world.wake(instance))
    first = instance.snapshot
    operation = world.run(world.hibernate(instance))
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert operation.snapshot.parent == first
    assert_consistent(instance)


def test_a_deleted_instance_wakes(world: World) -> None:
    instance = world.asleep()
    Instance.objects.filter(pk=instance.pk).update(delete_due_at=db_now())
    from hibernation.services.sweep import sweep

    assert sweep() == 1
    operation = world.run(world.wake(instance))
    assert operation.status_before == InstanceStatus.DELETED
    assert_awake(world, operation)


def test_heartbeats_of_a_machine_being_prepared_do_not_touch_the_instance(world: World) -> None:
    instance = world.asleep()
    operation = world.run(world.wake(instance), until="thaw")
    world.beat(instance, 0.0)
    instance.refresh_from_db()
    operation.machine.refresh_from_db()
    assert operation.machine.first_heartbeat_at is not None
    assert (instance.status, instance.idle_since, instance.gpu_utilization) == (
        InstanceStatus.WAKING,
        None,
        None,
    )


def test_a_host_whose_machine_failed_is_remembered_by_other_wakes(world: World) -> None:
    operation = world.run(world.wake(world.asleep()), until="reach")
    world.step(operation)
    world.box(operation.machine).unreachable = True
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(minutes=11))
    world.step(operation)
    assert operation.step == "choose"
    host = Host.objects.get()
    assert (host.host, host.verdict) == ("host-1", "failed")
    other = world.run(world.wake(world.asleep()), until="launch")
    assert other.memo["offer"]["host"] == "host-2"


def test_the_disk_that_is_rented_has_room_for_what_is_restored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = world.asleep()
    Snapshot.objects.update(bytes_logical=50 * 10**9)
    asked = []
    launch = world.provider.launch
    monkeypatch.setattr(world.provider, "launch", lambda spec: asked.append(spec.disk_gb) or launch(spec))
    world.run(world.wake(instance), until="reach")
    assert asked == [55]
