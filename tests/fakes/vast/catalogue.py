"""The fake market's offers: some hundred machines of plausible hosts, the same ones at each start.

Units are those of the marketplace: memory in MB, network in Mbit/s, disk in GB, prices in USD an hour, a GB-month of
720 hours, or a GB. A few rows are odd as in life: unknown place, unknown cores, hardly any disk, a slow line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

FIRST_OFFER = 10_001
MACHINES = 88
_MONTH_HOURS = 720
# name, MB, compute capability x100, TFLOPS, DLPerf, USD/h from, to, sizes of a machine
_GPUS: tuple[tuple[str, int, int, float, float, float, float, tuple[int, ...]], ...] = (
    ("RTX 3090", 24576, 860, 35.6, 40.0, 0.11, 0.24, (1, 2, 4, 8)),
    ("RTX 4090", 24564, 890, 82.6, 90.0, 0.28, 0.52, (1, 2, 4, 8)),
    ("RTX 5090", 32607, 1200, 104.8, 150.0, 0.45, 0.80, (1, 2, 4)),
    ("RTX A6000", 49140, 860, 38.7, 48.0, 0.40, 0.62, (1, 2, 4)),
    ("L40S", 46068, 890, 91.6, 95.0, 0.60, 0.95, (1, 2, 4)),
    ("A100 SXM4", 40960, 800, 19.5, 110.0, 0.70, 1.00, (1, 2, 4, 8)),
    ("A100 SXM4", 81920, 800, 19.5, 120.0, 0.95, 1.40, (1, 2, 4, 8)),
    ("A100 PCIE", 40960, 800, 19.5, 95.0, 0.62, 0.90, (1, 2)),
    ("A100 PCIE", 81920, 800, 19.5, 100.0, 0.85, 1.25, (1, 2)),
    ("H100 SXM", 81559, 900, 66.9, 250.0, 1.90, 2.70, (1, 2, 4, 8)),
    ("H100 PCIE", 81559, 900, 51.2, 210.0, 1.70, 2.30, (1, 2)),
    ("RTX 3060", 12288, 860, 12.7, 15.0, 0.05, 0.09, (1, 2)),
)
_POPULAR = (5, 5, 3, 2, 2, 1, 2, 1, 1, 2, 1, 2)
_PLACES = (
    "Sweden, SE", "Germany, DE", "Netherlands, NL", "France, FR", "Poland, PL", "Czechia, CZ", "Finland, FI",
    "Spain, ES", "Bulgaria, BG", "Romania, RO", "Ireland, IE", "Norway, NO", "Iceland, IS", "United Kingdom, GB",
    "California, US", "Texas, US", "Washington, US", "Illinois, US", ", US", "Quebec, CA",
    "Japan, JP", "South Korea, KR", "Taiwan, TW", "Vietnam, VN", "Thailand, TH", "India, IN", "Singapore, SG",
    "Australia, AU", "Brazil, BR", "South Africa, ZA", "Ukraine, UA", "Russia, RU", "Kazakhstan, KZ",
)  # fmt: skip
_DRIVERS = (("535.183.01", 12.2), ("550.127.05", 12.4), ("560.35.03", 12.6), ("570.86.15", 12.8))


@dataclass(slots=True)
class Machine:
    """A host's computer. ``outsiders``: how many of its GPUs people of other accounts rent."""

    machine_id: int
    host_id: int
    gpus: int
    outsiders: int = 0
    offers: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Catalogue:
    offers: dict[int, Row]
    machines: dict[int, Machine]


def make_catalogue(
    now: float, public_ipaddr: str | None = None, seed: int = 7, machines: int = MACHINES
) -> Catalogue:
    """About 200 offers; more than two for each of other ``machines``.

    ``public_ipaddr`` replaces addresses that nobody answers at.
    """
    dice = random.Random(seed)
    catalogue = Catalogue({}, {})
    for number in range(machines):
        for row in _rows_of_machine(dice, number, now, len(catalogue.offers)):
            catalogue.offers[row["id"]] = {**row, "public_ipaddr": public_ipaddr or row["public_ipaddr"]}
            machine = catalogue.machines.setdefault(
                row["machine_id"], Machine(row["machine_id"], row["host_id"], row["num_gpus"])
            )
            machine.gpus = max(machine.gpus, row["num_gpus"])
            machine.offers.append(row["id"])
    return catalogue


def priced(row: Row, disk_gb: float, bid: float | None = None) -> Row:
    """The row with what an hour costs in all with a disk of this size; ``bid`` in place of the GPU's price."""
    gpu = row["dph_base"] if bid is None else bid
    disk = disk_gb * row["storage_cost"] / _MONTH_HOURS
    total = gpu + disk
    return {
        **row,
        "dph_base": gpu,
        "dph_total": total,
        "storage_total_cost": disk,
        "dlperf_per_dphtotal": row["dlperf"] / total,
        "flops_per_dphtotal": row["total_flops"] / total,
        "search": {"gpuCostPerHour": gpu, "diskHour": disk, "totalHour": total},
        "instance": {"gpuCostPerHour": 0.0, "diskHour": disk, "totalHour": disk},
    }


def country_of(row: Row) -> str | None:
    """ISO 3166 alpha-2, the end of the place; None for a place unknown."""
    place = row.get("geolocation")
    return place.rpartition(",")[2].strip() if place else None


