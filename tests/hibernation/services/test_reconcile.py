"""The reconciler on real rows: drift is repaired, nothing that is not ours or not certain is touched."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import IntegrityError

from hibernation.domain.errors import ProviderUnavailable
from hibernation.domain.states import InstanceStatus, MachineState, OperationState, Phase
from hibernation.models import Event, Instance, Machine, Operation, UsageInterval
from hibernation.services import reconcile as reconciling
from hibernation.services.clock import db_now
from hibernation.services.reconcile import _destroy, reconcile
from tests.factories import idle_for, make_machine
from tests.hibernation.services.provider import FakeProvider
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def only_machine() -> Machine:
    return Machine.objects.get()


def test_what_agrees_is_left_alone(world: World) -> None:
    world.awake()
    assert reconcile() == 0


def test_a_machine_that_vanishes_is_lost_after_the_grace(world: World) -> None:
    instance = world.awake()
    world.provider.machines.clear()
    reconcile()
    assert only_machine().state == MachineState.ACTIVE
    world.pass_time(61)
    reconcile()
    instance.refresh_from_db()
    assert (only_machine().state, instance.status) == (MachineState.LOST, InstanceStatus.FAILED)
    assert "vanished" in instance.last_error
    event = instance.events.get()
    assert (event.event_type, event.status_to) == ("machine_lost", "failed")
    assert_consistent(instance)


def test_a_machine_missing_from_one_list_only_is_not_lost(world: World) -> None:
    instance = world.awake()
    contract = only_machine().contract_id
    assert contract is not None
    world.provider.hidden = {contract}
    reconcile()
    world.provider.hidden = set()
    reconcile()
    world.provider.hidden = {contract}
    world.pass_time(61)
    reconcile()
    assert only_machine().state == MachineState.ACTIVE
    assert events(instance) == []


def test_half_the_fleet_missing_at_once_is_doubted(world: World) -> None:
    for _ in range(3):
        world.awake()
    world.provider.machines.clear()
    reconcile()
    world.pass_time(120)
    reconcile()
    assert not Machine.objects.filter(state=MachineState.LOST).exists()
    world.pass_time(600)
    reconcile()
    assert Machine.objects.filter(state=MachineState.LOST).count() == 3


def test_a_lost_machine_that_returns_with_its_work_is_taken_back(world: World) -> None:
    instance = lost(world)
    machine = only_machine()
    world.provider.rent(machine.label, contract=machine.contract_id)
    reconcile()
    instance.refresh_from_db()
    assert (only_machine().state, instance.status) == (MachineState.ACTIVE, InstanceStatus.RUNNING)
    assert events(instance) == ["machine_lost", "machine_returned"]
    assert_consistent(instance)


def test_a_lost_machine_that_returns_and_does_not_answer_waits(world: World) -> None:
    instance = lost(world)
    machine = only_machine()
    world.box(machine).unreachable = True
    world.provider.rent(machine.label, contract=machine.contract_id)
    reconcile()
    assert only_machine().state == MachineState.LOST
    assert world.provider.calls("destroy") == []
    assert_consistent(instance)


def test_a_lost_machine_that_returns_and_does_not_answer_is_told_daily(world: World) -> None:
    instance = lost(world)
    machine = only_machine()
    world.box(machine).unreachable = True
    world.provider.rent(machine.label, contract=machine.contract_id)
    for _ in range(3):
        reconcile()
        world.pass_time(30)
    assert events(instance) == ["machine_lost", "still_billing"]
    assert "forget_machine" in instance.events.latest("id").reason
    world.pass_time(24 * 3600)
    reconcile()
    assert events(instance).count("still_billing") == 2
    world.box(machine).unreachable = False
    reconcile()
    assert (only_machine().state, only_machine().alarmed_at) == (MachineState.ACTIVE, None)


def test_a_lost_machine_that_returns_after_a_wake_elsewhere_is_ended(world: World) -> None:
    instance = world.asleep()
    world.run(world.wake(instance))
    machine = instance.machines.get(state=MachineState.ACTIVE)
    listed = world.provider.machines.pop(machine.contract_id or "")
    reconcile()
    world.pass_time(61)
    reconcile()
    world.run(world.wake(instance))
    world.provider.machines[listed.contract_id] = listed
    reconcile()
    reconcile()
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYED
    assert listed.contract_id not in world.provider.machines
    assert_consistent(instance)


def test_a_lost_machine_that_returns_after_a_wake_that_failed_is_taken_back(world: World) -> None:
    instance = world.asleep()
    world.run(world.wake(instance))
    machine = instance.machines.get(state=MachineState.ACTIVE)
    listed = world.provider.machines.pop(machine.contract_id or "")
    reconcile()
    world.pass_time(61)
    reconcile()
    wake = world.wake(instance)
    Operation.objects.filter(pk=wake.pk).update(deadline_at=wake.started_at)
    world.provider.machines[listed.contract_id] = listed
    reconcile()  # while the wake may still fail
    world.run(wake)
    assert wake.state == OperationState.FAILED
    reconcile()
    machine.refresh_from_db()
    instance.refresh_from_db()
    assert (machine.state, instance.status) == (MachineState.ACTIVE, InstanceStatus.RUNNING)
    assert_consistent(instance)


def test_a_machine_that_is_not_listed_but_reports_stays(world: World) -> None:
    instance = world.awake()
    world.provider.machines.clear()
    reconcile()
    world.pass_time(61)
    world.beat(instance, 90.0)
    reconcile()
    assert only_machine().state == MachineState.ACTIVE


def test_a_machine_lost_after_its_proof_that_returns_is_taken_back(world: World) -> None:
    """Its workspace may have changed since the copy was proven."""
    instance = world.awake()
    operation = world.run(world.hibernate(instance), until="fence")
    machine = only_machine()
    listed = world.provider.machines.pop(machine.contract_id or "")
    reconcile()
    world.pass_time(61)
    reconcile()
    world.run(operation)
    world.provider.machines[listed.contract_id] = listed
    reconcile()
    instance.refresh_from_db()
    assert (only_machine().state, instance.status) == (MachineState.ACTIVE, InstanceStatus.RUNNING)
    assert_consistent(instance)


def lost(world: World) -> Instance:
    instance = world.awake()
    world.provider.machines.clear()
    reconcile()
    world.pass_time(61)
    reconcile()
    assert only_machine().state == MachineState.LOST
    return instance


def test_our_label_without_a_row_is_an_orphan_reported_then_ended(world: World) -> None:
    world.provider.rent(f"{settings.DUMONT_LABEL_PREFIX}ghost", contract="666")
    reconcile()
    assert only_machine().state == MachineState.ORPHAN
    assert Event.objects.get().event_type == "orphan_found"
    reconcile()
    assert world.provider.calls("destroy") == []
    world.pass_time(301)
    reconcile()
    reconcile()
    assert only_machine().state == MachineState.DESTROYED
    assert world.provider.machines == {}
    assert UsageInterval.objects.filter(ended_at__isnull=True).count() == 0


def test_an_orphan_that_goes_by_itself_is_over(world: World) -> None:
    world.provider.rent(f"{settings.DUMONT_LABEL_PREFIX}ghost", contract="666")
    reconcile()
    world.provider.machines.clear()
    reconcile()
    assert only_machine().state == MachineState.DESTROYED


def test_a_row_that_cannot_be_dealt_with_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (make_machine(None, state=MachineState.DESTROYING) for _ in range(2))

    def deal(provider: FakeProvider, machine_id: int, contract_id: str) -> None:
        if machine_id == first.pk:
            raise IntegrityError("a row in the way")
        _destroy(provider, machine_id, contract_id)

    monkeypatch.setattr(reconciling, "_destroy", deal)
    reconcile()
    assert world.provider.calls("destroy") == [f"destroy {second.contract_id}"]
    assert f"machine_id={first.pk}" in caplog.text


def test_strangers_are_never_touched(world: World) -> None:
    world.provider.rent("somebody's own machine", contract="1")
    world.provider.rent("dumont-otherone-x", contract="2")
    for _ in range(4):
        assert reconcile() == 0
        world.pass_time(600)
    assert set(world.provider.machines) == {"1", "2"}
    assert not Machine.objects.exists()


def test_a_destroying_machine_is_asked_once_and_confirmed_by_the_list(world: World) -> None:
    machine = make_machine(None, state=MachineState.DESTROYING)
    world.provider.rent(machine.label, contract=machine.contract_id)
    reconcile()
    reconcile()
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYED
    assert len(world.provider.calls("destroy")) == 1
    assert Event.objects.get().event_type == "machine_destroyed"


def test_two_reconcilers_do_not_ask_together(world: World) -> None:
    machine = make_machine(None, state=MachineState.DESTROYING)
    for _ in range(2):
        _destroy(world.provider, machine.pk, machine.contract_id or "")
    assert len(world.provider.calls("destroy")) == 1


def test_a_refused_destroy_is_repeated_later(world: World) -> None:
    machine = make_machine(None, state=MachineState.DESTROYING)
    world.provider.rent(machine.label, contract=machine.contract_id)
    world.provider.destroys_refused = 2
    for _ in range(5):
        reconcile()
        world.pass_time(30)
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYED
    assert len(world.provider.calls("destroy")) == 3


def test_a_machine_that_a_hibernation_is_ending_is_left_to_it(world: World) -> None:
    instance = world.awake()
    world.provider.destroys_ignored = 1
    world.run(world.hibernate(instance), until="confirm")
    world.pass_time(30)
    world.log.clear()
    reconcile()
    assert world.provider.calls("destroy") == []


def test_a_machine_confirmed_gone_that_is_listed_again_is_ended_again_and_billed(world: World) -> None:
    instance = world.asleep()
    machine = only_machine()
    world.pass_time(120)
    world.provider.rent(machine.label, contract=machine.contract_id)
    reconcile()
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYING
    assert UsageInterval.objects.get(machine=machine).ended_at is None
    world.pass_time(120)
    reconcile()
    reconcile()
    assert world.provider.machines == {}
    assert_consistent(instance)


def test_without_a_complete_list_nothing_happens(world: World) -> None:
    instance = world.awake()
    machine = make_machine(None, state=MachineState.DESTROYING)
    world.provider.list_error = ProviderUnavailable("cut short")
    before = list(Machine.objects.order_by("pk").values())
    Instance.objects.filter(pk=instance.pk).update(last_heartbeat_at=db_now() - timedelta(hours=1))
    for _ in range(3):
        assert reconcile() == 0
    assert list(Machine.objects.order_by("pk").values()) == before
    assert world.provider.calls("destroy") == []
    assert machine.state == MachineState.DESTROYING


def test_a_launch_that_was_carried_out_twice_leaves_an_orphan_with_a_name_of_its_own(world: World) -> None:
    instance = world.awake()
    label = f"{settings.DUMONT_LABEL_PREFIX}{'x' * 200}"
    instance.machines.update(label=label[:128])
    world.provider.rent(label[:128], contract="666")
    world.provider.rent(label, contract="667")
    reconcile()
    orphans = Machine.objects.filter(state=MachineState.ORPHAN)
    assert set(orphans.values_list("contract_id", flat=True)) == {"666", "667"}
    assert all(orphan.label.endswith(f"#{orphan.contract_id}") for orphan in orphans)


def test_a_machine_that_its_host_stopped_under_the_fence_ends_hibernated(world: World) -> None:
    instance = world.awake(**idle_for(4))
    operation = world.run(world.hibernate(instance, forced=False), until="destroy")
    world.box(instance).unreachable = True
    for contract in world.provider.machines:
        world.provider.show(contract, phase=Phase.STOPPED)
    for _ in range(3):
        reconcile()
        world.pass_time(31)
    world.run(operation)
    instance.refresh_from_db()
    assert (operation.state, instance.status) == (OperationState.SUCCEEDED, InstanceStatus.HIBERNATED)
    assert_consistent(instance)
