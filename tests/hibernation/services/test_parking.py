"""Machines that are kept warm: stopped instead of ended, resumed by the next wake, ended in time, no work lost."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from hibernation.domain.errors import (
    Conflict,
    InvalidRequest,
    NoCapacity,
    ProviderRefused,
    ProviderUnavailable,
)
from hibernation.domain.standing import LISTS_BELIEVED
from hibernation.domain.states import CreditLevel, InstanceStatus, MachineState, OperationState, Phase
from hibernation.models import Instance, Machine, Operation, ProviderAccount, UsageInterval
from hibernation.providers.base import RentedMachine, SshAddress
from hibernation.services import operations
from hibernation.services.accounts import facts_of_all
from hibernation.services.clock import db_now
from hibernation.services.damage import clear_damage, record_damage
from hibernation.services.forget import forget_machine
from hibernation.services.heartbeats import Forbidden
from hibernation.services.instances import configure, release_instance
from hibernation.services.parking import MachineLive
from hibernation.services.reconcile import _declare_lost, reconcile
from hibernation.services.retention import SnapshotInUse, delete_snapshot
from hibernation.services.sightings import note_list
from hibernation.snapshots.verification import Fault
from tests.factories import PROVIDER
from tests.hibernation.services.box import tree
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db

ACTOR = "user:ana"


@pytest.fixture
def warm(world: World) -> World:
    world.provider.can_stop = world.provider.can_park = True
    return world


def awake(world: World, **more: Any) -> Instance:
    instance = world.awake(warm_minutes=30, **more)
    world.provider.show(machine_of(instance).contract_id or "", stopped_usd_hour=Decimal("0.0014"))
    reconcile()
    return instance


def parked(world: World, **more: Any) -> Instance:
    """An instance that sleeps, its machine stopped and kept warm."""
    instance = awake(world, **more)
    operation = world.run(world.hibernate(instance))
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert machine_of(instance).state == MachineState.PARKED
    world.log.clear()
    instance.refresh_from_db()
    return instance


def machine_of(instance: Instance) -> Machine:
    """The first that it ever had."""
    return instance.machines.order_by("id")[0]


def lists(world: World, times: int = LISTS_BELIEVED) -> None:
    for _ in range(times):
        world.pass_time(30)
        reconcile()


def damage(instance: Instance) -> None:
    assert instance.snapshot is not None
    record_damage(instance.snapshot, [Fault("a/pack", "its bytes are wrong")])
    instance.refresh_from_db()


def assert_elsewhere(world: World, instance: Instance, operation: Operation) -> None:
    """Woken on another machine; the one that was kept warm ends, and one bills."""
    assert operation.state == OperationState.SUCCEEDED, operation.error
    lists(world, 2)
    first, second = instance.machines.order_by("id")
    assert (first.state, second.state) == (MachineState.DESTROYED, MachineState.ACTIVE)
    assert list(world.provider.machines) == [second.contract_id]
    assert operation.result["snapshot_restored"] is True
    assert "resumed" not in operation.result
    assert_consistent(instance)


# Stopping


def test_a_saved_machine_is_stopped_and_kept(warm: World) -> None:
    instance = awake(warm)
    operation = warm.run(warm.hibernate(instance))
    machine = machine_of(instance)
    instance.refresh_from_db()
    assert (instance.status, machine.state) == (InstanceStatus.HIBERNATED, MachineState.PARKED)
    assert warm.provider.machines[machine.contract_id or ""].phase is Phase.STOPPED
    assert warm.provider.calls("destroy") == []
    assert machine.parked_until is not None
    assert timedelta(minutes=29) < machine.parked_until - db_now() <= timedelta(minutes=30)
    assert machine.parked_snapshot == instance.snapshot
    assert operation.result["instance_destroyed"] is False
    assert operation.result["kept_warm_until"] == machine.parked_until.isoformat()
    told = instance.events.filter(event_type="hibernated").get()
    assert "kept warm for 30 min at $0.0014/h" in told.reason
    assert_consistent(instance)


def test_its_disk_bills_from_then_on(warm: World) -> None:
    instance = parked(warm)
    machine = machine_of(instance)
    first, second = UsageInterval.objects.filter(machine=machine).order_by("id")
    assert (first.stopped, first.ended_at, first.price_per_hour) == (
        False,
        second.started_at,
        machine.price_per_hour,
    )
    assert (second.stopped, second.ended_at, second.price_per_hour) == (True, None, Decimal("0.0014"))
    reconcile()
    (account,) = facts_of_all()
    assert account.billing_now_usd_per_hour == pytest.approx(0.0014)
    assert ProviderAccount.objects.get(provider=PROVIDER).burn_per_hour == Decimal("0.0014")


@pytest.mark.parametrize("can_park", [False, True])
def test_it_is_ended_where_nobody_asked_or_the_provider_cannot(warm: World, can_park: bool) -> None:
    warm.provider.can_park = can_park
    instance = warm.awake(warm_minutes=0 if can_park else 30)
    operation = warm.run(warm.hibernate(instance))
    assert operation.result["instance_destroyed"] is True
    assert machine_of(instance).state == MachineState.DESTROYED
    assert_consistent(instance)


@pytest.mark.parametrize("error", [ProviderRefused("no"), ProviderUnavailable("away")])
def test_one_that_cannot_be_stopped_is_ended(warm: World, error: Any) -> None:
    instance = awake(warm)
    warm.provider.stop_errors = [error] * 99
    operation = warm.run(warm.hibernate(instance), until="destroy")
    for _ in range(20):
        warm.step(operation)
        warm.pass_time(20)
        if operation.state != OperationState.RUNNING:
            break
    assert operation.result["instance_destroyed"] is True
    assert warm.provider.machines == {}
    assert_consistent(instance)


def test_one_that_never_stops_is_ended(warm: World) -> None:
    instance = awake(warm)
    warm.provider.stops_ignored = 99
    operation = warm.run(warm.hibernate(instance), until="confirm")
    assert machine_of(instance).state == MachineState.PARKED
    warm.step(operation)
    assert operation.waiting_for == "the machine stops"
    warm.pass_time(200)
    warm.step(operation)
    assert "did not stop within 3 min" in machine_of(instance).state_reason
    warm.run(operation)
    assert operation.result["instance_destroyed"] is True
    assert_consistent(instance)


def test_one_that_vanishes_while_it_stops_is_gone(warm: World) -> None:
    instance = awake(warm)
    operation = warm.run(warm.hibernate(instance), until="confirm")
    warm.provider.machines.clear()
    reconcile()
    warm.run(operation)
    assert operation.result["instance_destroyed"] is True
    assert_consistent(instance)


def test_nothing_is_kept_while_the_money_ends(warm: World) -> None:
    instance = awake(warm)
    ProviderAccount.objects.filter(provider=PROVIDER).update(level=CreditLevel.FLOOR)
    operation = warm.run(warm.hibernate(instance))
    assert operation.result["instance_destroyed"] is True


def test_its_old_agent_is_heard_no_more(warm: World) -> None:
    instance = parked(warm)
    with pytest.raises(Forbidden):
        warm.beat(instance, 90.0)


# Resuming


def test_a_wake_resumes_it_with_its_workspace_and_downloads_nothing(warm: World) -> None:
    instance = awake(warm)
    before = tree(warm.box(instance).workspace)
    warm.run(warm.hibernate(instance))
    contract = machine_of(instance).contract_id
    warm.provider.show(contract or "", ssh=(SshAddress("192.0.2.9", 40022),))
    warm.log.clear()
    operation = warm.run(warm.wake(instance))
    assert operation.state == OperationState.SUCCEEDED, operation.error
    machine = instance.machines.get()
    instance.refresh_from_db()
    assert (instance.status, machine.state) == (InstanceStatus.RUNNING, MachineState.ACTIVE)
    assert (machine.parked_until, machine.parked_snapshot) == (None, None)
    assert machine.contract_id == contract
    assert warm.provider.calls("start") == [f"start {contract}"]
    assert warm.provider.calls("search") == warm.provider.calls("launch") == warm.provider.calls("thaw") == []
    assert warm.box(machine).downloads == []
    assert tree(warm.box(machine).workspace) == before
    assert operation.result["resumed"] is True
    assert operation.result["snapshot_restored"] is False
    assert "resume" in operation.result["stages"]
    assert "machine_resumed" in events(instance)
    assert_consistent(instance)


def test_the_first_heartbeat_must_come_from_its_new_life(warm: World) -> None:
    instance = parked(warm)
    warm.box(instance).reports = False
    operation = warm.run(warm.wake(instance), until="confirm")
    assert machine_of(instance).first_heartbeat_at is None
    assert warm.step(operation).waiting_for == "waiting for the agent's first heartbeat"


def test_it_is_saved_and_kept_again(warm: World) -> None:
    instance = parked(warm)
    warm.run(warm.wake(instance))
    operation = warm.run(warm.hibernate(instance))
    assert operation.result["instance_destroyed"] is False
    assert [one.stopped for one in UsageInterval.objects.order_by("id")] == [False, True, False, True]
    assert_consistent(instance)


def test_a_wake_that_was_asked_for_while_it_stops_resumes_it(warm: World) -> None:
    instance = awake(warm)
    hibernation = warm.run(warm.hibernate(instance), until="confirm")
    wake = warm.wake(instance)
    warm.run(hibernation)
    wake.refresh_from_db()
    assert warm.run(wake).result["resumed"] is True


@pytest.mark.parametrize("error", [NoCapacity("let to somebody else"), ProviderRefused("no")])
def test_a_machine_whose_gpu_was_let_is_ended_and_the_workspace_restored_elsewhere(
    warm: World, error: ProviderRefused
) -> None:
    instance = parked(warm)
    warm.provider.start_errors = [error]
    operation = warm.run(warm.wake(instance))
    assert_elsewhere(warm, instance, operation)
    told = instance.events.filter(event_type="machine_rejected").get()
    assert "cannot be started" in told.reason


def test_a_machine_that_does_not_run_in_time_is_ended(warm: World) -> None:
    instance = parked(warm)
    operation = warm.run(warm.wake(instance), until="loading")
    warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.STOPPED)
    warm.step(operation)
    warm.step(operation)
    assert operation.step == "loading"
    warm.pass_time(200)
    warm.step(operation)
    assert operation.step == "choose"
    assert_elsewhere(warm, instance, warm.run(operation))


@pytest.mark.parametrize("wish", [{"gpu_type": "RTX 3090"}, {"region": "SE"}, {"max_price": "0.25"}])
def test_a_machine_that_is_not_as_wished_now_is_ended(warm: World, wish: dict[str, Any]) -> None:
    instance = parked(warm)
    operation = warm.run(warm.wake(instance, params=wish), until="choose")
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.DESTROYED
    assert warm.provider.calls("start") == []
    assert "is not what is wished now" in instance.events.get(event_type="machine_rejected").reason
    assert operation.machine is None


def test_a_machine_in_the_wished_country_fits(warm: World) -> None:
    instance = awake(warm)
    warm.provider.show(machine_of(instance).contract_id or "", country="SE")
    reconcile()
    warm.run(warm.hibernate(instance))
    assert warm.run(warm.wake(instance, params={"region": "SE"})).result["resumed"] is True


def test_a_gpu_that_is_broken_since_is_found_out(warm: World) -> None:
    instance = parked(warm)
    box = warm.box(instance)
    box.tested = type(box.tested)((), (), "", "")
    operation = warm.run(warm.wake(instance), until="choose")
    assert operation.step == "choose"
    assert "0 of 1 GPUs" in instance.events.filter(event_type="machine_rejected").get().reason


def test_a_wake_that_is_called_off_before_the_start_leaves_it_parked(warm: World) -> None:
    instance = parked(warm)
    operation = warm.wake(instance)
    Operation.objects.filter(pk=operation.pk).update(cancel_reason="cancelled")
    assert warm.run(operation).state == OperationState.CANCELLED
    instance.refresh_from_db()
    assert (instance.status, machine_of(instance).state) == (InstanceStatus.HIBERNATED, MachineState.PARKED)
    assert warm.provider.calls("start") == []


def test_nobody_knows_where_it_stands_so_it_is_neither_started_nor_ended(warm: World) -> None:
    instance = parked(warm)
    warm.provider.list_error = ProviderUnavailable("away")
    operation = warm.wake(instance)
    warm.step(operation)
    warm.pass_time(700)
    warm.run(operation)
    assert (operation.state, machine_of(instance).state) == (OperationState.FAILED, MachineState.PARKED)


@pytest.mark.parametrize("step", ["destroy", "confirm"])
def test_a_worker_that_dies_while_it_stops_leaves_it_parked(warm: World, step: str) -> None:
    instance = awake(warm)
    operation = warm.run(warm.hibernate(instance), until=step)
    assert operations.claim(operation.pk, step)
    warm.pass_time(100)
    warm.run(operation)
    assert operation.result["instance_destroyed"] is False
    assert machine_of(instance).state == MachineState.PARKED
    assert_consistent(instance)


@pytest.mark.parametrize("visits", [0, 1, 2])
def test_a_worker_that_dies_while_it_starts_resumes_it_all_the_same(warm: World, visits: int) -> None:
    instance = parked(warm)
    operation = warm.wake(instance)
    for _ in range(visits):
        warm.step(operation)
    operation.refresh_from_db()
    operations.claim(operation.pk, operation.step)
    warm.pass_time(100)
    assert warm.run(operation).result["resumed"] is True
    assert len(warm.provider.machines) == 1
    assert_consistent(instance)


# What lists say meanwhile


def test_when_its_time_is_over_it_is_ended_and_that_is_confirmed(warm: World) -> None:
    instance = parked(warm)
    lists(warm, 4)
    assert machine_of(instance).state == MachineState.PARKED
    warm.pass_time(30 * 60)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.DESTROYED
    assert warm.provider.machines == {}
    assert events(instance)[-2:] == ["parking_ended", "machine_destroyed"]
    assert "its time is over" in instance.events.get(event_type="parking_ended").reason
    assert_consistent(instance)


def test_a_list_of_long_ago_ends_nothing(warm: World) -> None:
    instance = parked(warm)
    reconcile()
    warm.provider.list_error = ProviderUnavailable("away")
    warm.pass_time(3600)
    reconcile()
    assert machine_of(instance).state == MachineState.PARKED


def test_switched_off_it_is_ended(warm: World) -> None:
    instance = parked(warm)
    configure(instance.pk, {"warm_minutes": 0}, actor=ACTOR)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.DESTROYED


def test_a_longer_time_counts_at_once(warm: World) -> None:
    instance = parked(warm)
    configure(instance.pk, {"warm_minutes": 120}, actor=ACTOR)
    warm.pass_time(3600)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.PARKED


@pytest.mark.parametrize("why", ["credit", "end"])
def test_the_end_of_the_money_or_of_the_rental_ends_it_early(warm: World, why: str) -> None:
    instance = parked(warm)
    if why == "credit":
        ProviderAccount.objects.filter(provider=PROVIDER).update(level=CreditLevel.FLOOR)
    else:
        soon = db_now() + timedelta(minutes=90)
        warm.provider.show(machine_of(instance).contract_id or "", ends_at=soon)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.DESTROYED


def test_what_does_not_stay_stopped_is_ended(warm: World) -> None:
    instance = parked(warm)
    warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.FAILED, reason="frozen")
    lists(warm, 5)
    assert machine_of(instance).state == MachineState.DESTROYED


def test_one_that_runs_and_not_by_us_is_looked_after_again(warm: World) -> None:
    instance = parked(warm)
    warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.RUNNING)
    lists(warm, LISTS_BELIEVED - 1)
    assert machine_of(instance).state == MachineState.PARKED
    lists(warm, 1)
    instance.refresh_from_db()
    assert (instance.status, machine_of(instance).state) == (InstanceStatus.RUNNING, MachineState.ACTIVE)
    assert "machine_returned" in events(instance)
    assert "install" in warm.log
    assert "resume" in warm.log
    assert_consistent(instance)
    warm.beat(instance, 0.0)
    assert warm.run(warm.hibernate(instance)).result["instance_destroyed"] is False
    assert warm.provider.calls("destroy") == []


def test_one_that_ran_on_when_it_was_parked_is_looked_after_again(warm: World) -> None:
    """A list that was on its way meanwhile must not make all that follow it look old."""
    instance = parked(warm)
    warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.RUNNING)
    note_list(PROVIDER, warm.provider.machines, machine_of(instance).state_changed_at)
    assert machine_of(instance).phase == ""
    lists(warm)
    assert machine_of(instance).state == MachineState.ACTIVE


def test_what_was_seen_of_one_before_it_was_parked_is_not_counted(warm: World) -> None:
    instance = parked(warm)
    machine = machine_of(instance)
    warm.provider.show(machine.contract_id or "", phase=Phase.RUNNING)
    instance.machines.update(phase=Phase.RUNNING, phase_since=machine.state_changed_at, phase_lists=7)
    lists(warm, 1)
    assert machine_of(instance).phase_lists == 1
    lists(warm, LISTS_BELIEVED - 1)
    assert machine_of(instance).state == MachineState.ACTIVE


@pytest.mark.django_db(transaction=True)
def test_a_list_does_not_write_over_a_machine_that_is_being_parked(warm: World) -> None:
    instance = awake(warm)
    machine = machine_of(instance)
    taken_at = db_now()

    def note() -> None:
        with closing(connection):
            note_list(PROVIDER, warm.provider.machines, taken_at)

    with transaction.atomic():
        instance.machines.update(phase="", phase_lists=0, state_changed_at=db_now())
        thread = threading.Thread(target=note)
        thread.start()
        thread.join(timeout=5)
        was_left_out = not thread.is_alive()
    thread.join()
    machine.refresh_from_db()
    assert (was_left_out, machine.phase, machine.phase_lists) == (True, "", 0)


def test_its_time_does_not_end_one_that_runs(warm: World) -> None:
    instance = parked(warm)
    warm.pass_time(3600)
    warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.RUNNING)
    lists(warm)
    assert machine_of(instance).state == MachineState.ACTIVE


def test_a_wake_of_one_that_runs_already_takes_it_whatever_is_wished(warm: World) -> None:
    instance = parked(warm)
    warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.RUNNING)
    operation = warm.run(warm.wake(instance, params={"max_price": "0.1"}))
    assert operation.result["resumed"] is True
    assert warm.provider.calls("start") == []


def test_a_wake_that_fails_on_one_that_ran_already_ends_nothing(warm: World) -> None:
    instance = parked(warm)
    warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.RUNNING)
    box = warm.box(instance)
    box.tested = type(box.tested)((), (), "", "")
    operation = warm.run(warm.wake(instance))
    instance.refresh_from_db()
    assert (operation.error_code, instance.status) == ("machine_needed", InstanceStatus.RUNNING)
    assert machine_of(instance).state == MachineState.ACTIVE
    assert_consistent(instance)


def test_one_that_vanishes_is_over_and_the_workspace_wakes_elsewhere(warm: World) -> None:
    instance = parked(warm)
    warm.provider.machines.clear()
    lists(warm, 4)
    assert machine_of(instance).state == MachineState.DESTROYED
    assert events(instance)[-1] == "machine_lost"
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    assert_elsewhere(warm, instance, warm.run(warm.wake(instance)))


def test_one_that_vanished_while_somebody_ran_it_counts_if_it_comes_back(warm: World) -> None:
    instance = parked(warm)
    contract = machine_of(instance).contract_id or ""
    warm.provider.show(contract, phase=Phase.RUNNING)
    lists(warm, 1)
    warm.provider.hidden.add(contract)
    lists(warm, 4)
    assert machine_of(instance).state == MachineState.LOST
    warm.provider.hidden.clear()
    lists(warm, 1)
    instance.refresh_from_db()
    assert (instance.status, machine_of(instance).state) == (InstanceStatus.RUNNING, MachineState.ACTIVE)
    bills = UsageInterval.objects.get(ended_at__isnull=True)
    assert (bills.stopped, bills.price_per_hour) == (False, machine_of(instance).price_per_hour)
    assert_consistent(instance)


@pytest.mark.parametrize("kind", ["hibernation", "wake"])
def test_one_that_vanishes_is_left_to_the_operation_at_work_on_it(warm: World, kind: str) -> None:
    if kind == "wake":
        instance = parked(warm)
        operation = warm.wake(instance)
    else:
        instance = awake(warm)
        operation = warm.run(warm.hibernate(instance), until="confirm")
    warm.provider.machines.clear()
    _declare_lost(machine_of(instance).pk)
    assert machine_of(instance).state == MachineState.PARKED
    warm.step(operation)
    warm.pass_time(200)
    warm.run(operation)
    assert operation.state == OperationState.SUCCEEDED, operation.error
    assert machine_of(instance).state in (MachineState.DESTROYED, MachineState.DESTROYING, MachineState.LOST)


def lost_by_its_wake(world: World) -> tuple[Instance, Machine, RentedMachine]:
    """A machine that a wake was starting when lists began to lack it; the wake went on elsewhere and succeeded."""
    instance = parked(world)
    operation = world.run(world.wake(instance), until="loading")
    first = machine_of(instance)
    listed = world.provider.machines.pop(first.contract_id or "")
    lists(world, 4)
    assert machine_of(instance).state == MachineState.LOST
    assert world.run(operation).state == OperationState.SUCCEEDED
    first.refresh_from_db()
    return instance, first, listed


def test_one_that_its_wake_lost_is_ended_when_it_comes_back(warm: World) -> None:
    instance, first, listed = lost_by_its_wake(warm)
    warm.provider.machines[listed.contract_id] = listed
    lists(warm, 3)
    first.refresh_from_db()
    assert first.state == MachineState.DESTROYED
    assert listed.contract_id not in warm.provider.machines
    assert_consistent(instance)


def test_one_that_is_lost_does_not_come_back_beside_a_parked_one(
    warm: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is believed to hold: one machine at a time is kept."""
    instance, first, listed = lost_by_its_wake(warm)
    warm.run(warm.hibernate(instance))
    Operation.objects.filter(instance=instance, kind="wake").update(machine=first)
    warm.provider.machines[listed.contract_id] = listed
    lists(warm, 2)
    first.refresh_from_db()
    instance.refresh_from_db()
    assert (first.state, instance.status) == (MachineState.LOST, InstanceStatus.HIBERNATED)
    assert "failed" not in caplog.text
    assert_consistent(instance)