def _rows_of_machine(dice: random.Random, number: int, now: float, before: int) -> Iterator[Row]:
    gpu = dice.choices(_GPUS, _POPULAR)[0]
    total, host = dice.choice(gpu[-1]), 500 + dice.randrange(60)
    shared = _host_side(dice, number, now) | _odd(number)
    price = round(dice.uniform(gpu[5], gpu[6]), 4)
    sizes = [size for size in (1, 2, 4, 8) if size <= total]
    for count, size in enumerate(sizes):
        offer_id = FIRST_OFFER + before + count
        ids = {"id": offer_id, "ask_contract_id": offer_id, "bundle_id": 900_000 + offer_id}
        cores = shared["cpu_cores"] or 32
        yield priced(
            {
                **ids,
                **shared,
                "machine_id": 7_000 + number,
                "host_id": host,
                "cpu_cores_effective": cores * size / total,
                "gpu_frac": size / total,
                **_gpu_side(gpu, size, price * size),
            },
            8.0,
        )


def _gpu_side(gpu: tuple[Any, ...], size: int, price: float) -> Row:
    name, memory, capability, tflops, dlperf = gpu[:5]
    return {
        "num_gpus": size,
        "gpu_name": name,
        "gpu_ram": memory,
        "gpu_total_ram": memory * size,
        "gpu_mem_bw": memory / 30,
        "gpu_max_power": 350.0,
        "gpu_max_temp": 90.0,
        "gpu_arch": "nvidia",
        "gpu_display_active": False,
        "bw_nvlink": 600.0 if "SXM" in name else 0.0,
        "compute_cap": capability,
        "total_flops": tflops * size,
        "dlperf": dlperf * size,
        "score": dlperf / price * 10 * size,
        "dph_base": round(price, 4),
        "min_bid": round(price * 0.5, 4),
    }


def _host_side(dice: random.Random, number: int, now: float) -> Row:
    driver, cuda = dice.choice(_DRIVERS)
    major, minor, patch = driver.split(".")
    down = round(dice.choice((200.0, 500.0, 800.0, 1000.0, 2500.0, 5000.0)) * dice.uniform(0.8, 1.0), 1)
    per_gb = dice.choice((0.0, 0.002, 0.005, 0.01, 0.02))
    reliability = round(1 - dice.choice((0.001, 0.003, 0.005, 0.02, 0.08)), 4)
    left = dice.choice((2, 10, 30, 60, 120)) * 86_400.0
    return {
        "cpu_name": dice.choice(("EPYC 7543", "EPYC 7763", "Xeon Gold 6248", "Ryzen 9 5950X")),
        "cpu_arch": "amd64",
        "has_avx": 1,
        "mobo_name": "ROMED8-2T",
        "ubuntu_version": "22.04",
        "cluster_id": None,
        "cpu_cores": dice.choice((16, 32, 64, 96)),
        "cpu_ram": dice.choice((64_000, 128_000, 256_000, 515_000)),
        "cpu_ghz": 3.2,
        "cuda_max_good": cuda,
        "driver_version": driver,
        "driver_vers": int(f"{major}{minor.zfill(3)}{patch.zfill(3)}"),
        "disk_space": dice.choice((120.0, 250.0, 500.0, 1000.0, 2000.0, 6000.0)),
        "disk_bw": dice.choice((600.0, 1500.0, 3000.0, 6000.0)),
        "disk_name": dice.choice(("nvme", "Samsung SSD 980", "WD_BLACK SN850X")),
        "storage_cost": dice.choice((0.05, 0.1, 0.15, 0.2, 0.4)),
        "inet_down": down,
        "inet_up": round(down * dice.uniform(0.3, 1.0), 1),
        "inet_down_cost": per_gb,
        "inet_up_cost": per_gb,
        "internet_down_cost_per_tb": per_gb * 1000,
        "internet_up_cost_per_tb": per_gb * 1000,
        "reliability": reliability,
        "reliability2": reliability,
        "verification": dice.choices(("verified", "unverified", "deverified"), (17, 2, 1))[0],
        "hosting_type": dice.choice((0, 0, 1)),
        "static_ip": dice.random() < 0.7,
        "direct_port_count": dice.choice((0, 20, 100, 250)) if number % 9 else 100,
        "public_ipaddr": f"192.0.2.{1 + number % 250}",
        "geolocation": _PLACES[number * 7 % len(_PLACES)],  # all of them, evenly
        "is_bid": False,
        "external": number % 35 == 20,
        "duration": left,
        "start_date": now - 30 * 86_400.0,
        "end_date": now + left,
        "pcie_bw": 24.1,
        "pci_gen": 4.0,
        "vms_enabled": number % 11 == 0,
        "resource_type": "gpu",
    }


def _odd(number: int) -> Row:
    """What is strange about this machine; mostly nothing."""
    odd: dict[int, Row] = {
        13: {"geolocation": None},
        27: {"cpu_cores": None},
        41: {"disk_space": 10.0},
        58: {"inet_down": 18.0, "inet_up": 4.0},
        73: {"geolocation": None, "cpu_cores": None},
        84: {"cpu_name": None, "disk_name": None, "mobo_name": None},
    }
    return odd.get(number, {})
