"""A second machine beside one that is slow to answer: one bills in the end, and what the other cost is cents."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from pytest_django import Settings

from hibernation.domain.states import MachineState
from hibernation.models import Event, Host, Instance, Machine, Operation
from hibernation.services.boundaries import Boundary
from tests.fakes.vast.contracts import Contract
from tests.market.harness import Market, Report

pytestmark = [pytest.mark.django_db, pytest.mark.network]

SLOW: dict[str, Any] = {"seconds": 300.0}
CENTS = 0.05


@pytest.fixture
def market(market: Market, settings: Settings) -> Market:
    settings.DUMONT_HEDGE_MOST_USD = Decimal("0.25")
    return market


def slow_start(market: Market, **more: Any) -> tuple[Instance, Operation]:
    """A wake whose first machine needs five minutes longer than others."""
    market.fake.faults.arm("slow_boot", **SLOW)
    instance = market.create(**more)
    return instance, market.wake(instance)


def second_launch(market: Market, operation: Operation) -> None:
    """Until the second machine is about to be rented."""
    market.run_until(operation, "loading")
    market.run_until(operation, "choose")
    market.run_until(operation, "launch")


def to_the_end(market: Market, operation: Operation) -> Report:
    market.run_until_idle()
    return market.report(operation)


def contracts(market: Market) -> list[Contract]:
    """Ours, the first to be rented first."""
    return sorted(market.ours().values(), key=lambda contract: contract.id)


def test_a_second_machine_wins_where_the_first_is_slow_and_the_first_is_ended(market: Market) -> None:
    instance, operation = slow_start(market)
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 2, 1)
    first, second = contracts(market)
    assert report.billed == (second.id,)
    assert first.offer["machine_id"] != second.offer["machine_id"]
    assert first.offer["host_id"] != second.offer["host_id"]
    assert {"hedge_started", "spare_dismissed", "machine_destroyed"} < set(report.events)
    assert "machine_rejected" not in report.events
    assert report.usd < CENTS
    assert sum(operation.result["stages"].values()) < 250
    assert instance.machines.filter(state=MachineState.DESTROYED).count() == 1


def test_what_is_told_of_a_hedge_has_both_prices_and_the_most_that_it_may_cost(market: Market) -> None:
    instance, operation = slow_start(market)
    market.run_until(operation, "race")
    told = Event.objects.get(instance=instance, event_type="hedge_started")
    prices = [Decimal(told.data[which]["price_per_hour_usd"]) for which in ("first", "second")]
    rented = instance.machines.order_by("id").values_list("price_per_hour", flat=True)
    assert [round(price, 4) for price in prices] == list(rented)
    assert 0 < float(told.data["most_usd"]) <= 0.25
    assert "does not answer after" in told.reason
    assert "is tried beside it" in told.reason


def test_a_host_that_was_overtaken_is_not_taken_again_today(market: Market) -> None:
    slow_start(market)
    market.run_until_idle()
    first, _ = contracts(market)
    host = Host.objects.get(host=first.offer["machine_id"])
    assert (host.verdict, host.failures) == ("too_slow", 0)


def test_the_first_machine_wins_if_it_is_the_first_to_answer(market: Market) -> None:
    market.fake.faults.arm("slow_boot", seconds=80.0)
    market.fake.faults.arm("slow_boot", **SLOW)
    operation = market.wake(market.create())
    market.run_until(operation, "race")
    report = to_the_end(market, operation)
    first, _ = contracts(market)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (first.id,))
    assert "spare_dismissed" in report.events
    assert not Host.objects.exclude(verdict="").exists()
    assert report.usd < CENTS


def test_a_first_machine_that_is_up_while_the_second_launch_is_in_doubt_wins(market: Market) -> None:
    market.fake.faults.arm("slow_boot", seconds=80.0)
    market.fake.faults.arm("slow_boot", **SLOW)
    operation = market.wake(market.create())
    second_launch(market, operation)
    market.fake.faults.arm("create_response_lost")
    market.fake.faults.arm("list_empty", times=2)
    report = to_the_end(market, operation)
    first, _ = contracts(market)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (first.id,))
    assert "spare_dismissed" in report.events


@pytest.mark.parametrize("fault", ["response_lost", "bad_gateway_after", "server_error_after"])
def test_a_second_launch_whose_answer_is_lost_is_found_by_its_label(market: Market, fault: str) -> None:
    _, operation = slow_start(market)
    second_launch(market, operation)
    market.fake.faults.arm(fault, where={"call": "create"})
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 2, 1)
    assert len({contract.label for contract in contracts(market)}) == 2
    assert "spare_dismissed" in report.events
    assert report.usd < CENTS


def test_a_second_launch_that_never_arrived_leaves_the_first_to_go_on(market: Market) -> None:
    _, operation = slow_start(market)
    second_launch(market, operation)
    market.fake.faults.arm("dropped", where={"call": "create"})
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert Machine.objects.filter(state=MachineState.ABANDONED).count() == 1
    assert "hedge_started" not in report.events


@pytest.mark.parametrize(
    "fault",
    ["create_429", "spend_rate_limit", "offer_gone_410", "insufficient_credit", "create_422", "create_false"],
)
def test_a_second_launch_that_is_refused_or_put_off_leaves_the_first_to_go_on(
    market: Market, fault: str
) -> None:
    _, operation = slow_start(market)
    second_launch(market, operation)
    market.fake.faults.arm(fault)
    market.run_until(operation, "reach")
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert report.events.count("machine_rejected") == 1
    assert "hedge_started" not in report.events
    assert Machine.objects.filter(state=MachineState.VOID).count() == 1


def test_a_second_launch_that_left_something_behind_is_ended_and_the_first_goes_on(market: Market) -> None:
    _, operation = slow_start(market)
    second_launch(market, operation)
    market.fake.faults.arm("create_leftover")
    report = to_the_end(market, operation)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (contracts(market)[0].id,))
    assert report.events.count("machine_destroyed") == 1


def test_a_search_that_fails_leaves_the_first_to_go_on(market: Market) -> None:
    _, operation = slow_start(market)
    market.run_until(operation, "loading")
    market.run_until(operation, "choose")
    market.fake.faults.arm("server_error", times=4, where={"call": "search"})
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert "machine_rejected" not in report.events


def test_a_machine_that_fails_beside_another_leaves_that_one_to_go_on(market: Market) -> None:
    _, operation = slow_start(market)
    second_launch(market, operation)
    market.fake.faults.arm("boot_abort_oci")
    report = to_the_end(market, operation)
    first, second = contracts(market)
    assert (report.state, report.rented, report.billed) == ("succeeded", 2, (first.id,))
    assert report.events.count("machine_rejected") == 1
    assert Host.objects.get(verdict="failed").host == str(second.offer["machine_id"])


def test_where_both_fail_the_next_offer_is_taken(market: Market) -> None:
    market.fake.faults.arm("loading_forever")
    operation = market.wake(market.create())
    second_launch(market, operation)
    market.fake.faults.arm("boot_abort_oci")
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 3, 1)
    assert report.events.count("machine_rejected") == 2
    assert report.events.count("hedge_started") == 1
    assert report.usd < CENTS


def test_each_machine_of_a_race_has_all_of_its_own_time(market: Market) -> None:
    market.fake.faults.arm("loading_forever", times=2)
    operation = market.wake(market.create())
    report = to_the_end(market, operation)
    ends = list(Machine.objects.filter(state=MachineState.DESTROYED).order_by("id"))
    lasted = [one.destroyed_at - one.launched_at for one in ends if one.destroyed_at and one.launched_at]
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 3, 1)
    assert all(600 <= time.total_seconds() < 720 for time in lasted)
    assert len(lasted) == 2


@pytest.mark.parametrize(
    ("why", "state"),
    [({"cancel_reason": "cancelled"}, "cancelled"), ({"deadline_at": F("started_at")}, "failed")],
)
def test_a_wake_that_is_cancelled_or_late_in_a_race_ends_both(
    market: Market, why: dict[str, Any], state: str
) -> None:
    _, operation = slow_start(market)
    market.run_until(operation, "race")
    Operation.objects.filter(pk=operation.pk).update(**why)
    report = to_the_end(market, operation)
    assert (report.state, report.rented, report.billed) == (state, 2, ())
    assert not Machine.objects.exclude(state=MachineState.DESTROYED).exists()
    assert report.usd < CENTS


def test_a_machine_that_vanishes_in_a_race_is_dropped(market: Market) -> None:
    _, operation = slow_start(market)
    market.run_until(operation, "race")
    market.fake.faults.arm("slow_boot", **SLOW)
    first = next(iter(market.ours()))
    market.fake.faults.arm("vanished", where={"contract": first})
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 2, 1)
    assert first not in report.billed


@pytest.mark.parametrize(
    ("step", "boundary", "rented"),
    [
        ("choose", Boundary.CLAIMED, 2),
        ("choose", Boundary.PERFORMED, 2),
        ("launch", Boundary.CLAIMED, 1),
        ("launch", Boundary.PERFORMED, 2),
        ("race", Boundary.CLAIMED, 2),
        ("race", Boundary.PERFORMED, 2),
        ("install", Boundary.CLAIMED, 2),
        ("install", Boundary.PERFORMED, 2),
    ],
)
def test_a_worker_that_dies_in_a_hedge_rents_nothing_twice(
    market: Market, step: str, boundary: Boundary, rented: int
) -> None:
    _, operation = slow_start(market)
    market.run_until(operation, "loading")
    market.crashes.append((step, boundary))
    report = to_the_end(market, operation)
    assert not market.crashes
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", rented, 1)
    assert len({contract.label for contract in contracts(market)}) == rented


@pytest.mark.parametrize("most", ["0", "0.01"])
def test_no_second_machine_is_tried_that_might_cost_more_than_allowed(
    market: Market, settings: Settings, most: str
) -> None:
    settings.DUMONT_HEDGE_MOST_USD = Decimal(most)
    _, operation = slow_start(market)
    report = to_the_end(market, operation)
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert report.usd < CENTS


def test_a_second_machine_keeps_to_the_price_that_was_set(market: Market) -> None:
    cheapest = min(
        row["dph_total"]
        for row in market.fake.market.catalogue.offers.values()
        if row["gpu_name"] == "RTX 3090"
    )
    _, operation = slow_start(market, max_price=Decimal(str(round(cheapest * 1.02, 4))))
    report = to_the_end(market, operation)
    assert (report.state, report.rented) == ("succeeded", 1)