# A copy that is not good any more


def test_the_disk_of_a_damaged_copy_is_kept_past_its_time_and_told_daily(warm: World) -> None:
    instance = parked(warm)
    damage(instance)
    warm.pass_time(3600)
    lists(warm, 3)
    assert machine_of(instance).state == MachineState.PARKED
    assert events(instance).count("still_billing") == 1
    instance.refresh_from_db()
    assert "forget_machine" in instance.last_error
    warm.pass_time(24 * 3600)
    lists(warm, 1)
    assert events(instance).count("still_billing") == 2


def test_a_damaged_copy_that_is_right_again_lets_it_end(warm: World) -> None:
    instance = parked(warm)
    damage(instance)
    assert instance.snapshot is not None
    clear_damage(instance.snapshot)
    warm.pass_time(3600)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.DESTROYED


def test_a_wake_takes_the_only_right_disk(warm: World) -> None:
    instance = parked(warm)
    before = tree(warm.box(instance).workspace)
    damage(instance)
    operation = warm.run(warm.wake(instance))
    assert operation.result["resumed"] is True
    assert tree(warm.box(instance).workspace) == before


@pytest.mark.parametrize("wish", [{}, {"max_price": "0.1"}])
def test_a_wake_that_cannot_have_it_ends_without_ending_it(warm: World, wish: dict[str, Any]) -> None:
    instance = parked(warm)
    damage(instance)
    warm.provider.start_errors = [NoCapacity()]
    operation = warm.run(warm.wake(instance, params=wish))
    assert (operation.state, operation.error_code) == (OperationState.FAILED, "machine_needed")
    assert machine_of(instance).state == MachineState.PARKED
    assert warm.provider.calls("search") == warm.provider.calls("destroy") == []
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.FAILED
    assert_consistent(instance)
    warm.provider.start_errors = []
    assert warm.run(warm.wake(instance)).result["resumed"] is True


