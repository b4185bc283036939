"""Machines that are kept warm at the fake market: the same contract again, or another one, and never two that bill."""

from __future__ import annotations

import pytest

from hibernation.domain.states import InstanceStatus, MachineState
from hibernation.models import Instance, Operation
from hibernation.services.boundaries import Boundary
from hibernation.services.instances import configure
from tests.fakes.vast.contracts import Contract
from tests.hibernation.services.box import tree
from tests.market.harness import ACTOR, Market

pytestmark = [pytest.mark.django_db, pytest.mark.network]

MINUTE = 60.0


def awake(market: Market, minutes: int = 30) -> Instance:
    instance = market.awake()
    configure(instance.pk, {"warm_minutes": minutes}, actor=ACTOR)
    return instance


def parked(market: Market, minutes: int = 30) -> Instance:
    """An instance that sleeps, its contract stopped."""
    instance = awake(market, minutes)
    operation = market.hibernate(instance)
    ended(market, operation)
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED, instance.last_error
    assert instance.machines.get().state == MachineState.PARKED
    return instance


def ended(market: Market, operation: Operation) -> Operation:
    """Only until it has ended: a machine that is kept warm rests."""
    market.run_until(operation, "")
    operation.refresh_from_db()
    return operation


def newest(market: Market) -> Contract:
    return list(market.ours().values())[-1]


def first(market: Market) -> Contract:
    return next(iter(market.ours().values()))


def test_the_same_contract_runs_again_with_the_same_workspace(market: Market) -> None:
    instance = parked(market)
    contract = first(market)
    assert (contract.actual, contract.cur, contract.holds_gpu) == ("exited", "stopped", False)
    before = tree(market.box(instance).workspace)
    market.advance(10 * MINUTE)
    gpu_hours = contract.running_since
    assert gpu_hours is None
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.rented, report.billed) == ("succeeded", 1, (contract.id,))
    assert operation_result(operation)["resumed"] is True
    assert tree(market.box(instance).workspace) == before
    assert not any(line.startswith("thaw") for line in market.world.log)


def operation_result(operation: Operation) -> dict[str, object]:
    operation.refresh_from_db()
    return dict(operation.result)


def test_only_its_disk_costs_meanwhile(market: Market) -> None:
    instance = parked(market, minutes=600)
    contract, machine = first(market), instance.machines.get()
    before = market.fake.market.spent()
    market.advance(60 * MINUTE)
    cost = market.fake.market.spent() - before
    assert cost == pytest.approx(contract.storage_price, rel=0.05)
    machine.refresh_from_db()
    assert machine.stopped_usd_hour is not None
    assert float(machine.stopped_usd_hour) == pytest.approx(contract.storage_price, abs=0.0001)


def test_a_gpu_that_was_let_is_restored_elsewhere_and_one_bills(market: Market) -> None:
    instance = parked(market)
    before = tree(market.box(instance).workspace)
    market.fake.market.let_to_others(first(market).offer["machine_id"], 99)
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (newest(market).id,))
    assert operation_result(operation)["snapshot_restored"] is True
    assert tree(market.box(instance).workspace) == before


def test_a_start_that_was_queued_never_comes_true(market: Market) -> None:
    instance = parked(market)
    market.fake.faults.arm("start_queued")
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (newest(market).id,))
    assert first(market).is_over


@pytest.mark.parametrize("fault", ["loading_forever", "boot_abort_oci", "ssh_silent", "ssh_refused"])
def test_a_machine_that_does_not_come_up_again_is_ended(market: Market, fault: str) -> None:
    instance = parked(market)
    market.fake.faults.arm(fault)
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (newest(market).id,))


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ("response_lost", {"call": "stop"}),
        ("bad_gateway_after", {"call": "stop"}),
        ("dropped", {"call": "stop"}),
        ("list_500", {}),
        ("list_410", {}),
    ],
)
def test_a_stop_is_asked_for_until_a_list_shows_it(market: Market, fault: str, where: dict[str, str]) -> None:
    instance = awake(market)
    operation = market.hibernate(instance)
    market.run_until(operation, "destroy")
    market.fake.faults.arm(fault, times=2, where=where)
    ended(market, operation)
    assert operation.result["instance_destroyed"] is False
    assert first(market).cur == "stopped"


def test_a_machine_that_never_stops_is_ended(market: Market) -> None:
    instance = awake(market)
    operation = market.hibernate(instance)
    market.run_until(operation, "destroy")
    market.fake.faults.arm("server_error", times=None, where={"call": "stop"})
    market.run_until_idle()
    operation.refresh_from_db()
    assert (operation.result["instance_destroyed"], market.billed()) == (True, ())


@pytest.mark.parametrize("fault", ["response_lost", "bad_gateway_after", "dropped"])
def test_a_start_without_an_answer_is_sent_again(market: Market, fault: str) -> None:
    instance = parked(market)
    market.fake.faults.arm(fault, where={"call": "start"})
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)


def test_when_its_time_is_over_it_is_ended(market: Market) -> None:
    instance = parked(market)
    market.advance(29 * MINUTE)
    assert market.billed() == (first(market).id,)
    market.advance(3 * MINUTE)
    assert market.billed() == ()
    assert instance.machines.get().state == MachineState.DESTROYED


def test_one_that_somebody_starts_is_looked_after_until_it_idles(market: Market) -> None:
    instance = parked(market)
    contract = first(market)
    with market.fake.market.now() as now:
        market.fake.market.run(contract, now)
    market.advance(5 * MINUTE)
    instance.refresh_from_db()
    assert (instance.status, instance.machines.get().state) == (InstanceStatus.RUNNING, MachineState.ACTIVE)
    assert market.billed() == (contract.id,)
    (market.box(instance).workspace / "new.txt").write_text("work that no copy has")
    market.box(instance).load = 0.0
    market.advance(10 * MINUTE)
    instance.refresh_from_db()
    assert instance.status == InstanceStatus.HIBERNATED
    before = tree(market.box(instance).workspace)
    assert "new.txt" in before
    market.advance(40 * MINUTE)
    assert market.billed() == ()
    market.wake(instance)
    market.run_until_idle()
    assert tree(market.box(instance).workspace) == before


def test_one_that_vanishes_wakes_elsewhere(market: Market) -> None:
    instance = parked(market)
    before = tree(market.box(instance).workspace)
    with market.fake.market.now():
        market.fake.market.destroy(first(market))
    market.advance(5 * MINUTE)
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (newest(market).id,))
    assert tree(market.box(instance).workspace) == before


@pytest.mark.parametrize("boundary", [Boundary.CLAIMED, Boundary.PERFORMED])
@pytest.mark.parametrize("step", ["destroy", "confirm"])
def test_a_worker_that_dies_while_it_stops_leaves_it_stopped(
    market: Market, step: str, boundary: Boundary
) -> None:
    instance = awake(market)
    market.crashes.append((step, boundary))
    operation = market.hibernate(instance)
    ended(market, operation)
    assert not market.crashes
    assert operation.result["instance_destroyed"] is False
    assert first(market).cur == "stopped"


@pytest.mark.parametrize("boundary", [Boundary.CLAIMED, Boundary.PERFORMED])
@pytest.mark.parametrize("step", ["resume", "loading", "reach", "install", "test"])
def test_a_worker_that_dies_while_it_resumes_rents_nothing(
    market: Market, step: str, boundary: Boundary
) -> None:
    instance = parked(market)
    market.crashes.append((step, boundary))
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert not market.crashes
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert operation_result(operation)["resumed"] is True
