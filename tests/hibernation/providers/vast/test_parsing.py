"""Rows become values in our units; odd fields cost their own value and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.domain.offers import Offer, OfferFilter, fits
from hibernation.providers.base import SshAddress
from hibernation.providers.vast.parsing import credit_of, machine_of, offer_of, price_rise_of
from tests.hibernation.providers.vast.rows import INSTANCE, OFFER, instance_row, offer_row


def offer(**changes: Any) -> Offer:
    found = offer_of(offer_row(**changes), 5)
    assert found is not None
    return found


def test_an_offer_is_told_in_our_units() -> None:
    found = offer()
    assert (found.provider, found.offer_id, found.host, found.operator) == ("vast", "101", "7", "3")
    assert (found.gpu_type, found.gpu_count, found.gpu_memory_gb) == ("RTX 4090", 1, 24.564)
    assert (found.compute_capability, found.cuda, found.driver) == (8.9, 12.8, "570.86.15")
    assert (found.region, found.country, found.reliability) == ("EU", "SE", 0.995)
    assert (found.disk_gb, found.disk_mb_s, found.disk_usd_gb_month) == (500, 3000.0, Decimal("0.2"))
    assert (found.download_mbps, found.upload_mbps, found.hours_left) == (900.0, 800.0, 240.0)
    assert (found.download_usd_gb, found.upload_usd_gb) == (Decimal("0.02"), Decimal("0.01"))
    assert found.price_per_hour == Decimal("0.301400")


@pytest.mark.parametrize(
    ("disk", "row", "price"),
    [
        (144, offer_row(), "0.340000"),
        (144, offer_row(dph_total=0.5), "0.500000"),
        (144, offer_row(storage_cost=None), "0.301400"),
        (72, offer_row(dph_total=None), "0.320000"),
        (72, offer_row(dph_total="0.35"), "0.350000"),
    ],
)
def test_the_price_includes_the_disk_that_was_asked_for(disk: int, row: dict[str, Any], price: str) -> None:
    found = offer_of(row, disk)
    assert found is not None
    assert str(found.price_per_hour) == price


@pytest.mark.parametrize(
    ("row", "price"),
    [
        ({"storage_total_cost": 0.0056}, "0.005600"),
        ({"storage_cost": 0.2, "disk_space": 36}, "0.010000"),
        ({"storage_total_cost": 0, "storage_cost": 0.2, "disk_space": 36}, "0.000000"),
        ({}, None),
    ],
)
def test_what_a_stopped_machine_costs_is_its_disk(row: dict[str, Any], price: str | None) -> None:
    found = machine_of({"id": 5, **row}).stopped_usd_hour
    assert found == (None if price is None else Decimal(price))


def test_a_card_fits_the_size_on_its_box() -> None:
    assert fits(offer(gpu_ram=23034), OfferFilter(min_gpu_memory_gb=24))
    assert not fits(offer(gpu_ram=16376), OfferFilter(min_gpu_memory_gb=24))


@pytest.mark.parametrize(
    ("place", "country", "region"),
    [
        ("Sweden, SE", "SE", "EU"),
        (", US", "US", "US"),
        ("Japan, JP ", "JP", "ASIA"),
        ("Sweden", "", "OTHER"),
        ("", "", "OTHER"),
        (None, "", "OTHER"),
        (7, "", "OTHER"),
    ],
)
def test_the_country_is_the_end_of_the_place(place: Any, country: str, region: str) -> None:
    assert (offer(geolocation=place).country, offer(geolocation=place).region) == (country, region)


def test_names_with_underscores_are_ours_with_spaces() -> None:
    assert offer(gpu_name="RTX_4090").gpu_type == "RTX 4090"


@pytest.mark.parametrize("name", [None, "", "  "])
def test_an_offer_without_a_name_price_or_id_is_none(name: str | None) -> None:
    assert offer_of(offer_row(gpu_name=name), 5) is None
    assert offer_of(offer_row(dph_total=None, dph_base=None), 5) is None
    assert offer_of(offer_row(dph_total=-1, dph_base=-1), 5) is None
    assert offer_of(offer_row(id=None, ask_contract_id=None), 5) is None


def test_a_machine_is_told_in_our_words() -> None:
    found = machine_of(instance_row())
    assert (found.provider, found.contract_id, found.label) == ("vast", "555", "dumont-ab-1")
    assert (found.phase, found.gpu_type, found.gpu_count, found.image) == ("running", "RTX 4090", 1, "img:1")
    assert (found.country, found.region, found.host, found.operator) == ("SE", "EU", "7", "3")
    assert (str(found.price_per_hour), found.disk_gb) == ("0.305600", 20)
    assert found.started_at == datetime(2026, 11, 23, 17, 25, 13, 500000, tzinfo=UTC)
    assert found.ends_at == datetime(2026, 12, 3, 16, 6, 40, tzinfo=UTC)


def test_direct_and_proxy_are_never_mixed() -> None:
    direct, proxy = (
        SshAddress("192.0.2.10", 41022, via="direct"),
        SshAddress("ssh5.vast.ai", 10554, via="proxy"),
    )
    assert machine_of(instance_row()).ssh == (direct, proxy)
    assert machine_of(instance_row(ports=None)).ssh == (proxy,)
    assert machine_of(instance_row(ports={"22/tcp": []})).ssh == (proxy,)
    assert (
        machine_of(instance_row(ports={"22/tcp": [{"HostPort": "x"}, {"HostPort": "41022"}]})).ssh[0]
        == direct
    )
    assert machine_of(instance_row(public_ipaddr=None)).ssh == (proxy,)
    assert machine_of(instance_row(ssh_host=None)).ssh == (direct,)
    assert machine_of(instance_row(ssh_port=None)).ssh == (direct,)


def test_beside_a_notebook_the_proxy_has_ssh_on_its_next_port() -> None:
    found = machine_of(instance_row(image_runtype="jupyter_proxy ssh_proxy", ports={}))
    assert found.ssh == (SshAddress("ssh5.vast.ai", 10555, via="proxy"),)


def test_an_almost_empty_row_is_still_a_machine() -> None:
    found = machine_of({"id": 5})
    assert (found.contract_id, found.label, found.ssh, found.price_per_hour) == ("5", "", (), Decimal(0))
    assert (found.started_at, found.ends_at) == (None, None)
    assert machine_of({"id": 5, "search": {"totalHour": 0.4}}).price_per_hour == Decimal("0.4")


def test_what_opens_a_machine_is_not_in_its_words() -> None:
    found = machine_of(instance_row())
    assert "value-of-a-variable" not in repr(found)
    assert "token-of-a-notebook" not in repr(found) + str(found.raw)


def test_a_price_rise_is_by_the_hour() -> None:
    found = price_rise_of({"contract_id": 555, "new_gpu_costpersec": 0.0001})
    assert found is not None
    assert (found.contract_id, found.price_per_hour) == ("555", Decimal("0.360000"))
    assert price_rise_of({"contract_id": 555}) is None
    assert price_rise_of({"new_gpu_costpersec": 1}) is None


@pytest.mark.parametrize(
    ("value", "expected"), [(3.5, "3.5"), ("4", "4"), (None, None), ("x", None), (True, None)]
)
def test_credit_is_money_or_unknown(value: Any, expected: str | None) -> None:
    assert credit_of({"credit": value}) == (None if expected is None else Decimal(expected))


_ODD = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
    | st.lists(st.text(max_size=3), max_size=2) | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(OFFER)), _ODD))
def test_no_odd_field_breaks_an_offer(changes: dict[str, Any]) -> None:
    found = offer_of(offer_row(**changes), 5)
    assert found is None or found.price_per_hour >= 0


@given(st.dictionaries(st.sampled_from(sorted(set(INSTANCE) - {"id"})), _ODD))
def test_no_odd_field_breaks_a_machine(changes: dict[str, Any]) -> None:
    found = machine_of(instance_row(**changes))
    assert found.contract_id == "555"
    assert found.price_per_hour >= 0


@pytest.mark.parametrize(
    "told",
    [
        [["A", "b"], ["-p 8080:8081", "1"], ["-p 22:22", "1"], ["-p 9:9/udp", "1"], ["-h name", "1"]],
        {"A": "b", "-p 1:8081/tcp": "1", "-p 70000:99999": "1"},
        [["A", "b"], ["-p8081:8081", "1"], ["odd"], None, [1, 2]],
    ],
)
def test_what_a_machine_was_ordered_with_is_read(told: Any) -> None:
    machine = machine_of(instance_row(extra_env=told, onstart="echo hi"))
    assert (machine.env, machine.ports, machine.onstart) == ({"A": "b"}, (8081,), "echo hi")
    assert "echo hi" not in repr(machine)


@pytest.mark.parametrize("told", [None, "x", 1, [], {}])
def test_an_order_that_is_not_told_is_none(told: Any) -> None:
    machine = machine_of(instance_row(extra_env=told, onstart=None))
    assert (machine.env, machine.ports, machine.onstart) == ({}, (), "")
