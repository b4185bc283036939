"""Two machines of one wake on real rows: set aside, taken back, sent away, and found where nobody holds them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from pytest_django import Settings

from hibernation.api.serializers import current_machine
from hibernation.domain.errors import LaunchDeferred
from hibernation.domain.facts import Arrival, Memo
from hibernation.domain.states import MachineState, OperationState, Phase
from hibernation.models import Machine, Operation, UsageInterval
from hibernation.services.clock import db_now
from hibernation.services.facts import dump_memo, load_memo
from hibernation.services.reconcile import _send_away, reconcile
from tests.factories import make_instance, make_machine, make_offer, make_operation
from tests.hibernation.services.test_wake import assert_awake, only_ours_bill
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(world: World, settings: Settings) -> World:
    settings.DUMONT_HEDGE_MOST_USD = Decimal("0.25")
    return world


def slow(world: World) -> Operation:
    """A wake whose first machine has been loading for a hundred seconds."""
    operation = world.run(world.wake(world.asleep()), until="loading")
    machine = operation.machine
    assert machine is not None
    world.provider.show(machine.contract_id or "", phase=Phase.LOADING)
    Operation.objects.filter(pk=operation.pk).update(entered_at=db_now() - timedelta(seconds=100))
    return operation


def aside(world: World) -> Operation:
    """One that looks for a second."""
    operation = world.run(slow(world), until="choose")
    assert operation.spare is not None
    assert operation.machine is None
    return operation


def test_a_memo_comes_back_as_it_was() -> None:
    offer = make_offer(2, disk_usd_gb_month=Decimal("0.15"))
    memo = Memo(
        offer=make_offer(), avoid_hosts=("h",), hedged=True, spare=Arrival(offer=offer, stage="reach")
    )
    assert load_memo(dump_memo(memo)) == memo
    assert load_memo({}) == Memo()


def test_the_second_wins_and_the_first_is_ended_and_billed_till_then(world: World) -> None:
    operation = slow(world)
    first, instance = operation.machine, operation.instance
    assert_awake(world, world.run(operation))
    only_ours_bill(world, instance)
    second = instance.machines.order_by("-id")[0]
    assert first is not None
    first.refresh_from_db()
    assert (second.state, operation.machine, operation.spare) == (MachineState.ACTIVE, second, None)
    assert first.state == MachineState.DESTROYED
    assert events(instance).count("hedge_started") == events(instance).count("spare_dismissed") == 1
    assert_consistent(instance)


def test_the_second_is_ordered_at_once_or_not_at_all(world: World) -> None:
    operation = world.run(aside(world), until="launch")
    world.provider.launch_faults = [(LaunchDeferred("in line", 30), False)]
    world.step(operation)
    assert [order.at_once for order in world.provider.orders[-2:]] == [False, True]
    assert operation.step == "loading"
    assert operation.machine is not None
    assert (operation.machine.state, operation.spare) == (MachineState.LAUNCHED, None)


def test_being_set_aside_changes_nothing_of_a_rental(world: World) -> None:
    operation = slow(world)
    assert operation.machine is not None
    launched_at = Machine.objects.get(pk=operation.machine.pk).launched_at
    world.run(operation, until="choose")
    world.provider.offers = []
    world.step(operation)
    machine = Machine.objects.get(pk=operation.machine_id)
    assert (machine.state, machine.launched_at) == (MachineState.LAUNCHED, launched_at)
    assert UsageInterval.objects.get(machine=machine).ended_at is None


def test_a_machine_that_answers_is_known_by_its_key_also_where_it_was_set_aside(world: World) -> None:
    operation = world.run(slow(world), until="race")
    first = operation.spare
    assert first is not None
    second = operation.machine
    assert second is not None
    world.provider.show(second.contract_id or "", phase=Phase.LOADING)
    world.provider.show(first.contract_id or "", phase=Phase.RUNNING)
    world.run(operation, until="install")
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.host_key, first.ssh_port) == (MachineState.LAUNCHED, "ssh-ed25519 AAAA", 22)
    assert second.state == MachineState.DESTROYING
    assert operation.machine == first


def test_the_status_of_an_instance_shows_the_machine_that_was_set_aside(world: World) -> None:
    operation = aside(world)
    assert current_machine(operation.instance) == operation.spare


def test_a_spare_of_a_wake_that_runs_is_left_alone(world: World) -> None:
    operation = aside(world)
    assert operation.spare is not None
    assert reconcile() == 0
    assert not _send_away(operation.spare.pk, operation.spare.contract_id or "")
    operation = world.run(operation, until="race")
    assert reconcile() == 0


def test_a_spare_that_nobody_holds_is_ended(world: World) -> None:
    instance = make_instance(status="failed")
    machine = make_machine(instance, state=MachineState.SPARE, activated_at=None)
    make_operation(
        instance, kind="wake", state=OperationState.FAILED, finished_at=db_now() + timedelta(seconds=1)
    )
    world.provider.rent(machine.label, contract=machine.contract_id)
    reconcile()
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYING
    reconcile()
    machine.refresh_from_db()
    assert machine.state == MachineState.DESTROYED
    assert world.provider.machines == {}


def test_a_spare_that_vanished_is_dropped_and_the_wake_goes_on(world: World) -> None:
    operation = world.run(slow(world), until="race")
    spare = operation.spare
    assert spare is not None
    del world.provider.machines[spare.contract_id or ""]
    reconcile()
    world.pass_time(61)
    reconcile()
    spare.refresh_from_db()
    assert spare.state == MachineState.LOST
    assert_awake(world, world.run(operation))
    assert "machine_lost" in events(operation.instance)
    assert_consistent(operation.instance)


def test_a_cancelled_race_leaves_nothing_that_bills(world: World) -> None:
    operation = world.run(slow(world), until="race")
    Operation.objects.filter(pk=operation.pk).update(cancel_reason="cancelled")
    world.run(operation)
    for _ in range(2):
        reconcile()
    assert operation.spare is None
    assert world.provider.machines == {}
    assert_consistent(operation.instance)
