"""What the fake Runpod sells: GPU types, and how many of each are free where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_COUNTRIES = {
    "EU-RO-1": "RO",
    "EU-SE-1": "SE",
    "US-TX-3": "US",
    "US-IL-1": "US",
    "CA-MTL-1": "CA",
    "AP-JP-1": "JP",
}


@dataclass(frozen=True, slots=True)
class Place:
    """``data_center`` is empty for machines that are in none."""

    gpu_id: str
    cloud: str
    data_center: str


# id, name, GB, USD an hour in SECURE and COMMUNITY (0: not there), most in a pod, free in SECURE by place, in COMMUNITY
_TABLE: tuple[tuple[str, str, int, float, float, int, dict[str, int], int], ...] = (
    ("NVIDIA GeForce RTX 3090", "RTX 3090", 24, 0.43, 0.22, 4, {"EU-SE-1": 3, "US-TX-3": 0}, 2),
    ("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34, 8, {"EU-RO-1": 9, "US-IL-1": 1, "AP-JP-1": 4}, 5),
    ("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 1.64, 1.19, 8, {"CA-MTL-1": 2, "EU-RO-1": 8}, 0),
    ("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, 0.0, 8, {"US-TX-3": 8}, 0),
    ("AMD Instinct MI300X OAM", "MI300X", 192, 2.49, 0.0, 8, {"EU-RO-1": 8}, 0),
)


def _gpu(row: tuple[str, str, int, float, float, int, dict[str, int], int]) -> dict[str, Any]:
    gpu_id, name, memory, secure, community, most, *_ = row
    return {
        "id": gpu_id,
        "name": name,
        "pool": None,
        "manufacturer": "AMD" if gpu_id.startswith("AMD") else "NVIDIA",
        "memory": memory,
        "secure": secure > 0,
        "community": community > 0,
        "price": {"secure": secure, "community": community},
        "maxCount": {"secure": most, "community": most if community else 0},
    }


GPUS: dict[str, dict[str, Any]] = {row[0]: _gpu(row) for row in _TABLE}


def first_stock() -> dict[Place, int]:
    """GPUs free at each place, before anything is rented."""
    stock: dict[Place, int] = {}
    for gpu_id, *_, secure, community in _TABLE:
        stock |= {Place(gpu_id, "SECURE", place): free for place, free in secure.items()}
        stock[Place(gpu_id, "COMMUNITY", "")] = community
    return stock


def listing(
    stock: dict[Place, int], *, cloud: str, count: int, countries: frozenset[str]
) -> list[dict[str, Any]]:
    """The types with what is free of them; with countries, only those that some place there sells."""
    rows = []
    for gpu_id, gpu in GPUS.items():
        places = [place for place in stock if (place.gpu_id, place.cloud) == (gpu_id, cloud)]
        places = [p for p in places if not countries or _COUNTRIES.get(p.data_center) in countries]
        levels = {place: _level(stock[place], count) for place in places}
        if countries and not places:
            continue
        found = [
            {"id": place.data_center, "name": place.data_center, "availability": level}
            for place, level in levels.items()
            if place.data_center
        ]
        best = max(levels.values(), key=_LEVELS.index, default="NONE")
        cuda = [{"version": "12.8", "available": True}, {"version": "12.4", "available": best != "NONE"}]
        is_anywhere = {"dataCenters": found} if found and best != "NONE" else {}
        rows.append({**gpu, "availability": best, "cudaVersions": cuda, **is_anywhere})
    return rows


_LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH")


def _level(free: int, count: int) -> str:
    return _LEVELS[min(3, free // count)]
