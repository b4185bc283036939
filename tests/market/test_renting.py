"""Faults of searching and renting: at most one machine comes of a launch, whatever its answer was."""

from __future__ import annotations

from typing import Any

import pytest

from hibernation.domain.states import MachineState
from hibernation.models import Machine
from tests.market.harness import Market

pytestmark = [pytest.mark.django_db, pytest.mark.network]

CHEAP = 0.02


@pytest.mark.parametrize("call", ["search", "list", "attach"])
@pytest.mark.parametrize("fault", ["rate_limited", "dropped", "response_lost", "bad_gateway", "server_error"])
def test_what_may_be_asked_again_is_asked_again(market: Market, call: str, fault: str) -> None:
    market.fake.faults.arm(fault, times=2, where={"call": call})
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert "machine_rejected" not in report.events
    assert report.usd < CHEAP


@pytest.mark.parametrize("fault", ["list_410", "list_500", "list_empty", "list_cut", "by_id_null"])
def test_lists_that_fail_or_lie_for_two_minutes_change_nothing(market: Market, fault: str) -> None:
    instance = market.awake()
    told = instance.events.count()
    market.fake.faults.arm(fault, times=4)
    market.advance(300)
    instance.refresh_from_db()
    assert (instance.status, len(market.billed()), len(market.ours())) == ("running", 1, 1)
    assert instance.events.count() == told


@pytest.mark.parametrize("fault", ["response_lost", "bad_gateway_after", "server_error_after"])
def test_a_launch_whose_answer_is_lost_is_found_by_its_label(market: Market, fault: str) -> None:
    market.fake.faults.arm(fault, where={"call": "create"})
    market.fake.faults.arm("list_empty")
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert "machine_rejected" not in report.events
    assert report.usd < CHEAP


@pytest.mark.parametrize("fault", ["dropped", "bad_gateway", "server_error"])
def test_a_launch_that_never_arrived_is_given_up_and_the_next_offer_taken(market: Market, fault: str) -> None:
    market.fake.faults.arm(fault, where={"call": "create"})
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert report.events.count("machine_rejected") == 1
    assert Machine.objects.filter(state=MachineState.ABANDONED).count() == 1


def test_a_machine_that_shows_up_after_it_was_given_up_is_ended(market: Market) -> None:
    market.fake.faults.arm("create_response_lost")
    market.fake.faults.arm("list_empty", times=30)
    report = market.first_wake()
    market.fake.faults.disarm()
    market.advance(900)
    assert report.state == "succeeded"
    assert len(market.ours()) == 2
    assert len(market.billed()) == 1
    assert market.fake.market.spent() < 0.1


@pytest.mark.parametrize(
    "fault",
    [
        "offer_gone_404",
        "offer_gone_410",
        "offer_gone_400",
        "host_only_403",
        "gpu_unavailable",
        "create_false",
    ],
)
def test_an_offer_that_is_gone_costs_nothing_and_the_next_is_taken(market: Market, fault: str) -> None:
    market.fake.faults.arm(fault, times=3)
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert report.events.count("machine_rejected") == 3
    assert report.usd < CHEAP


def test_offers_that_are_always_gone_end_the_wake_for_nothing(market: Market) -> None:
    market.fake.faults.arm("offer_gone_410", times=None)
    report = market.first_wake()
    assert (report.state, report.error_code, report.rented, report.usd) == (
        "failed",
        "machines_exhausted",
        0,
        0,
    )


@pytest.mark.parametrize("fault", ["create_429", "spend_rate_limit"])
def test_a_launch_that_is_put_off_waits_under_its_label(market: Market, fault: str) -> None:
    market.fake.faults.arm(fault, times=3)
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert "machine_rejected" not in report.events
    assert Machine.objects.count() == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("insufficient_credit", "out_of_credit"),
        ("create_422", "bad_order"),
        ("auth_404", "provider_denied"),
        ("auth_401", "provider_denied"),
    ],
)
def test_what_no_other_offer_would_mend_is_told_at_once(market: Market, fault: str, code: str) -> None:
    where: dict[str, Any] = {"call": "create"} if fault.startswith("auth") else {}
    market.fake.faults.arm(fault, where=where)
    report = market.first_wake()
    assert (report.state, report.error_code, report.rented, report.usd) == ("failed", code, 0, 0)
    assert report.events[-1] == "failed"


def test_a_contract_that_was_made_and_failed_is_ended(market: Market) -> None:
    market.fake.faults.arm("create_leftover", times=2)
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 3, 1)
    assert report.events.count("machine_destroyed") == 2
    assert report.usd < CHEAP


def test_a_search_quota_that_is_used_up_ends_the_wake_in_time(market: Market) -> None:
    # Early in the day, whenever this runs: shortly before midnight a quota is waited for.
    market.clock.advance(86_400 - market.clock.now() % 86_400 + 60)
    market.fake.faults.arm("search_quota", times=None)
    report = market.first_wake()
    assert (report.state, report.error_code, report.rented) == ("failed", "no_offer", 0)


def test_filters_that_the_market_ignores_are_applied_here(market: Market) -> None:
    market.fake.faults.arm("search_unfiltered", times=None)
    report = market.first_wake(gpu_type="RTX 4090", region="EU")
    (contract,) = market.ours().values()
    assert report.state == "succeeded"
    assert contract.offer["gpu_name"] == "RTX 4090"
    assert contract.offer["verification"] == "verified"
