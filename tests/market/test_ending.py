"""Faults of ending a rental: it ends once the copy is proven, and is asked to until a whole list says that it did."""

from __future__ import annotations

from typing import Any

import pytest

from hibernation.domain.states import MachineState
from hibernation.services.boundaries import Boundary
from tests.hibernation.services.box import tree
from tests.market.harness import Market

pytestmark = [pytest.mark.django_db, pytest.mark.network]


@pytest.mark.parametrize(
    ("fault", "times", "where"),
    [
        ("destroy_429", 4, {}),
        ("destroy_response_lost", 2, {}),
        ("destroy_500", 6, {}),
        ("destroy_ignored", 3, {}),
        ("destroy_row_remains", 1, {}),
        ("dropped", 3, {"call": "destroy"}),
        ("bad_gateway_after", 1, {"call": "destroy"}),
        ("auth_404", 3, {"call": "destroy"}),
        ("list_500", 5, {}),
        ("list_410", 5, {}),
        ("list_cut", 5, {}),
        ("auth_404", 5, {"call": "list"}),
    ],
)
def test_a_rental_ends_in_the_end_and_costs_cents_more(
    market: Market, fault: str, times: int, where: dict[str, Any]
) -> None:
    instance = market.awake()
    before = tree(market.box(instance).workspace)
    operation = market.hibernate(instance)
    market.run_until(operation, "destroy")
    market.fake.faults.arm(fault, times=times, where=where)
    market.run_until_idle()
    report = market.report(operation)
    assert (report.state, report.status, report.rented, report.billed) == ("succeeded", "hibernated", 1, ())
    assert report.events[-1] == "hibernated"
    assert report.usd < 0.05
    market.wake(instance)
    market.run_until_idle()
    assert tree(market.box(instance).workspace) == before
    assert len(market.billed()) == 1


def test_a_stale_list_that_lies_of_an_end_is_found_out(market: Market) -> None:
    instance = market.awake()
    operation = market.hibernate(instance)
    market.run_until(operation, "destroy")
    market.fake.faults.arm("destroy_ignored")
    market.fake.faults.arm("list_empty", times=2)
    market.run_until_idle()
    market.advance(600)
    assert market.report(operation).state == "succeeded"
    assert market.billed() == ()
    assert instance.machines.get().state == MachineState.DESTROYED


def test_a_rental_that_will_not_end_is_asked_for_ever_and_told(market: Market) -> None:
    instance = market.awake()
    operation = market.hibernate(instance)
    market.run_until(operation, "destroy")
    market.fake.faults.arm("destroy_ignored", times=None)
    market.advance(1200)
    assert len(market.billed()) == 1
    assert "still_billing" in market.report(operation).events
    market.fake.faults.disarm()
    market.run_until_idle()
    assert market.billed() == ()


@pytest.mark.parametrize("boundary", [Boundary.CLAIMED, Boundary.PERFORMED])
@pytest.mark.parametrize("step", ["launch", "loading", "reach", "install", "thaw"])
def test_a_worker_that_dies_in_a_wake_rents_nothing_twice(
    market: Market, step: str, boundary: Boundary
) -> None:
    instance = market.asleep()
    market.crashes.append((step, boundary))
    operation = market.wake(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert not market.crashes
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 2, 1)


@pytest.mark.parametrize("boundary", [Boundary.CLAIMED, Boundary.PERFORMED])
@pytest.mark.parametrize("step", ["freeze", "verify", "fence", "destroy", "confirm"])
def test_a_worker_that_dies_in_a_hibernation_leaves_nothing_behind(
    market: Market, step: str, boundary: Boundary
) -> None:
    instance = market.awake()
    market.crashes.append((step, boundary))
    operation = market.hibernate(instance)
    market.run_until_idle()
    report = market.report(operation)
    assert not market.crashes
    assert (report.state, report.status, report.billed) == ("succeeded", "hibernated", ())


def test_a_strangers_machine_outlives_it_all(market: Market) -> None:
    stranger = market.fake.rent(label="my own")
    instance = market.awake()
    operation = market.hibernate(instance)
    market.run_until_idle()
    assert market.report(operation).state == "succeeded"
    assert market.fake.billed() == [stranger.id]
    assert market.fake.contracts[stranger.id].label == "my own"
