"""Rows as Runpod documents them, and rows of any sort."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibernation.providers.base import Phase, SshAddress
from hibernation.providers.runpod.parsing import addresses, machine_of, offers_of
from hibernation.providers.runpod.places import country_of, gpu_type_of, offer_id_of, parts_of

GPU: dict[str, Any] = {
    "id": "NVIDIA GeForce RTX 4090", "name": "RTX 4090", "manufacturer": "NVIDIA", "memory": 24, "secure": True,
    "community": True, "price": {"secure": 0.72, "community": 0.34}, "maxCount": {"secure": 8, "community": 4},
    "availability": "HIGH",
    "dataCenters": [
        {"id": "EU-RO-1", "name": "EU Romania 1", "availability": "HIGH"},
        {"id": "US-IL-1", "name": "US Illinois 1", "availability": "LOW"},
        {"id": "EU-SE-1", "name": "EU Sweden 1", "availability": "NONE"},
    ],
    "cudaVersions": [{"version": "12.4", "available": False}, {"version": "12.8", "available": True},
                     {"version": "13.0", "available": True}],
}  # fmt: skip
POD: dict[str, Any] = {
    "id": "7h9k2m4n6p", "name": "dumont-ab-1", "status": "RUNNING", "image": "img:1", "args": "bash -c secret",
    "disk": 20, "mounts": {"persistent": {"size": 50, "path": "/data"}}, "env": {"TOKEN": "value-of-a-variable"},
    "gpu": {"id": "NVIDIA H100 80GB HBM3", "count": 2}, "cloud": "SECURE", "dataCenterId": "US-TX-3", "cost": 5.98,
    "ssh": {"proxy": {"host": "ssh.runpod.io", "port": 22, "username": "x"},
            "direct": {"host": "192.0.2.7", "port": 17445, "username": "root"}},
    "runtime": {"ports": [{"private": 22, "public": 17446, "type": "tcp", "ip": "192.0.2.8"}]},
    "createdAt": "2026-11-01T10:00:00Z", "startedAt": "2026-11-01T10:01:00Z",
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GPU, *POD]), inner),
    max_leaves=8,
)


def test_a_type_is_an_offer_wherever_it_is_free() -> None:
    offers = list(offers_of(GPU, "SECURE", 2, 52))
    assert [(offer.offer_id, offer.country, offer.region) for offer in offers] == [
        ("NVIDIA GeForce RTX 4090:SECURE:EU-RO-1", "RO", "EU"),
        ("NVIDIA GeForce RTX 4090:SECURE:US-IL-1", "US", "US"),
    ]
    first, second = offers
    assert (first.gpu_type, first.gpu_count, first.gpu_memory_gb, first.cuda) == ("RTX 4090", 2, 24.0, 12.8)
    assert first.host == first.offer_id
    assert first.reliability > second.reliability
    # Two GPUs, and 72 GB of disks for an hour.
    assert first.price_per_hour == Decimal("1.45")


@pytest.mark.parametrize(
    "change",
    [
        {"secure": False},
        {"price": {"secure": 0}},
        {"price": {"secure": -1}},
        {"price": None},
        {"maxCount": {"secure": 1}},
        {"manufacturer": "AMD"},
        {"id": None},
        {"dataCenters": None},
    ],
)
def test_what_cannot_be_had_is_no_offer(change: dict[str, Any]) -> None:
    assert list(offers_of({**GPU, **change}, "SECURE", 2, 10)) == []


def test_other_peoples_machines_may_be_in_no_data_center() -> None:
    row = {**GPU, "dataCenters": []}
    [offer] = offers_of(row, "COMMUNITY", 1, 10)
    assert (offer.offer_id, offer.region) == ("NVIDIA GeForce RTX 4090:COMMUNITY:", "OTHER")
    assert parts_of(offer.offer_id) == ("NVIDIA GeForce RTX 4090", "COMMUNITY", "")


def test_a_pod_is_a_machine() -> None:
    machine = machine_of(POD)
    assert (machine.contract_id, machine.label, machine.phase) == ("7h9k2m4n6p", "dumont-ab-1", Phase.RUNNING)
    assert (machine.gpu_type, machine.gpu_count, machine.region) == ("H100 SXM", 2, "US")
    assert machine.host == "NVIDIA H100 80GB HBM3:SECURE:US-TX-3"
    assert (machine.disk_gb, machine.workspace, machine.price_per_hour) == (50, "/data", Decimal("5.98"))
    assert machine.stopped_usd_hour == (50 * Decimal("0.20") / 720).quantize(Decimal("0.000001"))
    assert machine.started_at == datetime(2026, 11, 1, 10, 1, tzinfo=UTC)


def test_a_pods_secrets_are_not_kept() -> None:
    assert not {"env", "args"} & machine_of(POD).raw.keys()


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("PROVISIONING", Phase.LOADING),
        ("STARTING", Phase.LOADING),
        ("RUNNING", Phase.RUNNING),
        ("EXITED", Phase.STOPPED),
        ("ERROR", Phase.FAILED),
        ("MIGRATING", Phase.OFFLINE),
        (None, Phase.OFFLINE),
    ],
)
def test_a_status_is_a_phase(status: str | None, phase: Phase) -> None:
    assert machine_of({**POD, "status": status}).phase is phase


def test_the_direct_address_counts_and_the_terminals_proxy_does_not() -> None:
    assert addresses(POD) == (SshAddress("192.0.2.7", 17445),)
    assert addresses({**POD, "ssh": {"proxy": POD["ssh"]["proxy"], "direct": None}}) == (
        SshAddress("192.0.2.8", 17446),
    )
    assert addresses({**POD, "ssh": None, "runtime": None}) == ()


@pytest.mark.parametrize(
    ("data_center", "country"),
    [
        ("EU-RO-1", "RO"),
        ("EUR-IS-2", "IS"),
        ("US-IL-1", "US"),
        ("CA-MTL-3", "CA"),
        ("AP-JP-1", "JP"),
        ("SEA-SG-1", "SG"),
        ("OC-AU-1", "AU"),
        ("EU-XX-1", ""),
        ("somewhere", ""),
        ("", ""),
    ],
)
def test_a_data_center_tells_its_country(data_center: str, country: str) -> None:
    assert country_of(data_center) == country


def test_types_have_our_names() -> None:
    assert gpu_type_of("NVIDIA GeForce RTX 3090") == "RTX 3090"
    assert gpu_type_of("NVIDIA A100-SXM4-80GB") == "A100 SXM4"
    assert gpu_type_of("NVIDIA L40S") == "L40S"


@pytest.mark.parametrize("offer_id", ["101", "", ":SECURE:EU-RO-1", "a:b:c"])
def test_what_is_no_offer_of_runpod_is_told(offer_id: str) -> None:
    with pytest.raises(ValueError):
        parts_of(offer_id)


def test_the_id_of_an_offer_fits_where_it_is_stored() -> None:
    longest = offer_id_of("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "COMMUNITY", "EUR-IS-1")
    assert len(longest) <= 128


@given(st.dictionaries(st.sampled_from(sorted(GPU)), JSON), st.integers(1, 8))
def test_any_row_of_the_catalogue_is_read(row: dict[str, Any], count: int) -> None:
    for offer in offers_of({**GPU, **row}, "SECURE", count, 10):
        assert offer.price_per_hour > 0


@given(st.dictionaries(st.sampled_from(sorted(POD)), JSON))
def test_any_row_of_the_list_is_read(row: dict[str, Any]) -> None:
    machine_of({**POD, **row, "id": "a"})