def test_one_that_does_not_stop_is_kept_if_its_copy_is_damaged(warm: World) -> None:
    instance = awake(warm)
    warm.provider.stops_ignored = 99
    operation = warm.run(warm.hibernate(instance), until="confirm")
    instance.refresh_from_db()
    damage(instance)
    warm.pass_time(200)
    warm.run(operation)
    assert operation.result["instance_destroyed"] is False
    lists(warm)
    assert machine_of(instance).state == MachineState.ACTIVE


def test_a_person_may_give_the_only_right_disk_up(warm: World) -> None:
    instance = parked(warm)
    damage(instance)
    forget_machine(machine_of(instance).contract_id or "", actor=ACTOR)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.DESTROYED
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED


def test_the_only_right_disk_that_is_not_listed_is_told_and_waited_for(warm: World) -> None:
    instance = parked(warm)
    damage(instance)
    warm.provider.hidden.add(machine_of(instance).contract_id or "")
    lists(warm, 6)
    assert machine_of(instance).state == MachineState.PARKED
    assert "is not listed any more" in instance.events.filter(event_type="still_billing").get().reason


# Letting go


def test_a_released_instance_ends_its_parked_machine(warm: World) -> None:
    instance = parked(warm)
    reconcile()
    release_instance(instance.pk, actor=ACTOR)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.DESTROYED


