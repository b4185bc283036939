"""Machines that stand still or are out of reach: told once, started again, put back to work, never ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hibernation.domain.errors import Conflict, NoCapacity, NotFound, ProviderUnavailable
from hibernation.domain.standing import LISTS_BELIEVED, STARTS_AT_MOST
from hibernation.domain.states import InstanceStatus, MachineState, Phase
from hibernation.models import Instance, Machine
from hibernation.providers.base import SshAddress
from hibernation.services.forget import forget_machine
from hibernation.services.reconcile import reconcile
from tests.factories import idle_for, make_operation, make_snapshot
from tests.hibernation.services.world import World, assert_consistent, events

pytestmark = pytest.mark.django_db


def machine_of(instance: Instance) -> Machine:
    return instance.machines.get()


def show(world: World, instance: Instance, **changes: Any) -> None:
    world.provider.show(machine_of(instance).contract_id or "", **changes)


def lists(world: World, times: int = LISTS_BELIEVED, *, pause: float = 30) -> None:
    for _ in range(times):
        world.pass_time(pause)
        reconcile()


def stopped(world: World, *, phase: Phase = Phase.STOPPED, **more: Any) -> Instance:
    world.provider.can_stop = True
    instance = world.awake(**more)
    show(world, instance, phase=phase, reason="outbid")
    lists(world)
    instance.refresh_from_db()
    return instance


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (Phase.STOPPED, "machine_stopped"),
        (Phase.FAILED, "machine_stopped"),
        (Phase.OFFLINE, "machine_offline"),
    ],
)
def test_it_is_told_once_with_the_providers_words(world: World, phase: Phase, event: str) -> None:
    world.provider.start_errors = [NoCapacity()] * 9
    instance = stopped(world, phase=phase)
    lists(world)
    assert events(instance) == [event]
    assert "outbid" in instance.last_error
    assert machine_of(instance).state == MachineState.ACTIVE
    assert_consistent(instance)


def test_one_or_two_lists_are_not_believed(world: World) -> None:
    instance = world.awake()
    show(world, instance, phase=Phase.STOPPED)
    lists(world, LISTS_BELIEVED - 1)
    show(world, instance, phase=Phase.RUNNING)
    lists(world, 1)
    show(world, instance, phase=Phase.STOPPED)
    lists(world, LISTS_BELIEVED - 1)
    assert events(instance) == []


def test_a_machine_that_reports_is_not_stopped_whatever_lists_say(world: World) -> None:
    instance = world.awake()
    show(world, instance, phase=Phase.STOPPED)
    for _ in range(LISTS_BELIEVED + 2):
        world.beat(instance, 90.0)
        lists(world, 1)
    assert events(instance) == []


def test_an_idle_one_counts_as_active_when_nobody_sees_it(world: World) -> None:
    instance = stopped(world, **idle_for(1))
    assert instance.status == InstanceStatus.RUNNING
    assert_consistent(instance)


def test_a_stopped_machine_is_started_and_gets_its_agent_at_its_new_address(world: World) -> None:
    instance = stopped(world)
    show(world, instance, ssh=(SshAddress("192.0.2.9", 40022),))
    lists(world, 1)
    lists(world, LISTS_BELIEVED, pause=300)
    machine = machine_of(instance)
    assert world.provider.calls("start") == [f"start {machine.contract_id}"]
    assert (machine.ssh_host, machine.ssh_port) == ("192.0.2.9", 40022)
    world.beat(instance, 50.0)
    lists(world, 1, pause=0)
    machine.refresh_from_db()
    assert (machine.down_since, machine.starts) == (None, 0)
    instance.refresh_from_db()
    assert instance.last_error == ""
    assert events(instance) == ["machine_stopped", "machine_started", "machine_returned"]
    assert_consistent(instance)


def test_a_gpu_that_is_let_to_somebody_else_is_waited_for_without_end(world: World) -> None:
    world.provider.start_errors = [NoCapacity() for _ in range(9)]
    instance = stopped(world)
    lists(world, 9, pause=660)
    machine = machine_of(instance)
    assert (len(world.provider.calls("start")), machine.starts) == (9, 0)
    lists(world, 1, pause=660)
    machine.refresh_from_db()
    assert machine.starts == 1


def test_one_that_stops_again_and_again_is_started_a_few_times_then_alarmed_daily(world: World) -> None:
    instance = stopped(world)
    for _ in range(STARTS_AT_MOST + 2):
        lists(world, 1, pause=5000)
        show(world, instance, phase=Phase.STOPPED)
        lists(world)
    assert len(world.provider.calls("start")) == STARTS_AT_MOST
    lists(world, 2, pause=46_000)
    told = events(instance)
    assert told.count("still_billing") == 2
    assert "forget_machine" in instance.events.filter(event_type="still_billing").latest("id").reason
    assert machine_of(instance).state == MachineState.ACTIVE
    assert world.provider.calls("destroy") == []


def test_a_start_without_a_clear_answer_counts(world: World) -> None:
    world.provider.start_errors = [ProviderUnavailable("the line broke")]
    instance = stopped(world)
    lists(world, 1)
    instance.refresh_from_db()
    assert machine_of(instance).starts == 1
    assert "the line broke" in instance.last_error


def test_nothing_is_done_while_an_operation_runs_on_it(world: World) -> None:
    instance = stopped(world)
    make_operation(instance, machine=machine_of(instance), kind="snapshot")
    lists(world, 3)
    assert world.provider.calls("start") == []


def test_a_running_machine_that_lost_its_agent_gets_it_back(world: World) -> None:
    instance = world.awake()
    world.beat(instance, 0.0)
    world.log.clear()
    lists(world, LISTS_BELIEVED, pause=301)
    assert world.log.count("install") == 1


def test_one_that_does_not_answer_is_asked_again_later(world: World) -> None:
    instance = stopped(world)
    lists(world, 1)
    world.box(instance).unreachable = True
    lists(world, LISTS_BELIEVED, pause=600)
    assert machine_of(instance).ssh_host == "127.0.0.1"
    world.box(instance).unreachable = False
    lists(world, 1, pause=600)
    assert "install" in world.log


def test_a_hibernation_of_a_machine_that_stands_still_is_refused_with_the_reason(world: World) -> None:
    instance = stopped(world)
    with pytest.raises(Conflict, match="outbid"):
        world.hibernate(instance)


def test_an_orderer_may_give_it_up_and_falls_back_on_the_last_copy(world: World) -> None:
    instance = stopped(world)
    instance.snapshot = make_snapshot(instance)
    instance.save()
    forget_machine(machine_of(instance).contract_id or "", actor="user:ana")
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    assert events(instance)[-1] == "machine_forgotten"
    reconcile()
    reconcile()
    assert machine_of(instance).state == MachineState.DESTROYED
    assert_consistent(instance)


def test_without_any_copy_giving_up_is_a_failure(world: World) -> None:
    instance = stopped(world)
    forget_machine(machine_of(instance).contract_id or "", actor="user:ana")
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.FAILED
    assert "no proven copy" in instance.last_error


def test_a_lost_machine_may_be_given_up_too(world: World) -> None:
    instance = world.awake()
    world.provider.machines.clear()
    reconcile()
    world.pass_time(61)
    reconcile()
    assert machine_of(instance).state == MachineState.LOST
    forget_machine(machine_of(instance).contract_id or "", actor="user:ana")
    reconcile()
    reconcile()
    assert machine_of(instance).state == MachineState.DESTROYED
    assert_consistent(instance)


def test_what_works_or_is_at_work_is_not_given_up(world: World) -> None:
    instance = world.awake()
    contract = machine_of(instance).contract_id or ""
    world.beat(instance, 0.0)
    with pytest.raises(Conflict, match="reports"):
        forget_machine(contract, actor="user:ana")
    world.pass_time(600)
    make_operation(instance, machine=machine_of(instance))
    with pytest.raises(Conflict, match="operation"):
        forget_machine(contract, actor="user:ana")
    with pytest.raises(NotFound):
        forget_machine("12", actor="user:ana")


def test_a_list_is_kept_with_what_it_says(world: World) -> None:
    instance = world.awake()
    show(world, instance, phase=Phase.LOADING, reason="pulling")
    machine = replace(world.provider.machines[machine_of(instance).contract_id or ""])
    reconcile()
    row = machine_of(instance)
    assert (row.phase, row.phase_reason, row.phase_lists) == ("loading", "pulling", 1)
    assert (row.price_now, row.ends_at) == (machine.price_per_hour, None)
    assert row.listed_at is not None
