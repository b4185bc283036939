"""Faults between a contract and a machine that answers: who disappoints is ended, and somebody else is taken."""

from __future__ import annotations

from typing import Any

import pytest

from hibernation.models import Host
from tests.market.harness import Market

pytestmark = [pytest.mark.django_db, pytest.mark.network]


@pytest.fixture
def direct(market: Market) -> Market:
    """Every machine of the market has direct ports, and is reached through the proxy too."""
    for row in market.fake.market.catalogue.offers.values():
        row["direct_port_count"] = 100
    return market


@pytest.mark.parametrize(
    ("fault", "options", "usd"),
    [
        ("loading_forever", {}, 0.02),
        ("boot_abort_cdi", {}, 0.02),
        ("boot_abort_oci", {}, 0.02),
        ("no_space_left", {}, 0.02),
        ("boot_abort", {}, 0.02),
        ("boot_abort", {"text": "OCI runtime create failed: a word nobody has seen"}, 0.02),
        ("ssh_refused", {}, 0.04),
        ("ssh_silent", {}, 0.04),
        ("slow_network", {}, 0.02),
        ("status_strange", {}, 0.04),
    ],
)
def test_a_machine_that_disappoints_is_ended_and_its_host_remembered(
    market: Market, fault: str, options: dict[str, Any], usd: float
) -> None:
    market.fake.faults.arm(fault, **options)
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 2, 1)
    assert {"machine_rejected", "machine_destroyed"} < set(report.events)
    first, second = market.ours().values()
    assert first.offer["machine_id"] != second.offer["machine_id"]
    assert Host.objects.filter(host=str(first.offer["machine_id"])).exists()
    assert report.usd < usd


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("slow_boot", {}),
        ("loading_frozen", {"seconds": 400.0}),
        ("create_start_race", {}),
        ("ssh_auth_fails", {}),
        ("ssh_banner", {}),
        ("by_id_null", {}),
        ("extra_env_null", {}),
        ("extra_env_dict", {}),
        ("geolocation_null", {}),
        ("cpu_cores_null", {}),
        ("disk_smaller", {}),
        ("slow", {"where": {"call": "create"}, "seconds": 0.2}),
        ("status_lags", {}),
        ("status_unknown", {}),
    ],
)
def test_a_machine_that_only_looks_bad_is_waited_for(
    market: Market, fault: str, options: dict[str, Any]
) -> None:
    market.fake.faults.arm(fault, **options)
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    assert "machine_rejected" not in report.events
    assert report.usd < 0.02


@pytest.mark.parametrize("fault", ["ssh_direct_refused", "ssh_direct_silent", "ports_null"])
def test_the_proxy_is_the_other_way_in(direct: Market, fault: str) -> None:
    direct.fake.faults.arm(fault)
    report = direct.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    (machine,) = direct.machines()
    assert machine.ssh_via == "proxy"


@pytest.mark.parametrize("fault", ["ssh_proxy_refused", "ssh_proxy_silent"])
def test_a_proxy_that_is_out_of_order_is_not_needed(direct: Market, fault: str) -> None:
    direct.fake.faults.arm(fault)
    report = direct.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)
    (machine,) = direct.machines()
    assert machine.ssh_via == "direct"


def test_keys_that_vanish_are_attached_again(market: Market) -> None:
    market.fake.faults.arm("ssh_keys_vanish")
    report = market.first_wake()
    assert (report.state, report.rented, len(report.billed)) == ("succeeded", 1, 1)


@pytest.mark.parametrize("fault", ["image_pull_denied", "manifest_unknown"])
def test_an_image_that_cannot_be_had_is_our_fault_and_no_hosts(market: Market, fault: str) -> None:
    market.fake.faults.arm(fault, times=None)
    report = market.first_wake()
    assert (report.state, report.error_code, report.rented, report.billed) == (
        "failed",
        "image_failed",
        1,
        (),
    )
    assert not Host.objects.filter(failures__gt=0).exists()
    assert report.usd < 0.01


def test_a_market_without_one_good_machine_is_left_after_some_tries(market: Market) -> None:
    market.fake.faults.arm("boot_abort_oci", times=None)
    report = market.first_wake()
    assert (report.state, report.error_code, report.billed) == ("failed", "machines_exhausted", ())
    assert report.rented <= 5
    assert report.usd < 0.02


def test_a_dearer_price_than_offered_is_told(market: Market) -> None:
    market.fake.faults.arm("price_higher")
    report = market.first_wake()
    assert (report.state, len(report.billed)) == ("succeeded", 1)
    assert "price_rose" in report.events