def test_a_released_instance_may_leave_it(warm: World) -> None:
    instance = parked(warm)
    release_instance(instance.pk, actor=ACTOR, leave_machine=True)
    lists(warm, 2)
    assert machine_of(instance).state == MachineState.RELEASED
    assert len(warm.provider.machines) == 1


@pytest.mark.parametrize("why", ["damaged", "not seen", "runs"])
def test_what_may_hold_work_is_not_released_unseen(warm: World, why: str) -> None:
    instance = parked(warm)
    if why == "runs":
        warm.provider.show(machine_of(instance).contract_id or "", phase=Phase.RUNNING)
    if why != "not seen":
        reconcile()
    if why == "damaged":
        damage(instance)
    with pytest.raises(MachineLive):
        release_instance(instance.pk, actor=ACTOR)
    assert machine_of(instance).state == MachineState.PARKED


def test_the_copy_that_it_would_end_on_cannot_be_deleted(warm: World) -> None:
    instance = parked(warm)
    assert instance.snapshot is not None
    with pytest.raises(SnapshotInUse):
        delete_snapshot(instance.pk, instance.snapshot.name, actor=ACTOR, last_copy=True)


def test_a_provider_that_cannot_park_refuses_the_wish(warm: World) -> None:
    warm.provider.can_park = False
    instance = warm.awake()
    with pytest.raises(InvalidRequest) as raised:
        configure(instance.pk, {"warm_minutes": 5}, actor=ACTOR)
    assert "keep_warm_minutes" in raised.value.fields


def test_hibernating_what_is_parked_is_a_conflict(warm: World) -> None:
    instance = parked(warm)
    with pytest.raises(Conflict):
        warm.hibernate(instance)
